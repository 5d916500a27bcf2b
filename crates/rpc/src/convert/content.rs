//! What entries, snapshots and links between nodes share: positions, payloads with what describes
//! them, rules. Payloads are slices of the bytes they were read from.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::message::{Ack, BadField, Content, ContentType, Draft, Key, Message, Meta, Tags};
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::rule::{Class, CreatePolicy, Html, RuleLayer, RuleTable, Slow};

use super::{Malformed, pattern, topic};
use crate::pb::stored as pb;

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

impl From<&Meta> for pb::Meta {
    fn from(
        Meta {
            content_type,
            event,
            tags,
        }: &Meta,
    ) -> Self {
        let tag = |(key, value): (&str, &str)| pb::Tag {
            key: key.into(),
            value: value.into(),
        };
        Self {
            content_type: content_type.as_str().to_owned(),
            event: event.as_ref().map_or("", |e| e.as_str()).to_owned(),
            tags: tags.iter().map(tag).collect(),
        }
    }
}

/// Reads descriptions of payloads. Many messages of a publisher have equal ones, so each is
/// compared with the one before and shared with it.
#[derive(Default)]
pub(crate) struct Metas {
    last: Option<(pb::Meta, Arc<Meta>)>,
}

impl Metas {
    pub(crate) fn read(&mut self, raw: Option<pb::Meta>) -> Result<Arc<Meta>, Malformed> {
        let raw = raw.unwrap_or_default();
        if let Some((known, meta)) = &self.last
            && *known == raw
        {
            return Ok(meta.clone());
        }
        let meta = Arc::new(meta(raw.clone())?);
        self.last = Some((raw, meta.clone()));
        Ok(meta)
    }
}

fn meta(
    pb::Meta {
        content_type,
        event,
        tags,
    }: pb::Meta,
) -> Result<Meta, Malformed> {
    let bad = |field| move |bad: BadField| Malformed::new(field, bad.to_string());
    let content_type: ContentType = content_type.parse().map_err(bad("meta.content_type"))?;
    let event = match event.as_str() {
        "" => None,
        named => Some(named.parse().map_err(bad("meta.event"))?),
    };
    let tags = tags.into_iter().map(|pb::Tag { key, value }| (key, value));
    let tags = Tags::new(tags).map_err(bad("meta.tags"))?;
    Ok(Meta {
        content_type,
        event,
        tags,
    })
}

pub(crate) fn message_to_pb(message: &Message) -> pb::Message {
    let Message {
        position,
        wall_ms,
        content: Content { payload, meta },
    } = message;
    pb::Message {
        epoch: position.epoch.0,
        offset: position.offset.0,
        wall_ms: *wall_ms,
        payload: payload.clone(),
        meta: Some((&**meta).into()),
    }
}

pub(crate) fn message(raw: pb::Message, metas: &mut Metas) -> Result<Message, Malformed> {
    let pb::Message {
        epoch,
        offset,
        wall_ms,
        payload,
        meta,
    } = raw;
    let content = Content {
        payload,
        meta: metas.read(meta)?,
    };
    Ok(Message {
        position: Position::new(epoch, offset),
        wall_ms,
        content,
    })
}

pub(crate) fn messages_to_pb(messages: &[Arc<Message>]) -> Vec<pb::Message> {
    messages
        .iter()
        .map(|message| message_to_pb(message))
        .collect()
}

/// Messages of one field, in order.
pub(crate) fn messages(raw: Vec<pb::Message>) -> Result<Vec<Arc<Message>>, Malformed> {
    let mut metas = Metas::default();
    raw.into_iter()
        .map(|raw| message(raw, &mut metas).map(Arc::new))
        .collect()
}

pub(crate) fn draft_to_pb(draft: &Draft) -> pb::Draft {
    let Draft {
        topic,
        content: Content { payload, meta },
        key,
        key_age_ms,
        ack,
        expect,
    } = draft;
    pb::Draft {
        topic: topic.as_str().to_owned(),
        payload: payload.clone(),
        meta: Some((&**meta).into()),
        key: key
            .as_ref()
            .map(|key| key.as_bytes().clone())
            .unwrap_or_default(),
        key_age_ms: *key_age_ms,
        unacked: match ack {
            Ack::Committed => false,
            Ack::None => true,
        },
        expect: expect.map(Into::into),
    }
}

pub(crate) fn draft(raw: pb::Draft, metas: &mut Metas) -> Result<Draft, Malformed> {
    let pb::Draft {
        topic: name,
        payload,
        meta,
        key,
        key_age_ms,
        unacked,
        expect,
    } = raw;
    let read_key = |raw: Bytes| Key::new(raw).map_err(|bad| Malformed::new("key", bad.to_string()));
    Ok(Draft {
        topic: topic(&name, "topic")?,
        content: Content {
            payload,
            meta: metas.read(meta)?,
        },
        key: (!key.is_empty()).then(|| read_key(key)).transpose()?,
        key_age_ms,
        ack: match unacked {
            false => Ack::Committed,
            true => Ack::None,
        },
        expect: expect.map(Into::into),
    })
}

/// A class as it is stored: 1 durable, 2 ephemeral.
pub(crate) fn class_to_pb(class: Class) -> u32 {
    match class {
        Class::Durable => 1,
        Class::Ephemeral => 2,
    }
}

pub(crate) fn class(raw: u32) -> Result<Class, Malformed> {
    match raw {
        1 => Ok(Class::Durable),
        2 => Ok(Class::Ephemeral),
        _ => Err(Malformed::unknown("class")),
    }
}

impl From<&RuleLayer> for pb::RuleLayer {
    fn from(layer: &RuleLayer) -> Self {
        let RuleLayer {
            class,
            retain_count,
            retain_bytes,
            retain_age,
            slow,
            slow_lag,
            dedup_age,
            html,
        } = layer;
        let ns = |age: &Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        Self {
            class: class.map_or(0, class_to_pb),
            retain_count: *retain_count,
            retain_bytes: *retain_bytes,
            retain_age_ns: retain_age.as_ref().map(ns),
            slow: match slow {
                None => 0,
                Some(Slow::CatchUp) => 1,
                Some(Slow::Conflate) => 2,
            },
            slow_lag: *slow_lag,
            dedup_age_ns: dedup_age.as_ref().map(ns),
            html: match html {
                None => 0,
                Some(Html::Escape) => 1,
                Some(Html::Verbatim) => 2,
            },
        }
    }
}

impl TryFrom<pb::RuleLayer> for RuleLayer {
    type Error = Malformed;

    fn try_from(raw: pb::RuleLayer) -> Result<Self, Malformed> {
        let pb::RuleLayer {
            class: of,
            retain_count,
            retain_bytes,
            retain_age_ns,
            slow,
            slow_lag,
            dedup_age_ns,
            html,
        } = raw;
        Ok(Self {
            class: (of != 0).then(|| class(of)).transpose()?,
            retain_count,
            retain_bytes,
            retain_age: retain_age_ns.map(Duration::from_nanos),
            slow: match slow {
                0 => None,
                1 => Some(Slow::CatchUp),
                2 => Some(Slow::Conflate),
                _ => return Err(Malformed::unknown("slow")),
            },
            slow_lag,
            dedup_age: dedup_age_ns.map(Duration::from_nanos),
            html: match html {
                0 => None,
                1 => Some(Html::Escape),
                2 => Some(Html::Verbatim),
                _ => return Err(Malformed::unknown("html")),
            },
        })
    }
}

impl From<&RuleTable> for pb::RuleTable {
    fn from(table: &RuleTable) -> Self {
        Self {
            version: table.version,
            explicit: explicit(table.create),
            max_topics: table.max_topics,
            rules: table
                .rows()
                .iter()
                .map(|(pattern, rules)| pb::Rule {
                    pattern: pattern.as_str().to_owned(),
                    rules: Some(rules.into()),
                })
                .collect(),
        }
    }
}

impl TryFrom<pb::RuleTable> for RuleTable {
    type Error = Malformed;

    fn try_from(raw: pb::RuleTable) -> Result<Self, Malformed> {
        let pb::RuleTable {
            version,
            explicit,
            max_topics,
            rules,
        } = raw;
        let mut table = Self::default();
        table.version = version;
        table.create = create(explicit);
        table.max_topics = max_topics;
        for (
            at,
            pb::Rule {
                pattern: which,
                rules,
            },
        ) in rules.into_iter().enumerate()
        {
            let rules: RuleLayer = rules.unwrap_or_default().try_into()?;
            if !table.put(pattern(&which, "pattern")?, rules) {
                return Err(Malformed::new("rules", format!("row {at} is one too many")));
            }
        }
        Ok(table)
    }
}

/// How a `CreatePolicy` is stored.
pub(crate) fn explicit(create: CreatePolicy) -> bool {
    match create {
        CreatePolicy::OnUse => false,
        CreatePolicy::Explicit => true,
    }
}

pub(crate) fn create(explicit: bool) -> CreatePolicy {
    match explicit {
        false => CreatePolicy::OnUse,
        true => CreatePolicy::Explicit,
    }
}
