//! Stories of streams: the EventSource transcript byte for byte, and what every carrier says alike.

use fanfare_core::code::Advice;
use fanfare_core::gap::{GapReason, TrimmedBy};
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::Class;

use super::*;
use crate::spelling::AnswerKind;
use crate::testing::topic;

const B: &str = "AQLAJ6Rr_qIryQcDzqapwI6tASQHKrvFycM";

fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn subscribed(name: &str, head: Position, cursor: &str) -> Subscribed {
    Subscribed {
        id: None,
        topic: topic(name),
        class: Class::Durable.into(),
        answer: AnswerKind::Latest.into(),
        from: None,
        head,
        cursor: Some(cursor.to_owned()),
    }
}

fn trimmed() -> Gap {
    Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: Position::new(7, 42),
        to: Position::new(7, 100),
        missed: Some(58),
    }
}

fn draining() -> Disconnect {
    let refusal = Refusal::new(Code::Draining, "this node is leaving").retry_after(800);
    Disconnect::new(&refusal, None)
}

#[test]
fn an_event_source_is_told_what_it_is_subscribed_to() {
    let first = subscribed("chat.7", Position::new(7, 3), "C");
    let second = subscribed("news", Position::new(7, 42), B);
    let stream = shown(|out| {
        sse::put_retry(out, 2_317);
        Carrier::Sse.put_subscribed(out, &first);
        Carrier::Sse.put_subscribed(out, &second);
    });
    assert_eq!(
        stream,
        format!(
            "retry: 2317\n\n\
             id: C\nevent: $subscribed\ndata: {{\"type\":\"subscribed\",\"topic\":\"chat.7\",\"class\":\"durable\",\"answer\":\"latest\",\"head\":\"7-3\"}}\n\n\
             id: {B}\nevent: $subscribed\ndata: {{\"type\":\"subscribed\",\"topic\":\"news\",\"class\":\"durable\",\"answer\":\"latest\",\"head\":\"7-42\"}}\n\n"
        )
    );
    assert_eq!(
        shown(|out| Carrier::Html.put_subscribed(out, &second)),
        shown(|out| Carrier::Sse.put_subscribed(out, &second))
    );
}

#[test]
fn an_event_source_of_a_draining_node_keeps_its_id() {
    assert_eq!(
        shown(|out| Carrier::Sse.put_disconnect(out, &draining())),
        "retry: 800\nevent: $disconnect\ndata: {\"type\":\"disconnect\",\"code\":\"draining\",\"advice\":\"reroute\",\"retry_after_ms\":800,\"detail\":\"this node is leaving\"}\n\n"
    );
    let last = Disconnect {
        cursor: Some("C43".to_owned()),
        ..draining()
    };
    assert!(
        shown(|out| Carrier::Html.put_disconnect(out, &last))
            .starts_with("retry: 800\nid: C43\nevent: $disconnect\n")
    );
}

#[test]
fn a_gap_is_an_item_on_every_carrier() {
    let gap = |carrier: Carrier, cursor| {
        shown(|out| carrier.put_gap(out, &topic("news"), &trimmed(), cursor))
    };
    let json = r#"{"type":"gap","topic":"news","reason":"trimmed","by":"age","from":"7-42","to":"7-100","missed":58}"#;
    assert_eq!(
        gap(Carrier::Sse, Some("C100")),
        format!("id: C100\nevent: $gap\ndata: {json}\n\n")
    );
    assert_eq!(
        gap(Carrier::Sse, None),
        format!("event: $gap\ndata: {json}\n\n")
    );
    let open = json.strip_suffix('}').unwrap();
    assert_eq!(
        gap(Carrier::Tail, Some("C100")),
        format!("{open},\"cursor\":\"C100\"}}\n")
    );
    assert_eq!(gap(Carrier::Tail, None), format!("{json}\n"));
    assert!(
        gap(Carrier::Html, Some("C100"))
            .starts_with("id: C100\nevent: $gap\ndata: <aside class=\"fanfare-gap\"")
    );
}

#[test]
fn a_websocket_gets_frames() {
    let frame = |json: &str| {
        let mut out = Vec::new();
        ws::put_text(&mut out, json.as_bytes());
        out
    };
    let mut out = Vec::new();
    Carrier::Ws.put_gap(&mut out, &topic("t"), &trimmed(), Some("C"));
    let json = r#"{"type":"items","items":[{"type":"gap","topic":"t","reason":"trimmed","by":"age","from":"7-42","to":"7-100","missed":58}],"cursor":"C"}"#;
    assert_eq!(out, frame(json));
    out.clear();
    Carrier::Ws.put_heartbeat(&mut out);
    assert_eq!(
        out,
        [&[0x89, 0], frame(r#"{"type":"heartbeat"}"#).as_slice()].concat()
    );
    out.clear();
    Carrier::Ws.put_subscribed(&mut out, &subscribed("t", Position::new(7, 3), "C"));
    let json = r#"{"type":"subscribed","topic":"t","class":"durable","answer":"latest","head":"7-3","cursor":"C"}"#;
    assert_eq!(out, frame(json));
    out.clear();
    Carrier::Ws.put_disconnect(&mut out, &draining());
    assert!(out.ends_with(b"\x88\x0a\x03\xf4draining"));
}

#[test]
fn a_tail_gets_lines() {
    let subscribed = subscribed("t", Position::new(7, 3), "C");
    assert_eq!(
        shown(|out| Carrier::Tail.put_subscribed(out, &subscribed)),
        "{\"type\":\"subscribed\",\"topic\":\"t\",\"class\":\"durable\",\"answer\":\"latest\",\"head\":\"7-3\",\"cursor\":\"C\"}\n"
    );
    assert_eq!(
        shown(|out| Carrier::Tail.put_heartbeat(out)),
        "{\"type\":\"heartbeat\"}\n"
    );
    assert_eq!(shown(|out| Carrier::Sse.put_heartbeat(out)), ": hb\n\n");
    let end = shown(|out| Carrier::Tail.put_disconnect(out, &draining()));
    assert!(end.starts_with("{\"type\":\"disconnect\",") && end.ends_with("}\n"));
    assert_eq!(draining().advice, Some(Advice::Reroute.into()));
}
