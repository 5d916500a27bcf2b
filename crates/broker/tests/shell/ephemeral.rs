//! Ephemeral topics: sequenced by the leader, in no log, with an epoch for each reign.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_broker::BrokerOptions;
use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, GapReason, Since};
use fanfare_core::link::{EdgeSays, Ended, Live, StandRequest, Verdict};
use fanfare_core::position::Position;
use fanfare_core::receipt::Reached;
use fanfare_core::rule::{Class, RuleLayer};
use fanfare_rpc::topics::TopicCommand;

use crate::people::{Edge, Publisher, draft, keyed, page, placed, stand, texts, wish};
use crate::world::{SHARD, World, eventually, in_time};

#[tokio::test]
async fn messages_are_placed_and_delivered_without_the_log() {
    let world = World::new(1).await;
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("live.a", None).await;
    assert_eq!(attached.policy.class, Class::Ephemeral);
    let before = world.node(1).broker.status()[0].group.last_index;
    let mut alice = Publisher::of(&world.node(1).peer);
    for n in 0..20 {
        let receipt = alice.place(draft("live.a", &n.to_string())).await;
        assert_eq!(receipt.reached, Reached::Ephemeral);
        assert_eq!(receipt.position.map(|p| p.epoch), Some(attached.head.epoch));
    }
    let (at, payloads) = edge.payloads(attached.head, 20).await;
    assert_eq!(payloads.len(), 20);
    assert_eq!(world.node(1).broker.status()[0].group.last_index, before);
    let page = page(&world.node(1).peer, "live.a", attached.head, true)
        .await
        .unwrap();
    assert_eq!((page.messages.len(), page.head), (20, at));
    let standing = stand(&world.node(1).peer, wish("live.a", Since::Latest), 0)
        .await
        .unwrap();
    assert_eq!(standing.head, at);
}

#[tokio::test]
async fn a_key_is_known_to_the_stream() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = alice.place(keyed("live.a", "x", "k")).await;
    let repeat = alice.place(keyed("live.a", "x", "k")).await;
    assert_eq!((repeat.position, repeat.duplicate), (first.position, true));
}

#[tokio::test]
async fn a_new_reign_begins_new_streams_and_says_so() {
    let mut world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let old = alice.place(draft("live.a", "x")).await.position.unwrap();
    let node = world.leader().await;
    world.stop(node).await;
    world.start(node).await;
    world.leader().await;
    let peer = &world.node(1).peer;
    let standing = stand(peer, wish("live.a", Since::After(old)), 0)
        .await
        .unwrap();
    assert!(standing.head.epoch > old.epoch);
    assert!(matches!(standing.answer, Answer::Gap(gap) if gap.reason == GapReason::EpochChanged));
    let mut edge = Edge::of(peer);
    assert_eq!(edge.attach("live.a", Some(old)).await.live, Live::No);
}

#[tokio::test]
async fn deleting_ends_the_stream_and_the_next_epoch_is_higher() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("live.a", None).await;
    let old = alice.place(draft("live.a", "x")).await.position.unwrap();
    let delete = TopicCommand::Delete {
        name: "live.a".parse().unwrap(),
        epoch: None,
    };
    in_time("delete", world.node(1).peer.topics(SHARD, delete))
        .await
        .unwrap();
    assert_eq!(edge.ended().await, (attached.id, Ended::StreamEnded));
    let new = alice.place(draft("live.a", "y")).await.position.unwrap();
    assert!(new.epoch > old.epoch);
    assert_eq!(new.offset.0, 1);
}

/// Each delete ends the block of epochs, so the first drafts of each round wait for another one,
/// while those behind them find it there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_that_wait_for_an_epoch_are_not_overtaken() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    for round in 0..20 {
        let mut sent = Vec::new();
        for n in 0..64 {
            sent.push(alice.send(draft("live.a", &format!("{round}.{n}"))).await);
        }
        let mut places = BTreeMap::new();
        for _ in &sent {
            let answer = alice.answer().await.expect("the link is open");
            places.insert(answer.seq, placed(answer.verdict).position);
        }
        assert!(places.keys().eq(&sent) && places.values().is_sorted());
        let delete = TopicCommand::Delete {
            name: "live.a".parse().unwrap(),
            epoch: None,
        };
        let deleted = world.node(1).peer.topics(SHARD, delete);
        in_time("delete", deleted).await.unwrap();
    }
}

#[tokio::test]
async fn a_head_that_is_waited_for_comes_without_the_log() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = alice.place(draft("live.a", "a")).await.position.unwrap();
    let next = StandRequest {
        min_position: Some(first.next()),
        ..wish("live.a", Since::Latest)
    };
    let waiting = stand(&world.node(1).peer, next, 20_000);
    let (standing, second) = tokio::join!(waiting, alice.place(draft("live.a", "b")));
    assert_eq!(Some(standing.unwrap().head), second.position);
}

#[tokio::test]
async fn a_late_edge_catches_up_from_the_streams_beginning() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = alice.place(draft("live.a", "a")).await.position.unwrap();
    alice.place(draft("live.a", "b")).await;
    let mut edge = Edge::of(&world.node(1).peer);
    let begin = Position::new(first.epoch.0, 0);
    let Live::Yes(run) = edge.attach("live.a", Some(begin)).await.live else {
        panic!("two messages are near enough");
    };
    assert_eq!(texts(&run), ["a", "b"]);
}

#[tokio::test]
async fn rules_that_make_a_topic_durable_end_its_stream() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("live.a", None).await;
    let old = alice.place(draft("live.a", "x")).await.position.unwrap();
    world.change(|view| {
        view.rules.version += 1;
        assert!(view.rules.remove(&"live.*".parse().unwrap()));
    });
    assert_eq!(edge.ended().await, (attached.id, Ended::StreamEnded));
    let receipt = alice.place(draft("live.a", "y")).await;
    assert_eq!(receipt.reached, Reached::Durable);
    assert!(receipt.position.unwrap().epoch > old.epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_no_majority_takes_and_serves_nothing() {
    let world = World::new(3).await;
    let leader = world.leader().await;
    let peer = &world.nodes[&leader].peer;
    let mut alice = Publisher::of(peer);
    alice.place(draft("live.a", "x")).await;
    world.net.cut(leader);
    // Until an election timeout has passed it may go on.
    let refused = loop {
        match alice.publish(draft("live.a", "y")).await {
            Verdict::Placed(_) => tokio::task::yield_now().await,
            Verdict::Refused(refusal) => break Some(refusal.code),
            Verdict::Reroute(_) => break None,
        }
    };
    assert!(matches!(refused, None | Some(Code::NoQuorum)));
    assert!(stand(peer, wish("live.a", Since::Latest), 0).await.is_err());
    let mut edge = Edge::of(peer);
    edge.wish("live.a", None).await;
    assert!(matches!(edge.ended().await.1, Ended::NotLeader(_)));
}

#[tokio::test]
async fn an_idle_stream_ends_and_the_next_has_a_higher_epoch() {
    let options = BrokerOptions {
        linger: Duration::from_millis(100),
        ..BrokerOptions::default()
    };
    let world = World::with(1, options).await;
    world.change(|view| {
        view.rules.version += 1;
        let short = RuleLayer {
            class: Some(Class::Ephemeral),
            retain_age: Some(Duration::from_secs(1)),
            ..RuleLayer::default()
        };
        assert!(view.rules.put("live.*".parse().unwrap(), short));
    });
    let peer = &world.node(1).peer;
    let mut alice = Publisher::of(peer);
    let mut edge = Edge::of(peer);
    let attached = edge.attach("live.a", None).await;
    let old = alice.place(draft("live.a", "x")).await.position.unwrap();
    let metrics = world.node(1).broker.metrics();
    assert_eq!(metrics.topics.get(), 1);
    edge.say(EdgeSays::Detach(vec![attached.id])).await;
    eventually("the stream has ended", || metrics.topics.get() == 0).await;
    let standing = stand(peer, wish("live.a", Since::After(old)), 0)
        .await
        .unwrap();
    assert!(standing.head.epoch > old.epoch);
    assert!(matches!(standing.answer, Answer::Gap(gap) if gap.reason == GapReason::EpochChanged));
}
