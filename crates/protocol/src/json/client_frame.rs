//! What a client says on a WebSocket (protocol section 4): read by an edge, which names every
//! member it does not know, and written by a client.

use std::fmt::Display;

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::Since;
use fanfare_core::message::Draft;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;

use super::draft;
use super::members::{Members, Wrong};
use super::write::{put_name, put_number, put_plain, put_text, put_text_if, put_word};
use crate::limit::{Limits, MAX_ID};
use crate::query::{put_since, read_cursor, read_position, read_since, reader_topic};
use crate::secret::Secret;

/// A frame of a client. An edge reads cursors; to a client they are opaque text (`C = String`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame<C = Cursor> {
    Hello(Hello<C>),
    Subscribe(Subscribe<C>),
    Unsubscribe { id: u64, topic: TopicName },
    Publish { id: u64, draft: Draft },
    Refresh { id: u64, token: Secret },
    Ping { id: Option<u64> },
}

/// The first frame, unless the URL names topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello<C = Cursor> {
    pub id: Option<u64>,
    pub token: Option<Secret>,
    /// For every later `subscribe` without a cursor of its own.
    pub cursor: Option<C>,
    /// 5,000–55,000.
    pub heartbeat_ms: Option<u64>,
    /// A cursor in `items` with several topics too.
    pub cursors: bool,
    /// Free text, for the operator.
    pub client: Option<String>,
}

/// A wish for a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<C = Cursor> {
    pub id: u64,
    pub topic: TopicName,
    /// Wins over `hello.cursor`, and either over `from`.
    pub cursor: Option<C>,
    pub from: Option<Since>,
    pub min_position: Option<Position>,
}

/// A frame that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// The frame's id, if it had a good one: the `error` carries it.
    pub id: Option<u64>,
    pub refusal: Refusal,
    /// True: not a JSON object. It ends the session; any other gets `error` and the session goes on.
    pub fatal: bool,
}

impl BadFrame {
    /// What a binary frame is answered with.
    pub fn binary() -> Self {
        Self::fatal(Code::ProtocolError, "a frame of fanfare.v1 is text")
    }

    fn fatal(code: Code, why: impl Into<String>) -> Self {
        Self {
            id: None,
            refusal: Refusal::new(code, why),
            fatal: true,
        }
    }
}

impl ClientFrame {
    /// Reads the payload of a text frame.
    pub fn read(json: &[u8], limits: &Limits) -> Result<Self, Box<BadFrame>> {
        if json.len() > limits.frame {
            let why = format!("a frame has at most {} bytes", limits.frame);
            return Err(Box::new(BadFrame::fatal(Code::PayloadTooLarge, why)));
        }
        let Some(mut members) = Members::read(json) else {
            let why = "a frame is one JSON object";
            return Err(Box::new(BadFrame::fatal(Code::ProtocolError, why)));
        };
        let mut id = None;
        let publish = members.peek("type") == Some("\"publish\"");
        Self::of_members(&mut members, &mut id, limits).map_err(|refusal| {
            let refusal = if publish {
                refusal.as_publish()
            } else {
                refusal
            };
            Box::new(BadFrame {
                id,
                refusal,
                fatal: false,
            })
        })
    }

    fn of_members(
        members: &mut Members<'_>,
        id: &mut Option<u64>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        *id = members.number("id").map_err(wrong)?;
        if id.is_some_and(|id| id == 0 || id > MAX_ID) {
            *id = None;
            return Err(refused("id", "an id is from 1 to 2^53 - 1"));
        }
        let kind = members.need_text("type").map_err(wrong)?;
        let need_id = || id.ok_or_else(|| wrong(Wrong::missing("id")));
        let frame = match &*kind {
            "hello" => Self::Hello(read_hello(members, *id)?),
            "subscribe" => Self::Subscribe(read_subscribe(members, need_id()?)?),
            "unsubscribe" => Self::Unsubscribe {
                id: need_id()?,
                topic: read_topic(members)?,
            },
            "publish" => Self::Publish {
                id: need_id()?,
                draft: draft::of_members(members, limits)?,
            },
            "refresh" => Self::Refresh {
                id: need_id()?,
                token: Secret::new(members.need_text("token").map_err(wrong)?),
            },
            "ping" => Self::Ping { id: *id },
            _ => return Err(refused("type", "unknown type of frame")),
        };
        members.finish().map_err(wrong)?;
        Ok(frame)
    }
}

impl<C: Display> ClientFrame<C> {
    /// Appends the payload of a text frame. Text transports take printable keys alone.
    pub fn put(&self, out: &mut Vec<u8>) {
        let begin = |out: &mut Vec<u8>, kind: &str, id: Option<u64>| {
            out.push(b'{');
            put_word(out, "type", kind);
            if let Some(id) = id {
                put_number(out, "id", id);
            }
        };
        match self {
            Self::Hello(hello) => {
                begin(out, "hello", hello.id);
                put_text_if(out, "token", hello.token.as_ref().map(Secret::expose));
                put_cursor_if(out, hello.cursor.as_ref());
                if let Some(ms) = hello.heartbeat_ms {
                    put_number(out, "heartbeat_ms", ms);
                }
                if hello.cursors {
                    put_number(out, "cursors", true);
                }
                put_text_if(out, "client", hello.client.as_deref());
            }
            Self::Subscribe(subscribe) => {
                begin(out, "subscribe", Some(subscribe.id));
                put_text(out, "topic", subscribe.topic.as_str());
                put_cursor_if(out, subscribe.cursor.as_ref());
                if let Some(from) = subscribe.from {
                    put_name(out, "from");
                    out.push(b'"');
                    put_since(out, from);
                    out.push(b'"');
                }
                if let Some(position) = subscribe.min_position {
                    put_word(out, "min_position", position);
                }
            }
            Self::Unsubscribe { id, topic } => {
                begin(out, "unsubscribe", Some(*id));
                put_text(out, "topic", topic.as_str());
            }
            Self::Publish { id, draft } => {
                begin(out, "publish", Some(*id));
                draft::put_members(out, draft);
            }
            Self::Refresh { id, token } => {
                begin(out, "refresh", Some(*id));
                put_text(out, "token", token.expose());
            }
            Self::Ping { id } => begin(out, "ping", *id),
        }
        put_plain(out, '}');
    }
}

fn put_cursor_if<C: Display>(out: &mut Vec<u8>, cursor: Option<&C>) {
    if let Some(cursor) = cursor {
        put_text(out, "cursor", &cursor.to_string());
    }
}

fn read_hello(members: &mut Members<'_>, id: Option<u64>) -> Result<Hello, Refusal> {
    let token = members.text("token").map_err(wrong)?;
    let cursor = members.text("cursor").map_err(wrong)?;
    let heartbeat_ms = members.number("heartbeat_ms").map_err(wrong)?;
    if heartbeat_ms.is_some_and(|ms| !(5_000..=55_000).contains(&ms)) {
        return Err(refused("heartbeat_ms", "from 5000 to 55000"));
    }
    Ok(Hello {
        id,
        token: token.map(Secret::new),
        cursor: cursor.map_or(Ok(None), |text| read_cursor(&text, "cursor"))?,
        heartbeat_ms,
        cursors: members.flag("cursors").map_err(wrong)?.unwrap_or(false),
        client: members.text("client").map_err(wrong)?.map(Into::into),
    })
}

fn read_subscribe(members: &mut Members<'_>, id: u64) -> Result<Subscribe, Refusal> {
    let topic = read_topic(members)?;
    let cursor = members.text("cursor").map_err(wrong)?;
    let from = members.text("from").map_err(wrong)?;
    let min_position = members.text("min_position").map_err(wrong)?;
    Ok(Subscribe {
        id,
        topic,
        cursor: cursor.map_or(Ok(None), |text| read_cursor(&text, "cursor"))?,
        from: from.map(|text| read_since(&text)).transpose()?,
        min_position: min_position
            .map(|text| read_position(&text, "min_position"))
            .transpose()?,
    })
}

fn read_topic(members: &mut Members<'_>) -> Result<TopicName, Refusal> {
    reader_topic(&members.need_text("topic").map_err(wrong)?)
}

fn wrong(Wrong { field, why }: Wrong) -> Refusal {
    refused(&field, &why)
}

fn refused(field: &str, why: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, why).field(field)
}

#[cfg(test)]
#[path = "client_frame_tests.rs"]
mod tests;
