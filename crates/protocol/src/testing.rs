//! Values that the stories of this crate's tests are told with.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::cursor::Cursor;
use fanfare_core::message::{Content, Message, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;

/// 2026-03-01T10:15:30.123Z, the time of the protocol's examples.
pub(crate) const NOON_MS: u64 = 1_772_360_130_123;

pub(crate) fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

pub(crate) fn message(
    position: Position,
    content_type: &str,
    payload: &[u8],
    event: Option<&str>,
    tags: &[(&str, &str)],
) -> Message {
    let pairs = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Message {
        position,
        wall_ms: NOON_MS,
        content: Content {
            payload: Bytes::copy_from_slice(payload),
            meta: Arc::new(Meta {
                content_type: content_type.parse().unwrap(),
                event: event.map(|e| e.parse().unwrap()),
                tags: Tags::new(pairs).unwrap(),
            }),
        },
    }
}

pub(crate) fn text_message(position: Position, text: &str) -> Message {
    message(
        position,
        "text/plain; charset=utf-8",
        text.as_bytes(),
        None,
        &[],
    )
}

/// The cursor of one topic.
pub(crate) fn cursor(name: &str, position: Position) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.set(topic(name).hash64(), position);
    cursor
}
