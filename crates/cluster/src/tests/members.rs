//! Stories of nodes that come by themselves and of nodes that leave for ever.

use super::THREE;
use super::world::{SOON, World, reached, until};
use crate::{Admission, ClusterHandle, StartError};
use fanfare_core::id::{NodeId, ReplicaId, ShardId, Term};
use fanfare_core::view::{Command, NodeState, Outcome, Refusal, View};
use fanfare_rpc::members::ReplicaStatus;

#[tokio::test]
async fn an_empty_node_that_finds_a_cluster_joins_it() {
    let world = World::of(&THREE, 40).admitting(Admission::Open);
    let nodes = world.found(2).await;
    let handle = world.boot("n4").join().await;
    assert_eq!(handle.identity().node, NodeId(4));
    let view = until(&nodes[0].1, |view| {
        view.node_named("n4").is_some_and(|n| n.generation.0 == 1)
    })
    .await;
    let replica = view.meta_on(NodeId(4)).unwrap();
    for (_, founder) in &nodes {
        reached(|| founder.status().learners == [replica]).await;
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_open_lets_nobody_in_by_himself() {
    let world = World::of(&THREE, 41);
    let nodes = world.found(2).await;
    let new = world.boot("n4");
    let waiting = async {
        world.net.asks_again("n4").await;
        assert_eq!(nodes[0].1.view().borrow().nodes.len(), 3);
        new.stop();
    };
    let (started, ()) = tokio::join!(new.start(), waiting);
    assert!(matches!(started, Err(StartError::Stopped)));
}

#[tokio::test]
async fn a_node_that_was_refused_says_why() {
    let world = World::of(&THREE, 42).admitting(Admission::Open);
    let nodes = world.found(2).await;
    let first = &nodes[0].1;
    // Somebody of this name is on the way, with another disk than the cluster would give.
    let level = Command::AddNode {
        name: "n4".to_owned(),
        disk: fanfare_core::id::DiskId(99),
        level: fanfare_core::level::KNOWN,
        addresses: fanfare_core::view::Addresses {
            peer: "n4:7070".to_owned(),
            ..Default::default()
        },
    };
    let added = first.propose(&level).await;
    let Ok(Outcome::Added { node, version, .. }) = added else {
        panic!("{added:?}")
    };
    let lost = first.propose(&Command::RecordDataLoss { node }).await;
    assert!(matches!(lost, Ok(Outcome::Done { .. })), "{lost:?}");
    for (_, handle) in &nodes {
        until(handle, |view| view.version > version).await;
    }
    let refused = world.boot("n4").start().await;
    let taken = Refusal::NameTaken { node };
    assert!(
        matches!(&refused, Err(StartError::Refused(why)) if *why == taken),
        "{:?}",
        refused.err()
    );
}

/// What the leaders of shards say whose replicas are where the view wants them; none of a shard
/// whose group has not let go a replica.
fn reports(view: &View) -> Vec<ReplicaStatus> {
    let rows = view.shards.iter().filter(|row| row.leaving.is_empty());
    rows.map(|row| {
        let stays = |node| !view.departing.contains_key(&node);
        let leader = row.replicas.iter().find(|r| stays(r.node)).unwrap();
        let others = row.replicas.iter().filter(|r| *r != leader);
        ReplicaStatus {
            shard: row.id,
            replica: leader.id,
            term: Term(1),
            leads: true,
            applied: 5,
            behind: others.map(|r| (r.id, 0)).collect(),
        }
    })
    .collect()
}

/// Moves replicas as shards' leaders would, until the node is gone.
async fn move_until_gone(nodes: &[(super::world::Node, ClusterHandle)], node: NodeId) {
    let (mover, handle) = nodes.last().unwrap();
    loop {
        let view = handle.view().borrow().clone();
        if view.nodes[&node].state == NodeState::Gone {
            return;
        }
        for row in view.shards.iter().filter(|row| !row.leaving.is_empty()) {
            let replicas: Vec<ReplicaId> = row.leaving.iter().map(|r| r.id).collect();
            let shard = row.id;
            let left = handle.propose(&Command::Left { shard, replicas }).await;
            assert!(matches!(left, Ok(Outcome::Done { .. })), "{left:?}");
        }
        mover.replicas.send_replace(reports(&view));
        until(handle, |now| now.version > view.version).await;
    }
}

#[tokio::test]
async fn a_departing_node_gives_all_away_and_is_removed() {
    let world = World::of(&["n1", "n2", "n3", "n4"], 43);
    let nodes = world.found(4).await;
    let first = &nodes[0].1;
    let node = first.identity().node;
    for shard in (0..4).map(ShardId) {
        let begun = first.propose(&Command::ShardBegun { shard }).await;
        assert!(matches!(begun, Ok(Outcome::Done { .. })), "{begun:?}");
    }
    let before = first.view().borrow().clone();
    let departs = first.propose(&Command::Depart { node, heir: None }).await;
    assert!(matches!(departs, Ok(Outcome::Done { .. })), "{departs:?}");
    let moving = move_until_gone(&nodes, node);
    tokio::time::timeout(SOON, moving).await.unwrap();

    let handle = &nodes[3].1;
    let view = handle.view().borrow().clone();
    assert!(!view.holds_replicas(node), "{:?}", view.shards);
    assert!(view.departing.is_empty());
    let stayed: Vec<ReplicaId> = (2..=4)
        .map(|id| view.meta_on(NodeId(id)).unwrap())
        .collect();
    reached(|| handle.status().voters == stayed).await;
    for (row, old) in view.shards.iter().zip(&before.shards) {
        for replica in &row.replicas {
            let kept = old.on(replica.node) == Some(replica.id);
            assert!(
                kept || replica.id.0 >= before.next_replica,
                "{replica:?} has an id that was given before"
            );
        }
    }
}
