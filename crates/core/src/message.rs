//! What publishers send (a `Draft`, not placed yet) and what subscribers get (a `Message`, which
//! has a position).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

use crate::name::TopicName;
use crate::position::Position;

/// Payload and what describes it: all that a key covers (C11). Clones share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub payload: Bytes,
    pub meta: Arc<Meta>,
}

/// What describes a payload. Many messages of a publisher have equal ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub content_type: ContentType,
    pub event: Option<EventName>,
    pub tags: Tags,
}

impl Content {
    /// Bytes that this content takes of a budget: payload, descriptions and a fixed overhead.
    pub fn cost(&self) -> u64 {
        const OVERHEAD: usize = 128;
        let event = self.meta.event.as_ref().map_or(0, |e| e.as_str().len());
        let tags: usize = self
            .meta
            .tags
            .iter()
            .map(|(k, v)| k.len() + v.len() + 16)
            .sum();
        let bytes = self.payload.len() + self.meta.content_type.as_str().len() + event + tags;
        (bytes + OVERHEAD) as u64
    }

    /// xxh3-64 over payload, content type, event and tags, each preceded by its length (u64, big
    /// endian). Part of the format: dedup rows keep it.
    pub fn hash64(&self) -> u64 {
        let mut hash = Xxh3::new();
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&self.payload);
        part(self.meta.content_type.as_str().as_bytes());
        part(
            self.meta
                .event
                .as_ref()
                .map_or("", EventName::as_str)
                .as_bytes(),
        );
        for (key, value) in self.meta.tags.iter() {
            part(key.as_bytes());
            part(value.as_bytes());
        }
        hash.digest()
    }
}

/// A media type, at most 128 printable bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentType(Arc<str>);

impl ContentType {
    /// Longest media type, in bytes.
    pub const MAX_LEN: usize = 128;
    /// Unnamed text.
    pub const TEXT: &'static str = "text/plain; charset=utf-8";
    /// Unnamed JSON.
    pub const JSON: &'static str = "application/json";
    /// Unnamed bytes.
    pub const BYTES: &'static str = "application/octet-stream";

    /// As text, spelled as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type without parameters, as it was spelled.
    pub fn essence(&self) -> &str {
        self.0.split(';').next().unwrap_or("").trim()
    }

    /// `application/json` or `…+json`.
    pub fn is_json(&self) -> bool {
        let essence = self.essence();
        let suffix = essence
            .len()
            .checked_sub(5)
            .and_then(|at| essence.get(at..));
        essence.eq_ignore_ascii_case(Self::JSON)
            || suffix.is_some_and(|s| s.eq_ignore_ascii_case("+json"))
    }

    /// `text/…`.
    pub fn is_text(&self) -> bool {
        self.essence()
            .get(..5)
            .is_some_and(|head| head.eq_ignore_ascii_case("text/"))
    }
}

impl Default for ContentType {
    fn default() -> Self {
        Self(Self::BYTES.into())
    }
}

impl FromStr for ContentType {
    type Err = BadField;

    fn from_str(raw: &str) -> Result<Self, BadField> {
        let slash = raw.find('/').is_some_and(|at| at > 0);
        let printable = raw.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if raw.len() > Self::MAX_LEN || !slash || !printable {
            return Err(BadField::ContentType);
        }
        Ok(Self(raw.into()))
    }
}

impl fmt::Debug for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Name of a message's event: 1–64 printable ASCII bytes, no first `$`, and none of `open`,
/// `error`, `message`, which an EventSource uses itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

impl EventName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventName {
    type Err = BadField;

    fn from_str(raw: &str) -> Result<Self, BadField> {
        let fits = (1..=64).contains(&raw.len()) && raw.bytes().all(|b| b.is_ascii_graphic());
        let taken = raw.starts_with('$') || matches!(raw, "open" | "error" | "message");
        if fits && !taken {
            Ok(Self(raw.into()))
        } else {
            Err(BadField::Event)
        }
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// At most 16 tags, sorted by key, no key twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<[(Box<str>, Box<str>)]>);

impl Tags {
    /// Most tags of a message.
    pub const MAX: usize = 16;

    /// Checks and sorts.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, BadField> {
        let key_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        let mut rows: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (key, value) in pairs {
            if !(1..=64).contains(&key.len()) || !key.bytes().all(key_char) {
                return Err(BadField::TagKey);
            }
            if value.len() > 256 {
                return Err(BadField::TagValue);
            }
            rows.push((key.into(), value.into()));
        }
        rows.sort();
        if rows.len() > Self::MAX {
            return Err(BadField::TagCount);
        }
        if rows.windows(2).any(|two| two[0].0 == two[1].0) {
            return Err(BadField::TagTwice);
        }
        Ok(Self(rows.into()))
    }

    /// The tags, ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// A publisher's idempotency key: 1–128 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Longest key, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Checks the length; text transports check for graphic ASCII themselves.
    pub fn new(raw: Bytes) -> Result<Self, BadField> {
        if (1..=Self::MAX_LEN).contains(&raw.len()) {
            Ok(Self(raw))
        } else {
            Err(BadField::Key)
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// How far a message must be before its publisher is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ack {
    /// Once it is placed as its class promises (contract section 2).
    #[default]
    Committed,
    /// Once the edge has taken it: no position, no promise.
    None,
}

/// What a publisher wants placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub topic: TopicName,
    pub content: Content,
    pub key: Option<Key>,
    /// ms since the key was first sent, as the publisher says; 0 without a key.
    pub key_age_ms: u64,
    pub ack: Ack,
    /// Place only if this is the head; [`Position::NONE`]: only if the topic has no message yet.
    pub expect: Option<Position>,
}

impl Draft {
    /// Bytes that this draft takes of a budget while it is in flight.
    pub fn cost(&self) -> u64 {
        let key = self.key.as_ref().map_or(0, |k| k.as_bytes().len());
        self.content.cost() + (self.topic.as_str().len() + key) as u64
    }
}

/// A placed message of some topic. Shared, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub position: Position,
    /// Wall clock of the leader that proposed it, ms since 1970: for display only.
    pub wall_ms: u64,
    pub content: Content,
}

/// Which field of a draft is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadField {
    #[error("a content type is TYPE/SUBTYPE, at most 128 printable ASCII bytes")]
    ContentType,
    #[error(
        "an event name has 1 to 64 printable ASCII bytes, does not begin with `$` and is not `open`, `error` or `message`"
    )]
    Event,
    #[error("a tag's key has 1 to 64 bytes of a-z, 0-9, `_`, `.`, `-`")]
    TagKey,
    #[error("a tag's value has at most 256 bytes")]
    TagValue,
    #[error("a message has at most 16 tags")]
    TagCount,
    #[error("a tag's key must not be repeated")]
    TagTwice,
    #[error("an idempotency key has 1 to 128 bytes")]
    Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_text_are_known_by_their_essence() {
        let ct = |raw: &str| raw.parse::<ContentType>().unwrap();
        assert!(ct("application/json").is_json());
        assert!(ct("Application/JSON; charset=utf-8").is_json());
        assert!(ct("application/problem+json").is_json());
        assert!(!ct("application/jsonl").is_json());
        assert!(ct("text/html").is_text());
        assert!(!ct("image/png").is_text());
        assert!("".parse::<ContentType>().is_err());
        assert!("text".parse::<ContentType>().is_err());
    }

    #[test]
    fn event_names_of_an_event_source_are_refused() {
        assert!("score".parse::<EventName>().is_ok());
        for bad in ["", "open", "error", "message", "$gap", "a b", "é"] {
            assert!(bad.parse::<EventName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_are_sorted_and_never_repeated() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let tags = Tags::new([pair("b", "2"), pair("a", "1")]).unwrap();
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(
            Tags::new([pair("a", "1"), pair("a", "2")]),
            Err(BadField::TagTwice)
        );
        assert_eq!(Tags::new([pair("A", "1")]), Err(BadField::TagKey));
    }

    #[test]
    fn a_content_hash_tells_the_parts_apart() {
        let content = |payload: &'static [u8], event: Option<&str>| Content {
            payload: Bytes::from_static(payload),
            meta: Arc::new(Meta {
                event: event.map(|e| e.parse().unwrap()),
                ..Meta::default()
            }),
        };
        assert_eq!(content(b"a", None).hash64(), content(b"a", None).hash64());
        assert_ne!(content(b"a", None).hash64(), content(b"b", None).hash64());
        assert_ne!(
            content(b"a", None).hash64(),
            content(b"a", Some("e")).hash64()
        );
    }
}
