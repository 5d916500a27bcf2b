//! What clients of protocol version 1 have been sent: cursors, events, frames, polls, and the shards
//! of topics. A client of any release must find the same texts again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Gap, GapReason, Item, Policy, Since, Standing, TrimmedBy};
use fanfare_core::id::Term;
use fanfare_core::message::{Content, Message, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, Html, Rules};
use fanfare_host::golden::{self, Values};
use fanfare_protocol::json::client_frame::ClientFrame;
use fanfare_protocol::json::server_frame::{
    self, Disconnect, Refreshed, ServerFrame, Subscribed, Unsubscribed, Welcome, WelcomeLimits,
};
use fanfare_protocol::limit::Limits;
use fanfare_protocol::poll::{self, PolledTopic};
use fanfare_protocol::run::{EncodedRun, Format};
use fanfare_protocol::sse;

fn values(file: &str, now: &Values) -> Values {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    golden::values(&dir.join("v1").join(file), now)
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

fn messages() -> Vec<Arc<Message>> {
    let tags = Tags::new([("home".to_owned(), "2".to_owned())]).unwrap();
    let json = Meta {
        content_type: "application/json".parse().unwrap(),
        event: Some("score".parse().unwrap()),
        tags,
    };
    let text = Meta {
        content_type: "text/plain; charset=utf-8".parse().unwrap(),
        ..Meta::default()
    };
    let bytes = Meta {
        content_type: "application/octet-stream".parse().unwrap(),
        ..Meta::default()
    };
    let parts: [(&[u8], Meta); 3] = [
        (b"{\"home\": 2}", json),
        ("zwei\nZeilen <b>&\u{fc}".as_bytes(), text),
        (&[0, 255, 1], bytes),
    ];
    let message = |(offset, (payload, meta)): (u64, (&[u8], Meta))| {
        Arc::new(Message {
            position: Position::new(7, offset),
            wall_ms: 1_772_360_130_123,
            content: Content {
                payload: Bytes::copy_from_slice(payload),
                meta: Arc::new(meta),
            },
        })
    };
    (42..).zip(parts).map(message).collect()
}

fn gap(reason: GapReason, missed: Option<u64>) -> Gap {
    Gap {
        reason,
        from: Position::new(7, 3),
        to: Position::new(7, 41),
        missed,
    }
}

fn gaps() -> Vec<Gap> {
    let trimmed = [
        TrimmedBy::Age,
        TrimmedBy::Count,
        TrimmedBy::Bytes,
        TrimmedBy::Budget,
    ];
    let trimmed = trimmed.map(|by| gap(GapReason::Trimmed(by), Some(38)));
    let others = [
        GapReason::DataLoss,
        GapReason::EpochChanged,
        GapReason::PositionAhead,
        GapReason::Conflated,
    ];
    let others = others.map(|reason| gap(reason, None));
    trimmed.into_iter().chain(others).collect()
}

fn standing(answer: Answer) -> Standing {
    Standing {
        answer,
        start: Position::new(7, 42),
        head: Position::new(7, 44),
        exists: true,
        policy: Policy::from(&Rules {
            class: Class::Durable,
            ..Rules::default()
        }),
        term: Term(4),
    }
}

fn cursor() -> Cursor {
    let mut cursor = Cursor::default();
    for (name, offset) in [("news", 44), ("chat.7", 1), ("$sys.x", 0)] {
        cursor.set(topic(name).hash64(), Position::new(7, offset));
    }
    cursor
}

#[test]
fn runs_of_messages_in_every_format() {
    let run = |format: Format| {
        let run = EncodedRun::new(format, &topic("news"), Html::Escape, &messages());
        (format!("{format:?}"), run.bytes().to_vec())
    };
    let now: Values = Format::ALL.into_iter().map(run).collect();
    assert_eq!(values("runs.txt", &now), now);
}

#[test]
fn polls_with_every_kind_of_gap() {
    let answers = [Answer::Latest, Answer::Recovered(Position::new(7, 41))];
    let answers = answers
        .into_iter()
        .chain(gaps().into_iter().map(Answer::Gap));
    let mut now = Values::new();
    for (n, answer) in (0_u32..).zip(answers) {
        let rows = [PolledTopic::new(topic("news"), &standing(answer))];
        let told = match answer {
            Answer::Gap(gap) => vec![Item::Gap(topic("news"), gap)],
            Answer::Latest | Answer::Recovered(_) => Vec::new(),
        };
        let placed = messages().into_iter();
        let placed = placed.map(|message| Item::Message(topic("news"), message));
        let items: Vec<Item> = told.into_iter().chain(placed).collect();
        let mut body = Vec::new();
        poll::put_body(&mut body, &rows, &items, n == 0, &cursor().to_string());
        now.insert(format!("poll_{n:02}"), body);
    }
    assert_eq!(values("polls.txt", &now), now);
}

#[test]
fn frames_of_a_session() {
    let mut now = Values::new();
    let mut frame = |name: &str, put: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        put(&mut bytes);
        now.insert(name.to_owned(), bytes);
    };
    let cursor = cursor().to_string();
    let subscribed = |answer| {
        let standing = standing(answer);
        Subscribed::new(Some(3), topic("news"), &standing, cursor.clone())
    };
    let (latest, gap) = (
        subscribed(Answer::Latest),
        subscribed(Answer::Gap(gaps()[3])),
    );
    frame("subscribed_latest", &|out| {
        server_frame::put_subscribed(out, &latest, Some(&cursor));
    });
    frame("subscribed_gap", &|out| {
        server_frame::put_subscribed(out, &gap, Some(&cursor));
    });
    frame("heartbeat", &|out| server_frame::put_heartbeat(out));
    frame("pong", &|out| server_frame::put_pong(out, Some(9)));
    let old = values("frames.txt", &now);
    assert_eq!(old, now);
    for (name, bytes) in old {
        ServerFrame::read(&bytes).unwrap_or_else(|bad| panic!("{name}: {bad:?}"));
    }
    let mut events = Vec::new();
    sse::put_retry(&mut events, 1_500);
    sse::put_heartbeat(&mut events);
    let now = Values::from([("retry_and_heartbeat".to_owned(), events)]);
    assert_eq!(values("events.txt", &now), now);
}

fn welcome() -> Welcome {
    Welcome {
        id: Some(1),
        session: "s-7".to_owned(),
        node: "n2".to_owned(),
        heartbeat_ms: 15_000,
        expires_in_ms: Some(60_000),
        limits: WelcomeLimits {
            max_topics: 100,
            max_frame: 131_072,
            max_payload: 65_536,
            in_flight: 256,
        },
        features: vec!["publish".to_owned()],
    }
}

#[test]
fn frames_of_a_websocket() {
    let receipt = Receipt {
        topic: topic("news"),
        position: Some(Position::new(7, 44)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: false,
        dedup_remaining_ms: Some(120_000),
    };
    let refusal = Refusal::of_publish(Code::Overloaded, "too much is in flight").retry_after(250);
    let ended = Refusal::new(Code::TopicNotFound, "it was deleted");
    let unsubscribed = Unsubscribed {
        id: Some(4),
        topic: topic("news"),
        code: Some(ended.code.into()),
        advice: Some(ended.code.advice(ended.outcome).into()),
        detail: Some(ended.detail),
    };
    let drained = Refusal::new(Code::Draining, "the node stops").retry_after(400);
    let disconnect = Disconnect::new(&drained, Some(cursor().to_string()));
    let refreshed = Refreshed {
        id: 6,
        expires_in_ms: Some(60_000),
    };
    let mut now = Values::new();
    let mut frame = |name: &str, put: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        put(&mut bytes);
        now.insert(name.to_owned(), bytes);
    };
    frame("ack", &|out| server_frame::put_ack(out, 3, &receipt));
    frame("disconnect", &|out| {
        server_frame::put_disconnect(out, &disconnect)
    });
    frame("error", &|out| {
        server_frame::put_error(out, Some(5), &refusal)
    });
    frame("refreshed", &|out| {
        server_frame::put_refreshed(out, refreshed)
    });
    frame("unsubscribed", &|out| {
        server_frame::put_unsubscribed(out, &unsubscribed)
    });
    frame("welcome", &|out| server_frame::put_welcome(out, &welcome()));
    let old = values("websocket.txt", &now);
    assert_eq!(old, now);
    let read = |name: &str| ServerFrame::read(&old[name]).unwrap();
    assert_eq!(read("welcome"), ServerFrame::Welcome(welcome()));
    assert_eq!(read("disconnect"), ServerFrame::Disconnect(disconnect));
    assert_eq!(read("refreshed"), ServerFrame::Refreshed(refreshed));
    assert_eq!(
        read("unsubscribed"),
        ServerFrame::Unsubscribed(unsubscribed)
    );
    assert!(matches!(read("ack"), ServerFrame::Ack { id: 3, .. }));
    assert!(matches!(
        read("error"),
        ServerFrame::Error { id: Some(5), .. }
    ));
}

/// What clients of version 1 say is understood for ever.
#[test]
fn frames_of_clients() {
    let said = [
        (
            "hello",
            r#"{"type":"hello","id":1,"heartbeat_ms":20000,"cursors":true,"client":"app 1"}"#,
        ),
        (
            "subscribe",
            r#"{"type":"subscribe","id":2,"topic":"news","from":"last:3","min_position":"7-41"}"#,
        ),
        (
            "unsubscribe",
            r#"{"type":"unsubscribe","id":3,"topic":"news"}"#,
        ),
        (
            "publish",
            r#"{"type":"publish","id":4,"topic":"news","data":{"home":2},"key":"k1","event":"score"}"#,
        ),
        ("refresh", r#"{"type":"refresh","id":5,"token":"t"}"#),
        ("ping", r#"{"type":"ping"}"#),
    ];
    let now = said.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    let old = values("client_frames.txt", &now.into());
    let limits = Limits::default();
    let read = |name: &str| {
        let read = ClientFrame::read(&old[name], &limits);
        read.unwrap_or_else(|bad| panic!("{name}: {bad:?}"))
    };
    assert!(matches!(read("hello"), ClientFrame::Hello(hello)
        if hello.heartbeat_ms == Some(20_000) && hello.cursors && hello.client.is_some()));
    assert!(matches!(read("subscribe"), ClientFrame::Subscribe(wish)
        if wish.from == Some(Since::Last(3)) && wish.min_position == Some(Position::new(7, 41))));
    assert!(matches!(
        read("unsubscribe"),
        ClientFrame::Unsubscribe { id: 3, .. }
    ));
    assert!(
        matches!(read("publish"), ClientFrame::Publish { id: 4, draft }
        if &draft.content.payload[..] == b"{\"home\":2}" && draft.key.is_some())
    );
    assert!(matches!(
        read("refresh"),
        ClientFrame::Refresh { id: 5, .. }
    ));
    assert_eq!(read("ping"), ClientFrame::Ping { id: None });
}

#[test]
fn cursors_and_the_shards_of_ten_names() {
    let mut now = Values::from([("cursor".to_owned(), cursor().to_string().into_bytes())]);
    let names = [
        "a",
        "news",
        "chat.7",
        "$sys.x",
        "orders.eu.42",
        "A",
        "live.cursors",
        "x-y_z",
        "0",
        "a.b.c.d.e",
    ];
    for name in names {
        let topic = topic(name);
        let told = format!("{:016x} {}", topic.hash64(), topic.shard(64));
        now.insert(format!("topic_{name}"), told.into_bytes());
    }
    let old = values("cursors.txt", &now);
    assert_eq!(old, now);
    let text = std::str::from_utf8(&old["cursor"]).unwrap();
    assert_eq!(text.parse::<Cursor>().unwrap(), cursor());
}
