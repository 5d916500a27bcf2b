//! Attachments on one replica: live runs, catching up, topics that do not exist yet, endings.

use std::time::Duration;

use fanfare_broker::BrokerOptions;
use fanfare_core::link::{EdgeSays, Ended, LeaderSays, Live, digest_term};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_rpc::topics::TopicCommand;

use crate::people::{Edge, Publisher, draft, texts};
use crate::world::{SHARD, World, eventually, in_time};

#[tokio::test]
async fn an_attachment_at_the_head_gets_what_follows() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let head = alice.place(draft("news", "before")).await.position.unwrap();
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("news", None).await;
    assert_eq!((attached.head, attached.exists), (head, true));
    assert!(matches!(attached.live, Live::Yes(run) if run.messages.is_empty()));
    for n in 0..100 {
        alice.send(draft("news", &n.to_string())).await;
    }
    let (_, payloads) = edge.payloads(head, 100).await;
    assert_eq!(
        payloads,
        (0..100).map(|n| n.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn an_attachment_behind_is_caught_up_or_sent_to_pages() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let first = alice.place(draft("news", "0")).await.position.unwrap();
    for n in 1..=10 {
        alice.place(draft("news", &n.to_string())).await;
    }
    let mut edge = Edge::of(&world.node(1).peer);
    let Live::Yes(run) = edge.attach("news", Some(first)).await.live else {
        panic!("ten messages behind is near enough");
    };
    assert_eq!((run.after, texts(&run).len()), (first, 10));
    for n in 0..300 {
        alice.send(draft("news", &n.to_string())).await;
    }
    edge.payloads(run.end(), 300).await;
    assert_eq!(edge.attach("news", Some(first)).await.live, Live::No);
    let ahead = Position::new(first.epoch.0, 9_999);
    assert_eq!(edge.attach("news", Some(ahead)).await.live, Live::No);
}

#[tokio::test]
async fn who_waits_for_a_topic_gets_it_from_its_first_message() {
    let world = World::new(1).await;
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("news", None).await;
    assert!(!attached.exists);
    assert_eq!(attached.head.offset.0, 0);
    assert_eq!(
        world.node(1).broker.metrics().topics.get(),
        0,
        "waiting makes no actor"
    );
    let mut alice = Publisher::of(&world.node(1).peer);
    for text in ["first", "second"] {
        alice.place(draft("news", text)).await;
    }
    let (at, payloads) = edge.payloads(attached.head, 2).await;
    assert_eq!(payloads, ["first", "second"]);
    assert!(at.epoch > attached.head.epoch);
    // Later ones attach at the old head of the topic that did not exist, and miss nothing.
    let mut late = Edge::of(&world.node(1).peer);
    let Live::Yes(run) = late.attach("news", Some(attached.head)).await.live else {
        panic!("nothing was deleted since");
    };
    assert_eq!(texts(&run), ["first", "second"]);
}

#[tokio::test]
async fn deleting_a_topic_ends_its_attachments_and_those_who_wait_again_get_the_next() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let old = alice.place(draft("news", "old")).await.position.unwrap();
    let mut edge = Edge::of(&world.node(1).peer);
    let attached = edge.attach("news", None).await;
    let delete = TopicCommand::Delete {
        name: "news".parse().unwrap(),
        epoch: None,
    };
    in_time("delete", world.node(1).peer.topics(SHARD, delete))
        .await
        .unwrap();
    assert_eq!(edge.ended().await, (attached.id, Ended::StreamEnded));
    assert_eq!(
        edge.attach("news", Some(old)).await.live,
        Live::No,
        "its stream is gone"
    );
    let waiting = edge.attach("news", None).await;
    assert!(!waiting.exists && waiting.head > old);
    alice.place(draft("news", "new")).await;
    let (at, payloads) = edge.payloads(waiting.head, 1).await;
    assert_eq!(payloads, ["new"]);
    assert!(at.epoch > old.epoch);
}

#[tokio::test]
async fn a_detached_topic_is_silent_and_the_digest_counts_the_live() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let mut edge = Edge::of(&world.node(1).peer);
    let a = edge.attach("a", None).await;
    let b = edge.attach("b", None).await;
    edge.say(EdgeSays::Detach(vec![a.id])).await;
    // An answered wish says that the detach before it was seen.
    let c = edge.attach("c", None).await;
    alice.place(draft("a", "unheard")).await;
    alice.place(draft("b", "heard")).await;
    let (at, payloads) = edge.payloads(b.head, 1).await;
    assert_eq!(payloads, ["heard"]);
    let term = |topic: &str, at| digest_term(topic.parse::<TopicName>().unwrap().hash64(), at);
    let sum = term("b", at).wrapping_add(term("c", c.head));
    assert_eq!(edge.digest().await, (2, sum));
}

#[tokio::test]
async fn an_edge_that_takes_nothing_lags_and_costs_no_memory() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    let mut edge = Edge::of(&world.node(1).peer);
    edge.attach("news", None).await;
    let big = "x".repeat(64 << 10);
    for _ in 0..250 {
        alice.place(draft("news", &big)).await;
    }
    let (_, why) = edge.ended().await;
    assert_eq!(why, Ended::Lagging);
    assert_eq!(world.node(1).broker.metrics().drafts.get(), 250);
}

#[tokio::test]
async fn a_link_that_dies_leaves_no_listener() {
    let world = World::new(1).await;
    let mut alice = Publisher::of(&world.node(1).peer);
    alice.place(draft("news", "a")).await;
    let mut edge = Edge::of(&world.node(1).peer);
    edge.attach("news", None).await;
    let metrics = world.node(1).broker.metrics();
    assert_eq!(metrics.delivery_links.get(), 1);
    drop(edge);
    eventually("the link is gone", || metrics.delivery_links.get() == 0).await;
    let runs = metrics.runs.get();
    alice.place(draft("news", "b")).await;
    let mut other = Edge::of(&world.node(1).peer);
    other.attach("news", None).await;
    alice.place(draft("news", "c")).await;
    assert!(matches!(other.hear().await, LeaderSays::Run(_, run) if texts(&run) == ["c"]));
    assert_eq!(metrics.runs.get(), runs + 1);
}

#[tokio::test]
async fn a_node_that_does_not_lead_says_so() {
    let world = World::unplaced(1, BrokerOptions::default()).await;
    let mut edge = Edge::of(&world.node(1).peer);
    let id = edge.wish("news", None).await;
    let (ended, why) = edge.ended().await;
    assert_eq!(ended, id);
    assert!(matches!(why, Ended::NotLeader(_)));
}

#[tokio::test]
async fn the_actor_of_a_topic_nobody_attends_goes_and_comes_back() {
    let options = BrokerOptions {
        linger: Duration::from_millis(50),
        ..BrokerOptions::default()
    };
    let world = World::with(1, options).await;
    let metrics = world.node(1).broker.metrics();
    let mut alice = Publisher::of(&world.node(1).peer);
    let head = alice.place(draft("news", "a")).await.position.unwrap();
    assert_eq!(metrics.topics.get(), 0, "publishing makes no actor");
    for text in ["b", "c"] {
        let mut edge = Edge::of(&world.node(1).peer);
        let attached = edge.attach("news", None).await;
        assert_eq!(metrics.topics.get(), 1);
        alice.place(draft("news", text)).await;
        edge.payloads(attached.head, 1).await;
        drop(edge);
        eventually("the actor is gone", || metrics.topics.get() == 0).await;
    }
    assert!(head.offset.0 == 1);
}
