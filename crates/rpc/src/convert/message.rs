//! Public drafts, receipts, messages, gaps and items (protocol section 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare_core::code::Code;
use fanfare_core::gap::{Gap, GapReason, TrimmedBy};
use fanfare_core::message::{Ack, Content, ContentType, Draft, Key, Message, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::receipt::{Reached, Receipt};
use fanfare_core::rule::Class;

use super::{Malformed, required, topic};
use crate::pb::v1 as pb;

impl From<Position> for pb::Position {
    fn from(
        Position {
            epoch: Epoch(epoch),
            offset: Offset(offset),
        }: Position,
    ) -> Self {
        Self { epoch, offset }
    }
}

impl From<pb::Position> for Position {
    fn from(pb::Position { epoch, offset }: pb::Position) -> Self {
        Self::new(epoch, offset)
    }
}

/// A position of some stream: `0-0` is none.
pub(crate) fn real(raw: pb::Position, field: &'static str) -> Result<Position, Malformed> {
    if raw.epoch == 0 {
        return Err(Malformed::new(field, "epochs begin at 1"));
    }
    Ok(raw.into())
}

impl From<Class> for pb::Class {
    fn from(class: Class) -> Self {
        match class {
            Class::Durable => Self::Durable,
            Class::Ephemeral => Self::Ephemeral,
        }
    }
}

/// A class; `None` if unspecified.
pub(crate) fn class(raw: i32, field: &'static str) -> Result<Option<Class>, Malformed> {
    match pb::Class::try_from(raw) {
        Ok(pb::Class::Unspecified) => Ok(None),
        Ok(pb::Class::Durable) => Ok(Some(Class::Durable)),
        Ok(pb::Class::Ephemeral) => Ok(Some(Class::Ephemeral)),
        Err(_) => Err(Malformed::unknown(field)),
    }
}

/// A draft within the limits of the protocol; `payload_limit` in bytes.
pub(crate) fn draft(raw: pb::Draft, payload_limit: u64) -> Result<Draft, Malformed> {
    let pb::Draft {
        topic: name,
        payload,
        content_type,
        event,
        tags,
        key,
        ack,
        expect,
        key_age_ms,
    } = raw;
    let name = topic(&name, "topic")?;
    if payload.len() as u64 > payload_limit {
        let detail = format!("a payload has at most {payload_limit} bytes");
        return Err(Malformed::new("payload", detail).code(Code::PayloadTooLarge));
    }
    let ack = match pb::Ack::try_from(ack) {
        Ok(pb::Ack::Unspecified | pb::Ack::Committed) => Ack::Committed,
        Ok(pb::Ack::None) => Ack::None,
        Err(_) => return Err(Malformed::unknown("ack")),
    };
    let key = match key.is_empty() {
        true => None,
        false => Some(Key::new(key).map_err(|bad| Malformed::new("key", bad.to_string()))?),
    };
    if key.is_none() && key_age_ms > 0 {
        return Err(Malformed::new("key_age_ms", "only with a key"));
    }
    let expect = match expect.map(Position::from) {
        Some(Position {
            epoch: Epoch(0),
            offset,
        }) if offset > Offset(0) => {
            return Err(Malformed::new(
                "expect",
                "epochs begin at 1; 0-0 is no message yet",
            ));
        }
        expect => expect,
    };
    let meta = meta(&content_type, &event, tags)?;
    let content = Content {
        payload,
        meta: Arc::new(meta),
    };
    Ok(Draft {
        topic: name,
        content,
        key,
        key_age_ms,
        ack,
        expect,
    })
}

fn meta(
    content_type: &str,
    event: &str,
    tags: BTreeMap<String, String>,
) -> Result<Meta, Malformed> {
    let content_type = match content_type {
        "" => ContentType::default(),
        named => named
            .parse()
            .map_err(|bad: fanfare_core::message::BadField| {
                Malformed::new("content_type", bad.to_string())
            })?,
    };
    let event = match event {
        "" => None,
        named => Some(
            named
                .parse()
                .map_err(|bad: fanfare_core::message::BadField| {
                    Malformed::new("event", bad.to_string())
                })?,
        ),
    };
    let tags = Tags::new(tags).map_err(|bad| Malformed::new("tags", bad.to_string()))?;
    Ok(Meta {
        content_type,
        event,
        tags,
    })
}

impl From<Draft> for pb::Draft {
    fn from(
        Draft {
            topic,
            content,
            key,
            key_age_ms,
            ack,
            expect,
        }: Draft,
    ) -> Self {
        let Content { payload, meta } = content;
        let Meta {
            content_type,
            event,
            tags,
        } = &*meta;
        let ack = match ack {
            Ack::Committed => pb::Ack::Committed,
            Ack::None => pb::Ack::None,
        };
        Self {
            topic: topic.as_str().to_owned(),
            payload,
            content_type: content_type.as_str().to_owned(),
            event: event.as_ref().map_or("", |e| e.as_str()).to_owned(),
            tags: tag_map(tags),
            key: key.map(|key| key.as_bytes().clone()).unwrap_or_default(),
            ack: ack.into(),
            expect: expect.map(Into::into),
            key_age_ms,
        }
    }
}

fn tag_map(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

impl From<Receipt> for pb::Receipt {
    fn from(receipt: Receipt) -> Self {
        let Receipt {
            topic,
            position,
            class,
            reached,
            duplicate,
            dedup_remaining_ms,
        } = receipt;
        let reached = match reached {
            Reached::None => pb::Reached::None,
            Reached::Ephemeral => pb::Reached::Ephemeral,
            Reached::Durable => pb::Reached::Durable,
        };
        Self {
            topic: topic.as_str().to_owned(),
            position: position.map(Into::into),
            class: pb::Class::from(class).into(),
            reached: reached.into(),
            duplicate,
            dedup: dedup_remaining_ms.map(|remaining_ms| pb::Dedup { remaining_ms }),
        }
    }
}

impl TryFrom<pb::Receipt> for Receipt {
    type Error = Malformed;

    fn try_from(receipt: pb::Receipt) -> Result<Self, Malformed> {
        let pb::Receipt {
            topic: name,
            position,
            class: of,
            reached,
            duplicate,
            dedup,
        } = receipt;
        let reached = match pb::Reached::try_from(reached) {
            Ok(pb::Reached::None) => Reached::None,
            Ok(pb::Reached::Ephemeral) => Reached::Ephemeral,
            Ok(pb::Reached::Durable) => Reached::Durable,
            Ok(pb::Reached::Unspecified) | Err(_) => return Err(Malformed::unknown("reached")),
        };
        Ok(Self {
            topic: topic(&name, "topic")?,
            position: position.map(|p| real(p, "position")).transpose()?,
            class: required(class(of, "class")?, "class")?,
            reached,
            duplicate,
            dedup_remaining_ms: dedup.map(|pb::Dedup { remaining_ms }| remaining_ms),
        })
    }
}

/// A message of `topic`.
pub(crate) fn message_to_pb(topic: &TopicName, message: &Message) -> pb::Message {
    let Message {
        position,
        wall_ms,
        content: Content { payload, meta },
    } = message;
    let Meta {
        content_type,
        event,
        tags,
    } = &**meta;
    pb::Message {
        topic: topic.as_str().to_owned(),
        position: Some((*position).into()),
        time: Some(prost_types::Timestamp {
            seconds: i64::try_from(wall_ms / 1000).unwrap_or(i64::MAX),
            nanos: (wall_ms % 1000) as i32 * 1_000_000,
        }),
        event: event.as_ref().map_or("", |e| e.as_str()).to_owned(),
        tags: tag_map(tags),
        content_type: content_type.as_str().to_owned(),
        payload: payload.clone(),
    }
}

/// The topic and the message.
pub(crate) fn message_of_pb(raw: pb::Message) -> Result<(TopicName, Message), Malformed> {
    let pb::Message {
        topic: name,
        position,
        time,
        event,
        tags,
        content_type,
        payload,
    } = raw;
    let position = real(required(position, "position")?, "position")?;
    let prost_types::Timestamp { seconds, nanos } = time.unwrap_or_default();
    let bad_time = |_| Malformed::new("time", "out of range");
    let seconds = u64::try_from(seconds).map_err(bad_time)?;
    let nanos = u64::try_from(nanos).map_err(bad_time)?;
    let content = Content {
        payload,
        meta: Arc::new(meta(&content_type, &event, tags)?),
    };
    let wall_ms = seconds
        .saturating_mul(1000)
        .saturating_add(nanos / 1_000_000);
    Ok((
        topic(&name, "topic")?,
        Message {
            position,
            wall_ms,
            content,
        },
    ))
}

/// A gap of `topic`.
pub(crate) fn gap_to_pb(topic: &TopicName, gap: &Gap) -> pb::Gap {
    let Gap {
        reason,
        from,
        to,
        missed,
    } = *gap;
    let by = match reason {
        GapReason::Trimmed(TrimmedBy::Age) => pb::TrimmedBy::Age,
        GapReason::Trimmed(TrimmedBy::Count) => pb::TrimmedBy::Count,
        GapReason::Trimmed(TrimmedBy::Bytes) => pb::TrimmedBy::Bytes,
        GapReason::Trimmed(TrimmedBy::Budget) => pb::TrimmedBy::Budget,
        GapReason::DataLoss
        | GapReason::EpochChanged
        | GapReason::PositionAhead
        | GapReason::Conflated => pb::TrimmedBy::Unspecified,
    };
    let reason = match reason {
        GapReason::DataLoss => pb::GapReason::DataLoss,
        GapReason::EpochChanged => pb::GapReason::EpochChanged,
        GapReason::PositionAhead => pb::GapReason::PositionAhead,
        GapReason::Trimmed(_) => pb::GapReason::Trimmed,
        GapReason::Conflated => pb::GapReason::Conflated,
    };
    pb::Gap {
        topic: topic.as_str().to_owned(),
        reason: reason.into(),
        by: by.into(),
        from: Some(from.into()),
        to: Some(to.into()),
        missed,
    }
}

/// The topic and the gap.
pub(crate) fn gap_of_pb(raw: pb::Gap) -> Result<(TopicName, Gap), Malformed> {
    let pb::Gap {
        topic: name,
        reason,
        by,
        from,
        to,
        missed,
    } = raw;
    let trimmed = || match pb::TrimmedBy::try_from(by) {
        Ok(pb::TrimmedBy::Age) => Ok(TrimmedBy::Age),
        Ok(pb::TrimmedBy::Count) => Ok(TrimmedBy::Count),
        Ok(pb::TrimmedBy::Bytes) => Ok(TrimmedBy::Bytes),
        Ok(pb::TrimmedBy::Budget) => Ok(TrimmedBy::Budget),
        Ok(pb::TrimmedBy::Unspecified) | Err(_) => Err(Malformed::unknown("by")),
    };
    let reason = match pb::GapReason::try_from(reason) {
        Ok(pb::GapReason::Trimmed) => GapReason::Trimmed(trimmed()?),
        Ok(pb::GapReason::EpochChanged) => GapReason::EpochChanged,
        Ok(pb::GapReason::Conflated) => GapReason::Conflated,
        Ok(pb::GapReason::PositionAhead) => GapReason::PositionAhead,
        Ok(pb::GapReason::DataLoss) => GapReason::DataLoss,
        Ok(pb::GapReason::Unspecified) | Err(_) => return Err(Malformed::unknown("reason")),
    };
    let from = required(from, "from")?.into();
    let to = required(to, "to")?.into();
    Ok((
        topic(&name, "topic")?,
        Gap {
            reason,
            from,
            to,
            missed,
        },
    ))
}

#[cfg(test)]
mod tests;
