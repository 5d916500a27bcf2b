//! The ways to read: WebSocket, SSE, poll, NDJSON tail, gRPC. Each gets a request that is already
//! parsed and authenticated; routes, parameters, credentials and problems are not in here.
//!
//! `query.cursor` holds what the client presented: of a topic, `Last-Event-ID` before `cursor=`.

pub(crate) mod poll;
pub(crate) mod sse;
pub(crate) mod tail;
pub(crate) mod ws;

use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use fanfare_protocol::query::{ReadQuery, ReadRoute};

/// From where a topic is wanted: a position in the cursor wins over `from`.
pub(crate) fn since(query: &ReadQuery, route: ReadRoute, topic: &TopicName) -> Since {
    let processed = query.cursor.as_ref().and_then(|cursor| cursor.get(topic));
    processed.map_or_else(|| query.since(route), Since::After)
}
