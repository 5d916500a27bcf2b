//! Sessions of a node as an operator sees them, and what a node counts: in core types, the same for
//! who serves and who asks.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_core::id::NodeId;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsWish {
    /// Only sessions with a number above this.
    pub after: Option<u64>,
    /// Most rows, 1–500.
    pub limit: usize,
    pub subject: Option<String>,
    pub topic: Option<TopicName>,
}

/// Most rows of a page.
pub const SESSIONS_PAGE: u32 = 500;
/// Topics of a session that are named.
pub const NAMED_TOPICS: usize = 10;

/// A page of sessions in the order of their numbers. It may be short, and empty, while there are
/// more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsPage {
    pub sessions: Vec<SessionRow>,
    /// What `after` is for the next page; `None`: no more.
    pub next: Option<u64>,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// As `welcome` said it.
    pub session: String,
    pub node: NodeId,
    pub transport: String,
    pub subject: Option<String>,
    /// The first [`NAMED_TOPICS`], and how many there are.
    pub topics: Vec<SessionTopic>,
    pub topic_count: u32,
    /// Messages that it has not got yet, over all topics, as far as the node knows.
    pub lag: u64,
    /// Bytes that its transport has not taken.
    pub waiting_bytes: u64,
    /// Messages handed to its transport.
    pub delivered: u64,
    pub age: Duration,
}

/// A topic of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionTopic {
    pub topic: TopicName,
    /// All up to here was handed to the transport.
    pub position: Position,
    /// `None`: the node does not know the topic's head now.
    pub lag: Option<u64>,
}

/// Whose sessions are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisconnectWish {
    /// The name that `welcome` said.
    Session(String),
    Subject(String),
}

/// What a node counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCounts {
    pub node: NodeId,
    /// Running time of the node, for rates.
    pub at: Duration,
    /// By the name of the metric, without the prefix.
    pub values: BTreeMap<String, u64>,
}
