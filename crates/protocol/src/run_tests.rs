//! Stories of runs: encoded once, cut anywhere, the same to every reader.

use proptest::prelude::*;

use super::*;
use crate::json::Received;
use crate::json::server_frame::ServerFrame;
use crate::ndjson::Lines;
use crate::sse::{Parser, SseItem};
use crate::testing::{message, text_message, topic};

const C42: &str = "AQHOpqnAjq0BJAcqENr2Tw";
const C43: &str = "AQHOpqnAjq0BJAcr4rF1TA";

fn run(format: Format, messages: &[Message]) -> EncodedRun {
    let messages: Vec<_> = messages.iter().cloned().map(Arc::new).collect();
    EncodedRun::new(format, &topic("news"), Html::Escape, &messages)
}

/// Messages 7-42 and on, one for each text.
fn texts(texts: &[&str]) -> Vec<Message> {
    let at = |(n, text): (u64, &&str)| text_message(Position::new(7, 42 + n), text);
    (0..).zip(texts).map(at).collect()
}

/// The payloads of a server's unmasked text frames.
fn frames(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let [0x81, short, rest @ ..] = bytes {
        let (len, rest) = match short {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            127 => (
                u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize,
                &rest[8..],
            ),
            short => (usize::from(*short), rest),
        };
        payloads.push(rest[..len].to_vec());
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "what follows is no text frame");
    payloads
}

/// The positions that a reader of these bytes gets, and the last cursor it was told.
fn received(format: Format, bytes: &[u8]) -> (Vec<Position>, Option<String>) {
    let frames: Vec<ServerFrame> = match format.carrier() {
        Carrier::Ws => frames(bytes)
            .iter()
            .map(|p| ServerFrame::read(p).unwrap())
            .collect(),
        Carrier::Sse => {
            let mut items = Vec::new();
            Parser::new(1 << 20).push(bytes, &mut items).unwrap();
            let frame = |item| match item {
                SseItem::Event(event) => event.into_frame().unwrap(),
                SseItem::Retry(_) | SseItem::Comment => panic!("not an event"),
            };
            items.into_iter().map(frame).collect()
        }
        Carrier::Tail => {
            let (mut lines, mut frames) = (Lines::new(1 << 20), Vec::new());
            let read = |line: &[u8]| frames.push(ServerFrame::read(line).unwrap());
            lines.push(bytes, read).unwrap();
            frames
        }
        Carrier::Html => panic!("not for programs"),
    };
    let (mut positions, mut last) = (Vec::new(), None);
    for frame in frames {
        let ServerFrame::Items { items, cursor } = frame else {
            panic!("not items")
        };
        last = cursor.or(last);
        positions.extend(items.iter().map(|item| match item {
            Received::Message(received) => received.message.position,
            Received::Gap(_) | Received::Other(_) => panic!("not a message"),
        }));
    }
    (positions, last)
}

#[test]
fn the_items_of_the_transcript_are_ours_byte_for_byte() {
    let news = texts(&["hi"]);
    let payload = frames(run(Format::WsOne, &news).bytes()).remove(0);
    assert_eq!(
        String::from_utf8(payload).unwrap(),
        r#"{"type":"items","items":[{"type":"message","topic":"news","position":"7-42","time":"2026-03-01T10:15:30.123Z","content_type":"text/plain; charset=utf-8","data":"hi"}],"cursor":"AQHOpqnAjq0BJAcqENr2Tw"}"#
    );
    let payload = frames(run(Format::WsMany, &news).bytes()).remove(0);
    assert!(payload.ends_with(br#""data":"hi"}]}"#));
}

#[test]
fn each_event_of_one_topic_has_its_own_id() {
    let mut news = texts(&["a", "b"]);
    news[1] = message(
        Position::new(7, 43),
        "application/json",
        b"{ }",
        Some("score"),
        &[],
    );
    let one = run(Format::SseOne, &news);
    let text = String::from_utf8(one.bytes().to_vec()).unwrap();
    let expected = format!(
        "id: {C42}\ndata: {{\"type\":\"message\",\"topic\":\"news\",\"position\":\"7-42\",\"time\":\"2026-03-01T10:15:30.123Z\",\"content_type\":\"text/plain; charset=utf-8\",\"data\":\"a\"}}\n\n\
         id: {C43}\nevent: score\ndata: {{\"type\":\"message\",\"topic\":\"news\",\"position\":\"7-43\",\"time\":\"2026-03-01T10:15:30.123Z\",\"event\":\"score\",\"content_type\":\"application/json\",\"data\":{{}}}}\n\n"
    );
    assert_eq!(text, expected);
    let many = run(Format::SseMany, &news);
    assert!(
        !String::from_utf8(many.bytes().to_vec())
            .unwrap()
            .contains("id: ")
    );
}

#[test]
fn html_events_have_a_data_line_for_each_line() {
    let news = [message(
        Position::new(7, 42),
        "text/plain",
        b"<1>\r\n2",
        None,
        &[],
    )];
    let text = String::from_utf8(run(Format::HtmlOne, &news).bytes().to_vec()).unwrap();
    assert_eq!(
        text,
        format!(
            "id: {C42}\ndata: <article class=\"fanfare-message\" data-topic=\"news\" data-position=\"7-42\" data-time=\"2026-03-01T10:15:30.123Z\"><p>&lt;1&gt;\ndata: 2</p></article>\n\n"
        )
    );
}

#[test]
fn lines_of_one_topic_end_with_their_cursor() {
    let line = run(Format::TailOne, &texts(&["a"]));
    assert!(
        line.bytes()
            .ends_with(format!("\"data\":\"a\",\"cursor\":\"{C42}\"}}\n").as_bytes())
    );
    let line = run(Format::TailMany, &texts(&["a"]));
    assert!(line.bytes().ends_with(b"\"data\":\"a\"}\n"));
}

#[test]
fn the_sessions_own_cursor_stands_on_the_last_of_a_write() {
    let news = texts(&["a", "b", "c"]);
    let text = |format, range| {
        let bytes = run(format, &news).part_with(range, "B");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let events = text(Format::SseMany, 1..3);
    assert_eq!(events.matches("id: B\n").count(), 1);
    assert!(
        events
            .split("\n\n")
            .nth(1)
            .unwrap()
            .starts_with("id: B\ndata: ")
    );
    assert!(text(Format::TailMany, 0..2).ends_with("\"data\":\"b\",\"cursor\":\"B\"}\n"));
    assert!(text(Format::WsMany, 2..3).ends_with("\"data\":\"c\"}],\"cursor\":\"B\"}"));
    // With one topic the shared bytes say it already.
    assert_eq!(
        run(Format::TailOne, &news).part_with(0..3, "B"),
        run(Format::TailOne, &news).part(0..3)
    );
}

#[test]
fn a_whole_run_and_its_events_share_their_bytes() {
    let news = texts(&["a", "b", "c"]);
    for format in Format::ALL {
        let run = run(format, &news);
        assert_eq!(run.part(0..3).as_ptr(), run.bytes().as_ptr(), "{format:?}");
        assert_eq!(Format::ALL[format.index()], format);
        assert_eq!(Format::new(format.carrier(), format.one_topic()), format);
    }
    let events = run(Format::SseOne, &news);
    let tail = events.part(1..3);
    let shared = events.bytes().as_ptr_range();
    assert!(shared.contains(&tail.as_ptr()));
}

#[test]
fn a_run_that_is_too_large_for_a_frame_takes_several() {
    // Each text doubles by its escapes: 300 KiB of JSON, and more messages than a frame holds.
    let large = "\\".repeat(5_000);
    let news = texts(&vec![large.as_str(); 30]);
    let whole = run(Format::WsOne, &news);
    let payloads = frames(whole.bytes());
    assert_eq!(payloads.len(), 2);
    assert!(payloads.iter().all(|payload| payload.len() <= FRAME_BYTES));
    assert_eq!(received(Format::WsOne, whole.bytes()).0.len(), 30);
    assert_eq!(
        received(Format::WsOne, &whole.part(29..30)).0,
        [Position::new(7, 71)]
    );

    let many = run(Format::WsMany, &texts(&vec!["x"; 300]));
    assert_eq!(frames(many.bytes()).len(), 2);
    let marked = many.part_with(0..300, "B");
    let cursors: Vec<bool> = frames(&marked)
        .iter()
        .map(|p| p.ends_with(b",\"cursor\":\"B\"}"))
        .collect();
    assert_eq!(cursors, [false, true]);

    let huge = "\u{1}".repeat(64 << 10);
    let single = run(Format::WsOne, &texts(&["a", &huge, "b"]));
    assert_eq!(frames(single.bytes()).len(), 3);
}

#[test]
fn outside_of_a_run_is_nothing() {
    for format in Format::ALL {
        let run = run(format, &texts(&["a", "b"]));
        #[expect(
            clippy::reversed_empty_ranges,
            reason = "what a careless caller may ask"
        )]
        let odd = [0..0, 2..2, 1..3, 5..9, 2..1];
        for range in odd {
            assert!(run.part(range.clone()).is_empty(), "{format:?} {range:?}");
            assert!(run.part_with(range, "B").len() <= run.part(0..2).len());
        }
        assert!(self::run(format, &[]).bytes().is_empty());
    }
}

proptest! {
    /// The oracle of cutting: a part is what encoding its messages alone gives.
    #[test]
    fn a_part_is_the_run_of_its_messages(
        payloads in prop::collection::vec("\\PC{0,30}|[\\x00-\\x1f]{0,5}", 1..12),
        cut in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
    ) {
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let news = texts(&payloads);
        let begin = cut.index(news.len());
        let end = begin + 1 + end.index(news.len() - begin);
        for format in Format::ALL {
            let whole = run(format, &news);
            let part = whole.part(begin..end);
            let alone = run(format, &news[begin..end]);
            prop_assert_eq!(&part, alone.bytes());
            prop_assert_eq!(whole.part_with(begin..end, "B"), alone.part_with(0..end - begin, "B"));
            prop_assert_eq!(whole.index_after(news[begin].position), begin + 1);
            if format.carrier() != Carrier::Html {
                let (positions, cursor) = received(format, &part);
                let sent: Vec<_> = news[begin..end].iter().map(|m| m.position).collect();
                prop_assert_eq!(&positions, &sent);
                let last = topic_cursor(topic("news").hash64(), sent[sent.len() - 1]);
                prop_assert_eq!(cursor, format.one_topic().then_some(last));
                let (again, cursor) = received(format, &whole.part_with(begin..end, "B"));
                prop_assert_eq!(again, positions);
                if !format.one_topic() {
                    prop_assert_eq!(cursor.as_deref(), Some("B"));
                }
            }
        }
    }
}
