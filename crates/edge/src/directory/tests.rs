//! What a node believes of leaders, and how it finds them.

use super::*;
use crate::config::EdgeConfig;
use crate::testing::{NODES, World, view};

const SHARD: ShardId = ShardId(0);

fn leads(node: NodeId, term: u64) -> Redirect {
    Redirect {
        leader: Some(node),
        term: Term(term),
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_term_is_believed() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let directory = edge.directory();
    assert_eq!(
        directory.leader(SHARD),
        Some(NODES[0]),
        "the preferred one is a guess"
    );
    assert!(directory.learn(SHARD, leads(NODES[1], 3)));
    assert!(
        !directory.learn(SHARD, leads(NODES[2], 2)),
        "an older term is no news"
    );
    assert!(!directory.learn(SHARD, leads(NODES[1], 3)));
    assert_eq!(directory.belief(SHARD), leads(NODES[1], 3));
    assert!(directory.learn(
        SHARD,
        Redirect {
            leader: None,
            term: Term(4)
        }
    ));
    assert!(
        directory.learn(SHARD, leads(NODES[2], 4)),
        "its term had no leader yet"
    );
    assert_eq!(directory.leader(SHARD), Some(NODES[2]));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_is_believed_no_more() {
    let world = World::default();
    let (edge, _deps, sender) = world.edge(EdgeConfig::default()).await;
    let directory = edge.directory();
    directory.learn(SHARD, leads(NODES[1], 3));
    let mut next = view();
    next.nodes.get_mut(&NODES[1]).unwrap().state = NodeState::Gone;
    sender.send_replace(Arc::new(next));
    assert_eq!(directory.leader(SHARD), Some(NODES[0]));
    assert_eq!(directory.readers(SHARD), [NODES[0], NODES[2]]);
}

#[tokio::test(start_paused = true)]
async fn readers_are_this_node_then_the_leader_then_the_rest() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let directory = edge.directory();
    directory.learn(SHARD, leads(NODES[2], 3));
    assert_eq!(directory.readers(SHARD), [NODES[0], NODES[2], NODES[1]]);
    assert!(directory.readers(ShardId(9)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_search_asks_all_and_needs_no_answer_from_the_silent() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    let directory = edge.directory();
    world.mute(NODES[0]);
    world.mute(NODES[1]);
    world.elect(Some(NODES[2]));
    let start = deps.clock.now();
    let (one, two) = tokio::join!(directory.seek(SHARD), directory.seek(SHARD));
    assert_eq!(one.and_then(|found| found.leader), Some(NODES[2]));
    assert_eq!(one, two);
    assert!(deps.clock.now() - start <= SETTLE_TIME * 2);
    assert_eq!(directory.leader(SHARD), Some(NODES[2]));
    world.mute(NODES[2]);
    assert_eq!(directory.seek(SHARD).await, None, "after a second");
}
