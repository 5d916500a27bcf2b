//! Observations: one JSON object a line, one file a client process (contract section 11), and the
//! recorder that writes them.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One line: when, who, what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Monotonic ns of the run, one clock for all who write.
    pub t: u64,
    /// Wall clock, ms.
    pub wall: u64,
    /// Who wrote it.
    pub by: String,
    #[serde(flatten)]
    pub event: Event,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A sending begins; written before its first byte leaves.
    Publish {
        op: u64,
        draft: String,
        topic: String,
        stream: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        ack: AckLevel,
        hash: String,
        node: String,
    },
    /// The sending was acked.
    Acked {
        op: u64,
        topic: String,
        epoch: u64,
        offset: u64,
        class: String,
        reached: Reached,
        duplicate: bool,
    },
    /// The sending failed for good.
    Refused {
        op: u64,
        code: String,
        outcome: String,
    },
    /// Nobody knows what became of the sending.
    Unknown { op: u64, why: String },
    /// A subscriber asks for a topic in a session.
    Subscribe {
        sub: String,
        session: String,
        transport: String,
        node: String,
        topic: String,
        since: SinceText,
    },
    /// It was answered.
    Attached {
        session: String,
        topic: String,
        answer: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<Position>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        head: Option<Position>,
    },
    /// A message came.
    Message {
        session: String,
        topic: String,
        epoch: u64,
        offset: u64,
        draft: String,
        hash: String,
    },
    /// A gap came.
    Gap {
        session: String,
        topic: String,
        reason: String,
        /// The contract's `by` of a gap; every line has a `by` of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trimmed_by: Option<String>,
        from: Position,
        to: Position,
        missed: Option<u64>,
    },
    /// A session ended.
    Closed {
        session: String,
        code: String,
        why: String,
    },
    /// What a node says of a topic, each second.
    Sample {
        node: String,
        topic: String,
        epoch: u64,
        start: u64,
        head: u64,
    },
    /// A fault of the run.
    Fault {
        fault: String,
        target: String,
        phase: String,
    },
    /// What a node holds of a topic when all is over.
    Final {
        node: String,
        topic: String,
        class: String,
        epoch: u64,
        start: u64,
        head: u64,
        chain: String,
        rows: Vec<Row>,
    },
}

/// A retained message in a final dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub offset: u64,
    pub hash: String,
    pub draft: String,
}

/// What ack was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckLevel {
    Committed,
    None,
}

/// What an ack said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    None,
    Ephemeral,
    Durable,
}

/// (epoch, offset), ordered so; written `EPOCH-OFFSET`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub epoch: u64,
    pub offset: u64,
}

impl Position {
    /// Before everything.
    pub(crate) const ZERO: Self = Self {
        epoch: 0,
        offset: 0,
    };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.offset)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| part.parse().map_err(|_| format!("not a position: {text}"));
        let (epoch, offset) = text
            .split_once('-')
            .ok_or(format!("not a position: {text}"))?;
        Ok(Self {
            epoch: parse(epoch)?,
            offset: parse(offset)?,
        })
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// From where a topic was asked: `latest`, `earliest`, `last:N`, or a position already processed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SinceText(pub String);

impl SinceText {
    /// The position, if one was presented.
    pub fn position(&self) -> Option<Position> {
        self.0.parse().ok()
    }
}

/// The hash of a payload as observations spell it: xxh3-128, hex.
pub fn hash(payload: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(payload))
}

/// A shorter hash of the same payload, for judges that keep many: xxh3-64.
pub fn digest(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

/// Writes lines, from any thread, whole.
pub struct Recorder<W> {
    out: Mutex<W>,
}

impl<W: Write> Recorder<W> {
    /// Records into `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self {
            out: Mutex::new(out),
        }
    }

    /// Writes one line.
    pub fn record(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&text)
    }

    /// Hands what is buffered to the system.
    pub fn flush(&self) -> io::Result<()> {
        self.out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line {
            t: 1,
            wall: 2,
            by: "pub-1".to_owned(),
            event: Event::Gap {
                session: "s".to_owned(),
                topic: "news".to_owned(),
                reason: "trimmed".to_owned(),
                trimmed_by: Some("age".to_owned()),
                from: Position {
                    epoch: 7,
                    offset: 1,
                },
                to: Position {
                    epoch: 7,
                    offset: 9,
                },
                missed: None,
            },
        };
        let text = serde_json::to_string(&line).unwrap();
        assert!(text.contains(r#""kind":"gap""#), "{text}");
        assert!(text.contains(r#""from":"7-1""#), "{text}");
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
    }
}
