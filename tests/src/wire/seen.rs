//! What a subscriber sees, the same on every transport.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use fanfare_core::position::Position;
use serde_json::Value;

/// One thing that came.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    Attached(Attached),
    Message(Message),
    Gap(Gap),
    Heartbeat,
    /// The session's end, told.
    Disconnect {
        code: String,
        advice: String,
        retry_after_ms: Option<u64>,
    },
}

/// How a topic's subscription began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub topic: String,
    pub class: String,
    pub answer: String,
    pub from: Option<Position>,
    pub head: Position,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub position: Position,
    pub event: Option<String>,
    pub content_type: String,
    pub payload: Vec<u8>,
}

impl Message {
    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub topic: String,
    pub reason: String,
    pub by: Option<String>,
    pub from: Position,
    pub to: Position,
    pub missed: Option<u64>,
}

/// Reads a member that must be text.
pub fn text(value: &Value, member: &str) -> Result<String> {
    let found = value[member].as_str();
    Ok(found
        .with_context(|| format!("`{member}` is no text in {value}"))?
        .to_owned())
}

/// Reads a member that must be a position.
pub fn position(value: &Value, member: &str) -> Result<Position> {
    Ok(text(value, member)?.parse()?)
}

impl Attached {
    /// From a `subscribed` frame, or a topic's row in a poll's body.
    pub fn from_json(topic: &str, value: &Value) -> Result<Self> {
        let from = match &value["from"] {
            Value::Null => None,
            _ => Some(position(value, "from")?),
        };
        Ok(Self {
            topic: topic.to_owned(),
            class: text(value, "class")?,
            answer: text(value, "answer")?,
            from,
            head: position(value, "head")?,
        })
    }
}

impl Seen {
    /// From a JSON item, frame, line or event data of a known type.
    pub fn from_json(value: &Value) -> Result<Self> {
        let topic = || text(value, "topic");
        match value["type"].as_str() {
            Some("message") => {
                let payload = if let Some(raw) = value["data_base64"].as_str() {
                    base64::engine::general_purpose::STANDARD.decode(raw)?
                } else if let Some(raw) = value["data"].as_str().filter(|_| !is_json(value)) {
                    raw.as_bytes().to_vec()
                } else {
                    serde_json::to_vec(&value["data"])?
                };
                Ok(Self::Message(Message {
                    topic: topic()?,
                    position: position(value, "position")?,
                    event: value["event"].as_str().map(str::to_owned),
                    content_type: text(value, "content_type")?,
                    payload,
                }))
            }
            Some("gap") => Ok(Self::Gap(Gap {
                topic: topic()?,
                reason: text(value, "reason")?,
                by: value["by"].as_str().map(str::to_owned),
                from: position(value, "from")?,
                to: position(value, "to")?,
                missed: value["missed"].as_u64(),
            })),
            Some("subscribed") => Ok(Self::Attached(Attached::from_json(&topic()?, value)?)),
            Some("heartbeat") => Ok(Self::Heartbeat),
            Some("disconnect") => Ok(Self::Disconnect {
                code: text(value, "code")?,
                advice: text(value, "advice")?,
                retry_after_ms: value["retry_after_ms"].as_u64(),
            }),
            _ => bail!("not an item: {value}"),
        }
    }
}

fn is_json(value: &Value) -> bool {
    value["content_type"]
        .as_str()
        .is_some_and(|t| t.contains("json"))
}
