//! Query strings (protocol section 2): of each route what it knows, in range, and nothing twice.
//! Nothing is clamped; what is wrong is named by its parameter.

use std::fmt::Display;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::Since;
use fanfare_core::message::{Ack, EventName, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::receipt::Refusal;

use crate::header::prefers_html;
use crate::json::draft::{publish_topic, read_ack, read_expectation};
use crate::json::put_plain;
use crate::limit::Limits;
use crate::secret::Secret;

/// A route that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadRoute {
    Ws,
    Sse,
    Tail,
    Poll,
}

/// How messages are shown on SSE and in polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    #[default]
    Json,
    Html,
}

/// What the URL of a reading route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadQuery {
    /// In the order given; empty only on a WebSocket. No two have equal hashes.
    pub topics: Vec<TopicName>,
    pub cursor: Option<Cursor>,
    /// For topics without a position in the cursor. A position only with one topic.
    pub from: Option<Since>,
    /// Only with one topic.
    pub min_position: Option<Position>,
    pub format: BodyFormat,
    /// Items of a poll, 1–1000. Default: 100.
    pub limit: usize,
    /// How long a poll may take, 0–50 s. Default: 0.
    pub wait: Duration,
    /// How often a page polls, 1–3600 s; only as HTML.
    pub follow: Option<Duration>,
    /// Silence before a heartbeat, 5–55 s. Default: 15 s.
    pub heartbeat: Duration,
    /// On a WebSocket: a cursor in `items` with several topics too.
    pub cursors: bool,
    pub token: Option<Secret>,
}

impl ReadQuery {
    /// Default of `limit`.
    pub const LIMIT: usize = 100;
    /// Default of `heartbeat`.
    pub const HEARTBEAT: Duration = Duration::from_secs(15);

    /// From where topics are read of which the cursor says nothing: `from`, else the latest, but
    /// for a short poll the last 20.
    pub fn since(&self, route: ReadRoute) -> Since {
        let short_poll = route == ReadRoute::Poll && self.wait.is_zero();
        let default = if short_poll {
            Since::Last(20)
        } else {
            Since::Latest
        };
        self.from.unwrap_or(default)
    }

    /// Reads the part of a URL after `?`. `accept` is the header; only polls go by it.
    pub fn read(
        route: ReadRoute,
        query: &str,
        accept: Option<&str>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        let known: &[&str] = match route {
            ReadRoute::Ws => &["heartbeat", "cursors", "token"],
            ReadRoute::Sse => &["heartbeat", "format", "token"],
            ReadRoute::Tail => &["heartbeat"],
            ReadRoute::Poll => &["format", "limit", "wait", "follow"],
        };
        let mut topics: Vec<TopicName> = Vec::new();
        let mut given = Given::default();
        for pair in pairs(query) {
            let (name, value) = pair?;
            if name == "topic" {
                add_topic(&mut topics, &value, limits)?;
            } else if ["cursor", "from", "min_position"].contains(&&*name)
                || known.contains(&&*name)
            {
                given.put(name, value)?;
            } else {
                return Err(unknown(&name));
            }
        }
        if topics.is_empty() && route != ReadRoute::Ws {
            return Err(refused("topic", "this parameter is required"));
        }
        Self::of(route, topics, &given, accept)
    }

    fn of(
        route: ReadRoute,
        topics: Vec<TopicName>,
        given: &Given,
        accept: Option<&str>,
    ) -> Result<Self, Refusal> {
        let one = topics.len() == 1;
        let cursor = given
            .get("cursor")
            .map_or(Ok(None), |text| read_cursor(text, "cursor"))?;
        let from = given.get("from").map(read_since).transpose()?;
        if matches!(from, Some(Since::After(_))) && !one {
            return Err(refused("from", "a position is of one topic"));
        }
        if from.is_some() && topics.is_empty() {
            return Err(refused(
                "from",
                "only with `topic`: a `subscribe` has its own",
            ));
        }
        let min_position = given
            .get("min_position")
            .map(|text| read_position(text, "min_position"))
            .transpose()?;
        if min_position.is_some() && !one {
            return Err(refused("min_position", "a position is of one topic"));
        }
        let format = match given.get("format") {
            Some("json") => BodyFormat::Json,
            Some("html") => BodyFormat::Html,
            Some(_) => return Err(refused("format", "`json` or `html`")),
            None if route == ReadRoute::Poll && accept.is_some_and(prefers_html) => {
                BodyFormat::Html
            }
            None => BodyFormat::Json,
        };
        let follow = given.number("follow", 1, 3_600)?.map(Duration::from_secs);
        if follow.is_some() && format == BodyFormat::Json {
            return Err(refused("follow", "only with format=html"));
        }
        let cursors = match given.get("cursors") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(refused("cursors", "`true` or `false`")),
        };
        let token = match given.get("token") {
            Some("") => return Err(refused("token", "an empty token")),
            token => token.map(Secret::new),
        };
        let limit = given.number("limit", 1, 1_000)?;
        let wait = given.number("wait", 0, 50)?;
        let heartbeat = given.number("heartbeat", 5, 55)?;
        Ok(Self {
            topics,
            cursor,
            from,
            min_position,
            format,
            limit: limit.map_or(Self::LIMIT, |n| usize::try_from(n).unwrap_or(Self::LIMIT)),
            wait: Duration::from_secs(wait.unwrap_or(0)),
            follow,
            heartbeat: heartbeat.map_or(Self::HEARTBEAT, Duration::from_secs),
            cursors,
            token,
        })
    }
}

/// What the URL of a publish says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishQuery {
    pub topic: TopicName,
    pub ack: Ack,
    pub event: Option<EventName>,
    pub tags: Tags,
    pub expect: Option<Position>,
    /// The server's deadline, 1–30 s. Default: 5 s.
    pub timeout: Duration,
}

impl PublishQuery {
    /// Default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Reads the query of `POST /v1/publish`.
    pub fn read(query: &str) -> Result<Self, Refusal> {
        Self::of(query).map_err(Refusal::as_publish)
    }

    /// Reads the query of `POST /v1/publish/batch`, whose drafts stand in the body: the deadline.
    pub fn read_batch(query: &str) -> Result<Duration, Refusal> {
        let read = || {
            let mut given = Given::default();
            for pair in pairs(query) {
                match pair? {
                    (name, value) if name == "timeout" => given.put(name, value)?,
                    (name, _) => return Err(unknown(&name)),
                }
            }
            timeout(&given)
        };
        read().map_err(Refusal::as_publish)
    }

    fn of(query: &str) -> Result<Self, Refusal> {
        let mut given = Given::default();
        let mut tags = Vec::new();
        for pair in pairs(query) {
            let (name, value) = pair?;
            match &*name {
                "tag" => match value.split_once(':') {
                    Some((key, value)) => tags.push((key.to_owned(), value.to_owned())),
                    None => return Err(refused("tag", "a tag is KEY:VALUE")),
                },
                "topic" | "ack" | "event" | "expect" | "timeout" => given.put(name, value)?,
                _ => return Err(unknown(&name)),
            }
        }
        let topic = given
            .get("topic")
            .ok_or_else(|| refused("topic", "this parameter is required"))?;
        Ok(Self {
            topic: publish_topic(topic)?,
            ack: given.get("ack").map_or(Ok(Ack::Committed), read_ack)?,
            event: given
                .get("event")
                .map(|text| text.parse().map_err(|why| refused("event", why)))
                .transpose()?,
            tags: Tags::new(tags).map_err(|why| refused("tag", why))?,
            expect: given.get("expect").map(read_expectation).transpose()?,
            timeout: timeout(&given)?,
        })
    }
}

fn timeout(given: &Given) -> Result<Duration, Refusal> {
    let seconds = given.number("timeout", 1, 30)?;
    Ok(seconds.map_or(PublishQuery::TIMEOUT, Duration::from_secs))
}

/// Parameters that may be given once.
#[derive(Default)]
struct Given(Vec<(String, String)>);

impl Given {
    fn put(&mut self, name: String, value: String) -> Result<(), Refusal> {
        if self.get(&name).is_some() {
            return Err(refused(&name, "this parameter is repeated"));
        }
        self.0.push((name, value));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let row = self.0.iter().find(|(have, _)| have == name)?;
        Some(&row.1)
    }

    fn number(&self, name: &str, low: u64, high: u64) -> Result<Option<u64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        whole_number(text)
            .filter(|number| (low..=high).contains(number))
            .map(Some)
            .ok_or_else(|| refused(name, format_args!("a whole number from {low} to {high}")))
    }
}

/// A decimal without sign or leading zeros.
fn whole_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded {
        text.parse().ok()
    } else {
        None
    }
}

fn add_topic(topics: &mut Vec<TopicName>, text: &str, limits: &Limits) -> Result<(), Refusal> {
    let topic = reader_topic(text)?;
    if topics.len() == limits.topics {
        let why = format!("at most {} topics", limits.topics);
        return Err(Refusal::new(Code::LimitExceeded, why).field("topic"));
    }
    if topics.iter().any(|have| have.hash64() == topic.hash64()) {
        return Err(refused(
            "topic",
            "this topic, or one of the same hash, is repeated",
        ));
    }
    topics.push(topic);
    Ok(())
}

/// Reads the name of a topic that is to be read.
pub(crate) fn reader_topic(text: &str) -> Result<TopicName, Refusal> {
    text.parse()
        .map_err(|why: fanfare_core::name::BadTopicName| {
            Refusal::new(Code::InvalidTopic, why.to_string()).field("topic")
        })
}

/// Reads a cursor; an empty one is absent.
pub(crate) fn read_cursor(text: &str, field: &str) -> Result<Option<Cursor>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|why: fanfare_core::cursor::BadCursor| {
            Refusal::new(Code::BadCursor, why.to_string()).field(field)
        })
}

/// Reads a position that a stream has.
pub(crate) fn read_position(text: &str, field: &str) -> Result<Position, Refusal> {
    let position: Position = text.parse().map_err(|why| refused(field, why))?;
    if position.epoch == Epoch(0) {
        return Err(refused(field, "no stream has epoch 0"));
    }
    Ok(position)
}

/// Reads `from`.
pub(crate) fn read_since(text: &str) -> Result<Since, Refusal> {
    match text {
        "latest" => Ok(Since::Latest),
        "earliest" => Ok(Since::Earliest),
        _ => match text.strip_prefix("last:") {
            Some(count) => whole_number(count)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| (1..=1_000).contains(n))
                .map(Since::Last)
                .ok_or_else(|| refused("from", "last:1 to last:1000")),
            None => match read_position(text, "from") {
                Ok(position) => Ok(Since::After(position)),
                Err(_) => Err(refused(
                    "from",
                    "`latest`, `earliest`, `last:N` or a position such as 7-42",
                )),
            },
        },
    }
}

/// Appends `from` as it is read.
pub(crate) fn put_since(out: &mut Vec<u8>, since: Since) {
    match since {
        Since::Latest => out.extend_from_slice(b"latest"),
        Since::Earliest => out.extend_from_slice(b"earliest"),
        Since::Last(count) => put_plain(out, format_args!("last:{count}")),
        Since::After(position) => put_plain(out, position),
    }
}

/// The pairs of a query in order, decoded. `+` is a space, as in a form.
fn pairs(query: &str) -> impl Iterator<Item = Result<(String, String), Refusal>> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name) else {
                return Err(refused(&clip(name), "not a parameter's name"));
            };
            match decode(value) {
                Some(value) => Ok((name, value)),
                None => Err(refused(&clip(&name), "not percent-encoded UTF-8")),
            }
        })
}

/// Decodes `%XX` and `+`; `None` if it is not percent-encoded UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let hex = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' => b' ',
            _ => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// Appends `text` percent-encoded: all but letters, digits, `-`, `.`, `_`, `~`.
pub fn put_encoded(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}

/// The beginning of a name that a client made up: an answer does not grow with it.
pub(crate) fn clip(name: &str) -> String {
    name.chars().take(64).collect()
}

fn unknown(name: &str) -> Refusal {
    refused(&clip(name), "unknown parameter")
}

fn refused(field: &str, why: impl Display) -> Refusal {
    Refusal::new(Code::InvalidArgument, why.to_string()).field(field)
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
