//! Shares of nodes with budgets that differ, are not told yet, or are too small for a rule.

use std::collections::BTreeSet;

use super::*;
use crate::id::{ClusterId, DiskId, Generation, ReplicaId};
use crate::level;
use crate::placement;
use crate::view::{Addresses, Bootstrap, Command, NewNode, Outcome, Refusal, Replica};

fn cluster(nodes: u64, shards: u32) -> View {
    let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0)),
        level: level::KNOWN,
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
        cluster: ClusterId(7),
        level: level::KNOWN,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, shards),
    }));
    assert_eq!(made, Outcome::Done { version: 1 });
    view
}

fn tell(view: &mut View, node: u64, history: u64) -> Outcome {
    view.apply(&Command::SetBudget {
        node: NodeId(node),
        generation: Generation(0),
        history,
    })
}

#[test]
fn a_shards_share_is_the_smallest_over_its_nodes() {
    let mut view = cluster(3, 4);
    assert_eq!(share(&view, ShardId(0), 40), 10, "nobody has told a budget");
    for (node, budget) in [(1, 4_000), (2, 2_000), (3, 8_000)] {
        assert!(matches!(
            tell(&mut view, node, budget),
            Outcome::Done { .. }
        ));
    }
    // Each node holds all four shards.
    assert_eq!(share(&view, ShardId(0), 40), 500);
    assert_eq!(smallest_share(&view, 40), 500);
    assert_eq!(share(&view, ShardId(9), 40), 40, "no such shard");
}

#[test]
fn shares_of_all_shards_fit_the_budget_of_every_node() {
    for (nodes, shards) in [(1, 3), (3, 16), (5, 7), (9, 64)] {
        let mut view = cluster(nodes, shards);
        let budget = |node: NodeId| 10_000 + 777 * node.0;
        for node in 1..=nodes {
            tell(&mut view, node, budget(NodeId(node)));
        }
        for node in (1..=nodes).map(NodeId) {
            let held = view.shards.iter().filter(|row| row.on(node).is_some());
            let sum: u64 = held.map(|row| share(&view, row.id, 0)).sum();
            assert!(
                sum <= budget(node),
                "{nodes} nodes, {shards} shards, {node}"
            );
        }
    }
}

#[test]
fn a_budget_that_is_not_told_limits_nothing() {
    let mut view = cluster(3, 2);
    tell(&mut view, 2, 1_000);
    assert_eq!(share(&view, ShardId(1), u64::MAX), 500);
}

#[test]
fn a_budget_is_told_once_and_not_by_an_older_start() {
    let mut view = cluster(1, 1);
    assert_eq!(tell(&mut view, 1, 1_000), Outcome::Done { version: 2 });
    assert_eq!(tell(&mut view, 1, 1_000), Outcome::Done { version: 2 });
    view.apply(&Command::NodeStarted {
        node: NodeId(1),
        generation: Generation(2),
        disk: DiskId(1),
        level: level::KNOWN,
        addresses: view.nodes[&NodeId(1)].addresses.clone(),
    });
    let refused = tell(&mut view, 1, 5);
    let recorded = Generation(2);
    let node = NodeId(1);
    assert_eq!(
        refused,
        Outcome::Refused(Refusal::OldGeneration { node, recorded })
    );
    assert_eq!(share(&view, ShardId(0), u64::MAX), 1_000);
}

#[test]
fn a_rule_beyond_the_share_is_told_what_would_fit() {
    let layer = |bytes| RuleLayer {
        retain_bytes: Some(bytes),
        ..RuleLayer::default()
    };
    assert_eq!(fits(&layer(500), 500), Ok(()));
    let bad = fits(&layer(501), 500).unwrap_err();
    assert_eq!((bad.rule, bad.high), ("retain_bytes", 500));
    assert_eq!(fits(&RuleLayer::default(), 1), Ok(()));
}
