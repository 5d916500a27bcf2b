//! What clients of protocol version 1 have been sent: cursors, events, frames, polls, and the shards
//! of topics. A client of any release must find the same texts again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Gap, GapReason, Item, Policy, Standing, TrimmedBy};
use fanfare_core::id::Term;
use fanfare_core::message::{Content, Message, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::rule::{Class, Html, Rules};
use fanfare_host::golden::{self, Values};
use fanfare_protocol::json::server_frame::{self, ServerFrame, Subscribed};
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
