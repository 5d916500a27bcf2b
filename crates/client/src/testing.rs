//! What the tests share: drafts, items, and a fake edge that speaks canned bytes.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::message::{Ack, Content, Draft, Key, Message, Meta};
use fanfare_core::position::Position;
use fanfare_protocol::json::ack::Acked;
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::json::{Received, ReceivedMessage};

pub(crate) fn draft(topic: &str, key: Option<&'static str>) -> Draft {
    Draft {
        topic: topic.parse().unwrap(),
        content: Content {
            payload: Bytes::from_static(b"hi"),
            meta: Arc::new(Meta {
                content_type: "text/plain".parse().unwrap(),
                ..Meta::default()
            }),
        },
        key: key.map(|key| Key::new(Bytes::from_static(key.as_bytes())).unwrap()),
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

pub(crate) fn acked(topic: &str, offset: u64) -> Acked {
    Acked::read(ack_json(topic, offset).as_bytes()).unwrap()
}

pub(crate) fn ack_json(topic: &str, offset: u64) -> String {
    format!(
        r#"{{"topic":"{topic}","position":"7-{offset}","class":"durable","reached":"durable","duplicate":false}}"#
    )
}

pub(crate) fn message(topic: &str, epoch: u64, offset: u64) -> Received {
    Received::Message(ReceivedMessage {
        topic: topic.parse().unwrap(),
        message: Message {
            position: Position::new(epoch, offset),
            wall_ms: 0,
            content: draft(topic, None).content,
        },
    })
}

pub(crate) fn gap(topic: &str, reason: &str, from: &str, to: &str) -> Received {
    let json = format!(
        r#"{{"type":"gap","topic":"{topic}","reason":"{reason}","from":"{from}","to":"{to}","missed":null}}"#
    );
    match ServerFrame::read(json.as_bytes()).unwrap() {
        ServerFrame::Items { mut items, .. } => items.remove(0),
        other => panic!("{other:?}"),
    }
}
