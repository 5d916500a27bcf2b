//! One subscriber's session over any transport: opened at a position, read item by item, with the
//! cursor that the transport gives for a resume.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ::http::{Method, StatusCode};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::grpc::Subscription;
use super::http;
use super::seen::{Attached, Seen};
use super::sse::{self, Part};
use super::ws::{Heard, Ws};

/// How a session is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Ws,
    Sse,
    LongPoll,
    ShortPoll,
    Tail,
    Grpc,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 6] = [
        Self::Ws,
        Self::Sse,
        Self::LongPoll,
        Self::ShortPoll,
        Self::Tail,
        Self::Grpc,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::LongPoll => "longpoll",
            Self::ShortPoll => "poll",
            Self::Tail => "tail",
            Self::Grpc => "grpc",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(raw: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|t| t.as_str() == raw);
        found.ok_or(format!("no such transport: {raw}"))
    }
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub edge: String,
    pub grpc: String,
}

/// From where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// `latest`, `earliest`, `last:N`, or a position.
    From(String),
    Cursor(String),
}

impl Begin {
    fn pair(&self) -> (&str, &str) {
        match self {
            Self::From(from) => ("from", from),
            Self::Cursor(cursor) => ("cursor", cursor),
        }
    }
}

/// An open session.
pub struct Session {
    kind: Kind,
    waiting: VecDeque<Seen>,
    cursor: Option<String>,
}

enum Kind {
    Ws(Box<Ws>),
    Sse {
        body: Incoming,
        parser: sse::Parser,
    },
    Tail {
        body: Incoming,
        buffer: Vec<u8>,
    },
    Poll {
        edge: String,
        next: String,
        wait: bool,
        told: BTreeMap<String, ()>,
    },
    Grpc(Box<Subscription>),
}

impl Session {
    /// Opens a session on topics. For polls nothing is asked yet.
    pub async fn open(
        transport: Transport,
        node: &Node,
        topics: &[&str],
        begin: &Begin,
    ) -> Result<Self> {
        let mut pairs: Vec<(&str, &str)> = topics.iter().map(|topic| ("topic", *topic)).collect();
        pairs.push(begin.pair());
        let kind = match transport {
            Transport::Ws => Kind::Ws(Box::new(open_ws(node, topics, begin).await?)),
            Transport::Sse => {
                let body = stream(node, "/v1/sse", &pairs, "text/event-stream").await?;
                Kind::Sse {
                    body,
                    parser: sse::Parser::default(),
                }
            }
            Transport::Tail => {
                let body = stream(node, "/v1/tail", &pairs, "application/x-ndjson").await?;
                Kind::Tail {
                    body,
                    buffer: Vec::new(),
                }
            }
            Transport::LongPoll => {
                pairs.push(("wait", "25"));
                let next = format!("/v1/poll?{}", http::query(&pairs));
                Kind::Poll {
                    edge: node.edge.clone(),
                    next,
                    wait: true,
                    told: BTreeMap::new(),
                }
            }
            Transport::ShortPoll => {
                let next = format!("/v1/poll?{}", http::query(&pairs));
                Kind::Poll {
                    edge: node.edge.clone(),
                    next,
                    wait: false,
                    told: BTreeMap::new(),
                }
            }
            Transport::Grpc => Kind::Grpc(Box::new(
                Subscription::open(&node.grpc, topics, begin).await?,
            )),
        };
        Ok(Self {
            kind,
            waiting: VecDeque::new(),
            cursor: None,
        })
    }

    /// The cursor after everything that `next` has given, as the transport says it.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref().filter(|_| self.waiting.is_empty())
    }

    /// The next thing; `None` if the stream ended without a word.
    pub async fn next(&mut self) -> Result<Option<Seen>> {
        loop {
            if let Some(seen) = self.waiting.pop_front() {
                return Ok(Some(seen));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// The next message, everything else but a gap or an end skipped.
    pub async fn message(&mut self) -> Result<super::seen::Message> {
        loop {
            match self.next().await? {
                Some(Seen::Message(message)) => return Ok(message),
                Some(Seen::Attached(_) | Seen::Heartbeat) => {}
                other => bail!("not a message: {other:?}"),
            }
        }
    }

    /// Reads until something waits; false at the stream's end.
    async fn read(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::Ws(ws) => match ws.hear().await? {
                Heard::Frame(frame) => take_frame(&frame, &mut self.waiting, &mut self.cursor)?,
                Heard::Ping => {}
                Heard::Closed { .. } | Heard::Cut => return Ok(false),
            },
            Kind::Sse { body, parser } => {
                let Some(bytes) = chunk(body).await? else {
                    return Ok(false);
                };
                for part in parser.push(&bytes)? {
                    if let Part::Event(event) = part {
                        let value: Value = serde_json::from_str(&event.data)?;
                        self.waiting.push_back(Seen::from_json(&value)?);
                        if !event.id.is_empty() {
                            self.cursor = Some(event.id);
                        }
                    }
                }
            }
            Kind::Tail { body, buffer } => {
                let Some(bytes) = chunk(body).await? else {
                    return Ok(false);
                };
                buffer.extend_from_slice(&bytes);
                while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let value: Value = serde_json::from_slice(&line)?;
                    self.waiting.push_back(Seen::from_json(&value)?);
                    if let Some(cursor) = value["cursor"].as_str() {
                        self.cursor = Some(cursor.to_owned());
                    }
                }
            }
            Kind::Poll {
                edge,
                next,
                wait,
                told,
            } => {
                if !*wait && !told.is_empty() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                let answer = http::get(edge, next).await?;
                ensure!(
                    answer.status == StatusCode::OK,
                    "{}: {}",
                    answer.status,
                    answer.text()
                );
                *next = answer.next().context("a poll without `next`")?;
                let value = answer.json()?;
                take_poll(&value, told, &mut self.waiting)?;
                self.cursor = value["cursor"].as_str().map(str::to_owned);
            }
            Kind::Grpc(subscription) => {
                return subscription.read(&mut self.waiting, &mut self.cursor).await;
            }
        }
        Ok(true)
    }
}

async fn open_ws(node: &Node, topics: &[&str], begin: &Begin) -> Result<Ws> {
    let mut ws = Ws::open(&node.edge, "").await?;
    ws.send(&json!({"type": "hello", "id": 1, "cursors": true, "client": "tests"}))
        .await?;
    let welcome = ws.frame().await?;
    ensure!(welcome["type"] == "welcome", "no welcome but {welcome}");
    let (member, value) = begin.pair();
    for (n, topic) in topics.iter().enumerate() {
        let mut frame = json!({"type": "subscribe", "id": n + 2, "topic": topic});
        frame[member] = json!(value);
        ws.send(&frame).await?;
    }
    Ok(ws)
}

async fn stream(node: &Node, path: &str, pairs: &[(&str, &str)], kind: &str) -> Result<Incoming> {
    let path = format!("{path}?{}", http::query(pairs));
    let answer = http::open(&node.edge, Method::GET, &path, &[], Bytes::new()).await?;
    let status = answer.status();
    if status != StatusCode::OK {
        let body = answer.into_body().collect().await?.to_bytes();
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    let given = answer
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok());
    ensure!(
        given.is_some_and(|g| g.starts_with(kind)),
        "content type {given:?}"
    );
    Ok(answer.into_body())
}

/// The next bytes of a body; `None` at its end or when it was cut.
async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Some(Err(_)) | None => return Ok(None),
        }
    }
}

fn take_frame(
    frame: &Value,
    waiting: &mut VecDeque<Seen>,
    cursor: &mut Option<String>,
) -> Result<()> {
    match frame["type"].as_str() {
        Some("items") => {
            for item in frame["items"].as_array().context("items without items")? {
                waiting.push_back(Seen::from_json(item)?);
            }
        }
        Some("subscribed" | "heartbeat" | "disconnect") => {
            waiting.push_back(Seen::from_json(frame)?);
        }
        Some("unsubscribed" | "error") => {
            waiting.push_back(Seen::Disconnect {
                code: super::seen::text(frame, "code")?,
                advice: super::seen::text(frame, "advice")?,
                retry_after_ms: None,
            });
        }
        _ => bail!("an unexpected frame: {frame}"),
    }
    if let Some(text) = frame["cursor"].as_str() {
        *cursor = Some(text.to_owned());
    }
    Ok(())
}

/// A poll's topics count as attached the first time they are answered in a session.
fn take_poll(
    value: &Value,
    told: &mut BTreeMap<String, ()>,
    waiting: &mut VecDeque<Seen>,
) -> Result<()> {
    for (topic, row) in value["topics"]
        .as_object()
        .context("a poll without topics")?
    {
        if told.insert(topic.clone(), ()).is_none() {
            waiting.push_back(Seen::Attached(Attached::from_json(topic, row)?));
        }
    }
    for item in value["items"].as_array().context("a poll without items")? {
        waiting.push_back(Seen::from_json(item)?);
    }
    Ok(())
}
