//! The ways to read: WebSocket, SSE, poll, NDJSON tail, gRPC. Each gets a request that is already
//! parsed and authenticated; routes, parameters, credentials and problems are not in here.
//!
//! `query.cursor` holds what the client presented: of a topic, `Last-Event-ID` before `cursor=`.

pub(crate) mod grpc;
pub(crate) mod poll;
pub(crate) mod sse;
pub(crate) mod tail;
pub(crate) mod ws;

#[cfg(test)]
mod tests;

use fanfare_core::code::Code;
use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::query::{ReadQuery, ReadRoute};

use crate::auth::Bearer;

/// From where a topic is wanted: a position in the cursor wins over `from`.
pub(crate) fn since(query: &ReadQuery, route: ReadRoute, topic: &TopicName) -> Since {
    let processed = query.cursor.as_ref().and_then(|cursor| cursor.get(topic));
    processed.map_or_else(|| query.since(route), Since::After)
}

/// Whether a bearer may hold a session on a topic.
pub(crate) fn may_subscribe(bearer: &Bearer, topic: &TopicName) -> Result<(), Refusal> {
    refuse_unless(bearer.grants.may_subscribe(topic), bearer, topic)
}

/// Whether a bearer may poll a topic.
pub(crate) fn may_read(bearer: &Bearer, topic: &TopicName) -> Result<(), Refusal> {
    refuse_unless(bearer.grants.may_read(topic), bearer, topic)
}

fn refuse_unless(allowed: bool, bearer: &Bearer, topic: &TopicName) -> Result<(), Refusal> {
    if allowed {
        return Ok(());
    }
    let refusal = match bearer.subject {
        // Without any credentials the remedy is to bring some.
        None => Refusal::new(
            Code::Unauthenticated,
            "reading this topic needs credentials",
        ),
        Some(_) => Refusal::new(Code::Forbidden, "no grant to read this topic"),
    };
    Err(refusal.topic(topic.clone()))
}
