//! Sessions: the wish for one, and the events that are not items.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Since};

use super::message::real;
use super::{Malformed, topic};
use crate::codec::Ready;
use crate::pb::v1 as pb;
use crate::public::{Disconnect, Event, Items, Start, SubscribeRequest, Subscribed};

/// Most messages of `last`.
const MAX_LAST: u32 = 1_000;

impl TryFrom<pb::SubscribeRequest> for SubscribeRequest {
    type Error = Malformed;

    fn try_from(request: pb::SubscribeRequest) -> Result<Self, Malformed> {
        let pb::SubscribeRequest {
            topics,
            cursor,
            heartbeat_ms,
            cursors,
        } = request;
        if topics.is_empty() {
            return Err(Malformed::missing("topics"));
        }
        let mut hashes = BTreeSet::new();
        let mut starts = Vec::with_capacity(topics.len());
        for (at, start) in topics.into_iter().enumerate() {
            let start = Start::try_from(start).map_err(|bad| bad.at("topics", at))?;
            if !hashes.insert(start.topic.hash64()) {
                let detail = "a topic is repeated, or two have the same hash";
                return Err(Malformed::new("topic", detail).at("topics", at));
            }
            starts.push(start);
        }
        let several = starts.len() > 1;
        if let Some(at) = starts
            .iter()
            .position(|start| several && start.min_position.is_some())
        {
            let bad = Malformed::new("min_position", "only with one topic");
            return Err(bad.at("topics", at));
        }
        Ok(Self {
            topics: starts,
            cursor: parse_cursor(&cursor)?,
            heartbeat: match heartbeat_ms {
                0 => None,
                ms @ 5_000..=55_000 => Some(Duration::from_millis(ms.into())),
                _ => return Err(Malformed::new("heartbeat_ms", "must be from 5000 to 55000")),
            },
            cursors,
        })
    }
}

fn parse_cursor(raw: &str) -> Result<Option<Cursor>, Malformed> {
    match raw {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|bad: fanfare_core::cursor::BadCursor| {
                Malformed::new("cursor", bad.to_string()).code(Code::BadCursor)
            }),
    }
}

impl TryFrom<pb::Start> for Start {
    type Error = Malformed;

    fn try_from(
        pb::Start {
            topic: name,
            at,
            min_position,
        }: pb::Start,
    ) -> Result<Self, Malformed> {
        let since = match at {
            None => None,
            Some(pb::start::At::After(after)) => Some(Since::After(real(after, "after")?)),
            Some(pb::start::At::Latest(true)) => Some(Since::Latest),
            Some(pb::start::At::Earliest(true)) => Some(Since::Earliest),
            Some(pb::start::At::Last(count @ 1..=MAX_LAST)) => Some(Since::Last(count)),
            Some(pb::start::At::Last(_)) => {
                return Err(Malformed::new("last", "must be from 1 to 1000"));
            }
            Some(pb::start::At::Latest(false)) => return Err(only_true("latest")),
            Some(pb::start::At::Earliest(false)) => return Err(only_true("earliest")),
        };
        Ok(Self {
            topic: topic(&name, "topic")?,
            since,
            min_position: min_position.map(|p| real(p, "min_position")).transpose()?,
        })
    }
}

fn only_true(field: &'static str) -> Malformed {
    Malformed::new(field, "must be true if it is set")
}

impl From<Start> for pb::Start {
    fn from(
        Start {
            topic,
            since,
            min_position,
        }: Start,
    ) -> Self {
        let at = since.map(|since| match since {
            Since::Latest => pb::start::At::Latest(true),
            Since::Earliest => pb::start::At::Earliest(true),
            Since::Last(count) => pb::start::At::Last(count),
            Since::After(after) => pb::start::At::After(after.into()),
        });
        Self {
            topic: topic.as_str().to_owned(),
            at,
            min_position: min_position.map(Into::into),
        }
    }
}

impl From<SubscribeRequest> for pb::SubscribeRequest {
    fn from(request: SubscribeRequest) -> Self {
        let SubscribeRequest {
            topics,
            cursor,
            heartbeat,
            cursors,
        } = request;
        let heartbeat = heartbeat.map_or(0, |time| time.as_millis());
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            cursor: cursor.map(|cursor| cursor.to_string()).unwrap_or_default(),
            heartbeat_ms: u32::try_from(heartbeat).unwrap_or(u32::MAX),
            cursors,
        }
    }
}

impl From<Event> for Ready {
    fn from(event: Event) -> Self {
        let event = match event {
            Event::Items(Items { encoded, cursor }) => return Self::Items { encoded, cursor },
            Event::Subscribed(subscribed) => {
                pb::subscribe_response::Event::Subscribed(subscribed.into())
            }
            Event::Heartbeat => pb::subscribe_response::Event::Heartbeat(pb::Heartbeat {}),
            Event::Disconnect(end) => pb::subscribe_response::Event::Disconnect(end.into()),
        };
        Self::Plain(pb::SubscribeResponse { event: Some(event) })
    }
}

impl From<Subscribed> for pb::Subscribed {
    fn from(
        Subscribed {
            topic,
            class,
            answer,
            head,
            cursor,
        }: Subscribed,
    ) -> Self {
        let (answer, from) = match answer {
            Answer::Recovered(from) => (pb::Answer::Recovered, Some(from)),
            Answer::Gap(gap) => (pb::Answer::Gap, Some(gap.from)),
            Answer::Latest => (pb::Answer::Latest, None),
        };
        Self {
            topic: topic.as_str().to_owned(),
            class: pb::Class::from(class).into(),
            answer: answer.into(),
            from: from.map(Into::into),
            head: Some(head.into()),
            cursor,
        }
    }
}

impl From<Disconnect> for pb::Disconnect {
    fn from(
        Disconnect {
            code,
            advice,
            retry_after_ms,
            cursor,
            detail,
        }: Disconnect,
    ) -> Self {
        Self {
            code: code.as_str().to_owned(),
            advice: advice.as_str().to_owned(),
            retry_after_ms,
            cursor: cursor.unwrap_or_default(),
            detail,
        }
    }
}
