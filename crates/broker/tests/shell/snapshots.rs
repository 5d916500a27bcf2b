//! A broker that was away while the others purged the log it needs: it comes back by a snapshot,
//! and knows what its clients knew of it.

use fanfare_broker::BrokerOptions;
use fanfare_core::gap::{Answer, GapReason, Since};
use fanfare_core::id::NodeId;
use fanfare_core::position::Position;
use fanfare_rpc::topics::TopicCommand;

use crate::people::{Publisher, draft, keyed, page, stand, wish};
use crate::world::{SHARD, World, eventually};

/// Three nodes, small logs.
async fn world() -> World {
    let mut world = World::unplaced(0, BrokerOptions::default()).await;
    world.snapshot_after = 64 << 10;
    for node in 1..=3 {
        world.start(NodeId(node)).await;
    }
    world.place(3);
    world.leader().await;
    world
}

/// What a node has of the shard: index, chain over all entries.
fn state(world: &World, node: NodeId) -> Option<(u64, u128)> {
    let dump = world.nodes[&node].broker.dump(SHARD)?;
    Some((dump.applied, dump.chain))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_by_a_snapshot_knows_keys_ends_and_positions() {
    let mut world = world().await;
    let leader = world.leader().await;
    let mut alice = Publisher::of(&world.nodes[&leader].peer);
    let first = alice.place(keyed("news", "first", "first")).await;
    let ended = alice.place(draft("old", "gone")).await.position.unwrap();
    let away = NodeId(leader.0 % 3 + 1);
    eventually("the follower has it", || {
        state(&world, away) == state(&world, leader)
    })
    .await;
    let had = state(&world, away).unwrap().0;
    world.stop(away).await;

    let end = TopicCommand::Delete {
        name: "old".parse().unwrap(),
        epoch: None,
    };
    world.nodes[&leader].peer.topics(SHARD, end).await.unwrap();
    let text = "x".repeat(2_000);
    // For a while the log is kept for who was here just now.
    let purged = |world: &World| {
        let mut others = world.nodes.values();
        others.all(|node| node.broker.status()[0].group.purged > had)
    };
    let mut n = 0;
    while n < 200 || !purged(&world) {
        assert!(n < 100_000, "nothing is purged");
        alice.place(keyed("news", &text, &n.to_string())).await;
        n += 1;
    }
    let last = alice.place(keyed("news", "last", "last")).await;
    let last = last.position.unwrap();

    world.start(away).await;
    eventually("it has caught up", || {
        state(&world, away).is_some() && state(&world, away) == state(&world, leader)
    })
    .await;
    let status = world.nodes[&away].broker.status();
    assert!(status[0].group.purged > had, "not by its own log");

    // It can lead, and be asked what it was never told entry by entry.
    let to = status[0].replica;
    eventually("it leads", || {
        world.nodes[&leader].broker.transfer(SHARD, to);
        world.nodes[&away].broker.status()[0].group.role.serves
    })
    .await;
    let peer = world.nodes[&away].peer.clone();
    let mut bob = Publisher::of(&peer);
    let again = bob.place(keyed("news", "first", "first")).await;
    assert_eq!((again.position, again.duplicate), (first.position, true));
    let next = bob.place(draft("news", "next")).await;
    assert_eq!(next.position, Some(last.next()));
    let before = Position::new(last.epoch.0, last.offset.0 - 2);
    let after = page(&peer, "news", before, true).await.unwrap();
    let told: Vec<_> = after.messages.iter().map(|m| m.position).collect();
    let expected: Vec<_> = (last.offset.0 - 1..=last.offset.0 + 1)
        .map(|n| Position::new(before.epoch.0, n))
        .collect();
    assert_eq!(told, expected);
    let standing = stand(&peer, wish("old", Since::After(ended)), 0)
        .await
        .unwrap();
    let Answer::Gap(gap) = standing.answer else {
        panic!("{:?}", standing.answer)
    };
    assert_eq!((gap.reason, gap.from), (GapReason::EpochChanged, ended));
}
