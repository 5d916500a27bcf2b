//! Placements as stories and as properties: stable, few moves, never two replicas on a node.

use proptest::prelude::*;

use super::*;
use crate::id::ReplicaId;
use crate::id::{ClusterId, DiskId};
use crate::level::KNOWN;
use crate::view::{Addresses, Bootstrap, Command, NewNode, Outcome};

fn ids(nodes: u64) -> BTreeSet<NodeId> {
    (1..=nodes).map(NodeId).collect()
}

fn cluster(nodes: u64, shards: u32) -> View {
    let node = |id: NodeId| NewNode {
        id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0)),
        level: KNOWN,
        addresses: Addresses {
            peer: format!("n{id}:7070"),
            ..Addresses::default()
        },
    };
    let mut view = View::empty();
    let made = view.apply(&Command::Bootstrap(Bootstrap {
        cluster: ClusterId(7),
        level: KNOWN,
        payload_limit: 65_536,
        nodes: ids(nodes).into_iter().map(node).collect(),
        meta: ids(nodes)
            .into_iter()
            .map(|node| Replica {
                id: ReplicaId(node.0),
                node,
            })
            .collect(),
        shards: first(&ids(nodes), shards),
    }));
    assert_eq!(made, Outcome::Done { version: 1 });
    for shard in 0..shards {
        view.apply(&Command::ShardBegun {
            shard: ShardId(shard),
        });
    }
    view
}

fn join(view: &mut View, name: &str) -> NodeId {
    let joined = view.apply(&Command::AddNode {
        name: name.to_owned(),
        disk: DiskId(99),
        level: KNOWN,
        addresses: Addresses {
            peer: "x:1".to_owned(),
            ..Addresses::default()
        },
    });
    let Outcome::Added { node, .. } = joined else {
        panic!("not added: {joined:?}")
    };
    node
}

/// Places what the plan says and returns how many seats changed hands.
fn follow(view: &mut View, away: &BTreeSet<NodeId>) -> usize {
    let rows = plan(view, away);
    let mut moved = 0;
    for row in &rows {
        let old = view.shard(row.shard).unwrap();
        moved += row.nodes.iter().filter(|id| old.on(**id).is_none()).count();
    }
    if !rows.is_empty() {
        let placed = view.apply(&Command::Place {
            base: view.version,
            rows,
        });
        assert!(matches!(placed, Outcome::Done { .. }), "{placed:?}");
        for row in view.shards.clone() {
            let replicas = row.leaving.iter().map(|r| r.id).collect();
            view.apply(&Command::Left {
                shard: row.id,
                replicas,
            });
        }
    }
    moved
}

fn spread(counts: &BTreeMap<NodeId, usize>) -> usize {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

fn seats(view: &View, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, usize> {
    let count = |id: &NodeId| {
        view.shards
            .iter()
            .filter(|row| row.on(*id).is_some())
            .count()
    };
    nodes.iter().map(|id| (*id, count(id))).collect()
}

fn led(view: &View, nodes: &BTreeSet<NodeId>) -> BTreeMap<NodeId, usize> {
    let count = |id: &NodeId| {
        view.shards
            .iter()
            .filter(|r| r.preferred == Some(*id))
            .count()
    };
    nodes.iter().map(|id| (*id, count(id))).collect()
}

fn assert_sound(view: &View, replicas: usize) {
    for row in &view.shards {
        let nodes: BTreeSet<NodeId> = row.replicas.iter().map(|r| r.node).collect();
        assert_eq!(
            nodes.len(),
            row.replicas.len(),
            "two replicas on one node: {row:?}"
        );
        assert_eq!(nodes.len(), replicas, "{row:?}");
        assert!(
            row.preferred.is_some_and(|id| nodes.contains(&id)),
            "{row:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_new_table_is_sound_even_and_stays(nodes in 1_u64..12, shards in 1_u32..100) {
        let view = cluster(nodes, shards);
        assert_sound(&view, REPLICAS.min(usize::try_from(nodes).unwrap()));
        prop_assert!(spread(&seats(&view, &ids(nodes))) <= 1);
        prop_assert!(spread(&led(&view, &ids(nodes))) <= 1);
        prop_assert_eq!(plan(&view, &BTreeSet::new()), vec![]);
    }

    #[test]
    fn a_node_that_joins_gets_its_share_and_nothing_else_moves(
        nodes in 3_u64..12, shards in 1_u32..100,
    ) {
        let mut view = cluster(nodes, shards);
        let before = view.shards.clone();
        let new = join(&mut view, "new");
        let moved = follow(&mut view, &BTreeSet::new());
        let all = ids(nodes + 1);
        assert_sound(&view, REPLICAS);
        prop_assert!(spread(&seats(&view, &all)) <= 1);
        prop_assert!(spread(&led(&view, &all)) <= 1);
        prop_assert_eq!(moved, seats(&view, &all)[&new], "every move is to the new node");
        let share = usize::try_from(shards).unwrap() * REPLICAS / all.len();
        prop_assert!(moved <= share + 1, "{} moves for a share of {}", moved, share);
        for (old, row) in before.iter().zip(&view.shards) {
            for replica in &old.replicas {
                prop_assert!(row.on(replica.node).is_none_or(|id| id == replica.id));
            }
        }
        prop_assert_eq!(plan(&view, &BTreeSet::new()), vec![]);
    }

    #[test]
    fn a_node_that_is_away_loses_its_seats_alone(
        nodes in 4_u64..12, shards in 1_u32..100, lost in 0_u64..12,
    ) {
        let lost = NodeId(1 + lost % nodes);
        let away = BTreeSet::from([lost]);
        let mut view = cluster(nodes, shards);
        let had = seats(&view, &ids(nodes))[&lost];
        let moved = follow(&mut view, &away);
        let rest: BTreeSet<NodeId> = ids(nodes).difference(&away).copied().collect();
        assert_sound(&view, REPLICAS);
        prop_assert_eq!(seats(&view, &away)[&lost], 0);
        prop_assert!(spread(&seats(&view, &rest)) <= 1);
        prop_assert!(spread(&led(&view, &rest)) <= 1);
        prop_assert!(moved >= had && moved <= had + rest.len(), "{} seats, {} moves", had, moved);
        prop_assert_eq!(plan(&view, &away), vec![]);
    }

    #[test]
    fn any_history_of_joins_and_losses_ends_sound_and_settled(
        nodes in 3_u64..7, shards in 1_u32..40, steps in prop::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut view = cluster(nodes, shards);
        for (at, step) in steps.into_iter().enumerate() {
            let living: Vec<NodeId> = view.living().map(|node| node.id).collect();
            let one = living.get(usize::from(step) % living.len().max(1)).copied();
            let one = one.unwrap_or(NodeId(0));
            match step % 3 {
                0 => { join(&mut view, &format!("j{at}")); }
                1 => { view.apply(&Command::RecordDataLoss { node: one }); }
                _ => { view.apply(&Command::RemoveNode { node: one }); }
            }
            follow(&mut view, &BTreeSet::new());
            prop_assert_eq!(plan(&view, &BTreeSet::new()), vec![]);
            for row in &view.shards {
                let nodes: BTreeSet<NodeId> = row.replicas.iter().map(|r| r.node).collect();
                prop_assert_eq!(nodes.len(), row.replicas.len());
                prop_assert!(nodes.len() <= REPLICAS);
            }
        }
    }
}

#[test]
fn a_lone_node_away_keeps_its_seats_until_there_is_another_place() {
    let mut view = cluster(3, 8);
    let away = BTreeSet::from([NodeId(2)]);
    assert_eq!(follow(&mut view, &away), 0);
    assert_eq!(
        seats(&view, &away)[&NodeId(2)],
        8,
        "two replicas are not better than three"
    );
    assert_eq!(led(&view, &away)[&NodeId(2)], 0);
    let new = join(&mut view, "new");
    follow(&mut view, &away);
    assert_eq!(seats(&view, &BTreeSet::from([new]))[&new], 8);
}

#[test]
fn a_shard_that_lost_all_its_replicas_waits_for_an_operator() {
    let mut view = cluster(3, 1);
    for node in 1..=3 {
        view.apply(&Command::RecordDataLoss { node: NodeId(node) });
    }
    for name in ["a", "b", "c"] {
        join(&mut view, name);
    }
    assert_eq!(
        plan(&view, &BTreeSet::new()),
        vec![],
        "empty replicas elsewhere save nothing"
    );
}

#[test]
fn a_draining_node_keeps_its_seats_and_its_preferences() {
    let mut view = cluster(3, 8);
    view.apply(&Command::Draining {
        node: NodeId(1),
        generation: crate::id::Generation(0),
    });
    assert_eq!(
        plan(&view, &BTreeSet::new()),
        vec![],
        "a restart must not shuffle the table"
    );
}

#[test]
fn a_departing_nodes_seats_go_to_its_heir_where_that_has_none_and_else_where_there_is_room() {
    let mut view = cluster(4, 12);
    let heir = join(&mut view, "heir");
    let depart = |heir| Command::Depart {
        node: NodeId(1),
        heir,
    };
    let held = seats(&view, &ids(1))[&NodeId(1)];
    assert!(matches!(
        view.apply(&depart(Some(heir))),
        Outcome::Done { .. }
    ));
    follow(&mut view, &BTreeSet::new());
    assert!(!view.holds_replicas(NodeId(1)), "{:?}", view.shards);
    assert!(seats(&view, &BTreeSet::from([heir]))[&heir] >= held);
    assert_sound(&view, 3);
    assert_eq!(plan(&view, &BTreeSet::new()), vec![], "settled");
    view.apply(&Command::RemoveNode { node: NodeId(1) });
    assert_eq!(
        plan(&view, &BTreeSet::new()),
        vec![],
        "its end moves nothing"
    );
}

#[test]
fn a_silent_node_gets_nothing_and_keeps_what_it_has() {
    let mut view = cluster(3, 12);
    let silent = BTreeSet::from([join(&mut view, "new")]);
    assert_eq!(plan_around(&view, &BTreeSet::new(), &silent), vec![]);
    assert_ne!(plan(&view, &BTreeSet::new()), vec![]);
    follow(&mut view, &BTreeSet::new());
    assert_eq!(plan_around(&view, &BTreeSet::new(), &silent), vec![]);
}

#[test]
fn who_departs_votes_in_the_metadata_group_only_if_nobody_else_can() {
    let mut view = cluster(4, 1);
    view.apply(&Command::Depart {
        node: NodeId(1),
        heir: None,
    });
    let voters = |view: &View| {
        meta_voters(view)
            .iter()
            .map(|r| r.node.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(voters(&view), [2, 3, 4]);
    view.apply(&Command::RecordDataLoss { node: NodeId(4) });
    assert_eq!(voters(&view), [2, 3, 1]);
}

#[test]
fn a_shard_that_has_not_begun_stays_where_it_is() {
    let mut view = cluster(3, 4);
    view.shards[2].begun = false;
    let before = view.shards[2].clone();
    for name in ["a", "b", "c"] {
        join(&mut view, name);
    }
    follow(&mut view, &BTreeSet::new());
    assert_eq!(view.shards[2].replicas, before.replicas);
}

#[test]
fn three_vote_in_the_metadata_group_and_a_lost_one_is_replaced_by_the_next() {
    let mut view = cluster(5, 1);
    let voters = |view: &View| {
        meta_voters(view)
            .iter()
            .map(|r| r.node.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(voters(&view), [1, 2, 3]);
    view.apply(&Command::RecordDataLoss { node: NodeId(2) });
    assert_eq!(voters(&view), [1, 3, 4]);
    view.apply(&Command::RemoveNode { node: NodeId(1) });
    assert_eq!(voters(&view), [3, 4, 5]);
}
