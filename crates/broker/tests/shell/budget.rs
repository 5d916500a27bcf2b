//! Shards that retain more than the nodes' budgets of history give them.

use fanfare_broker::{BrokerOptions, ShardDump};
use fanfare_core::gap::{Gap, GapReason, TrimmedBy};
use fanfare_core::id::{DiskId, Generation, NodeId};
use fanfare_core::position::{Offset, Position};
use fanfare_core::view::{Addresses, Node, NodeState, StoreState};

use crate::people::{Publisher, draft, page};
use crate::world::{SHARD, World, eventually};

const BUDGET: u64 = 16 << 10;

fn small() -> BrokerOptions {
    BrokerOptions {
        history_budget: BUDGET,
        ..BrokerOptions::default()
    }
}

fn node(id: u64, history_budget: u64) -> Node {
    Node {
        id: NodeId(id),
        name: format!("n{id}"),
        generation: Generation(1),
        level: fanfare_core::level::KNOWN,
        disk: DiskId(u128::from(id)),
        store: StoreState::ReadWrite,
        state: NodeState::Active,
        addresses: Addresses::default(),
        history_budget,
    }
}

fn retained(dump: &ShardDump) -> u64 {
    let records = dump.topics.iter().flat_map(|topic| &topic.records);
    records.map(|record| record.message.content.cost()).sum()
}

/// Publishes so many messages of about 300 bytes each; the position of the last one.
async fn publish(world: &World, topic: &str, count: u64) -> Position {
    let leader = world.leader().await;
    let mut alice = Publisher::of(&world.nodes[&leader].peer);
    let mut last = Position::NONE;
    for n in 0..count {
        let receipt = alice.place(draft(topic, &format!("{n:0>180}"))).await;
        last = receipt.position.unwrap();
    }
    last
}

/// The gap of a reader from the beginning, by what a node's own replica has.
async fn from_start(world: &World, id: u64, topic: &str, head: Position) -> Gap {
    let start = Position {
        offset: Offset(0),
        ..head
    };
    let peer = &world.node(id).peer;
    page(peer, topic, start, false).await.unwrap().gap.unwrap()
}

#[tokio::test]
async fn all_replicas_keep_the_same_share_and_say_what_is_missed() {
    let world = World::with(3, small()).await;
    let head = publish(&world, "news", 200).await;
    eventually("the share on all nodes", || {
        let dumps = world.nodes.values().map(|node| node.broker.dump(SHARD));
        let dumps: Vec<ShardDump> = dumps.map(Option::unwrap).collect();
        dumps.iter().all(|dump| retained(dump) <= BUDGET)
            && dumps
                .iter()
                .all(|dump| (dump.applied, dump.chain) == (dumps[0].applied, dumps[0].chain))
    })
    .await;
    let gap = from_start(&world, 1, "news", head).await;
    assert_eq!(gap.reason, GapReason::Trimmed(TrimmedBy::Budget));
    assert_eq!(gap.missed, Some(gap.to.offset.0));
    for id in 2..=3 {
        assert_eq!(from_start(&world, id, "news", head).await, gap);
    }
    let leader = world.leader().await;
    let metrics = world.metrics(leader);
    assert_eq!(metrics.budget_trimmed.get(), gap.to.offset.0);
    // What fits was not touched.
    let kept = retained(&world.node(1).broker.dump(SHARD).unwrap());
    assert!(kept > BUDGET * 3 / 4, "{kept} of {BUDGET}");
}

#[tokio::test]
async fn the_smallest_budget_that_the_view_tells_counts() {
    let world = World::with(2, small()).await;
    let all = retained_after(&world, 40).await;
    assert!(all > BUDGET / 2, "nothing is trimmed yet: {all}");
    world.change(|view| {
        view.nodes = [node(1, BUDGET), node(2, BUDGET / 4)]
            .map(|node| (node.id, node))
            .into();
    });
    eventually("the smaller share", || {
        world
            .nodes
            .values()
            .all(|node| retained(&node.broker.dump(SHARD).unwrap()) <= BUDGET / 4)
    })
    .await;
}

async fn retained_after(world: &World, count: u64) -> u64 {
    publish(world, "news", count).await;
    let leader = world.leader().await;
    retained(&world.nodes[&leader].broker.dump(SHARD).unwrap())
}

#[tokio::test]
async fn ephemeral_streams_share_the_budget_and_the_largest_gives_back() {
    let world = World::with(1, small()).await;
    let small = publish(&world, "live.small", 5).await;
    let large = publish(&world, "live.large", 100).await;
    let metrics = world.metrics(NodeId(1));
    eventually("a trim", || metrics.budget_trimmed.get() > 0).await;
    let gap = from_start(&world, 1, "live.large", large).await;
    assert_eq!(gap.reason, GapReason::Trimmed(TrimmedBy::Budget));
    let peer = &world.node(1).peer;
    let start = Position {
        offset: Offset(0),
        ..small
    };
    let whole = page(peer, "live.small", start, false).await.unwrap();
    assert_eq!((whole.gap, whole.messages.len()), (None, 5));
    let before = metrics.budget_trimmed.get();
    publish(&world, "live.small", 5).await;
    eventually("another trim", || metrics.budget_trimmed.get() > before).await;
}
