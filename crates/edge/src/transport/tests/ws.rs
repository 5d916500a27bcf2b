//! WebSocket.

use std::time::Duration;

use fanfare_core::rule::{RuleLayer, RuleTable, Slow};
use fanfare_protocol::json::server_frame::ServerFrame;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use super::client::{Socket, briefs, one, subscribed};
use crate::config::EdgeConfig;
use crate::session::stage::Theatre;

pub(super) async fn theatre() -> Theatre {
    Theatre::open(EdgeConfig::default()).await
}

async fn greeted(theatre: &Theatre) -> Socket {
    let mut socket = Socket::open(theatre, "/v1/ws").await;
    socket.say(r#"{"type":"hello","id":1}"#).await;
    let ServerFrame::Welcome(welcome) = socket.frame().await else {
        panic!("no welcome")
    };
    assert_eq!((welcome.id, welcome.heartbeat_ms), (Some(1), 15_000));
    assert_eq!(
        (welcome.node.as_str(), welcome.limits.max_topics),
        ("n1", 100)
    );
    socket
}

pub(super) fn many(slow: Slow) -> RuleTable {
    let mut table = RuleTable::default();
    table.version = 1;
    let layer = RuleLayer {
        retain_bytes: Some(1 << 30),
        retain_count: Some(100_000),
        slow: Some(slow),
        slow_lag: Some(100),
        ..RuleLayer::default()
    };
    assert!(table.put(">".parse().unwrap(), layer));
    table
}

#[tokio::test(start_paused = true)]
async fn a_session_from_hello_to_close() {
    let theatre = theatre().await;
    let head = theatre.stage.publish("news", "before");
    let mut socket = greeted(&theatre).await;
    socket
        .say(r#"{"type":"subscribe","id":2,"topic":"news"}"#)
        .await;
    let ServerFrame::Subscribed(answer) = socket.frame().await else {
        panic!("no answer")
    };
    assert_eq!(
        (answer.id, answer.answer.as_str(), answer.head),
        (Some(2), "latest", head)
    );
    assert!(answer.cursor.is_some());

    let at = theatre.stage.publish("news", "hi");
    let (items, cursor) = socket.items(1).await;
    assert_eq!(briefs(&items), [format!("{at} hi")]);
    assert!(cursor.is_some());

    let draft = r#"{"type":"publish","id":3,"topic":"news","data":"mine"}"#;
    socket.say(draft).await;
    let (mut acked, mut item) = (None, None);
    while acked.is_none() || item.is_none() {
        match socket.frame().await {
            ServerFrame::Ack { id: 3, ack } => acked = Some(ack),
            frame => item = Some(one(frame)),
        }
    }
    assert_eq!(item, Some(format!("{} mine", at.next())));

    socket.say(r#"{"type":"ping","id":4}"#).await;
    assert_eq!(socket.frame().await, ServerFrame::Pong { id: Some(4) });
    socket
        .say(r#"{"type":"unsubscribe","id":5,"topic":"news"}"#)
        .await;
    assert!(matches!(socket.frame().await, ServerFrame::Unsubscribed(end) if end.id == Some(5)));
    theatre.stage.publish("news", "unheard");
    socket.say(r#"{"type":"ping","id":6}"#).await;
    assert_eq!(socket.frame().await, ServerFrame::Pong { id: Some(6) });
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn topics_of_the_url_need_no_frame() {
    let theatre = theatre().await;
    let first = theatre.stage.publish("news", "1");
    theatre.stage.publish_all("news", &["2", "3"]);
    let mut socket = Socket::open(&theatre, &format!("/v1/ws?topic=news&from={first}")).await;
    assert!(matches!(socket.frame().await, ServerFrame::Welcome(_)));
    assert_eq!(subscribed(socket.frame().await).0, "recovered");
    let (items, _) = socket.items(2).await;
    let epoch = first.epoch.0;
    assert_eq!(
        briefs(&items),
        [format!("{epoch}-2 2"), format!("{epoch}-3 3")]
    );
    socket.say(r#"{"type":"hello","id":1}"#).await;
    assert!(matches!(
        socket.frame().await,
        ServerFrame::Error { id: Some(1), .. }
    ));
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_of_the_url_is_for_what_is_subscribed_later() {
    let theatre = theatre().await;
    let seen = theatre.stage.publish("news", "1");
    let other = theatre.stage.publish("chat", "1");
    let missed = theatre.stage.publish("news", "2");
    let mut both = fanfare_core::cursor::Cursor::default();
    for (topic, at) in [("news", seen), ("chat", other)] {
        let topic: fanfare_core::name::TopicName = topic.parse().unwrap();
        both.set(topic.hash64(), at);
    }
    // Only a frame with a cursor of its own has another.
    for (url, hello, answer) in [
        ("", r#"{"type":"hello","id":1}"#.to_owned(), "recovered"),
        (
            "",
            r#"{"type":"hello","cursor":""}"#.to_owned(),
            "recovered",
        ),
        ("&topic=chat", String::new(), "recovered"),
    ] {
        let uri = format!("/v1/ws?cursor={both}&cursors=true{url}");
        let mut socket = Socket::open(&theatre, &uri).await;
        if !hello.is_empty() {
            socket.say(&hello).await;
        }
        assert!(matches!(socket.frame().await, ServerFrame::Welcome(_)));
        if !url.is_empty() {
            subscribed(socket.frame().await);
        }
        socket
            .say(r#"{"type":"subscribe","id":2,"topic":"news"}"#)
            .await;
        let standing = (answer.to_owned(), Some(seen), missed);
        assert_eq!(subscribed(socket.frame().await), standing, "{uri} {hello}");
        let (items, cursor) = socket.items(1).await;
        assert_eq!(briefs(&items), [format!("{missed} 2")]);
        assert!(cursor.is_some(), "{uri} {hello}");
        socket.close().await;
    }
    let mut wrong = Socket::open(&theatre, "/v1/ws?from=earliest").await;
    assert_eq!(wrong.ending().await, ("invalid_argument".to_owned(), 4600));
    drop(wrong);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn bad_frames_are_read_no_faster_than_they_are_answered() {
    let theatre = theatre().await;
    let mut socket = Socket::with_room(&theatre, "/v1/ws?topic=news", 1_000).await;
    socket.frame().await;
    subscribed(socket.frame().await);
    let mut sent = 0;
    // In the end nothing fits on the way to the server: it does not read.
    while socket.text_soon("{}").await {
        sent += 1;
        assert!(sent < 100_000, "bad frames pile up without bound");
    }
    for _ in 0..sent {
        assert!(matches!(socket.answer().await, ServerFrame::Error { .. }));
    }
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_inside_a_run_of_the_tail_asks_nobody() {
    let theatre = theatre().await;
    let mut keeper = Socket::open(&theatre, "/v1/ws?topic=news").await;
    keeper.frame().await;
    subscribed(keeper.frame().await);
    let last = theatre.stage.publish_all("news", &["1", "2", "3", "4"]);
    keeper.items(4).await;
    let reads = theatre.stage.reads();

    let inside = fanfare_core::position::Position::new(last.epoch.0, 2);
    let mut socket = Socket::open(&theatre, &format!("/v1/ws?topic=news&from={inside}")).await;
    socket.frame().await;
    assert_eq!(
        subscribed(socket.frame().await),
        ("recovered".to_owned(), Some(inside), last)
    );
    let (items, _) = socket.items(2).await;
    assert_eq!(
        briefs(&items),
        [format!("{} 3", inside.next()), format!("{last} 4")]
    );
    assert_eq!(theatre.stage.reads(), reads, "the tail answered");
    assert_eq!(
        theatre.stage.attachments(),
        1,
        "sessions share the attachment"
    );
    keeper.close().await;
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn bad_frames_are_answered_and_worse_ones_end_the_session() {
    let theatre = theatre().await;
    let mut socket = greeted(&theatre).await;
    for (frame, field) in [
        (
            r#"{"type":"publish","id":3,"topic":"news","data":"hi","colour":"red"}"#,
            "colour",
        ),
        (r#"{"type":"subscribe","id":4,"topic":"a..b"}"#, "topic"),
        (r#"{"type":"unsubscribe","id":5,"topic":"news"}"#, "topic"),
    ] {
        socket.say(frame).await;
        let ServerFrame::Error { id, problem } = socket.frame().await else {
            panic!("{frame}")
        };
        assert!(id.is_some());
        assert_eq!(problem.field.as_deref(), Some(field), "{frame}");
    }
    socket
        .say(r#"{"type":"subscribe","id":6,"topic":"$vault"}"#)
        .await;
    assert!(matches!(
        socket.frame().await,
        ServerFrame::Error { id: Some(6), .. }
    ));
    socket.message(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.ending().await, ("protocol_error".to_owned(), 4605));

    let mut unkind = Socket::open(&theatre, "/v1/ws").await;
    unkind.say(r#"{"type":"ping"}"#).await;
    assert_eq!(unkind.ending().await, ("protocol_error".to_owned(), 4605));

    let mut large = greeted(&theatre).await;
    large
        .say(&format!(
            r#"{{"type":"ping","id":{}}}"#,
            " ".repeat(200_000)
        ))
        .await;
    assert_eq!(large.ending().await, ("payload_too_large".to_owned(), 1009));

    let mut wrong = Socket::open(&theatre, "/v1/ws?topic=news&cursor=nonsense").await;
    assert_eq!(wrong.ending().await, ("bad_cursor".to_owned(), 4602));
    drop((socket, unkind, large, wrong));
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_everything_in_order_and_stops_nobody() {
    let theatre = theatre().await;
    theatre.stage.rules(&many(Slow::CatchUp));
    let mut slow = Socket::with_room(&theatre, "/v1/ws?topic=news", 300).await;
    slow.frame().await;
    subscribed(slow.frame().await);
    let mut fast = Socket::open(&theatre, "/v1/ws?topic=news").await;
    fast.frame().await;
    subscribed(fast.frame().await);
    let payload = "y".repeat(2_000);
    let mut last = None;
    for n in 1..=1_500_u64 {
        last = Some(theatre.stage.publish("news", &payload));
        if n % 100 == 0 {
            fast.items(100).await;
        }
    }
    let epoch = last.unwrap().epoch.0;
    for n in 1..=1_500_u64 {
        // Pings are answered inside the reading; nothing lands inside a frame.
        if n % 200 == 0 {
            theatre.deps.clock.sleep(Duration::from_secs(25)).await;
        }
        let items = slow.one_item().await;
        assert!(
            items.starts_with(&format!("{epoch}-{n} ")),
            "{n}: {items:.20}"
        );
    }
    fast.close().await;
    slow.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_of_a_conflating_topic_skips_to_the_newest() {
    let theatre = theatre().await;
    theatre.stage.rules(&many(Slow::Conflate));
    let mut socket = Socket::with_room(&theatre, "/v1/ws?topic=news", 300).await;
    socket.frame().await;
    subscribed(socket.frame().await);
    let payload = "y".repeat(2_000);
    let mut last = theatre.stage.publish("news", &payload);
    for n in 2..=600_u64 {
        last = theatre.stage.publish("news", &payload);
        if n % 50 == 0 {
            theatre.deps.clock.sleep(Duration::from_millis(1)).await;
        }
    }
    let mut at = 0;
    let mut gaps = 0;
    while at < last.offset.0 {
        let item = socket.one_item().await;
        let epoch = last.epoch.0;
        if let Some(gap) = item.strip_prefix(&format!("conflated {epoch}-{at}..{epoch}-")) {
            at = gap.parse().unwrap();
            gaps += 1;
        } else {
            assert!(
                item.starts_with(&format!("{epoch}-{} ", at + 1)),
                "{at}: {item:.30}"
            );
            at += 1;
        }
    }
    assert!(gaps > 0, "600 messages are more than its lag");
    socket.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_of_two_topics_has_cursors_if_it_asks() {
    let theatre = theatre().await;
    let uri = "/v1/ws?topic=a&topic=b&cursors=true";
    let mut socket = Socket::open(&theatre, uri).await;
    socket.frame().await;
    subscribed(socket.frame().await);
    subscribed(socket.frame().await);
    theatre.stage.publish("a", "1");
    let (_, cursor) = socket.items(1).await;
    let cursor = cursor.expect("asked for");
    let missed = theatre.stage.publish("b", "2");
    socket.items(1).await;
    drop(socket);

    let mut again =
        Socket::open(&theatre, &format!("/v1/ws?topic=a&topic=b&cursor={cursor}")).await;
    again.frame().await;
    let mut items = Vec::new();
    let mut answers = 0;
    while answers < 2 || items.is_empty() {
        match again.frame().await {
            ServerFrame::Subscribed(answer) => {
                assert_eq!(answer.answer.as_str(), "recovered");
                answers += 1;
            }
            ServerFrame::Items {
                items: some,
                cursor,
            } => {
                assert_eq!(cursor, None, "not asked for");
                items.extend(some);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(briefs(&items), [format!("{missed} 2")]);
    again.close().await;
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_close_is_echoed() {
    let theatre = theatre().await;
    let mut socket = Socket::open(&theatre, "/v1/ws?topic=news").await;
    socket.frame().await;
    subscribed(socket.frame().await);
    let close = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    socket.message(Message::Close(Some(close.clone()))).await;
    assert_eq!(socket.next().await, Some(Message::Close(Some(close))));
    assert_eq!(socket.next().await, None);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_and_does_not_read_is_read_no_more_until_it_does() {
    let theatre = theatre().await;
    let mut socket = Socket::with_room(&theatre, "/v1/ws?topic=news", 1_000).await;
    socket.frame().await;
    subscribed(socket.frame().await);
    let mut asked = 0;
    // In the end nothing fits on the way to the server: it does not read, so it holds no more.
    while socket.ping_soon().await {
        asked += 1;
        assert!(asked < 100_000, "answers pile up without bound");
    }
    assert!(asked > 100, "{asked}");
    let mut answered = 0;
    while answered < asked {
        match socket.next().await {
            Some(Message::Pong(_)) => answered += 1,
            Some(Message::Ping(_) | Message::Text(_)) => {}
            other => panic!("{answered} of {asked}: {other:?}"),
        }
    }
    socket.say(r#"{"type":"ping","id":1}"#).await;
    assert_eq!(socket.frame().await, ServerFrame::Pong { id: Some(1) });
    socket.close().await;
    theatre.close().await;
}

/// On threads: relay and pumps meet at the same sessions, whose sockets block at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn relay_and_pumps_on_threads_keep_the_order() {
    let theatre = theatre().await;
    theatre.stage.rules(&many(Slow::CatchUp));
    let mut sockets = Vec::new();
    for n in 0..24 {
        let room = 200 + 100 * (n % 8);
        let mut socket = Socket::with_room(&theatre, "/v1/ws?topic=a&topic=b", room).await;
        socket.frame().await;
        subscribed(socket.frame().await);
        subscribed(socket.frame().await);
        sockets.push(socket);
    }
    let count = 1_000_u64;
    let first = theatre.stage.publish("a", "a 0");
    let other = theatre.stage.publish("b", "b 0");
    let stage = theatre.stage.clone();
    let publisher = tokio::task::spawn_blocking(move || {
        for n in 1..count {
            stage.publish("a", &format!("a {n}"));
            stage.publish("b", &format!("b {n}"));
        }
    });
    let read = |mut socket: Socket| async move {
        let mut next = [first, other];
        for _ in 0..2 * count {
            let item = socket.one_item().await;
            let which = usize::from(item.contains(" b "));
            let (at, topic) = (next[which], ["a", "b"][which]);
            assert_eq!(item, format!("{at} {topic} {}", at.offset.0 - 1));
            next[which] = at.next();
        }
        socket.close().await;
    };
    let readers: Vec<_> = sockets.into_iter().map(read).collect();
    futures_util::future::join_all(readers).await;
    publisher.await.unwrap();
    theatre
        .until("no session is left", || theatre.sessions().count() == 0)
        .await;
    theatre.deps.stop.cancel();
}
