//! A gRPC client generated from the public protos by the tests themselves.

use std::collections::VecDeque;
use std::fmt::Debug;

use anyhow::{Context as _, Result, ensure};
use fanfare_core::position::Position;
use tonic::transport::Channel;

use super::seen::{Attached, Gap, Message, Seen};
use super::session::Begin;

/// The generated code of `fanfare.v1`.
#[expect(clippy::all, reason = "generated")]
pub mod pb {
    tonic::include_proto!("fanfare.v1");
}

use pb::subscriber_client::SubscriberClient;

/// A channel to a node's gRPC door.
pub async fn channel(address: &str) -> Result<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
    endpoint
        .connect()
        .await
        .with_context(|| format!("connecting to {address}"))
}

/// An open `Subscribe` call.
pub struct Subscription {
    stream: tonic::Streaming<pb::SubscribeResponse>,
}

impl Subscription {
    /// Subscribes to topics.
    pub async fn open(address: &str, topics: &[&str], begin: &Begin) -> Result<Self> {
        let mut client = SubscriberClient::new(channel(address).await?);
        let (at, cursor) = match begin {
            Begin::Cursor(cursor) => (None, cursor.clone()),
            Begin::From(from) => (Some(start_at(from)?), String::new()),
        };
        let start = |topic: &&str| pb::Start {
            topic: (*topic).to_owned(),
            at,
            min_position: None,
        };
        let request = pb::SubscribeRequest {
            topics: topics.iter().map(start).collect(),
            cursor,
            heartbeat_ms: 0,
            cursors: true,
        };
        let stream = client.subscribe(request).await?.into_inner();
        Ok(Self { stream })
    }

    /// Reads the next event; false at the stream's end.
    pub async fn read(
        &mut self,
        waiting: &mut VecDeque<Seen>,
        cursor: &mut Option<String>,
    ) -> Result<bool> {
        use pb::subscribe_response::Event;
        let Ok(Some(response)) = self.stream.message().await else {
            return Ok(false);
        };
        let mut note = |text: String| {
            if !text.is_empty() {
                *cursor = Some(text);
            }
        };
        match response.event.context("an event of no kind")? {
            Event::Subscribed(subscribed) => {
                note(subscribed.cursor.clone());
                waiting.push_back(Seen::Attached(attached(&subscribed)?));
            }
            Event::Items(items) => {
                ensure!(!items.items.is_empty(), "items without an item");
                for item in items.items {
                    waiting.push_back(seen(item)?);
                }
                note(items.cursor);
            }
            Event::Heartbeat(_) => waiting.push_back(Seen::Heartbeat),
            Event::Disconnect(end) => {
                note(end.cursor);
                waiting.push_back(Seen::Disconnect {
                    code: end.code,
                    advice: end.advice,
                    retry_after_ms: end.retry_after_ms,
                });
            }
        }
        Ok(true)
    }
}

/// A position, which must be there.
pub fn position(given: Option<pb::Position>) -> Result<Position> {
    let given = given.context("no position")?;
    Ok(Position::new(given.epoch, given.offset))
}

/// A `from` text as `Start.at`.
fn start_at(from: &str) -> Result<pb::start::At> {
    Ok(match from {
        "latest" => pb::start::At::Latest(true),
        "earliest" => pb::start::At::Earliest(true),
        other => match other.strip_prefix("last:") {
            Some(count) => pb::start::At::Last(count.parse()?),
            None => {
                let Position { epoch, offset } = other.parse()?;
                pb::start::At::After(pb::Position {
                    epoch: epoch.0,
                    offset: offset.0,
                })
            }
        },
    })
}

/// An enum value's name as the JSON transports spell it: `GAP_REASON_TRIMMED` is `trimmed`.
fn plain(value: impl Debug) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

fn attached(subscribed: &pb::Subscribed) -> Result<Attached> {
    Ok(Attached {
        topic: subscribed.topic.clone(),
        class: plain(subscribed.class()),
        answer: plain(subscribed.answer()),
        from: subscribed.from.map(|p| Position::new(p.epoch, p.offset)),
        head: position(subscribed.head)?,
    })
}

fn seen(item: pb::Item) -> Result<Seen> {
    Ok(match item.item.context("an item of no kind")? {
        pb::item::Item::Message(message) => Seen::Message(Message {
            topic: message.topic,
            position: position(message.position)?,
            event: Some(message.event).filter(|e| !e.is_empty()),
            content_type: message.content_type,
            payload: message.payload.to_vec(),
        }),
        pb::item::Item::Gap(gap) => {
            let by = plain(gap.by());
            Seen::Gap(Gap {
                reason: plain(gap.reason()),
                by: Some(by).filter(|b| b != "unspecified"),
                topic: gap.topic,
                from: position(gap.from)?,
                to: position(gap.to)?,
                missed: gap.missed,
            })
        }
    })
}
