//! Pages of history for clients.

use std::time::Duration;

use fanfare_core::gap::Page;
use fanfare_core::name::TopicName;

use super::message::{gap_to_pb, message_to_pb, real};
use super::{Malformed, topic};
use crate::pb::v1 as pb;
use crate::public::{HistoryPage, HistoryRequest};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;
const MAX_WAIT_MS: u32 = 50_000;

impl TryFrom<pb::PageRequest> for HistoryRequest {
    type Error = Malformed;

    fn try_from(request: pb::PageRequest) -> Result<Self, Malformed> {
        let pb::PageRequest {
            topic: name,
            after,
            limit,
            min_position,
            wait_ms,
        } = request;
        if wait_ms > MAX_WAIT_MS {
            return Err(Malformed::new("wait_ms", "must be at most 50000"));
        }
        Ok(Self {
            topic: topic(&name, "topic")?,
            after: after.map(|p| real(p, "after")).transpose()?,
            limit: limit_of(limit, "limit")?,
            min_position: min_position.map(|p| real(p, "min_position")).transpose()?,
            wait: Duration::from_millis(wait_ms.into()),
        })
    }
}

impl From<HistoryRequest> for pb::PageRequest {
    fn from(request: HistoryRequest) -> Self {
        let HistoryRequest {
            topic,
            after,
            limit,
            min_position,
            wait,
        } = request;
        Self {
            topic: topic.as_str().to_owned(),
            after: after.map(Into::into),
            limit,
            min_position: min_position.map(Into::into),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        }
    }
}

/// Most rows of an answer: 1–1000, 0 is the default.
pub(crate) fn limit_of(raw: u32, field: &'static str) -> Result<u32, Malformed> {
    match raw {
        0 => Ok(DEFAULT_LIMIT),
        1..=MAX_LIMIT => Ok(raw),
        _ => Err(Malformed::new(field, "must be from 1 to 1000")),
    }
}

/// A page of `topic`.
pub(crate) fn page_to_pb(topic: &TopicName, page: &HistoryPage) -> pb::PageResponse {
    let HistoryPage {
        page:
            Page {
                gap,
                messages,
                head,
                start,
            },
        next,
        more,
    } = page;
    let gap = gap
        .as_ref()
        .map(|gap| pb::item::Item::Gap(gap_to_pb(topic, gap)));
    let messages = messages
        .iter()
        .map(|message| pb::item::Item::Message(message_to_pb(topic, message)));
    pb::PageResponse {
        items: gap
            .into_iter()
            .chain(messages)
            .map(|item| pb::Item { item: Some(item) })
            .collect(),
        next: Some((*next).into()),
        start: Some((*start).into()),
        head: Some((*head).into()),
        more: *more,
    }
}
