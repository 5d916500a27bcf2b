//! The ways to read: WebSocket, SSE, poll, NDJSON tail, gRPC. Each gets a request that is already
//! parsed and authenticated; routes, parameters, credentials and problems are not in here.

pub(crate) mod poll;
pub(crate) mod sse;
pub(crate) mod tail;
pub(crate) mod ws;

use std::time::Duration;

use fanfare_core::cursor::Cursor;
use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;

/// Which topics, and from where. A position in the cursor wins over `from`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// No topic twice, at most 100; none only on a WebSocket.
    pub(crate) topics: Vec<TopicName>,
    /// `Last-Event-ID` or `cursor=`.
    pub(crate) cursor: Cursor,
    /// `None`: the transport's default.
    pub(crate) from: Option<Since>,
    /// C23; one topic only.
    pub(crate) min_position: Option<Position>,
}

impl Read {
    /// From where a topic is wanted.
    pub(crate) fn since(&self, topic: &TopicName, default: Since) -> Since {
        let processed = self.cursor.get(topic).map(Since::After);
        processed.or(self.from).unwrap_or(default)
    }
}

/// How items are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    #[default]
    Json,
    Html,
}

/// A request for a stream (SSE, tail).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamQuery {
    pub(crate) read: Read,
    /// Tail is always JSON.
    pub(crate) format: Format,
    pub(crate) heartbeat: Duration,
}

/// A request for a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WsQuery {
    pub(crate) read: Read,
    pub(crate) heartbeat: Duration,
    /// A cursor in each `items` frame with several topics too.
    pub(crate) cursors: bool,
}

/// A request for a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PollQuery {
    pub(crate) read: Read,
    pub(crate) format: Format,
    /// Items, 1–1000.
    pub(crate) limit: u32,
    /// Seconds to wait for the first item; `None`: a short poll.
    pub(crate) wait: Option<u32>,
    /// Seconds between polls of an HTML page.
    pub(crate) follow: Option<u32>,
    /// As given, for the `next` link: whether `format`, `limit`, … were spelled in the query.
    pub(crate) spelled: Spelled,
}

/// Which optional parameters a poll's URL had: its `next` has the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spelled {
    pub(crate) format: bool,
    pub(crate) limit: bool,
    pub(crate) wait: bool,
}
