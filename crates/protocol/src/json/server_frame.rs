//! What a server says on a WebSocket, and, line by line or event by event, on the other streams
//! (protocol sections 4, 5, 8): written by an edge, read by a client that passes over what is new.

use fanfare_core::code::{Advice, Code};
use fanfare_core::gap::{Answer, Standing};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_core::rule::Class;

use super::ack::{self, Acked};
use super::item::{Malformed, Received, read_item, read_whole_item};
use super::members::{Members, Wrong};
use super::problem::{self, Problem};
use super::write::{put_name, put_number, put_string, put_text, put_text_if, put_word};
use crate::limit::Limits;
use crate::spelling::{AnswerKind, Named};

/// Anything a server says, as a client received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFrame {
    Welcome(Welcome),
    Subscribed(Subscribed),
    /// Items, and where the session stands after the last of them, if that was said.
    Items {
        items: Vec<Received>,
        cursor: Option<String>,
    },
    Unsubscribed(Unsubscribed),
    Ack {
        id: u64,
        ack: Acked,
    },
    Error {
        id: Option<u64>,
        problem: Problem,
    },
    Refreshed(Refreshed),
    Pong {
        id: Option<u64>,
    },
    Heartbeat,
    Disconnect(Disconnect),
    /// Of a type that a newer server has: passed over.
    Other(String),
}

/// The answer to `hello`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    pub id: Option<u64>,
    pub session: String,
    pub node: String,
    pub heartbeat_ms: u64,
    /// ms until the credentials expire.
    pub expires_in_ms: Option<u64>,
    pub limits: WelcomeLimits,
    /// What was added to version 1.
    pub features: Vec<String>,
}

/// The limits a client must keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WelcomeLimits {
    pub max_topics: u64,
    pub max_frame: u64,
    pub max_payload: u64,
    pub in_flight: u64,
}

impl From<&Limits> for WelcomeLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            max_topics: limits.topics as u64,
            max_frame: limits.frame as u64,
            max_payload: limits.payload as u64,
            in_flight: limits.in_flight as u64,
        }
    }
}

/// The answer to attaching a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    pub id: Option<u64>,
    pub topic: TopicName,
    pub class: Named<Class>,
    pub answer: Named<AnswerKind>,
    /// The position after which delivery was asked; absent with `latest`.
    pub from: Option<Position>,
    pub head: Position,
    /// What to resume from if nothing else comes.
    pub cursor: Option<String>,
}

impl Subscribed {
    /// The answer that a standing gives.
    pub fn new(id: Option<u64>, topic: TopicName, standing: &Standing, cursor: String) -> Self {
        Self {
            id,
            topic,
            class: standing.policy.class.into(),
            answer: AnswerKind::from(&standing.answer).into(),
            from: from_of(&standing.answer),
            head: standing.head,
            cursor: Some(cursor),
        }
    }
}

/// The position an answer speaks of.
pub(crate) fn from_of(answer: &Answer) -> Option<Position> {
    match answer {
        Answer::Recovered(from) => Some(*from),
        Answer::Gap(gap) => Some(gap.from),
        Answer::Latest => None,
    }
}

/// The end of a topic in a session: asked for, or (with a code) not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    pub id: Option<u64>,
    pub topic: TopicName,
    pub code: Option<Named<Code>>,
    pub advice: Option<Named<Advice>>,
    pub detail: Option<String>,
}

/// New credentials were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refreshed {
    pub id: u64,
    pub expires_in_ms: Option<u64>,
}

/// The end of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub code: Named<Code>,
    pub advice: Option<Named<Advice>>,
    pub retry_after_ms: Option<u64>,
    /// After the last item sent.
    pub cursor: Option<String>,
    pub detail: String,
}

impl Disconnect {
    /// The end that a refusal makes.
    pub fn new(refusal: &Refusal, cursor: Option<String>) -> Self {
        Self {
            code: refusal.code.into(),
            advice: Some(refusal.code.advice(refusal.outcome).into()),
            retry_after_ms: refusal.retry_after_ms,
            cursor,
            detail: refusal.detail.clone(),
        }
    }
}

fn begin(out: &mut Vec<u8>, kind: &str, id: Option<u64>) {
    out.push(b'{');
    put_word(out, "type", kind);
    if let Some(id) = id {
        put_number(out, "id", id);
    }
}

/// Appends `welcome`.
pub fn put_welcome(out: &mut Vec<u8>, welcome: &Welcome) {
    let Welcome {
        id,
        session,
        node,
        heartbeat_ms,
        expires_in_ms,
        limits,
        features,
    } = welcome;
    begin(out, "welcome", *id);
    put_text(out, "session", session);
    put_text(out, "node", node);
    put_number(out, "heartbeat_ms", heartbeat_ms);
    if let Some(ms) = expires_in_ms {
        put_number(out, "expires_in_ms", ms);
    }
    put_name(out, "limits");
    out.push(b'{');
    put_number(out, "max_topics", limits.max_topics);
    put_number(out, "max_frame", limits.max_frame);
    put_number(out, "max_payload", limits.max_payload);
    put_number(out, "in_flight", limits.in_flight);
    out.push(b'}');
    put_name(out, "features");
    out.push(b'[');
    for (at, feature) in features.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        put_string(out, feature);
    }
    out.extend_from_slice(b"]}");
}

/// Appends `subscribed`; `cursor` as the transport has it: a WebSocket and a tail in the object,
/// SSE in the event's id.
pub fn put_subscribed(out: &mut Vec<u8>, subscribed: &Subscribed, cursor: Option<&str>) {
    let Subscribed {
        id,
        topic,
        class,
        answer,
        from,
        head,
        cursor: _,
    } = subscribed;
    begin(out, "subscribed", *id);
    put_text(out, "topic", topic.as_str());
    put_text(out, "class", class.as_str());
    put_text(out, "answer", answer.as_str());
    if let Some(from) = from {
        put_word(out, "from", from);
    }
    put_word(out, "head", head);
    put_text_if(out, "cursor", cursor);
    out.push(b'}');
}

/// Appends `unsubscribed`.
pub fn put_unsubscribed(out: &mut Vec<u8>, unsubscribed: &Unsubscribed) {
    let Unsubscribed {
        id,
        topic,
        code,
        advice,
        detail,
    } = unsubscribed;
    begin(out, "unsubscribed", *id);
    put_text(out, "topic", topic.as_str());
    put_text_if(out, "code", code.as_ref().map(Named::as_str));
    put_text_if(out, "advice", advice.as_ref().map(Named::as_str));
    put_text_if(out, "detail", detail.as_deref());
    out.push(b'}');
}

/// Appends `ack`.
pub fn put_ack(out: &mut Vec<u8>, id: u64, receipt: &Receipt) {
    begin(out, "ack", Some(id));
    ack::put_members(out, receipt);
    out.push(b'}');
}

/// Appends `error`.
pub fn put_error(out: &mut Vec<u8>, id: Option<u64>, refusal: &Refusal) {
    begin(out, "error", id);
    problem::put_members(out, refusal);
    out.push(b'}');
}

/// Appends `refreshed`.
pub fn put_refreshed(out: &mut Vec<u8>, refreshed: Refreshed) {
    begin(out, "refreshed", Some(refreshed.id));
    if let Some(ms) = refreshed.expires_in_ms {
        put_number(out, "expires_in_ms", ms);
    }
    out.push(b'}');
}

/// Appends `pong`.
pub fn put_pong(out: &mut Vec<u8>, id: Option<u64>) {
    begin(out, "pong", id);
    out.push(b'}');
}

/// Appends `heartbeat`.
pub fn put_heartbeat(out: &mut Vec<u8>) {
    begin(out, "heartbeat", None);
    out.push(b'}');
}

/// Appends `disconnect`.
pub fn put_disconnect(out: &mut Vec<u8>, disconnect: &Disconnect) {
    let Disconnect {
        code,
        advice,
        retry_after_ms,
        cursor,
        detail,
    } = disconnect;
    begin(out, "disconnect", None);
    put_text(out, "code", code.as_str());
    put_text_if(out, "advice", advice.as_ref().map(Named::as_str));
    if let Some(ms) = retry_after_ms {
        put_number(out, "retry_after_ms", ms);
    }
    put_text_if(out, "cursor", cursor.as_deref());
    put_text(out, "detail", detail);
    out.push(b'}');
}

/// The types of frame that are no items.
const CONTROL: [&str; 9] = [
    "welcome",
    "subscribed",
    "unsubscribed",
    "ack",
    "error",
    "refreshed",
    "pong",
    "heartbeat",
    "disconnect",
];

impl ServerFrame {
    /// Reads a text frame, a line of a tail, or the data of an SSE event. A message or gap that
    /// stands alone is `Items` of one. What this version does not know is passed over.
    pub fn read(json: &[u8]) -> Result<Self, Malformed> {
        let mut members = Members::read(json).ok_or(Malformed::NotAnObject)?;
        let kind = members.need_text("type")?;
        if matches!(&*kind, "message" | "gap") {
            let cursor = read_string(&mut members, "cursor")?;
            let items = vec![read_item(&kind, &mut members)?];
            return Ok(Self::Items { items, cursor });
        }
        if kind == "items" {
            return read_items(&mut members);
        }
        Ok(Self::read_control(&kind, &mut members)?)
    }

    fn read_control(kind: &str, members: &mut Members<'_>) -> Result<Self, Wrong> {
        if !CONTROL.contains(&kind) {
            return Ok(Self::Other(kind.to_owned()));
        }
        let id = members.number("id")?;
        let need_id = || id.ok_or_else(|| Wrong::missing("id"));
        Ok(match kind {
            "welcome" => Self::Welcome(read_welcome(id, members)?),
            "subscribed" => Self::Subscribed(Subscribed {
                id,
                topic: members.need_parsed("topic")?,
                class: read_named(members, "class")?.unwrap_or_else(|| Named::read("")),
                answer: Named::read(&members.need_text("answer")?),
                from: members.parsed("from")?,
                head: members.need_parsed("head")?,
                cursor: read_string(members, "cursor")?,
            }),
            "unsubscribed" => Self::Unsubscribed(Unsubscribed {
                id,
                topic: members.need_parsed("topic")?,
                code: read_named(members, "code")?,
                advice: read_named(members, "advice")?,
                detail: read_string(members, "detail")?,
            }),
            "ack" => Self::Ack {
                id: need_id()?,
                ack: Acked::of_members(members)?,
            },
            "error" => Self::Error {
                id,
                problem: Problem::of_members(members)?,
            },
            "refreshed" => Self::Refreshed(Refreshed {
                id: need_id()?,
                expires_in_ms: members.number("expires_in_ms")?,
            }),
            "pong" => Self::Pong { id },
            "heartbeat" => Self::Heartbeat,
            "disconnect" => Self::Disconnect(Disconnect {
                code: Named::read(&members.need_text("code")?),
                advice: read_named(members, "advice")?,
                retry_after_ms: members.number("retry_after_ms")?,
                cursor: read_string(members, "cursor")?,
                detail: read_string(members, "detail")?.unwrap_or_default(),
            }),
            other => Self::Other(other.to_owned()),
        })
    }
}

fn read_items(members: &mut Members<'_>) -> Result<ServerFrame, Malformed> {
    let raw = members
        .array("items")?
        .ok_or_else(|| Wrong::missing("items"))?;
    let items = raw
        .into_iter()
        .map(read_whole_item)
        .collect::<Result<_, _>>()?;
    let cursor = read_string(members, "cursor")?;
    Ok(ServerFrame::Items { items, cursor })
}

fn read_welcome(id: Option<u64>, members: &mut Members<'_>) -> Result<Welcome, Wrong> {
    let mut limits = members.object("limits")?.unwrap_or_default();
    let mut limit = |name| Ok::<_, Wrong>(limits.number(name)?.unwrap_or(0));
    let limits = WelcomeLimits {
        max_topics: limit("max_topics")?,
        max_frame: limit("max_frame")?,
        max_payload: limit("max_payload")?,
        in_flight: limit("in_flight")?,
    };
    let features = members.array("features")?.unwrap_or_default();
    Ok(Welcome {
        id,
        session: read_string(members, "session")?.unwrap_or_default(),
        node: read_string(members, "node")?.unwrap_or_default(),
        heartbeat_ms: members
            .number("heartbeat_ms")?
            .ok_or_else(|| Wrong::missing("heartbeat_ms"))?,
        expires_in_ms: members.number("expires_in_ms")?,
        limits,
        features: features
            .into_iter()
            .filter_map(|raw| serde_json::from_str(raw).ok())
            .collect(),
    })
}

fn read_string(members: &mut Members<'_>, name: &'static str) -> Result<Option<String>, Wrong> {
    Ok(members.text(name)?.map(Into::into))
}

fn read_named<T: crate::spelling::Spelled>(
    members: &mut Members<'_>,
    name: &'static str,
) -> Result<Option<Named<T>>, Wrong> {
    Ok(members.text(name)?.map(|text| Named::read(&text)))
}

#[cfg(test)]
#[path = "server_frame_tests.rs"]
mod tests;
