//! Stories of servers' frames: the transcript of the protocol byte for byte, and what a client
//! makes of a newer server.

use fanfare_core::gap::{Gap, GapReason, Policy, TrimmedBy};
use fanfare_core::id::Term;
use fanfare_core::receipt::Reached;
use proptest::prelude::*;

use super::*;
use crate::testing::topic;

const C41: &str = "AQHOpqnAjq0BJAcpA4oFuw";

fn shown(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

fn read(json: &str) -> ServerFrame {
    ServerFrame::read(json.as_bytes()).unwrap()
}

fn standing(answer: Answer, head: Position) -> Standing {
    Standing {
        answer,
        start: Position::new(7, 1),
        head,
        exists: true,
        policy: Policy::default(),
        term: Term(1),
    }
}

#[test]
fn welcome_tells_the_limits() {
    let welcome = Welcome {
        id: Some(1),
        session: "s-9f".to_owned(),
        node: "n-1".to_owned(),
        heartbeat_ms: 15_000,
        expires_in_ms: Some(60_000),
        limits: WelcomeLimits::from(&Limits::default()),
        features: vec!["a".to_owned(), "b".to_owned()],
    };
    let json = shown(|out| put_welcome(out, &welcome));
    assert_eq!(
        json,
        r#"{"type":"welcome","id":1,"session":"s-9f","node":"n-1","heartbeat_ms":15000,"expires_in_ms":60000,"limits":{"max_topics":100,"max_frame":131072,"max_payload":65536,"in_flight":64},"features":["a","b"]}"#
    );
    assert_eq!(read(&json), ServerFrame::Welcome(welcome));
    let bare = shown(|out| put_welcome(out, &Welcome::default()));
    assert!(bare.starts_with(r#"{"type":"welcome","session":"","#));
    assert!(bare.ends_with(r#","features":[]}"#));
}

#[test]
fn subscribed_tells_answer_from_head_and_cursor() {
    let recovered = standing(
        Answer::Recovered(Position::new(7, 41)),
        Position::new(7, 42),
    );
    let subscribed = Subscribed::new(Some(2), topic("news"), &recovered, C41.to_owned());
    let json = shown(|out| put_subscribed(out, &subscribed, Some(C41)));
    assert_eq!(
        json,
        r#"{"type":"subscribed","id":2,"topic":"news","class":"durable","answer":"recovered","from":"7-41","head":"7-42","cursor":"AQHOpqnAjq0BJAcpA4oFuw"}"#
    );
    assert_eq!(read(&json), ServerFrame::Subscribed(subscribed));

    let latest = standing(Answer::Latest, Position::new(7, 3));
    let subscribed = Subscribed::new(None, topic("chat.7"), &latest, String::new());
    assert_eq!(
        shown(|out| put_subscribed(out, &subscribed, None)),
        r#"{"type":"subscribed","topic":"chat.7","class":"durable","answer":"latest","head":"7-3"}"#
    );

    let trimmed = Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: Position::new(7, 42),
        to: Position::new(7, 100),
        missed: Some(58),
    };
    let gap = standing(Answer::Gap(trimmed), Position::new(7, 100));
    let subscribed = Subscribed::new(None, topic("news"), &gap, String::new());
    assert!(
        shown(|out| put_subscribed(out, &subscribed, None))
            .ends_with(r#""answer":"gap","from":"7-42","head":"7-100"}"#)
    );
}

#[test]
fn the_end_of_the_transcript_is_ours_byte_for_byte() {
    let refusal = Refusal::new(Code::Draining, "this node is leaving").retry_after(400);
    let disconnect = Disconnect::new(&refusal, Some("C43".to_owned()));
    let json = shown(|out| put_disconnect(out, &disconnect));
    assert_eq!(
        json,
        r#"{"type":"disconnect","code":"draining","advice":"reroute","retry_after_ms":400,"cursor":"C43","detail":"this node is leaving"}"#
    );
    assert_eq!(read(&json), ServerFrame::Disconnect(disconnect));
}

#[test]
fn an_ack_is_the_receipt_with_its_id() {
    let receipt = Receipt {
        topic: topic("news"),
        position: Some(Position::new(7, 43)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: false,
        dedup_remaining_ms: Some(120_000),
    };
    let json = shown(|out| put_ack(out, 4, &receipt));
    assert_eq!(
        json,
        r#"{"type":"ack","id":4,"topic":"news","position":"7-43","class":"durable","reached":"durable","duplicate":false,"dedup":{"remaining_ms":120000}}"#
    );
    let ack = receipt.into();
    assert_eq!(read(&json), ServerFrame::Ack { id: 4, ack });
}

#[test]
fn small_frames_are_read_as_they_are_written() {
    let lost = Unsubscribed {
        id: None,
        topic: topic("news"),
        code: Some(Code::Forbidden.into()),
        advice: Some(Advice::GiveUp.into()),
        detail: Some("no \"grant\"".to_owned()),
    };
    let asked = Unsubscribed {
        id: Some(3),
        code: None,
        advice: None,
        detail: None,
        ..lost.clone()
    };
    let json = shown(|out| put_unsubscribed(out, &asked));
    assert_eq!(json, r#"{"type":"unsubscribed","id":3,"topic":"news"}"#);
    for unsubscribed in [lost, asked] {
        let json = shown(|out| put_unsubscribed(out, &unsubscribed));
        assert_eq!(read(&json), ServerFrame::Unsubscribed(unsubscribed));
    }
    let refreshed = Refreshed {
        id: 5,
        expires_in_ms: Some(1),
    };
    let json = shown(|out| put_refreshed(out, refreshed));
    assert_eq!(json, r#"{"type":"refreshed","id":5,"expires_in_ms":1}"#);
    assert_eq!(read(&json), ServerFrame::Refreshed(refreshed));
    assert_eq!(shown(|out| put_pong(out, None)), r#"{"type":"pong"}"#);
    assert_eq!(
        read(&shown(|out| put_pong(out, Some(6)))),
        ServerFrame::Pong { id: Some(6) }
    );
    assert_eq!(shown(put_heartbeat), r#"{"type":"heartbeat"}"#);
    assert_eq!(read(&shown(put_heartbeat)), ServerFrame::Heartbeat);
    let refusal = Refusal::new(Code::RateLimited, "slower").retry_after(7);
    let json = shown(|out| put_error(out, Some(8), &refusal));
    assert_eq!(
        json,
        r#"{"type":"error","id":8,"code":"rate_limited","outcome":"none","advice":"retry_later","retry_after_ms":7,"detail":"slower"}"#
    );
    let problem = refusal.into();
    assert_eq!(
        read(&json),
        ServerFrame::Error {
            id: Some(8),
            problem
        }
    );
}

#[test]
fn a_client_passes_over_what_a_newer_server_says() {
    assert_eq!(
        read(r#"{"type":"hint","id":"x"}"#),
        ServerFrame::Other("hint".to_owned())
    );
    let ServerFrame::Items { items, cursor } =
        read(r#"{"type":"items","items":[{"type":"star","x":1}],"more":true}"#)
    else {
        panic!("not items")
    };
    assert_eq!(
        (items, cursor),
        (vec![Received::Other("star".to_owned())], None)
    );
    let ServerFrame::Disconnect(end) =
        read(r#"{"type":"disconnect","code":"eclipse","advice":"dance"}"#)
    else {
        panic!("not disconnect")
    };
    assert_eq!(
        (end.code.as_str(), end.advice.unwrap().known()),
        ("eclipse", None)
    );
}

#[test]
fn what_is_not_of_the_protocol_is_malformed() {
    assert_eq!(ServerFrame::read(b"[]"), Err(Malformed::NotAnObject));
    for bad in [
        r#"{}"#,
        r#"{"type":"items"}"#,
        r#"{"type":"items","items":{}}"#,
        r#"{"type":"items","items":[1]}"#,
        r#"{"type":"ack","topic":"t","reached":"none"}"#,
        r#"{"type":"subscribed","topic":"t","answer":"latest"}"#,
        r#"{"type":"message","topic":"t","position":"7"}"#,
    ] {
        assert!(ServerFrame::read(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\{\"type\":\"(items|message|gap|ack|welcome)\"(,\"(id|topic|items|limits|data|tags)\":[\\[\\]{}\"a1,:]{0,8}){0,4}\\}") {
        let _outcome = ServerFrame::read(&bytes);
        let _outcome = ServerFrame::read(text.as_bytes());
    }
}
