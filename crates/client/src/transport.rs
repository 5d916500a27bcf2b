//! Sessions over each transport, thin: they say what they heard and how they ended. When to open
//! one and what to make of it is the subscriber's.

mod grpc;
mod lines;
mod poll;
mod sse;
mod url;
pub(crate) mod ws;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fanfare_core::code::{Advice, Code};
use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_protocol::json::Received;
use fanfare_protocol::json::server_frame::{ServerFrame, Subscribed, Unsubscribed};
use fanfare_protocol::spelling::{AnswerKind, Named};
use fanfare_rpc::client::PublicClient;

use crate::endpoint::Address;
use crate::machine::Machine;
use crate::told::{Ending, Status, Told};

/// How items come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Ws,
    Sse,
    LongPoll,
    Poll,
    Tail,
    Grpc,
}

impl Transport {
    const ALL: [(&'static str, Self); 6] = [
        ("ws", Self::Ws),
        ("sse", Self::Sse),
        ("longpoll", Self::LongPoll),
        ("poll", Self::Poll),
        ("tail", Self::Tail),
        ("grpc", Self::Grpc),
    ];
}

impl FromStr for Transport {
    type Err = BadTransport;

    fn from_str(name: &str) -> Result<Self, BadTransport> {
        let row = Self::ALL.into_iter().find(|row| row.0 == name);
        row.map(|row| row.1)
            .ok_or_else(|| BadTransport(name.to_owned()))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Self::ALL.into_iter().find(|row| row.1 == *self);
        f.write_str(row.map_or("", |row| row.0))
    }
}

/// A name of no transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no transport: ws, sse, longpoll, poll, tail or grpc")]
pub struct BadTransport(String);

/// What is wanted of a session.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// In order; from where each is wanted if the cursor does not say.
    pub(crate) topics: Vec<(TopicName, Since)>,
    pub(crate) cursor: Option<String>,
    pub(crate) heartbeat: Duration,
    /// Topics that no cursor holds yet.
    pub(crate) fresh: BTreeSet<TopicName>,
    /// The value of an `authorization` header.
    pub(crate) authorization: Option<String>,
}

/// The answer to attaching a topic, on any transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    pub topic: TopicName,
    pub answer: Named<AnswerKind>,
    /// Absent with `latest`.
    pub from: Option<Position>,
    pub head: Position,
}

/// A topic that a node ended in a session that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEnd {
    pub topic: TopicName,
    pub code: Option<Named<Code>>,
    pub detail: String,
}

/// What a session heard.
#[derive(Debug)]
pub(crate) enum Said {
    /// A sign of life.
    Alive,
    /// The silence before the node's heartbeats.
    Heartbeat(Duration),
    Attached(Attached, Option<String>),
    /// Items, and the cursor after the last of them, if there is one.
    Items(Vec<Received>, Option<String>),
    Left(TopicEnd),
}

/// An open session.
pub(crate) enum Session {
    Ws(Box<ws::Ws>),
    Sse(Box<sse::Sse>),
    Tail(Box<lines::Tail>),
    Poll(Box<poll::Poll>),
    Grpc(Box<grpc::Grpc>),
}

/// Where a transport's door is.
pub(crate) enum Door {
    Edge(Address),
    Grpc(PublicClient),
}

/// Opens a session; without a deadline of its own beyond connecting.
pub(crate) async fn open(
    machine: &Machine,
    transport: Transport,
    door: Door,
    wish: Wish,
    poll_every: Duration,
) -> Result<Session, Ending> {
    let address = match door {
        Door::Grpc(client) => {
            let session = grpc::open(client, wish).await?;
            return Ok(Session::Grpc(Box::new(session)));
        }
        Door::Edge(address) => address,
    };
    Ok(match transport {
        Transport::Ws | Transport::Grpc => {
            Session::Ws(Box::new(ws::open(machine, &address, wish).await?))
        }
        Transport::Sse => Session::Sse(Box::new(sse::open(machine, &address, wish).await?)),
        Transport::Tail => Session::Tail(Box::new(lines::open(machine, &address, wish).await?)),
        Transport::LongPoll => Session::Poll(Box::new(poll::Poll::long(machine, address, wish))),
        Transport::Poll => Session::Poll(Box::new(poll::Poll::short(
            machine, address, wish, poll_every,
        ))),
    })
}

impl Session {
    /// The next thing said, or the end. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Said, Ending> {
        match self {
            Self::Ws(session) => session.next().await,
            Self::Sse(session) => session.next().await,
            Self::Tail(session) => session.next().await,
            Self::Poll(session) => session.next().await,
            Self::Grpc(session) => session.next().await,
        }
    }

    /// The silence after which the session is dead: twice the heartbeat and 5 s, or what a poll may
    /// take.
    pub(crate) fn silence(&self, heartbeat: Duration) -> Duration {
        match self {
            Self::Poll(poll) => poll.patience(),
            Self::Ws(_) | Self::Sse(_) | Self::Tail(_) | Self::Grpc(_) => heartbeat
                .saturating_mul(2)
                .saturating_add(Duration::from_secs(5)),
        }
    }
}

/// What a frame of a stream says to a subscriber.
fn said(frame: ServerFrame) -> Result<Said, Ending> {
    Ok(match frame {
        ServerFrame::Welcome(welcome) => {
            Said::Heartbeat(Duration::from_millis(welcome.heartbeat_ms))
        }
        ServerFrame::Subscribed(subscribed) => {
            let Subscribed {
                id: _,
                topic,
                class: _,
                answer,
                from,
                head,
                cursor,
            } = subscribed;
            let attached = Attached {
                topic,
                answer,
                from,
                head,
            };
            Said::Attached(attached, cursor)
        }
        ServerFrame::Items { items, cursor } => Said::Items(items, cursor),
        ServerFrame::Unsubscribed(Unsubscribed {
            id: _,
            topic,
            code,
            advice,
            detail,
        }) => left(topic, code, advice.as_ref().and_then(Named::known), detail)?,
        ServerFrame::Error { id: _, problem } => {
            return Err(Told::new(problem, Status::None).into());
        }
        ServerFrame::Disconnect(end) => return Err(end.into()),
        ServerFrame::Ack { .. }
        | ServerFrame::Refreshed(_)
        | ServerFrame::Pong { .. }
        | ServerFrame::Heartbeat
        | ServerFrame::Other(_) => Said::Alive,
    })
}

/// A topic's end in a session. One that another session may have again ends this session.
fn left(
    topic: TopicName,
    code: Option<Named<Code>>,
    advice: Option<Advice>,
    detail: Option<String>,
) -> Result<Said, Ending> {
    let detail = detail.unwrap_or_default();
    match (advice, &code) {
        (Some(Advice::RetryLater | Advice::Reroute), Some(code)) => {
            Err(Ending::Cut(format!("`{topic}` ended: {code}: {detail}")))
        }
        _ => Ok(Said::Left(TopicEnd {
            topic,
            code,
            detail,
        })),
    }
}

/// The node said what is not of this protocol.
pub(crate) fn malformed(why: impl fmt::Display) -> Ending {
    Ending::Cut(format!("the node said what is not of this protocol: {why}"))
}
