//! What `fanfare sub` takes, prints and keeps.

use std::sync::Arc;

use bytes::Bytes;
use clap::Parser as _;
use fanfare_core::message::{Content, Message, Meta};
use fanfare_core::position::Position;

use super::*;
use crate::args::{Args, Command};

fn args(line: &[&str]) -> Subscribe {
    let line = ["fanfare", "sub"].iter().chain(line);
    let Command::Sub(args) = Args::try_parse_from(line).unwrap().command else {
        panic!("another command")
    };
    args
}

fn message(payload: &'static [u8]) -> Received {
    let content = Content {
        payload: Bytes::from_static(payload),
        meta: Arc::new(Meta {
            content_type: "text/plain".parse().unwrap(),
            ..Meta::default()
        }),
    };
    Received::Message(ReceivedMessage {
        topic: "news".parse().unwrap(),
        message: Message {
            position: Position::new(7, 42),
            wall_ms: 0,
            content,
        },
    })
}

#[test]
fn a_message_is_one_line() {
    assert_eq!(line(&message(b"hi"), false), "7-42 news hi");
    assert_eq!(
        line(&message(b"a\nb\x1b[2J"), false),
        "7-42 news a\\nb\\u{1b}[2J"
    );
    assert_eq!(
        line(&message(b"\xff"), false),
        "7-42 news [text/plain, 1 bytes]"
    );
    assert_eq!(
        line(&message(b"hi"), true),
        r#"{"type":"message","topic":"news","position":"7-42","time":"1970-01-01T00:00:00.000Z","content_type":"text/plain","data":"hi"}"#
    );
}

#[test]
fn a_gap_is_visible() {
    let gap = Received::Gap(ReceivedGap {
        topic: "news".parse().unwrap(),
        reason: Reason::Trimmed(Some(fanfare_core::gap::TrimmedBy::Age)),
        from: Position::new(7, 42),
        to: Position::new(7, 100),
        missed: Some(58),
    });
    let text = "-- gap news after 7-42 up to 7-100: trimmed by age, 58 messages left out";
    assert_eq!(line(&gap, false), text);
    let json = r#"{"type":"gap","topic":"news","reason":"trimmed","by":"age","from":"7-42","to":"7-100","missed":58}"#;
    assert_eq!(line(&gap, true), json);
}

#[test]
fn wrong_usage_names_the_flag() {
    for (line, flag) in [
        (&["a b"][..], "TOPIC"),
        (&["news", "news"], "TOPIC"),
        (&["news", "--from", "last:0"], "--from"),
        (&["news", "chat", "--from", "7-42"], "--from"),
        (&["news", "--transport", "ws,pigeon"], "--transport"),
    ] {
        let Err(Failure::Usage(text)) = options(&args(line)).map(drop) else {
            panic!("{line:?} was taken")
        };
        assert!(text.starts_with(flag), "{text}");
    }
    let good = options(&args(&["news", "--transport", "ws,sse", "--from", "7-42"])).unwrap();
    assert_eq!(good.transports, [Transport::Ws, Transport::Sse]);
    assert_eq!(good.from, Since::After(Position::new(7, 42)));
}
