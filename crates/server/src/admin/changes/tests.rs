//! What is refused at once, what is waited with, and what may be done.

use fanfare_core::id::{ClusterId, DiskId, ReplicaId};
use fanfare_core::placement;
use fanfare_core::view::{Addresses, Bootstrap, NewNode, Replica};

use super::*;

/// A cluster of so many nodes, named n1 on.
fn cluster(nodes: u64) -> View {
    let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0)),
        level: fanfare_core::level::KNOWN,
        addresses: Addresses {
            peer: format!("n{id}:7070"),
            ..Addresses::default()
        },
    };
    let meta = |id: &NodeId| Replica {
        id: ReplicaId(id.0),
        node: *id,
    };
    let mut view = View::empty();
    let made = view.apply(&Command::Bootstrap(Bootstrap {
        cluster: ClusterId(1),
        level: fanfare_core::level::KNOWN,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, 4),
    }));
    assert!(matches!(made, Outcome::Done { .. }), "{made:?}");
    view
}

fn heard(nodes: &[u64]) -> BTreeSet<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn replace(old: &str, new: &str) -> ClusterChange {
    ClusterChange::Replace {
        old: old.to_owned(),
        new: new.to_owned(),
    }
}

#[test]
fn an_heir_that_is_not_heard_or_not_known_yet_is_waited_for() {
    let view = cluster(4);
    let silent = checked(&view, &heard(&[1, 2, 3]), &replace("n2", "n4"));
    assert!(
        matches!(silent, Err(Hindrance::Unheard(why)) if why.detail.contains("n4 is not heard"))
    );
    let unknown = checked(&view, &heard(&[1, 2, 3]), &replace("n2", "n5"));
    assert!(matches!(unknown, Err(Hindrance::Unheard(why)) if why.field.as_deref() == Some("new")));
    let done = checked(&view, &heard(&[1, 2, 3, 4]), &replace("n2", "n4"));
    let heir = Some(NodeId(4));
    assert!(matches!(done, Ok((NodeId(2), Command::Depart { heir: to, .. })) if to == heir));
}

#[test]
fn a_majority_that_is_not_heard_is_waited_for() {
    let view = cluster(3);
    let remove = ClusterChange::RemoveNow {
        node: "n2".to_owned(),
    };
    let lacking = checked(&view, &heard(&[1, 2]), &remove);
    assert!(
        matches!(lacking, Err(Hindrance::Unheard(why)) if why.detail.contains("start n3 first"))
    );
    assert!(checked(&view, &heard(&[1, 2, 3]), &remove).is_ok());
}

#[test]
fn a_name_that_nobody_has_is_not_waited_for() {
    let view = cluster(3);
    let remove = ClusterChange::Remove {
        node: "n9".to_owned(),
    };
    let unknown = checked(&view, &heard(&[1, 2, 3]), &remove);
    assert!(matches!(unknown, Err(Hindrance::Refused(why)) if why.detail.contains("n1, n2, n3")));
}
