//! A node answers what is for it, and says who it is to all else.

use fanfare_core::view::{Addresses, Node, StoreState};

use super::*;

const NODES: [u64; 2] = [1, 2];

fn identity(node: u64, generation: u64) -> Identity {
    Identity {
        cluster: ClusterId(9),
        node: NodeId(node),
        generation: Generation(generation),
        disk: DiskId(u128::from(node) * 11),
    }
}

/// A view in which both nodes are at generation 3.
fn view() -> View {
    let node = |id: u64| Node {
        id: NodeId(id),
        name: format!("n{id}"),
        generation: Generation(3),
        level: 1,
        disk: DiskId(u128::from(id) * 11),
        store: StoreState::ReadWrite,
        state: NodeState::Active,
        addresses: Addresses::default(),
        history_budget: 0,
    };
    View {
        version: 5,
        cluster: ClusterId(9),
        nodes: NODES.map(|id| (NodeId(id), node(id))).into(),
        next_node: 8,
        ..View::empty()
    }
}

/// Node 1 calls node `to`, which it believes to be in `generation`.
fn call(from: Identity, to: u64, generation: u64) -> MetadataMap {
    let (_tx, identity) = watch::channel(Some(from));
    let (_tx, view) = watch::channel(Arc::new(view()));
    let mut metadata = MetadataMap::new();
    let header = Local { identity, view }
        .header(NodeId(to), Generation(generation))
        .unwrap();
    put_header(&mut metadata, header);
    metadata
}

/// Node 2, in generation 3, judges a call.
fn judged(metadata: &MetadataMap, check: Check) -> Result<NodeId, Reason> {
    judge(metadata, Some(identity(2, 3)), &view(), check)
}

#[test]
fn a_call_for_this_node_is_taken() {
    for check in [Check::Exact, Check::Raft] {
        assert_eq!(judged(&call(identity(1, 3), 2, 3), check), Ok(NodeId(1)));
    }
}

#[test]
fn a_call_for_another_node_cluster_or_start_is_refused() {
    let exact = |metadata| judged(&metadata, Check::Exact).unwrap_err();
    assert_eq!(exact(call(identity(1, 3), 1, 3)), Reason::OtherNode);
    let stranger = Identity {
        cluster: ClusterId(8),
        ..identity(1, 3)
    };
    assert_eq!(exact(call(stranger, 2, 3)), Reason::OtherCluster);
    assert_eq!(exact(call(identity(1, 3), 2, 2)), Reason::OtherGeneration);
    assert_eq!(exact(call(identity(1, 3), 2, 4)), Reason::OtherGeneration);
    assert_eq!(exact(MetadataMap::new()), Reason::BadHeader);
    let nobody = judge(&call(identity(1, 3), 2, 3), None, &view(), Check::Raft);
    assert_eq!(nobody, Err(Reason::NoIdentity));
}

#[test]
fn a_sender_that_the_view_does_not_know_so_is_refused() {
    let by = |from| judged(&call(from, 2, 3), Check::Exact).unwrap_err();
    assert_eq!(by(identity(7, 1)), Reason::SenderUnknown);
    assert_eq!(
        by(Identity {
            disk: DiskId(99),
            ..identity(1, 3)
        }),
        Reason::SenderUnknown
    );
    assert_eq!(by(identity(1, 2)), Reason::SenderOld);
}

/// A replica that replays its log from the first entry passes through views in which the leader has
/// not joined yet.
#[test]
fn raft_calls_of_a_node_that_joined_after_the_view_are_taken() {
    let call = |from| call(identity(from, 1), 2, 3);
    assert_eq!(judged(&call(8), Check::Raft), Ok(NodeId(8)));
    assert_eq!(judged(&call(8), Check::Exact), Err(Reason::SenderUnknown));
    assert_eq!(judged(&call(7), Check::Raft), Err(Reason::SenderUnknown));
}

/// After a cold start every view is of before it, and only raft can bring a newer one.
#[test]
fn raft_calls_pass_between_nodes_that_have_both_started_again() {
    let own = identity(2, 4);
    let metadata = call(identity(1, 4), 2, 3);
    assert_eq!(
        judge(&metadata, Some(own), &view(), Check::Raft),
        Ok(NodeId(1))
    );
    let exact = judge(&metadata, Some(own), &view(), Check::Exact);
    assert_eq!(exact, Err(Reason::OtherGeneration));
    let future = judged(&call(identity(1, 4), 2, 9), Check::Raft);
    assert_eq!(future, Err(Reason::OtherGeneration));
}

#[test]
fn a_refusal_names_who_refused() {
    let (_tx, own) = watch::channel(Some(identity(2, 3)));
    let (_tx, views) = watch::channel(Arc::new(view()));
    let local = Local {
        identity: own,
        view: views,
    };
    let status = local
        .check(&call(identity(1, 3), 1, 3), Check::Exact)
        .unwrap_err();
    let refused = Misdirected::of(&status).unwrap();
    assert_eq!(
        refused,
        Misdirected {
            reason: Reason::OtherNode,
            cluster: ClusterId(9),
            node: NodeId(2),
            generation: Generation(3),
            view: 5,
        }
    );
    assert_eq!(Misdirected::of(&tonic::Status::unavailable("x")), None);
}
