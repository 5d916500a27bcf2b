//! Stories of nodes that leave for ever, and of replicas that their groups let go.

use super::stories::{begin_all, cluster, done, refused, started};
use super::*;

fn depart(node: u64, heir: Option<u64>) -> Command {
    Command::Depart {
        node: NodeId(node),
        heir: heir.map(NodeId),
    }
}

/// Moves the seats of `from` to `to`.
fn move_all(view: &mut View, from: u64, to: u64) {
    let rows = view.shards.iter().map(|row| {
        let swap = |r: &Replica| {
            if r.node == NodeId(from) {
                NodeId(to)
            } else {
                r.node
            }
        };
        Placement {
            shard: row.id,
            nodes: row.replicas.iter().map(swap).collect(),
            preferred: None,
        }
    });
    let rows: Vec<Placement> = rows
        .filter(|row| {
            let distinct: std::collections::BTreeSet<_> = row.nodes.iter().collect();
            distinct.len() == row.nodes.len()
        })
        .collect();
    let base = view.version;
    done(view, &Command::Place { base, rows });
}

fn let_go(view: &mut View) {
    for row in view.shards.clone() {
        let replicas = row.leaving.iter().map(|r| r.id).collect();
        let shard = row.id;
        done(view, &Command::Left { shard, replicas });
    }
}

#[test]
fn a_replica_that_is_moved_is_reached_until_its_group_has_let_it_go() {
    let mut view = cluster(4);
    begin_all(&mut view);
    let row = view
        .shards
        .iter()
        .find(|row| row.on(NodeId(4)).is_none())
        .unwrap()
        .clone();
    let from = row.replicas[0];
    let nodes = row.replicas[1..]
        .iter()
        .map(|r| r.node)
        .chain([NodeId(4)])
        .collect();
    let place = Command::Place {
        base: view.version,
        rows: vec![Placement {
            shard: row.id,
            nodes,
            preferred: None,
        }],
    };
    done(&mut view, &place);
    assert_eq!(view.shard(row.id).unwrap().leaving, [from]);
    assert_eq!(view.node_of(from.id), Some(from.node), "it may lead");
    assert!(view.holds_replicas(from.node));
    assert!(!view.has_left(row.id, from.id));
    let others = Command::Left {
        shard: row.id,
        replicas: vec![row.replicas[1].id],
    };
    let before = view.clone();
    done(&mut view, &others);
    assert_eq!(view, before, "who is planned does not leave");
    let left = Command::Left {
        shard: row.id,
        replicas: vec![from.id],
    };
    let version = done(&mut view, &left);
    assert_eq!(done(&mut view, &left), version, "said again");
    assert!(view.has_left(row.id, from.id));
    assert_eq!(view.node_of(from.id), None);
    let never = ReplicaId(view.next_replica);
    assert!(!view.has_left(row.id, never), "it was never given");
}

#[test]
fn a_node_departs_and_is_removed_when_it_holds_nothing() {
    let mut view = cluster(4);
    begin_all(&mut view);
    let version = done(&mut view, &depart(1, Some(4)));
    assert_eq!(done(&mut view, &depart(1, Some(4))), version, "said again");
    assert_eq!(view.departing.get(&NodeId(1)), Some(&Some(NodeId(4))));
    done(&mut view, &started(1, 1));
    assert!(
        view.departing.contains_key(&NodeId(1)),
        "a restart takes no removal back"
    );
    for to in [4, 2, 3] {
        move_all(&mut view, 1, to);
        let_go(&mut view);
    }
    assert!(!view.holds_replicas(NodeId(1)));
    done(&mut view, &Command::RemoveNode { node: NodeId(1) });
    assert!(view.departing.is_empty());
    let gone = Refusal::NodeGone { node: NodeId(1) };
    assert_eq!(refused(&mut view, &depart(1, None)), gone);
    assert_eq!(refused(&mut view, &Command::Stay { node: NodeId(1) }), gone);
}

#[test]
fn a_departure_is_taken_back() {
    let mut view = cluster(4);
    done(&mut view, &depart(2, None));
    let version = done(&mut view, &Command::Stay { node: NodeId(2) });
    assert!(view.departing.is_empty());
    assert_eq!(done(&mut view, &Command::Stay { node: NodeId(2) }), version);
}

#[test]
fn nobody_departs_if_the_others_cannot_have_as_many_replicas() {
    let mut view = cluster(3);
    let few = refused(&mut view, &depart(1, None));
    assert_eq!(
        few,
        Refusal::TooFewNodes {
            shard: ShardId(0),
            replicas: 3,
            nodes: 2
        }
    );
    let mut view = cluster(4);
    done(&mut view, &depart(1, None));
    let second = refused(&mut view, &depart(2, None));
    assert!(
        matches!(second, Refusal::TooFewNodes { nodes: 2, .. }),
        "{second:?}"
    );
}

#[test]
fn an_heir_is_another_node_that_stays_and_has_its_data() {
    let mut view = cluster(5);
    let bad = |node| Refusal::BadHeir { node: NodeId(node) };
    assert_eq!(refused(&mut view, &depart(1, Some(1))), bad(1));
    done(&mut view, &Command::RecordDataLoss { node: NodeId(2) });
    assert_eq!(refused(&mut view, &depart(1, Some(2))), bad(2));
    let unknown = Refusal::UnknownNode { node: NodeId(9) };
    assert_eq!(refused(&mut view, &depart(1, Some(9))), unknown);
    done(&mut view, &depart(1, Some(5)));
    assert_eq!(refused(&mut view, &depart(2, Some(1))), bad(1));
}

#[test]
fn a_lost_node_is_replaced_only_while_the_others_are_a_majority() {
    let mut view = cluster(4);
    done(&mut view, &Command::RecordDataLoss { node: NodeId(1) });
    let mut two = view.clone();
    done(&mut view, &depart(1, Some(4)));
    done(&mut two, &Command::RecordDataLoss { node: NodeId(2) });
    for name in ["n5", "n6", "n7"] {
        two.apply(&Command::AddNode {
            name: name.to_owned(),
            disk: DiskId(9),
            level: u32::MAX,
            addresses: Addresses {
                peer: format!("{name}:7070"),
                ..Addresses::default()
            },
        });
    }
    let closed = refused(&mut two, &depart(1, None));
    assert!(
        matches!(closed, Refusal::NoMajority { shard: Some(_) }),
        "{closed:?}"
    );
}
