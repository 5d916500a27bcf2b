//! Drafts (protocol section 3): of an HTTP request, of a batch line, of a `publish` frame; with all
//! checks and the content types of those that name none.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::code::Code;
use fanfare_core::message::{Ack, Content, ContentType, Draft, EventName, Key, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::receipt::Refusal;

use super::item::{put_tags, read_tags};
use super::members::{Members, Wrong};
use super::write::{
    is_json, put_base64, put_minified, put_name, put_number, put_string, put_text, put_word,
    read_base64,
};
use crate::header;
use crate::limit::Limits;
use crate::query::PublishQuery;
use crate::spelling::Spelled;

/// The headers of a publish request that say something of its draft, as they were sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct DraftHeaders<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a [u8]>,
    /// `Idempotency-Key`.
    pub key: Option<&'a [u8]>,
    /// `Idempotency-Age`.
    pub key_age: Option<&'a [u8]>,
}

/// The draft of `POST /v1/publish`: the body is the payload, stored as it is.
pub fn of_request(
    query: PublishQuery,
    headers: DraftHeaders<'_>,
    body: Bytes,
    limits: &Limits,
) -> Result<Draft, Refusal> {
    let content_type = match headers.content_type {
        None => unnamed(&body),
        Some(raw) => {
            let named: ContentType = std::str::from_utf8(raw)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .ok_or_else(|| refused("Content-Type", "not a content type"))?;
            // curl says this of every body unless told otherwise.
            let form = "application/x-www-form-urlencoded";
            if named.essence().eq_ignore_ascii_case(form) {
                unnamed(&body)
            } else {
                named
            }
        }
    };
    let key = headers.key.map(header::idempotency_key).transpose()?;
    let age = headers.key_age.map(header::idempotency_age).transpose()?;
    if key.is_none() && age.is_some() {
        return Err(refused(header::KEY_AGE, "an age without a key"));
    }
    let PublishQuery {
        topic,
        ack,
        event,
        tags,
        expect,
        timeout: _,
    } = query;
    let draft = Draft {
        topic,
        content: content(body, content_type, event, tags),
        key,
        key_age_ms: age.unwrap_or(0),
        ack,
        expect,
    };
    checked(draft, "body", limits)
}

/// The draft of one line of `POST /v1/publish/batch`.
pub fn of_line(line: &[u8], limits: &Limits) -> Result<Draft, Refusal> {
    if line.len() > limits.frame {
        return Err(too_large("a line", limits.frame));
    }
    let mut members = Members::read(line).ok_or_else(|| {
        Refusal::of_publish(Code::InvalidArgument, "a line of a batch is a JSON object")
    })?;
    let draft = of_members(&mut members, limits)?;
    members.finish().map_err(wrong)?;
    Ok(draft)
}

/// The draft of the members that are left of a frame or line.
pub(super) fn of_members(members: &mut Members<'_>, limits: &Limits) -> Result<Draft, Refusal> {
    let topic = publish_topic(&members.need_text("topic").map_err(wrong)?)?;
    let named: Option<ContentType> = members.parsed("content_type").map_err(wrong)?;
    let event = members.parsed("event").map_err(wrong)?;
    let tags = read_tags(members).map_err(wrong)?;
    let key = members
        .text("key")
        .map_err(wrong)?
        .map(|text| text_key(text.as_bytes(), "key"))
        .transpose()?;
    let age = members.number("key_age_ms").map_err(wrong)?;
    if key.is_none() && age.is_some() {
        return Err(refused("key_age_ms", "an age without a key"));
    }
    let ack = match members.text("ack").map_err(wrong)? {
        None => Ack::Committed,
        Some(text) => read_ack(&text)?,
    };
    let expect = match members.text("expect").map_err(wrong)? {
        None => None,
        Some(text) => Some(read_expectation(&text)?),
    };
    let (payload, content_type, field) = payload(members, named)?;
    let draft = Draft {
        topic,
        content: content(payload, content_type, event, tags),
        key,
        key_age_ms: age.unwrap_or(0),
        ack,
        expect,
    };
    checked(draft, field, limits)
}

/// Takes `data` or `data_base64`: the payload as it is stored, its type, and the member's name.
fn payload(
    members: &mut Members<'_>,
    named: Option<ContentType>,
) -> Result<(Bytes, ContentType, &'static str), Refusal> {
    let encoded = members.text("data_base64").map_err(wrong)?;
    match (members.raw("data"), encoded) {
        (Some(_), Some(_)) => Err(refused("data_base64", "only one of data and data_base64")),
        (None, None) => Err(wrong(Wrong::missing("data"))),
        (None, Some(text)) => {
            let bytes = read_base64(&text)
                .ok_or_else(|| refused("data_base64", "not base64 with padding (RFC 4648 4)"))?;
            let content_type = named.unwrap_or_else(|| of_name(ContentType::BYTES));
            Ok((bytes.into(), content_type, "data_base64"))
        }
        (Some(raw), None) => {
            let is_text = raw.starts_with('"');
            let content_type = named.unwrap_or_else(|| {
                of_name(if is_text {
                    ContentType::TEXT
                } else {
                    ContentType::JSON
                })
            });
            if content_type.is_json() {
                let mut json = Vec::with_capacity(raw.len());
                put_minified(&mut json, raw.as_bytes());
                return Ok((json.into(), content_type, "data"));
            }
            let text: String = serde_json::from_str(raw).map_err(|_| {
                Refusal::of_publish(
                    Code::InvalidPayload,
                    "data of a type that is not JSON is a string",
                )
                .field("data")
            })?;
            Ok((text.into(), content_type, "data"))
        }
    }
}

fn content(
    payload: Bytes,
    content_type: ContentType,
    event: Option<EventName>,
    tags: Tags,
) -> Content {
    let meta = Arc::new(Meta {
        content_type,
        event,
        tags,
    });
    Content { payload, meta }
}

/// What holds for every draft, whoever brought it; `field` is where its payload stood.
fn checked(draft: Draft, field: &str, limits: &Limits) -> Result<Draft, Refusal> {
    let Content { payload, meta } = &draft.content;
    if payload.len() > limits.payload {
        return Err(too_large("a payload", limits.payload).field(field));
    }
    if meta.content_type.is_json() && !is_json(payload) {
        let why = format!("the content type is {}, the payload is not JSON", {
            meta.content_type.essence()
        });
        return Err(Refusal::of_publish(Code::InvalidPayload, why).field(field));
    }
    Ok(draft)
}

/// The type of a body that names none.
fn unnamed(body: &[u8]) -> ContentType {
    let text = std::str::from_utf8(body).is_ok();
    of_name(if text {
        ContentType::TEXT
    } else {
        ContentType::BYTES
    })
}

/// The type of a name that is one.
fn of_name(name: &'static str) -> ContentType {
    name.parse().unwrap_or_default()
}

/// Reads a topic that may be published to by its name.
pub(crate) fn publish_topic(text: &str) -> Result<TopicName, Refusal> {
    let invalid = |why: String| Refusal::of_publish(Code::InvalidTopic, why).field("topic");
    let topic: TopicName = text.parse().map_err(|why| invalid(format!("{why}")))?;
    if topic.is_system() {
        return Err(invalid(
            "topics that begin with $ are the system's".to_owned(),
        ));
    }
    Ok(topic)
}

/// Reads a key that came as text: graphic ASCII.
pub(crate) fn text_key(raw: &[u8], field: &str) -> Result<Key, Refusal> {
    if !raw.iter().all(u8::is_ascii_graphic) {
        return Err(refused(field, "a key is printable ASCII without spaces"));
    }
    Key::new(Bytes::copy_from_slice(raw)).map_err(|why| refused(field, why))
}

/// Reads `ack`.
pub(crate) fn read_ack(text: &str) -> Result<Ack, Refusal> {
    Ack::spelled(text).ok_or_else(|| refused("ack", "`committed` or `none`"))
}

/// Reads `expect`: a position, or `0-0`, which is valid nowhere else.
pub(crate) fn read_expectation(text: &str) -> Result<Position, Refusal> {
    let position: Position = text.parse().map_err(|why| refused("expect", why))?;
    if position.epoch == Epoch(0) && position != Position::NONE {
        return Err(refused("expect", "no stream has epoch 0"));
    }
    Ok(position)
}

/// A refusal of a publish that names the field.
pub(crate) fn refused(field: &str, why: impl Display) -> Refusal {
    Refusal::of_publish(Code::InvalidArgument, why.to_string()).field(field)
}

fn too_large(what: &str, limit: usize) -> Refusal {
    let why = format!("{what} has at most {limit} bytes");
    Refusal::of_publish(Code::PayloadTooLarge, why)
}

pub(super) fn wrong(Wrong { field, why }: Wrong) -> Refusal {
    refused(&field, why)
}

/// Appends the members of a draft to an object, in such a form that exactly its payload is stored:
/// JSON with white space goes as base64, since the white space is part of what a key covers.
pub(super) fn put_members(out: &mut Vec<u8>, draft: &Draft) {
    let Draft {
        topic,
        content: Content { payload, meta },
        key,
        key_age_ms,
        ack,
        expect,
    } = draft;
    put_text(out, "topic", topic.as_str());
    put_data(out, &meta.content_type, payload);
    put_text(out, "content_type", meta.content_type.as_str());
    if let Some(event) = &meta.event {
        put_text(out, "event", event.as_str());
    }
    if !meta.tags.is_empty() {
        put_tags(out, &meta.tags);
    }
    if let Some(key) = key {
        put_text(out, "key", &String::from_utf8_lossy(key.as_bytes()));
        if *key_age_ms > 0 {
            put_number(out, "key_age_ms", key_age_ms);
        }
    }
    if *ack != Ack::Committed {
        put_word(out, "ack", ack.spelling());
    }
    if let Some(expect) = expect {
        put_word(out, "expect", expect);
    }
}

fn put_data(out: &mut Vec<u8>, content_type: &ContentType, payload: &[u8]) {
    if content_type.is_json() {
        let mut json = Vec::with_capacity(payload.len());
        put_minified(&mut json, payload);
        if json == payload && is_json(payload) {
            put_name(out, "data");
            return out.extend_from_slice(payload);
        }
    } else if let Ok(text) = std::str::from_utf8(payload) {
        put_name(out, "data");
        return put_string(out, text);
    }
    put_name(out, "data_base64");
    put_base64(out, payload);
}

/// Appends a line of a batch, with its line feed.
pub fn put_line(out: &mut Vec<u8>, draft: &Draft) {
    out.push(b'{');
    put_members(out, draft);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
#[path = "draft_tests.rs"]
mod tests;
