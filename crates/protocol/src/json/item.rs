//! Messages and gaps (protocol section 1): written for subscribers, read by clients.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::gap::{Gap, GapReason, Item, TrimmedBy};
use fanfare_core::message::{Content, ContentType, Message, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;

use super::members::{Members, Wrong};
use super::write::{
    is_json, put_base64, put_minified, put_name, put_number, put_string, put_text, put_time,
    put_word, read_base64,
};
use crate::spelling::{Spelled, reason_spelling};

/// Appends a message as one line of JSON, with `cursor` as its last member if there is one.
pub(crate) fn put_message(
    out: &mut Vec<u8>,
    topic: &TopicName,
    message: &Message,
    cursor: Option<&str>,
) {
    let Message {
        position,
        wall_ms,
        content: Content { payload, meta },
    } = message;
    let Meta {
        content_type,
        event,
        tags,
    } = &**meta;
    out.extend_from_slice(b"{\"type\":\"message\"");
    put_text(out, "topic", topic.as_str());
    put_word(out, "position", position);
    put_name(out, "time");
    out.push(b'"');
    put_time(out, *wall_ms);
    out.push(b'"');
    if let Some(event) = event {
        put_text(out, "event", event.as_str());
    }
    if !tags.is_empty() {
        put_tags(out, tags);
    }
    put_text(out, "content_type", content_type.as_str());
    put_payload(out, content_type, payload);
    put_cursor_and_close(out, cursor);
}

/// Appends the member `tags`.
pub(super) fn put_tags(out: &mut Vec<u8>, tags: &Tags) {
    put_name(out, "tags");
    out.push(b'{');
    for (key, value) in tags.iter() {
        put_text(out, key, value);
    }
    out.push(b'}');
}

/// Appends `data` or `data_base64`. Bytes that are not what their type says are base64.
fn put_payload(out: &mut Vec<u8>, content_type: &ContentType, payload: &[u8]) {
    if content_type.is_json() && is_json(payload) {
        put_name(out, "data");
        return put_minified(out, payload);
    }
    if content_type.is_text()
        && let Ok(text) = std::str::from_utf8(payload)
    {
        return put_text(out, "data", text);
    }
    put_name(out, "data_base64");
    put_base64(out, payload);
}

/// Appends a gap, with `cursor` as its last member if there is one.
pub(crate) fn put_gap(out: &mut Vec<u8>, topic: &TopicName, gap: &Gap, cursor: Option<&str>) {
    let Gap {
        reason,
        from,
        to,
        missed,
    } = gap;
    out.extend_from_slice(b"{\"type\":\"gap\"");
    put_text(out, "topic", topic.as_str());
    put_word(out, "reason", reason_spelling(*reason));
    if let GapReason::Trimmed(by) = reason {
        put_word(out, "by", by.spelling());
    }
    put_word(out, "from", from);
    put_word(out, "to", to);
    match missed {
        Some(missed) => put_number(out, "missed", missed),
        None => put_number(out, "missed", "null"),
    }
    put_cursor_and_close(out, cursor);
}

/// Appends an item, without a cursor.
pub(crate) fn put_item(out: &mut Vec<u8>, item: &Item) {
    match item {
        Item::Message(topic, message) => put_message(out, topic, message, None),
        Item::Gap(topic, gap) => put_gap(out, topic, gap, None),
    }
}

fn put_cursor_and_close(out: &mut Vec<u8>, cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        put_name(out, "cursor");
        put_string(out, cursor);
    }
    out.push(b'}');
}

/// An item as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Message(ReceivedMessage),
    Gap(ReceivedGap),
    /// An item of a type that a newer server has: passed over.
    Other(String),
}

impl Received {
    /// Appends the item as the line of JSON it came as: for a client that hands items on. One of a
    /// newer server is its type alone.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message(ReceivedMessage { topic, message }) => {
                put_message(out, topic, message, None);
            }
            Self::Gap(gap) => gap.put(out),
            Self::Other(kind) => {
                out.push(b'{');
                put_text(out, "type", kind);
                out.push(b'}');
            }
        }
    }
}

impl ReceivedGap {
    fn put(&self, out: &mut Vec<u8>) {
        let Self {
            topic,
            reason,
            from,
            to,
            missed,
        } = self;
        out.push(b'{');
        put_word(out, "type", "gap");
        put_text(out, "topic", topic.as_str());
        put_text(out, "reason", &reason.to_string());
        if let Reason::Trimmed(Some(by)) = reason {
            put_word(out, "by", by.spelling());
        }
        put_word(out, "from", from);
        put_word(out, "to", to);
        match missed {
            Some(missed) => put_number(out, "missed", missed),
            None => put_number(out, "missed", "null"),
        }
        out.push(b'}');
    }
}

/// A message of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    pub topic: TopicName,
    /// A JSON payload comes without white space between its tokens.
    pub message: Message,
}

/// All slots after `from` up to and including `to` are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedGap {
    pub topic: TopicName,
    pub reason: Reason,
    pub from: Position,
    pub to: Position,
    /// Messages left out, if known.
    pub missed: Option<u64>,
}

/// Why slots were left out. The application gets those with unknown reasons too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    DataLoss,
    EpochChanged,
    /// The only one with `to` below `from`: it lowers the highest position processed.
    PositionAhead,
    /// `None`: a limit that a newer server has.
    Trimmed(Option<TrimmedBy>),
    Conflated,
    /// A reason that a newer server has.
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataLoss => reason_spelling(GapReason::DataLoss),
            Self::EpochChanged => reason_spelling(GapReason::EpochChanged),
            Self::PositionAhead => reason_spelling(GapReason::PositionAhead),
            Self::Trimmed(_) => "trimmed",
            Self::Conflated => reason_spelling(GapReason::Conflated),
            Self::Other(text) => text,
        })
    }
}

impl Reason {
    fn read(text: &str, by: Option<&str>) -> Self {
        match text {
            "data_loss" => Self::DataLoss,
            "epoch_changed" => Self::EpochChanged,
            "position_ahead" => Self::PositionAhead,
            "trimmed" => Self::Trimmed(by.and_then(TrimmedBy::spelled)),
            "conflated" => Self::Conflated,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl From<GapReason> for Reason {
    fn from(reason: GapReason) -> Self {
        match reason {
            GapReason::DataLoss => Self::DataLoss,
            GapReason::EpochChanged => Self::EpochChanged,
            GapReason::PositionAhead => Self::PositionAhead,
            GapReason::Trimmed(by) => Self::Trimmed(Some(by)),
            GapReason::Conflated => Self::Conflated,
        }
    }
}

/// The server said something that is not of this protocol: end the session and tell it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("`{field}`: {why}")]
    Member { field: String, why: String },
    #[error("not UTF-8")]
    NotUtf8,
    #[error("a line or event of more than {limit} bytes")]
    TooLong { limit: usize },
}

impl From<Wrong> for Malformed {
    fn from(Wrong { field, why }: Wrong) -> Self {
        Self::Member {
            field: field.into_owned(),
            why: why.into_owned(),
        }
    }
}

/// Reads an item of `kind` from the members that are left.
pub(crate) fn read_item(kind: &str, members: &mut Members<'_>) -> Result<Received, Malformed> {
    match kind {
        "message" => Ok(Received::Message(read_message(members)?)),
        "gap" => Ok(Received::Gap(read_gap(members)?)),
        other => Ok(Received::Other(other.to_owned())),
    }
}

/// Reads an item with its `type`.
pub(crate) fn read_whole_item(json: &str) -> Result<Received, Malformed> {
    let mut members = Members::read(json.as_bytes()).ok_or(Malformed::NotAnObject)?;
    let kind = members.need_text("type")?;
    read_item(&kind, &mut members)
}

fn read_message(members: &mut Members<'_>) -> Result<ReceivedMessage, Wrong> {
    let topic = members.need_parsed("topic")?;
    let position = members.need_parsed("position")?;
    let time: jiff::Timestamp = members.need_parsed("time")?;
    let event = members.parsed("event")?;
    let tags = read_tags(members)?;
    let content_type: ContentType = members.need_parsed("content_type")?;
    let payload = match (members.raw("data"), members.text("data_base64")?) {
        (_, Some(text)) => read_base64(&text)
            .map(Bytes::from)
            .ok_or_else(|| Wrong::new("data_base64", "this member is base64"))?,
        (Some(json), None) if content_type.is_json() => Bytes::copy_from_slice(json.as_bytes()),
        (Some(json), None) => serde_json::from_str::<String>(json)
            .map(Bytes::from)
            .map_err(|_| Wrong::new("data", "data of a type that is not JSON is a string"))?,
        (None, None) => return Err(Wrong::missing("data")),
    };
    let meta = Arc::new(Meta {
        content_type,
        event,
        tags,
    });
    let message = Message {
        position,
        wall_ms: u64::try_from(time.as_millisecond()).unwrap_or(0),
        content: Content { payload, meta },
    };
    Ok(ReceivedMessage { topic, message })
}

/// Takes the member `tags`; none are no tags.
pub(super) fn read_tags(members: &mut Members<'_>) -> Result<Tags, Wrong> {
    let Some(tags) = members.object("tags")? else {
        return Ok(Tags::default());
    };
    tags.no_repeats("tags")?;
    let mut pairs = Vec::new();
    for (key, raw) in tags.into_rows() {
        let Ok(value) = serde_json::from_str::<String>(raw) else {
            return Err(Wrong::new("tags", "a tag's value is a string"));
        };
        pairs.push((key.into_owned(), value));
    }
    Tags::new(pairs).map_err(|why| Wrong::new("tags", why.to_string()))
}

fn read_gap(members: &mut Members<'_>) -> Result<ReceivedGap, Wrong> {
    let reason = members.need_text("reason")?;
    let by = members.text("by")?;
    Ok(ReceivedGap {
        topic: members.need_parsed("topic")?,
        reason: Reason::read(&reason, by.as_deref()),
        from: members.need_parsed("from")?,
        to: members.need_parsed("to")?,
        missed: match members.raw("missed") {
            None | Some("null") => None,
            Some(raw) => Some(
                raw.parse()
                    .map_err(|_| Wrong::new("missed", "this member is a whole number or null"))?,
            ),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message, text_message, topic};

    fn shown(message: &Message) -> String {
        let mut out = Vec::new();
        put_message(&mut out, &topic("news"), message, None);
        String::from_utf8(out).unwrap()
    }

    fn read(json: &str) -> Received {
        read_whole_item(json).unwrap()
    }

    #[test]
    fn the_message_of_the_protocol_is_ours_byte_for_byte() {
        let score = message(
            Position::new(7, 42),
            "application/json",
            b"{ \"home\" : 2 }",
            Some("score"),
            &[("lang", "en")],
        );
        assert_eq!(
            shown(&score),
            r#"{"type":"message","topic":"news","position":"7-42","time":"2026-03-01T10:15:30.123Z","event":"score","tags":{"lang":"en"},"content_type":"application/json","data":{"home":2}}"#
        );
    }

    #[test]
    fn payloads_are_shown_by_their_type() {
        let at = Position::new(7, 1);
        let ends = |content_type: &str, payload: &[u8]| {
            let json = shown(&message(at, content_type, payload, None, &[]));
            json.split_once("\",\"content_type\":")
                .unwrap()
                .1
                .to_owned()
        };
        assert_eq!(
            ends("text/html", b"<p>\"x\"\n"),
            r#""text/html","data":"<p>\"x\"\n"}"#
        );
        assert_eq!(
            ends("text/plain", b"\xff"),
            r#""text/plain","data_base64":"/w=="}"#
        );
        assert_eq!(
            ends("image/png", b"hi"),
            r#""image/png","data_base64":"aGk="}"#
        );
        assert_eq!(ends("a/b+json", b" 1.0e5 "), r#""a/b+json","data":1.0e5}"#);
        // Not JSON in spite of its type: the frame around it stays whole.
        assert_eq!(
            ends("application/json", b"{}}"),
            r#""application/json","data_base64":"e319"}"#
        );
        assert_eq!(
            ends("application/json", b"\"\xff\""),
            r#""application/json","data_base64":"Iv8i"}"#
        );
    }

    #[test]
    fn the_gaps_of_the_protocol_are_ours_byte_for_byte() {
        let shown = |gap| {
            let mut out = Vec::new();
            put_gap(&mut out, &topic("news"), &gap, None);
            String::from_utf8(out).unwrap()
        };
        let trimmed = Gap {
            reason: GapReason::Trimmed(TrimmedBy::Age),
            from: Position::new(7, 42),
            to: Position::new(7, 100),
            missed: Some(58),
        };
        assert_eq!(
            shown(trimmed),
            r#"{"type":"gap","topic":"news","reason":"trimmed","by":"age","from":"7-42","to":"7-100","missed":58}"#
        );
        let changed = Gap {
            reason: GapReason::EpochChanged,
            to: Position::new(9, 0),
            missed: None,
            ..trimmed
        };
        assert_eq!(
            shown(changed),
            r#"{"type":"gap","topic":"news","reason":"epoch_changed","from":"7-42","to":"9-0","missed":null}"#
        );
        for gap in [trimmed, changed] {
            let Received::Gap(received) = read(&shown(gap)) else {
                panic!("not a gap")
            };
            assert_eq!(received.reason, Reason::from(gap.reason));
            assert_eq!(
                (received.from, received.to, received.missed),
                (gap.from, gap.to, gap.missed)
            );
            let mut again = Vec::new();
            Received::Gap(received).put(&mut again);
            assert_eq!(String::from_utf8(again).unwrap(), shown(gap));
        }
    }

    #[test]
    fn messages_are_read_as_they_are_written() {
        for sent in [
            text_message(Position::new(7, 1), "über\r\n\u{0}"),
            message(Position::new(7, 2), "application/json", b"null", None, &[]),
            message(
                Position::new(7, 3),
                "image/png",
                b"\x00\xff",
                Some("e"),
                &[("a", "\"")],
            ),
        ] {
            let Received::Message(received) = read(&shown(&sent)) else {
                panic!("not a message")
            };
            assert_eq!(received.message, sent);
        }
    }

    #[test]
    fn what_a_newer_server_adds_is_passed_over() {
        let gap = read(
            r#"{"type":"gap","topic":"t","reason":"eclipse","by":"moon","from":"1-1","to":"1-2","missed":null,"more":[]}"#,
        );
        let Received::Gap(gap) = gap else {
            panic!("not a gap")
        };
        assert_eq!(gap.reason, Reason::Other("eclipse".to_owned()));
        let trimmed = read(
            r#"{"type":"gap","topic":"t","reason":"trimmed","by":"moon","from":"1-1","to":"1-2"}"#,
        );
        assert!(matches!(trimmed, Received::Gap(gap) if gap.reason == Reason::Trimmed(None)));
        assert_eq!(
            read(r#"{"type":"hint"}"#),
            Received::Other("hint".to_owned())
        );
    }
}
