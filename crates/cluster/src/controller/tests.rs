//! Stories of the metadata group's own members.

use fanfare_core::id::DiskId;
use fanfare_core::view::{Addresses, Bootstrap, NewNode, Replica};

use super::*;

fn view(nodes: u64) -> View {
    let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0)),
        level: fanfare_core::level::KNOWN,
        addresses: Addresses {
            peer: format!("n{id}:1"),
            ..Addresses::default()
        },
    };
    let mut view = View::empty();
    view.apply(&Command::Bootstrap(Bootstrap {
        cluster: fanfare_core::id::ClusterId(1),
        level: fanfare_core::level::KNOWN,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids
            .iter()
            .map(|id| Replica {
                id: ReplicaId(id.0),
                node: *id,
            })
            .collect(),
        shards: placement::first(&ids, 1),
    }));
    for node in ids {
        view.apply(&started(node));
    }
    assert_eq!(view.version, 1 + nodes);
    view
}

fn started(node: NodeId) -> Command {
    Command::NodeStarted {
        node,
        generation: Generation(1),
        disk: DiskId(u128::from(node.0)),
        level: fanfare_core::level::KNOWN,
        addresses: Addresses {
            peer: format!("n{node}:1"),
            ..Addresses::default()
        },
    }
}

fn status(voters: &[u64], learners: &[u64], behind: &[(u64, u64)]) -> Status {
    let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
    Status {
        voters: ids(voters),
        learners: ids(learners),
        behind: behind.iter().map(|(id, n)| (ReplicaId(*id), *n)).collect(),
        ..Status::default()
    }
}

fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

#[test]
fn every_node_learns_and_three_vote() {
    let view = view(5);
    let step = next_step(&view, &status(&[1, 2, 3], &[], &[]), ReplicaId(1));
    assert_eq!(step, Some(Step::Learn(ReplicaId(4))));
    let step = next_step(
        &view,
        &status(&[1, 2, 3], &[4], &[(4, 9_999)]),
        ReplicaId(1),
    );
    assert_eq!(step, Some(Step::Learn(ReplicaId(5))));
    assert_eq!(
        next_step(&view, &status(&[1, 2, 3], &[4, 5], &[]), ReplicaId(1)),
        None
    );
}

#[test]
fn a_lost_voter_is_replaced_once_its_successor_has_caught_up() {
    let mut view = view(4);
    view.apply(&Command::RecordDataLoss { node: NodeId(2) });
    assert_eq!(
        next_step(
            &view,
            &status(&[1, 2, 3], &[4], &[(4, 1_000)]),
            ReplicaId(1)
        ),
        None
    );
    assert_eq!(
        next_step(&view, &status(&[1, 2, 3], &[4], &[]), ReplicaId(1)),
        None,
        "lag not known"
    );
    let step = next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 999)]), ReplicaId(1));
    assert_eq!(step, Some(Step::Vote(ids(&[1, 3, 4]))));
}

#[test]
fn a_node_that_was_never_seen_to_start_does_not_vote() {
    let mut view = view(2);
    view.apply(&Command::AddNode {
        name: "new".to_owned(),
        disk: DiskId(3),
        level: fanfare_core::level::KNOWN,
        addresses: Addresses {
            peer: "new:1".to_owned(),
            ..Addresses::default()
        },
    });
    let replica = view.meta_on(NodeId(3)).unwrap().0;
    let caught_up = status(&[1, 2], &[replica], &[(replica, 0)]);
    assert_eq!(next_step(&view, &caught_up, ReplicaId(1)), None);
    view.apply(&started(NodeId(3)));
    assert_eq!(
        next_step(&view, &caught_up, ReplicaId(1)),
        Some(Step::Vote(ids(&[1, 2, replica])))
    );
}

#[test]
fn a_replica_on_a_lost_disk_is_let_go_though_none_takes_its_place() {
    let mut view = view(3);
    view.apply(&Command::RecordDataLoss { node: NodeId(2) });
    let step = next_step(&view, &status(&[1, 2, 3], &[], &[]), ReplicaId(1));
    assert_eq!(step, Some(Step::Vote(ids(&[1, 3]))));
    assert_eq!(
        next_step(&view, &status(&[1, 3], &[], &[]), ReplicaId(1)),
        None,
        "it is not added again"
    );
}

#[test]
fn a_change_that_was_cut_in_the_middle_is_brought_to_its_end() {
    let joint = Status {
        joint: true,
        ..status(&[1, 2, 3], &[], &[])
    };
    assert_eq!(
        next_step(&view(3), &joint, ReplicaId(1)),
        Some(Step::Vote(ids(&[1, 2, 3])))
    );
}

#[test]
fn a_removed_node_leaves_after_it_votes_no_more() {
    let mut view = view(4);
    view.apply(&Command::RemoveNode { node: NodeId(3) });
    let step = next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 0)]), ReplicaId(1));
    assert_eq!(step, Some(Step::Vote(ids(&[1, 2, 4]))));
    let step = next_step(&view, &status(&[1, 2, 4], &[3], &[(4, 0)]), ReplicaId(1));
    assert_eq!(step, Some(Step::Leave(ids(&[3]))));
}
