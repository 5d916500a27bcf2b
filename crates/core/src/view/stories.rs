//! Stories of a cluster's metadata: who is let in, who is refused, what is never undone.

use std::collections::BTreeSet;

use super::*;
use crate::level::KNOWN;
use crate::placement;
use crate::rule::{CreatePolicy, RuleLayer};

const CLUSTER: ClusterId = ClusterId(42);

pub(super) fn addresses(name: &str) -> Addresses {
    Addresses {
        peer: format!("{name}:7070"),
        ..Addresses::default()
    }
}

fn new_node(id: u64) -> NewNode {
    NewNode {
        id: NodeId(id),
        name: format!("n{id}"),
        disk: DiskId(u128::from(id)),
        level: KNOWN,
        addresses: addresses(&format!("n{id}")),
    }
}

fn bootstrap(nodes: u64) -> Bootstrap {
    let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
    let meta = |node: &NodeId| Replica {
        id: ReplicaId(node.0),
        node: *node,
    };
    Bootstrap {
        cluster: CLUSTER,
        level: KNOWN,
        payload_limit: 65_536,
        nodes: (1..=nodes).map(new_node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, 4),
    }
}

pub(super) fn cluster(nodes: u64) -> View {
    let mut view = View::empty();
    done(&mut view, &Command::Bootstrap(bootstrap(nodes)));
    view
}

pub(super) fn done(view: &mut View, command: &Command) -> u64 {
    match view.apply(command) {
        Outcome::Done { version } => version,
        other @ (Outcome::Added { .. } | Outcome::Refused(_)) => {
            panic!("{command:?} gave {other:?}")
        }
    }
}

/// The refusal of a command, which must change nothing.
pub(super) fn refused(view: &mut View, command: &Command) -> Refusal {
    let before = view.clone();
    match view.apply(command) {
        Outcome::Refused(refusal) => {
            assert_eq!(*view, before, "a refused command changed the view");
            refusal
        }
        other @ (Outcome::Done { .. } | Outcome::Added { .. }) => {
            panic!("{command:?} gave {other:?}")
        }
    }
}

pub(super) fn started(node: u64, generation: u64) -> Command {
    Command::NodeStarted {
        node: NodeId(node),
        generation: Generation(generation),
        disk: DiskId(u128::from(node)),
        level: KNOWN,
        addresses: addresses(&format!("n{node}")),
    }
}

pub(super) fn begin_all(view: &mut View) {
    for shard in 0..4 {
        done(
            view,
            &Command::ShardBegun {
                shard: ShardId(shard),
            },
        );
    }
}

#[test]
fn nothing_comes_before_the_bootstrap_and_there_is_no_second_one() {
    let mut view = View::empty();
    assert_eq!(refused(&mut view, &started(1, 1)), Refusal::NotBootstrapped);
    done(&mut view, &Command::Bootstrap(bootstrap(3)));
    assert_eq!(view.cluster, CLUSTER);
    assert_eq!(view.shards.len(), 4);
    let again = refused(&mut view, &Command::Bootstrap(bootstrap(3)));
    assert_eq!(again, Refusal::Bootstrapped { cluster: CLUSTER });
}

#[test]
fn a_bootstrap_that_contradicts_itself_is_refused() {
    let bad = |change: fn(&mut Bootstrap)| {
        let mut bootstrap = bootstrap(3);
        change(&mut bootstrap);
        refused(&mut View::empty(), &Command::Bootstrap(bootstrap))
    };
    let changes: [fn(&mut Bootstrap); 8] = [
        |b| b.shards.clear(),
        |b| b.nodes.clear(),
        |b| b.nodes[1].name = "n1".to_owned(),
        |b| b.nodes[1].id = NodeId(1),
        |b| b.meta[1].id = ReplicaId(1),
        |b| b.meta[1].node = NodeId(9),
        |b| b.shards[0].nodes = vec![NodeId(1), NodeId(1)],
        |b| b.shards.swap(0, 1),
    ];
    for change in changes {
        assert_eq!(bad(change), Refusal::BadBootstrap);
    }
}

#[test]
fn replica_ids_of_shards_come_after_those_of_the_metadata_group_and_are_distinct() {
    let view = cluster(3);
    let ids: Vec<u64> = view
        .meta
        .iter()
        .chain(view.shards.iter().flat_map(|row| &row.replicas))
        .map(|replica| replica.id.0)
        .collect();
    assert_eq!(ids, (1..=15).collect::<Vec<_>>());
    assert_eq!(view.next_replica, 16);
    assert_eq!(
        view.node_of(ReplicaId(4)),
        Some(view.shards[0].replicas[0].node)
    );
}

#[test]
fn a_start_is_recorded_once_and_an_older_one_is_refused() {
    let mut view = cluster(3);
    assert_eq!(done(&mut view, &started(2, 1)), 2);
    assert_eq!(
        done(&mut view, &started(2, 1)),
        2,
        "said again it changes nothing"
    );
    assert_eq!(done(&mut view, &started(2, 5)), 3);
    let old = refused(&mut view, &started(2, 4));
    assert_eq!(
        old,
        Refusal::OldGeneration {
            node: NodeId(2),
            recorded: Generation(5)
        }
    );
    assert_eq!(
        refused(&mut view, &started(9, 1)),
        Refusal::UnknownNode { node: NodeId(9) }
    );
}

#[test]
fn a_start_on_another_disk_is_refused() {
    let mut view = cluster(3);
    let mut swapped = started(2, 1);
    if let Command::NodeStarted { disk, .. } = &mut swapped {
        *disk = DiskId(3);
    }
    let refusal = refused(&mut view, &swapped);
    assert_eq!(
        refusal,
        Refusal::WrongDisk {
            node: NodeId(2),
            recorded: DiskId(2)
        }
    );
}

#[test]
fn a_node_that_lost_its_data_never_starts_again() {
    let mut view = cluster(3);
    done(&mut view, &started(2, 1));
    let version = done(&mut view, &Command::RecordDataLoss { node: NodeId(2) });
    assert_eq!(
        done(&mut view, &Command::RecordDataLoss { node: NodeId(2) }),
        version
    );
    assert_eq!(
        refused(&mut view, &started(2, 2)),
        Refusal::DataLoss { node: NodeId(2) }
    );
}

#[test]
fn a_lost_replica_gets_a_successor_under_an_id_that_was_never_given() {
    let mut view = cluster(3);
    let row = view.shards[1].clone();
    let old = row.on(NodeId(2)).unwrap();
    let lost = |node| Command::ReplicasLost {
        node: NodeId(node),
        replicas: vec![old, ReplicaId(9_999)],
    };
    let version = view.version;
    assert_eq!(done(&mut view, &lost(2)), version, "it has not begun");
    begin_all(&mut view);
    let version = view.version;
    assert_eq!(done(&mut view, &lost(1)), version, "it is not on that node");
    let next = ReplicaId(view.next_replica);
    assert_eq!(done(&mut view, &lost(2)), version + 1);
    assert_eq!(view.shards[1].on(NodeId(2)), Some(next));
    assert_eq!(view.next_replica, next.0 + 1);
    for node in [1, 3] {
        assert_eq!(view.shards[1].on(NodeId(node)), row.on(NodeId(node)));
    }
    assert_eq!(done(&mut view, &lost(2)), version + 1, "said again");
    let gone = refused(&mut view, &lost(7));
    assert_eq!(gone, Refusal::UnknownNode { node: NodeId(7) });
}

#[test]
fn a_drain_ends_with_the_next_start_and_a_late_one_is_refused() {
    let mut view = cluster(3);
    done(&mut view, &started(1, 1));
    let drain = Command::Draining {
        node: NodeId(1),
        generation: Generation(1),
    };
    done(&mut view, &drain);
    assert_eq!(view.nodes[&NodeId(1)].state, NodeState::Draining);
    done(&mut view, &started(1, 2));
    assert_eq!(view.nodes[&NodeId(1)].state, NodeState::Active);
    assert!(matches!(
        refused(&mut view, &drain),
        Refusal::OldGeneration { .. }
    ));
}

#[test]
fn ids_are_never_given_again() {
    let mut view = cluster(4);
    begin_all(&mut view);
    let add = |view: &mut View, name: &str| {
        let added = view.apply(&Command::AddNode {
            name: name.to_owned(),
            disk: DiskId(77),
            level: KNOWN,
            addresses: addresses(name),
        });
        let Outcome::Added { node, replica, .. } = added else {
            panic!("{added:?}")
        };
        (node, replica)
    };
    let first = add(&mut view, "n5");
    assert_eq!(
        add(&mut view, "n5"),
        first,
        "the same name and disk is the same node"
    );
    done(&mut view, &Command::RemoveNode { node: first.0 });
    assert_eq!(view.meta_on(first.0), None);
    let second = add(&mut view, "n5");
    assert!(
        second.0 > first.0 && second.1 > first.1,
        "{first:?}, {second:?}"
    );
    let gone = refused(&mut view, &started(first.0.0, 1));
    assert_eq!(gone, Refusal::NodeGone { node: first.0 });
}

#[test]
fn a_name_is_taken_while_its_node_lives() {
    let mut view = cluster(3);
    let taken = Command::AddNode {
        name: "n2".to_owned(),
        disk: DiskId(77),
        level: KNOWN,
        addresses: addresses("n2"),
    };
    assert_eq!(
        refused(&mut view, &taken),
        Refusal::NameTaken { node: NodeId(2) }
    );
}

#[test]
fn a_replica_that_comes_back_to_a_node_has_a_fresh_id() {
    let mut view = cluster(4);
    begin_all(&mut view);
    let shard = ShardId(0);
    let home: Vec<NodeId> = view.shards[0].replicas.iter().map(|r| r.node).collect();
    let other = (1..=4).map(NodeId).find(|id| !home.contains(id)).unwrap();
    let before = view.shards[0].replicas.clone();
    let to = |view: &View, nodes: Vec<NodeId>| Command::Place {
        base: view.version,
        rows: vec![Placement {
            shard,
            preferred: Some(nodes[0]),
            nodes,
        }],
    };
    let away = to(&view, vec![home[0], home[1], other]);
    done(&mut view, &away);
    assert_eq!(
        view.shards[0].replicas[..2],
        before[..2],
        "who stays keeps its replica"
    );
    let back = to(&view, home.clone());
    assert_eq!(
        refused(&mut view, &back),
        Refusal::BadPlacement { shard },
        "its group has not let go the old one"
    );
    done(
        &mut view,
        &Command::Left {
            shard,
            replicas: vec![before[2].id],
        },
    );
    let back = to(&view, home.clone());
    done(&mut view, &back);
    assert!(view.shards[0].on(home[2]).unwrap() > before[2].id);
}

#[test]
fn a_plan_from_an_older_view_or_against_the_rules_is_refused() {
    let mut view = cluster(4);
    let rows = |nodes: &[u64]| {
        vec![Placement {
            shard: ShardId(0),
            nodes: nodes.iter().copied().map(NodeId).collect(),
            preferred: None,
        }]
    };
    let place = |view: &View, nodes: &[u64]| Command::Place {
        base: view.version,
        rows: rows(nodes),
    };
    let home: Vec<u64> = view.shards[0].replicas.iter().map(|r| r.node.0).collect();
    let other = (1..=4).find(|id| !home.contains(id)).unwrap();
    let moved = [home[0], home[1], other];

    let early = place(&view, &moved);
    assert_eq!(
        refused(&mut view, &early),
        Refusal::NotBegun { shard: ShardId(0) }
    );
    begin_all(&mut view);
    assert_eq!(
        refused(&mut view, &early),
        Refusal::StalePlan {
            version: view.version
        }
    );
    let bad = Refusal::BadPlacement { shard: ShardId(0) };
    for nodes in [&[1, 1][..], &[][..], &[1, 9][..]] {
        let command = place(&view, nodes);
        assert_eq!(refused(&mut view, &command), bad);
    }
    let good = place(&view, &moved);
    done(&mut view, &good);
}

#[test]
fn a_node_is_not_removed_if_a_group_would_lose_its_majority() {
    let mut view = cluster(3);
    done(&mut view, &Command::RecordDataLoss { node: NodeId(3) });
    let no = refused(&mut view, &Command::RemoveNode { node: NodeId(1) });
    assert_eq!(no, Refusal::NoMajority { shard: None });
    done(&mut view, &Command::RemoveNode { node: NodeId(3) });
    let no = refused(&mut view, &Command::RemoveNode { node: NodeId(1) });
    assert!(matches!(no, Refusal::NoMajority { .. }));
}

#[test]
fn rules_carry_the_version_of_the_view_that_holds_them() {
    let mut view = cluster(1);
    let pattern: crate::name::TopicPattern = "chat.*".parse().unwrap();
    let rules = RuleLayer {
        retain_count: Some(5),
        ..RuleLayer::default()
    };
    let put = Command::PutRule {
        pattern: pattern.clone(),
        rules,
    };
    assert_eq!(done(&mut view, &put), view.rules.version);
    let zero = RuleLayer {
        retain_count: Some(0),
        ..RuleLayer::default()
    };
    let bad = Command::PutRule {
        pattern: pattern.clone(),
        rules: zero,
    };
    assert!(matches!(refused(&mut view, &bad), Refusal::BadRule(_)));
    let create = CreatePolicy::Explicit;
    done(
        &mut view,
        &Command::SetCreatePolicy {
            create,
            max_topics: 10,
        },
    );
    assert_eq!((view.rules.create, view.rules.max_topics), (create, 10));
    assert_eq!(view.rules.version, 3);
    done(
        &mut view,
        &Command::DeleteRule {
            pattern: pattern.clone(),
        },
    );
    assert_eq!(view.rules.version, view.version);
    assert_eq!(
        refused(&mut view, &Command::DeleteRule { pattern }),
        Refusal::NoSuchRule
    );
}
