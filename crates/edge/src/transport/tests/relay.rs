//! What happens to a topic's attachment while sessions listen: they must not notice.

use std::sync::Arc;

use fanfare_core::gap::Policy;
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::LINGER;
use fanfare_core::rule::{RuleLayer, RuleTable};

use super::client::{Events, get, one, subscribed};
use crate::config::{EdgeConfig, SessionLimits};
use crate::relay::{Block, Outlet};
use crate::session::stage::Theatre;
use crate::testing::NODES;

async fn listening(theatre: &Theatre) -> Events {
    let mut events = Events::open(theatre, "/v1/sse?topic=news", &[]).await;
    subscribed(events.frame().await);
    theatre
        .until("the relay is attached", || theatre.stage.attachments() == 1)
        .await;
    events
}

async fn hears(theatre: &Theatre, events: &mut Events, text: &str) {
    let at = theatre.stage.publish("news", text);
    assert_eq!(one(events.frame().await), format!("{at} {text}"));
}

async fn opened() -> Theatre {
    Theatre::open(EdgeConfig::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_is_followed_from_the_last_position() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    hears(&theatre, &mut events, "old leader").await;
    let at = theatre.stage.publish("news", "last words");
    theatre.stage.elect(Some(NODES[1]));
    assert_eq!(one(events.frame().await), format!("{at} last words"));
    hears(&theatre, &mut events, "new leader").await;
    // What was on its way is dropped by the old leader, or came: the new one is asked for the rest.
    let (node, _, after) = theatre.stage.asked().last().unwrap().clone();
    assert_eq!(node, NODES[1]);
    assert!(after >= Some(at.before()), "{after:?}");
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_without_a_leader_is_a_pause_and_no_storm() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    theatre.stage.elect(None);
    theatre
        .deps
        .clock
        .sleep(std::time::Duration::from_secs(30))
        .await;
    assert!(
        theatre.stage.asked().len() < 80,
        "{} wishes",
        theatre.stage.asked().len()
    );
    theatre.stage.elect(Some(NODES[2]));
    hears(&theatre, &mut events, "at last").await;
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_attachment_without_an_answer_begins_again_and_leaves_the_others_alone() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    // Another topic of the same shard.
    let home = |name: &str| name.parse::<TopicName>().unwrap().shard(2);
    let names: Vec<_> = (0..20).map(|n| format!("other.{n}")).collect();
    let other = names
        .iter()
        .find(|name| home(name) == home("news"))
        .unwrap();
    theatre.stage.park(other);
    let uri = format!("/v1/sse?topic={other}");
    let mut waiting = Events::open(&theatre, &uri, &[]).await;
    subscribed(waiting.frame().await);
    let asked = |topic: &str| {
        let asked = theatre.stage.asked();
        asked
            .iter()
            .filter(|(_, of, _)| of.as_str() == topic)
            .count()
    };
    theatre
        .until("it is asked for again", || asked(other) >= 3)
        .await;
    assert_eq!(asked("news"), 1);
    assert_eq!(theatre.deps.metrics.digest_mismatches.get(), 0);
    hears(&theatre, &mut events, "undisturbed").await;
    drop((events, waiting));
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_breaks_is_another_link() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    for round in 0..5 {
        theatre.stage.cut();
        hears(&theatre, &mut events, &format!("after cut {round}")).await;
    }
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_lost_on_its_way_is_missed_at_the_next() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    theatre.stage.lose_runs(1);
    let lost = theatre.stage.publish("news", "lost");
    theatre
        .until("it is on its way", || theatre.stage.lost() == 1)
        .await;
    let next = theatre.stage.publish("news", "next");
    assert_eq!(one(events.frame().await), format!("{lost} lost"));
    assert_eq!(one(events.frame().await), format!("{next} next"));
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_died_in_silence_is_found_by_its_digest() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    theatre.stage.lose_runs(1);
    let lost = theatre.stage.publish("news", "the last one is lost");
    let begin = theatre.deps.clock.now();
    assert_eq!(
        one(events.frame().await),
        format!("{lost} the last one is lost")
    );
    let took = theatre.deps.clock.now() - begin;
    assert!(took.as_secs() < 5, "{took:?}");
    assert_eq!(
        theatre
            .sessions()
            .state
            .deps
            .metrics
            .digest_mismatches
            .get(),
        1
    );
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn digests_that_match_leave_everything_alone() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    for n in 0..10 {
        hears(&theatre, &mut events, &n.to_string()).await;
        theatre
            .deps
            .clock
            .sleep(std::time::Duration::from_secs(1))
            .await;
    }
    assert_eq!(theatre.stage.asked().len(), 1);
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_came_while_nobody_led_is_filled_once_for_all() {
    let theatre = opened().await;
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(listening(&theatre).await);
    }
    theatre.stage.elect(None);
    // More than one answer to an attachment holds: the hole is filled by pages.
    for n in 0..900 {
        theatre.stage.publish("news", &n.to_string());
    }
    let (_, before) = theatre.stage.reads();
    theatre.stage.elect(Some(NODES[0]));
    for events in &mut all {
        for n in 0..900 {
            let item = one(events.frame().await);
            assert!(item.ends_with(&format!(" {n}")), "{item}");
        }
    }
    let (_, after) = theatre.stage.reads();
    assert!(
        after - before < 20,
        "{} pages for 20 sessions",
        after - before
    );
    drop(all);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_hole_too_large_for_the_tail_is_read_by_each_for_itself() {
    let theatre = opened().await;
    let mut table = RuleTable::default();
    table.version = 1;
    let layer = RuleLayer {
        retain_count: Some(100_000),
        retain_bytes: Some(1 << 30),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    theatre.stage.rules(&table);
    let mut events = listening(&theatre).await;
    theatre.stage.elect(None);
    let payloads: Vec<String> = (0..6_000).map(|n| n.to_string()).collect();
    for some in payloads.chunks(500) {
        theatre
            .stage
            .publish_all("news", &some.iter().map(String::as_str).collect::<Vec<_>>());
    }
    theatre.stage.elect(Some(NODES[0]));
    for n in 0..6_000 {
        let item = one(events.frame().await);
        assert!(item.ends_with(&format!(" {n}")), "{n}: {item}");
    }
    hears(&theatre, &mut events, "live again").await;
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_position_ahead_of_the_topic_is_told_and_left() {
    let theatre = opened().await;
    let head = theatre.stage.publish("news", "1");
    let ahead = fanfare_core::position::Position::new(head.epoch.0, 7);
    let mut events = Events::open(&theatre, &format!("/v1/sse?topic=news&from={ahead}"), &[]).await;
    assert_eq!(
        subscribed(events.frame().await),
        ("gap".to_owned(), Some(ahead), head)
    );
    assert_eq!(
        one(events.frame().await),
        format!("position_ahead {ahead}..{head}")
    );
    hears(&theatre, &mut events, "2").await;
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn tails_over_the_nodes_budget_keep_their_newest_run() {
    let sessions = SessionLimits {
        tail_bytes: 1,
        ..SessionLimits::default()
    };
    let theatre = Theatre::open(EdgeConfig {
        sessions,
        ..EdgeConfig::default()
    })
    .await;
    let mut events = listening(&theatre).await;
    let first = theatre.stage.publish("news", "1");
    for n in 2..=9 {
        hears_from(&mut events, n - 1).await;
        theatre.stage.publish("news", &n.to_string());
    }
    hears_from(&mut events, 9).await;
    let (_, before) = theatre.stage.reads();
    let mut late = Events::open(&theatre, &format!("/v1/sse?topic=news&from={first}"), &[]).await;
    subscribed(late.frame().await);
    for n in 2..=9 {
        hears_from(&mut late, n).await;
    }
    assert!(
        theatre.stage.reads().1 > before,
        "what is not in the tail came as a page"
    );
    drop((events, late));
    theatre.close().await;
}

async fn hears_from(events: &mut Events, n: u64) {
    let item = one(events.frame().await);
    assert!(item.ends_with(&format!(" {n}")), "{item}");
}

#[tokio::test(start_paused = true)]
async fn a_relay_outlives_its_sessions_for_a_while() {
    let theatre = opened().await;
    let mut events = listening(&theatre).await;
    hears(&theatre, &mut events, "1").await;
    let id = events.last_id().to_owned();
    drop(events);
    let missed = theatre.stage.publish("news", "2");
    theatre.deps.clock.sleep(LINGER / 2).await;
    let reads = theatre.stage.reads();
    let mut back = Events::open(&theatre, "/v1/sse?topic=news", &[("last-event-id", &id)]).await;
    assert_eq!(subscribed(back.frame().await).0, "recovered");
    assert_eq!(one(back.frame().await), format!("{missed} 2"));
    assert_eq!(theatre.stage.reads(), reads, "the tail answered");
    drop(back);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_for_the_head_at_once_share_the_question() {
    let theatre = opened().await;
    theatre.stage.publish("news", "1");
    let polls = (0..50).map(|_| get(&theatre, "/v1/poll?topic=news&from=latest", &[]));
    let answers = futures_util::future::join_all(polls).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert!(theatre.stage.reads().0 <= 3, "{:?}", theatre.stage.reads());
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_says_nothing_is_not_waited_for_without_end() {
    let theatre = opened().await;
    theatre.stage.mute(NODES[0]);
    let begin = theatre.deps.clock.now();
    let answer = get(&theatre, "/v1/poll?topic=news", &[]).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("\"not_ready\""), "{}", answer.body);
    let took = (theatre.deps.clock.now() - begin).as_secs();
    assert!((5..7).contains(&took), "{took} s");
    theatre.close().await;
}

/// A session whose delivery fails.
struct Bomb;

impl Outlet for Bomb {
    fn offer(&self, _sub: u64, blocks: &[Block], _moved: bool) {
        assert!(blocks.is_empty(), "as the test wants it");
    }

    fn rule(&self, _sub: u64, _policy: Policy) {}

    fn lost(&self, _sub: u64, _why: &Refusal) {}
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_fails_with_runs_in_hand_does_not_narrow_its_link() {
    let theatre = opened().await;
    let mut table = RuleTable::default();
    table.version = 1;
    let layer = RuleLayer {
        retain_bytes: Some(1 << 30),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    theatre.stage.rules(&table);
    let mut events = listening(&theatre).await;
    let relay = theatre.sessions().relays().lease(&"news".parse().unwrap());
    let bomb: Arc<dyn Outlet> = Arc::new(Bomb);
    let key = relay.join(0, Arc::downgrade(&bomb));
    // More than a link's whole credit.
    let large = "x".repeat(60_000);
    for _ in 0..80 {
        let at = theatre.stage.publish("news", &large);
        assert_eq!(one(events.frame().await), format!("{at} {large}"));
        theatre
            .until("the relay is attached again", || {
                theatre.stage.attachments() == 1 && relay.stand(at).is_some()
            })
            .await;
    }
    relay.leave(key);
    drop(relay);
    hears(&theatre, &mut events, "after all").await;
    assert_eq!(theatre.stage.reads().1, 0, "all of it came live");
    drop(events);
    theatre.close().await;
}
