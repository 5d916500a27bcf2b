//! Publish streams against a cluster in memory whose leaders move, break and fall silent.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::code::Outcome;
use fanfare_core::message::{Content, Key, Meta};
use fanfare_core::position::Position;

use super::*;
use crate::config::EdgeConfig;
use crate::testing::{Mood, NODES, World};

const SECONDS: fn(u64) -> Duration = Duration::from_secs;

fn draft(text: &str, key: Option<&str>) -> Draft {
    Draft {
        topic: "news".parse().unwrap(),
        content: Content {
            payload: Bytes::copy_from_slice(text.as_bytes()),
            meta: Arc::new(Meta::default()),
        },
        key: key.map(|key| Key::new(Bytes::copy_from_slice(key.as_bytes())).unwrap()),
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

/// Submits at once; the answer comes when it is awaited.
fn submit(stream: &PublishStream, draft: Draft) -> Published {
    let cost = draft.cost();
    let room = stream.room(cost);
    let room = futures_util::FutureExt::now_or_never(room)
        .unwrap()
        .unwrap();
    stream.submit(&Grants::open(), room, draft, SECONDS(5))
}

fn offset(result: Result<Receipt, Refusal>) -> u64 {
    result.unwrap().position.unwrap().offset.0
}

fn code(result: Result<Receipt, Refusal>) -> (Code, Outcome) {
    let refusal = result.unwrap_err();
    (refusal.code, refusal.outcome)
}

/// Waits until the cluster has seen so many drafts.
async fn reached(world: &World, count: usize) {
    while world.reached() < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn drafts_of_a_stream_are_placed_in_the_order_of_submission() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    let sent: Vec<Published> = (0..600)
        .map(|n| submit(&stream, draft(&n.to_string(), None)))
        .collect();
    drop(stream);
    for (n, published) in (1..).zip(sent) {
        assert_eq!(offset(published.await), n);
    }
    let order: Vec<String> = (0..600).map(|n| n.to_string()).collect();
    assert_eq!(world.placed("news"), order);
}

#[tokio::test(start_paused = true)]
async fn a_moved_leader_is_followed_in_order() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    assert_eq!(offset(submit(&stream, draft("a", None)).await), 1);
    world.elect(Some(NODES[2]));
    let sent = ["b", "c", "d"].map(|text| submit(&stream, draft(text, None)));
    for (n, published) in (2..).zip(sent) {
        assert_eq!(offset(published.await), n);
    }
    assert_eq!(world.placed("news"), ["a", "b", "c", "d"]);
    let shard = edge.directory().shard_of(&"news".parse().unwrap()).unwrap();
    assert_eq!(
        edge.directory().leader(shard),
        Some(NODES[2]),
        "and remembered"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_link_tells_keyed_drafts_from_others() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    world.mood(Mood::PlaceInSilence);
    let keyed = submit(&stream, draft("keyed", Some("k")));
    let plain = submit(&stream, draft("plain", None));
    reached(&world, 2).await;
    world.mood(Mood::Serve);
    world.elect(Some(NODES[1]));
    world.cut(NODES[0]);
    let receipt = keyed.await.unwrap();
    assert_eq!(receipt.position, Some(Position::new(1, 1)));
    assert!(receipt.duplicate, "the first sending was placed");
    assert_eq!(code(plain.await), (Code::OutcomeUnknown, Outcome::Unknown));
    assert_eq!(
        world.placed("news"),
        ["keyed", "plain"],
        "and nothing twice"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fell_silent_is_left_for_the_new_one() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    world.mood(Mood::Swallow);
    let stuck = submit(&stream, draft("stuck", Some("k")));
    reached(&world, 1).await;
    world.mood(Mood::Serve);
    world.elect(Some(NODES[1]));
    let start = deps.clock.now();
    assert_eq!(offset(stuck.await), 1);
    let took = deps.clock.now() - start;
    assert!(took < SECONDS(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_draft_ends_in_a_definite_failure_at_its_deadline() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    world.elect(None);
    let start = deps.clock.now();
    let stream = edge.publisher().stream();
    let lost = submit(&stream, draft("lost", None));
    assert_eq!(code(lost.await), (Code::NoQuorum, Outcome::NotPlaced));
    assert_eq!(deps.clock.now() - start, SECONDS(5));
    world.elect(Some(NODES[1]));
    assert_eq!(offset(submit(&stream, draft("next", None)).await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_comes_in_time_serves_what_waited() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    world.elect(None);
    world.mute(NODES[1]);
    let stream = edge.publisher().stream();
    let waits = submit(&stream, draft("waits", None));
    deps.clock.sleep(SECONDS(2)).await;
    world.elect(Some(NODES[2]));
    assert_eq!(offset(waits.await), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_draft_is_unknown_at_its_deadline() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    world.mood(Mood::Swallow);
    let stream = edge.publisher().stream();
    let lost = submit(&stream, draft("lost", Some("k")));
    assert_eq!(code(lost.await), (Code::OutcomeUnknown, Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn too_many_bytes_in_flight_are_overload_and_come_back() {
    let world = World::default();
    let mut config = EdgeConfig::default();
    config.publish.bytes = 1_000;
    let (edge, ..) = world.edge(config).await;
    world.mood(Mood::Swallow);
    let stream = edge.publisher().stream();
    let first = submit(&stream, draft(&"x".repeat(700), None));
    let room = stream.room(900).await.unwrap_err();
    assert_eq!(
        (room.code, room.outcome),
        (Code::Overloaded, Outcome::NotPlaced)
    );
    assert_eq!(code(first.await).0, Code::OutcomeUnknown);
    assert!(stream.room(900).await.is_ok());
    assert!(
        stream.room(u64::MAX).await.is_ok(),
        "a draft above the limit takes all of it"
    );
}

#[tokio::test(start_paused = true)]
async fn ack_none_is_answered_at_once_and_placed_all_the_same() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    let draft = Draft {
        ack: Ack::None,
        ..draft("quiet", None)
    };
    let receipt = submit(&stream, draft).await.unwrap();
    assert_eq!((receipt.position, receipt.reached), (None, Reached::None));
    drop(stream);
    edge.publisher().idle().await;
    assert_eq!(world.placed("news"), ["quiet"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_before_it_goes_its_way_never_reaches_a_leader() {
    let world = World::default();
    let (edge, _deps, view) = world.edge(EdgeConfig::default()).await;
    let stream = edge.publisher().stream();
    let room = || stream.room(1);
    let system = Draft {
        topic: "$sys.a".parse().unwrap(),
        ..draft("x", None)
    };
    let ends = stream
        .submit(&Grants::open(), room().await.unwrap(), system, SECONDS(1))
        .await;
    assert_eq!(code(ends), (Code::InvalidTopic, Outcome::NotPlaced));
    let nobody = Grants::default();
    let ends = stream
        .submit(&nobody, room().await.unwrap(), draft("x", None), SECONDS(1))
        .await;
    assert_eq!(code(ends), (Code::Forbidden, Outcome::NotPlaced));
    let large = draft(&"x".repeat((64 << 10) + 1), None);
    assert_eq!(code(submit(&stream, large).await).0, Code::PayloadTooLarge);
    view.send_replace(Arc::new(View::empty()));
    assert_eq!(
        code(submit(&stream, draft("x", None)).await).0,
        Code::NotReady
    );
    view.send_replace(Arc::new(crate::testing::view()));
    edge.drain(SECONDS(1)).await;
    assert_eq!(
        code(submit(&stream, draft("x", None)).await).0,
        Code::Draining
    );
    assert_eq!(world.reached(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_answers_what_is_in_flight() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    world.mood(Mood::Swallow);
    let stream = edge.publisher().stream();
    let sent = submit(&stream, draft("sent", Some("k")));
    reached(&world, 1).await;
    deps.stop.cancel();
    assert_eq!(code(sent.await), (Code::OutcomeUnknown, Outcome::Unknown));
    let late = submit(&stream, draft("late", None));
    assert_eq!(code(late.await).1, Outcome::Unknown, "nothing hangs");
}
