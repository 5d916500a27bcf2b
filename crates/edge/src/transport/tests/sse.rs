//! Server-sent events.

use std::time::Duration;

use fanfare_core::position::Position;
use fanfare_core::rule::{Html, RuleLayer, RuleTable};
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::sse::SseItem;
use tokio_util::sync::CancellationToken;

use super::client::{Events, get, one, subscribed};
use crate::Cut;
use crate::config::EdgeConfig;
use crate::session::stage::Theatre;

async fn theatre() -> Theatre {
    Theatre::open(EdgeConfig::default()).await
}

#[tokio::test(start_paused = true)]
async fn a_stream_says_its_answer_then_what_comes() {
    let theatre = theatre().await;
    let head = theatre.stage.publish("news", "before");
    let mut events = Events::open(&theatre, "/v1/sse?topic=news", &[]).await;
    assert_eq!(events.status, 200);
    assert_eq!(events.headers["content-type"], "text/event-stream");
    assert_eq!(events.headers["cache-control"], "no-store, no-transform");
    assert_eq!(events.headers["x-accel-buffering"], "no");
    let Some(SseItem::Retry(ms)) = events.item().await else {
        panic!("retry comes first")
    };
    assert!((1_000..=3_000).contains(&ms));
    assert_eq!(
        subscribed(events.frame().await),
        ("latest".to_owned(), None, head)
    );
    for n in 1..=3 {
        let at = theatre.stage.publish("news", &format!("n{n}"));
        assert_eq!(one(events.frame().await), format!("{at} n{n}"));
    }
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_comes_back_gets_what_it_missed() {
    let theatre = theatre().await;
    theatre.stage.publish("news", "before");
    let uri = "/v1/sse?topic=news&topic=chat.7";
    let mut events = Events::open(&theatre, uri, &[]).await;
    subscribed(events.frame().await);
    subscribed(events.frame().await);
    let seen = theatre.stage.publish("news", "seen");
    assert_eq!(one(events.frame().await), format!("{seen} seen"));
    let id = events.last_id().to_owned();
    drop(events);
    let missed = theatre.stage.publish("news", "missed");
    let born = theatre.stage.publish("chat.7", "born");

    let mut events = Events::open(&theatre, uri, &[("last-event-id", &id)]).await;
    let mut answers = Vec::new();
    let mut items = Vec::new();
    while items.len() < 2 {
        match events.frame().await {
            ServerFrame::Subscribed(answer) => answers.push((
                answer.topic.as_str().to_owned(),
                answer.answer.as_str().to_owned(),
            )),
            frame => items.push(one(frame)),
        }
    }
    answers.sort();
    items.sort();
    let recovered = |topic: &str| (topic.to_owned(), "recovered".to_owned());
    assert_eq!(answers, [recovered("chat.7"), recovered("news")]);
    let mut expected = [format!("{missed} missed"), format!("{born} born")];
    expected.sort();
    assert_eq!(items, expected);
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_is_told_as_a_gap() {
    let theatre = theatre().await;
    let mut table = RuleTable::default();
    table.version = 1;
    let layer = RuleLayer {
        retain_count: Some(2),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    theatre.stage.rules(&table);
    let first = theatre.stage.publish("news", "1");
    for n in 2..=5 {
        theatre.stage.publish("news", &n.to_string());
    }
    let uri = format!("/v1/sse?topic=news&from={first}");
    let mut events = Events::open(&theatre, &uri, &[]).await;
    let epoch = first.epoch.0;
    let head = Position::new(epoch, 5);
    assert_eq!(
        subscribed(events.frame().await),
        ("gap".to_owned(), Some(first), head)
    );
    assert_eq!(
        one(events.frame().await),
        format!("trimmed {epoch}-1..{epoch}-3")
    );
    assert_eq!(one(events.frame().await), format!("{epoch}-4 4"));
    assert_eq!(one(events.frame().await), format!("{epoch}-5 5"));
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_begins_with_its_first_message() {
    let theatre = theatre().await;
    let mut events = Events::open(&theatre, "/v1/sse?topic=later", &[]).await;
    let (answer, _, head) = subscribed(events.frame().await);
    assert_eq!((answer.as_str(), head.offset.0), ("latest", 0));
    let at = theatre.stage.publish("later", "first");
    assert!(at.epoch > head.epoch && at.offset.0 == 1);
    assert_eq!(one(events.frame().await), format!("{at} first"));

    theatre.stage.delete("later");
    let gap = one(events.frame().await);
    assert!(gap.starts_with(&format!("epoch_changed {at}..")), "{gap}");
    let again = theatre.stage.publish("later", "again");
    assert_eq!(one(events.frame().await), format!("{again} again"));
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_is_a_short_stream_and_another_a_status() {
    let theatre = theatre().await;
    theatre.stage.elect(None);
    let mut events = Events::open(&theatre, "/v1/sse?topic=news", &[]).await;
    assert_eq!(events.status, 200);
    let Some(SseItem::Retry(_)) = events.item().await else {
        panic!("a delay is advised")
    };
    let event = events.event().await;
    assert_eq!(
        (event.name.as_deref(), &event.id),
        (Some("$disconnect"), &None)
    );
    let ServerFrame::Disconnect(end) = event.into_frame().unwrap() else {
        panic!("not the end")
    };
    assert_eq!(end.code.as_str(), "not_ready");
    assert!(events.item().await.is_none());

    for (uri, status) in [
        ("/v1/sse?topic=$vault", 401),
        ("/v1/sse?topic=a..b", 400),
        ("/v1/sse?topic=news&cursor=nonsense", 400),
        ("/v1/sse", 400),
    ] {
        assert_eq!(get(&theatre, uri, &[]).await.status, status, "{uri}");
    }
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_says_that_it_lives() {
    let theatre = theatre().await;
    let mut events = Events::open(&theatre, "/v1/sse?topic=news&heartbeat=5", &[]).await;
    subscribed(events.frame().await);
    let begin = theatre.deps.clock.now();
    for beat in 1..=3 {
        assert_eq!(events.item().await, Some(SseItem::Comment));
        let lived = (theatre.deps.clock.now() - begin).as_secs();
        assert!(
            (5 * beat..=6 * beat + 1).contains(&lived),
            "beat {beat} after {lived} s"
        );
    }
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_tells_every_stream_where_it_stands() {
    let theatre = theatre().await;
    let mut events = Events::open(&theatre, "/v1/sse?topic=news", &[]).await;
    subscribed(events.frame().await);
    let at = theatre.stage.publish("news", "last");
    assert_eq!(one(events.frame().await), format!("{at} last"));
    let cursor = events.last_id().to_owned();
    let told = async {
        let event = events.event().await;
        assert_eq!(event.id.as_deref(), Some(cursor.as_str()));
        let frame = event.into_frame().unwrap();
        let ServerFrame::Disconnect(end) = frame else {
            panic!("not the end: {frame:?}")
        };
        assert_eq!(end.code.as_str(), "draining");
        assert!(end.retry_after_ms.is_some());
        assert!(events.item().await.is_none());
        drop(events);
    };
    tokio::join!(theatre.edge.drain(std::time::Duration::from_secs(2)), told);

    let mut late = Events::open(&theatre, "/v1/sse?topic=news", &[]).await;
    let ServerFrame::Disconnect(end) = late.frame().await else {
        panic!("not the end")
    };
    assert_eq!(end.code.as_str(), "draining");
    drop(late);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn html_for_pages_is_escaped_in_events() {
    let theatre = theatre().await;
    let mut events = Events::open(&theatre, "/v1/sse?topic=news&format=html", &[]).await;
    assert_eq!(events.event().await.name.as_deref(), Some("$subscribed"));
    theatre.stage.publish("news", "2 < 3\nand more");
    let event = events.event().await;
    assert_eq!(event.name, None);
    assert!(
        event.data.starts_with("<article class=\"fanfare-message\""),
        "{}",
        event.data
    );
    assert!(event.data.contains("2 &lt; 3"), "{}", event.data);
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_costs_a_bounded_queue_and_loses_nothing() {
    let theatre = theatre().await;
    let mut table = RuleTable::default();
    table.version = 1;
    let layer = RuleLayer {
        retain_bytes: Some(1 << 30),
        retain_count: Some(10_000),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    theatre.stage.rules(&table);
    let mut events = Events::open(&theatre, "/v1/sse?topic=news", &[]).await;
    subscribed(events.frame().await);
    let payload = "x".repeat(1_000);
    for _ in 0..2_000 {
        theatre.stage.publish("news", &payload);
        tokio::task::yield_now().await;
    }
    let last = theatre.stage.publish("news", "last");
    for offset in 1..=2_000 {
        let item = one(events.frame().await);
        assert!(
            item.starts_with(&format!("{}-{offset} ", last.epoch.0)),
            "{offset}: {item:.20}"
        );
    }
    assert_eq!(one(events.frame().await), format!("{last} last"));
    assert!(
        theatre.stage.reads().1 > 0,
        "what left the tail came as pages"
    );
    drop(events);
    theatre.close().await;
}

fn shown(html: Html, version: u64) -> RuleTable {
    let mut table = RuleTable::default();
    table.version = version;
    let layer = RuleLayer {
        html: Some(html),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    table
}

#[tokio::test(start_paused = true)]
async fn html_that_may_not_be_shown_any_more_is_escaped_for_all() {
    let theatre = theatre().await;
    theatre.stage.rules(&shown(Html::Verbatim, 1));
    let uri = "/v1/sse?topic=news&format=html";
    let mut old = Events::open(&theatre, uri, &[]).await;
    subscribed(old.frame().await);
    theatre
        .until("the relay is attached", || theatre.stage.attachments() == 1)
        .await;
    let first = theatre.stage.publish_as("news", "text/html", &["<b>1</b>"]);
    assert!(old.event().await.data.contains("<b>1</b>"));

    theatre.stage.rules(&shown(Html::Escape, 2));
    theatre
        .until("the relay is attached again", || {
            theatre.stage.attachments() == 1
        })
        .await;
    theatre.stage.publish_as("news", "text/html", &["<b>2</b>"]);
    let escaped = |n: u32| format!("&lt;b&gt;{n}&lt;/b&gt;");
    let data = old.event().await.data;
    assert!(
        data.contains(&escaped(2)) && !data.contains("<b>"),
        "{data}"
    );

    // Bytes that were shared by the old rule are not given to those who come now.
    let late = format!("{uri}&from={}", first.before());
    let mut new = Events::open(&theatre, &late, &[]).await;
    subscribed(new.frame().await);
    for n in 1..=2 {
        let data = new.event().await.data;
        assert!(
            data.contains(&escaped(n)) && !data.contains("<b>"),
            "{data}"
        );
    }
    drop((old, new));
    theatre.close().await;
}

/// Opens a stream that nobody reads, and waits until it is cut; says after how long.
async fn unread(theatre: &Theatre, uri: &str, then: impl Future<Output = ()>) -> Duration {
    let token = CancellationToken::new();
    let events = Events::cuttable(theatre, uri, Cut::new(token.clone())).await;
    theatre.stage.publish("news", "unread");
    let begin = theatre.deps.clock.now();
    then.await;
    theatre
        .until("the stream is cut", || token.is_cancelled())
        .await;
    let lived = theatre.deps.clock.now() - begin;
    // So does hyper, once the stream's task is gone.
    drop(events);
    lived
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_client_takes_nothing_is_cut() {
    let theatre = theatre().await;
    for uri in ["/v1/sse?topic=news", "/v1/tail?topic=news"] {
        let lived = unread(&theatre, uri, std::future::ready(())).await;
        assert!((60..65).contains(&lived.as_secs()), "{uri}: {lived:?}");
    }
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_told_its_end_and_takes_nothing_is_cut_too() {
    let theatre = theatre().await;
    let drained = async {
        let drained = theatre.edge.drain(Duration::from_secs(1));
        let soon = tokio::time::timeout(Duration::from_secs(2), drained).await;
        assert!(soon.is_err(), "its session is still there");
    };
    let lived = unread(&theatre, "/v1/sse?topic=news", drained).await;
    assert!((60..65).contains(&lived.as_secs()), "{lived:?}");
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_stream_is_held_for_a_page_that_may_not_read_it() {
    let theatre = theatre().await;
    for uri in ["/v1/sse?topic=news", "/v1/tail?topic=news"] {
        let foreign = [("origin", "https://evil.example")];
        let answer = get(&theatre, uri, &foreign).await;
        assert_eq!(answer.status, 403, "{uri}: {}", answer.body);
        assert!(
            answer.body.contains("origin_not_allowed"),
            "{}",
            answer.body
        );
    }
    theatre.close().await;
}
