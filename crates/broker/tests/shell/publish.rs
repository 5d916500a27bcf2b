//! Publishing on one replica: receipts, keys, expectations, batches, runs, permits.

use fanfare_broker::BrokerOptions;
use fanfare_core::code::{Code, Outcome};
use fanfare_core::id::NodeId;
use fanfare_core::link::Verdict;
use fanfare_core::message::Draft;
use fanfare_core::position::Position;
use fanfare_core::receipt::Reached;

use crate::people::{Publisher, draft, keyed, placed, refused};
use crate::world::{SHARD, World, eventually};

#[tokio::test]
async fn receipts_come_in_the_order_of_the_drafts() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    for n in 0..500 {
        alice.send(draft("news", &n.to_string())).await;
    }
    let mut last: Option<Position> = None;
    for seq in 1..=500 {
        let answer = alice.answer().await.unwrap();
        assert_eq!(answer.seq, seq);
        let receipt = placed(answer.verdict);
        assert_eq!(receipt.reached, Reached::Durable);
        let position = receipt.position.unwrap();
        let expected = last.map_or(position, Position::next);
        assert_eq!((position, position.offset.0), (expected, seq));
        last = Some(position);
    }
    let metrics = world.node(1).broker.metrics();
    assert_eq!(metrics.batched_drafts.get(), 500);
    assert!(
        metrics.batches.get() < 250,
        "{} batches of 500 drafts",
        metrics.batches.get()
    );
}

#[tokio::test]
async fn a_repeat_has_the_slot_of_the_first_and_another_content_has_none() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = alice.place(keyed("news", "a", "k")).await;
    let repeat = alice.place(keyed("news", "a", "k")).await;
    assert_eq!(repeat.position, first.position);
    assert!(repeat.duplicate && !first.duplicate);
    let other = refused(alice.publish(keyed("news", "b", "k")).await);
    assert_eq!(
        (other.code, other.outcome),
        (Code::IdempotencyMismatch, Outcome::NotPlaced)
    );
    let late = Draft {
        key_age_ms: 200_000,
        ..keyed("news", "a", "old")
    };
    let late = refused(alice.publish(late).await);
    assert_eq!(late.code, Code::IdempotencyExpired);
}

#[tokio::test]
async fn an_expectation_that_is_not_met_tells_the_head() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = Draft {
        expect: Some(Position::NONE),
        ..draft("news", "a")
    };
    let head = alice.place(first.clone()).await.position;
    let again = refused(alice.publish(first).await);
    assert_eq!((again.code, again.head), (Code::ExpectationFailed, head));
    let next = Draft {
        expect: head,
        ..draft("news", "b")
    };
    assert!(alice.place(next).await.position > head);
}

#[tokio::test]
async fn a_run_that_was_sent_back_stays_closed_when_the_node_begins_to_lead() {
    let mut world = World::unplaced(1, BrokerOptions::default()).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    assert!(matches!(
        alice.publish(draft("news", "a")).await,
        Verdict::Reroute(_)
    ));
    world.place(1);
    world.leader().await;
    assert!(matches!(
        alice.publish(draft("news", "b")).await,
        Verdict::Reroute(_)
    ));
    alice.run = 2;
    let first = alice.place(draft("news", "a")).await;
    let second = alice.place(draft("news", "b")).await;
    assert_eq!(first.position.map(Position::next), second.position);
}

#[tokio::test]
async fn a_draft_without_room_for_its_bytes_is_refused_and_not_placed() {
    let options = BrokerOptions {
        shard_bytes: 1_000,
        ..BrokerOptions::default()
    };
    let world = World::with(1, options).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let large = refused(alice.publish(draft("news", &"x".repeat(2_000))).await);
    assert_eq!(
        (large.code, large.outcome),
        (Code::Overloaded, Outcome::NotPlaced)
    );
    for _ in 0..20 {
        assert!(alice.place(draft("news", "small")).await.position.is_some());
    }
    assert_eq!(world.node(1).broker.metrics().overloaded.get(), 1);
}

#[tokio::test]
async fn a_half_closed_link_answers_what_was_sent_and_ends() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    for _ in 0..10 {
        alice.send(draft("news", "a")).await;
    }
    let mut answers = alice.half_close();
    let mut count = 0;
    while let Some(answer) = answers.recv().await {
        placed(answer.verdict);
        count += 1;
    }
    assert_eq!(count, 10);
}

#[tokio::test]
async fn acked_messages_and_keys_survive_a_restart() {
    let mut world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let mut last = None;
    for n in 0..50 {
        last = alice
            .place(keyed("news", &n.to_string(), &n.to_string()))
            .await
            .position;
    }
    let node = world.leader().await;
    world.stop(node).await;
    world.start(node).await;
    world.leader().await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let repeat = alice.place(keyed("news", "49", "49")).await;
    assert_eq!((repeat.position, repeat.duplicate), (last, true));
    let next = alice.place(draft("news", "next")).await;
    assert_eq!(next.position, last.map(Position::next));
}

#[tokio::test]
async fn a_full_disk_refuses_drafts_and_places_none() {
    let mut world = World::unplaced(0, BrokerOptions::default()).await;
    world.reserve = u64::MAX / 2;
    world.start(NodeId(1)).await;
    world.place(1);
    world.leader().await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let full = refused(alice.publish(draft("news", "a")).await);
    assert_eq!(
        (full.code, full.outcome),
        (Code::StorageFull, Outcome::NotPlaced)
    );
    let live = alice.place(draft("live.a", "needs no disk")).await;
    assert_eq!(live.reached, Reached::Ephemeral);
}

#[tokio::test]
async fn a_log_that_has_grown_is_replaced_by_a_snapshot_and_nothing_is_lost() {
    let mut world = World::unplaced(0, BrokerOptions::default()).await;
    world.snapshot_after = 64 << 10;
    world.start(NodeId(1)).await;
    world.place(1);
    world.leader().await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let text = "x".repeat(1_000);
    for n in 0..200 {
        alice.place(keyed("news", &text, &n.to_string())).await;
    }
    eventually("a snapshot", || {
        world.node(1).broker.status()[0].group.snapshot > 0
    })
    .await;
    let dump = world.node(1).broker.dump(SHARD).unwrap();
    world.stop(NodeId(1)).await;
    world.start(NodeId(1)).await;
    world.leader().await;
    let again = world.node(1).broker.dump(SHARD).unwrap();
    assert_eq!(again.topics[0].records, dump.topics[0].records);
    assert_eq!(again.topics[0].chain, dump.topics[0].chain);
    let mut alice = Publisher::of(&world.node(1).peer);
    assert!(alice.place(keyed("news", &text, "7")).await.duplicate);
}
