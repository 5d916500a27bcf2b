//! Clusters whose binaries are of two releases: what waits, what is refused, what means the same.

use std::collections::BTreeSet;

use super::*;
use crate::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use crate::placement;
use crate::view::{Addresses, Bootstrap, NewNode, Outcome, Placement, Refusal, Replica, View};

fn addresses(id: NodeId) -> Addresses {
    Addresses {
        peer: format!("n{id}:7070"),
        ..Addresses::default()
    }
}

/// A cluster of this level, whose nodes all know the highest one.
fn cluster(nodes: u64, level: u32) -> View {
    let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0)),
        level: KNOWN,
        addresses: addresses(*id),
    };
    let meta = |id: &NodeId| Replica {
        id: ReplicaId(id.0),
        node: *id,
    };
    let mut view = View::empty();
    let bootstrap = Bootstrap {
        cluster: ClusterId(42),
        level,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, 4),
    };
    done(&mut view, &Command::Bootstrap(bootstrap));
    view
}

fn done(view: &mut View, command: &Command) {
    let outcome = view.apply(command);
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
}

/// The refusal of a command, which must change nothing.
fn refused(view: &mut View, command: &Command) -> Refusal {
    let before = view.clone();
    let outcome = view.apply(command);
    assert_eq!(*view, before, "a refused command changed the view");
    match outcome {
        Outcome::Refused(refusal) => refusal,
        other @ (Outcome::Done { .. } | Outcome::Added { .. }) => {
            panic!("{command:?} gave {other:?}")
        }
    }
}

fn started(node: u64, generation: u64, level: u32) -> Command {
    Command::NodeStarted {
        node: NodeId(node),
        generation: Generation(generation),
        disk: DiskId(u128::from(node)),
        level,
        addresses: addresses(NodeId(node)),
    }
}

#[test]
fn the_level_rises_once_all_binaries_know_it_and_older_ones_do_not_start() {
    let mut view = cluster(2, KNOWN);
    let next = KNOWN + 1;
    done(&mut view, &started(1, 1, next));
    let below = refused(&mut view, &Command::SetLevel { level: next });
    let node = NodeId(2);
    assert_eq!(below, Refusal::NodeBelow { node, level: KNOWN });
    done(&mut view, &started(2, 1, next));
    done(&mut view, &Command::SetLevel { level: next });
    let old = refused(&mut view, &started(1, 2, KNOWN));
    assert_eq!(old, Refusal::BinaryTooOld { level: next });
    let again = refused(&mut view, &Command::SetLevel { level: next });
    assert_eq!(again, Refusal::LevelNotAbove { level: next });
}

#[test]
fn what_older_binaries_cannot_read_waits_for_the_level() {
    let mut view = cluster(4, 1);
    let later = [
        Command::Depart {
            node: NodeId(4),
            heir: None,
        },
        Command::SetBudget {
            node: NodeId(1),
            generation: Generation(0),
            history: 7,
        },
    ];
    for command in &later {
        let below = refused(&mut view, command);
        let needs = command.level();
        assert_eq!(below, Refusal::LevelBelow { needs, level: 1 });
    }
    done(&mut view, &Command::SetLevel { level: 2 });
    for command in &later {
        done(&mut view, command);
    }
}

#[test]
fn a_placement_means_at_each_level_what_it_meant_when_it_was_taken() {
    let leaving = |level| {
        let mut view = cluster(4, level);
        let shard = ShardId(0);
        done(&mut view, &Command::ShardBegun { shard });
        let held = |node: &NodeId| view.shards[0].on(*node).is_some();
        let (mut nodes, spare): (Vec<NodeId>, Vec<NodeId>) =
            view.nodes.keys().copied().partition(held);
        nodes[0] = spare[0];
        let rows = vec![Placement {
            shard,
            nodes,
            preferred: None,
        }];
        let base = view.version;
        done(&mut view, &Command::Place { base, rows });
        view.shards[0].leaving.len()
    };
    assert_eq!(leaving(1), 0);
    assert_eq!(leaving(2), 1);
}
