//! Stories of a shard: a world with one shard and its log.

mod budget;
mod lifecycle;
mod publish;
mod random;
mod readers;
mod retention;
mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::code::Code;
use crate::gap::{Answer, Gap, GapReason, Since, Standing, TrimmedBy};
use crate::id::Term;
use crate::message::{Ack, Content, Draft, Key, Meta};
use crate::position::{Epoch, Offset, Position};
use crate::rule::{Class, CreatePolicy, RuleLayer, RuleTable};

/// The epoch counter at `Begin`: the first topic has epoch 101.
pub(super) const FIRST: u64 = 100;
pub(super) const SHARDS: u32 = 16;
pub(super) const MINUTE: u64 = 60_000;
pub(super) const HOUR: u64 = 60 * MINUTE;

pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) log: Vec<Entry>,
    pub(super) now: u64,
    pub(super) effects: Effects,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            shard: Shard::new(SHARDS),
            log: Vec::new(),
            now: 0,
            effects: Effects::default(),
        };
        world.apply(begin());
        world
    }

    pub(super) fn apply(&mut self, command: Command) -> Outcome {
        let entry = Entry {
            running_ms: self.now,
            command,
        };
        let (outcome, effects) = self.shard.apply(at(self.log.len()), &entry);
        self.log.push(entry);
        self.effects = effects;
        outcome
    }

    pub(super) fn later(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self
    }

    pub(super) fn place(&mut self, draft: Draft) -> Fate {
        let Outcome::Placed(mut fates) = self.apply(place(vec![draft])) else {
            panic!("drafts have fates");
        };
        fates.pop().unwrap()
    }

    /// Places a plain message, which must succeed.
    pub(super) fn publish(&mut self, topic: &str) -> Position {
        let fate = self.place(draft(topic, "hi"));
        let Fate::Placed { position, .. } = fate else {
            panic!("{topic}: {fate:?}");
        };
        position
    }

    pub(super) fn create(&mut self, topic: &str, own: RuleLayer) -> Result<TopicInfo, Refused> {
        let Outcome::Created(result) = self.apply(Command::Create {
            topic: name(topic),
            own,
        }) else {
            panic!("a command has its own outcome");
        };
        result
    }

    pub(super) fn delete(&mut self, topic: &str) -> Result<Epoch, Refused> {
        let Outcome::Deleted(result) = self.apply(Command::Delete {
            topic: name(topic),
            epoch: None,
        }) else {
            panic!("a command has its own outcome");
        };
        result
    }

    pub(super) fn rules(&mut self, pattern: &str, layer: RuleLayer) {
        let mut rules = table(self.shard.rules_version() + 1);
        assert!(rules.put(pattern.parse().unwrap(), layer));
        self.apply(Command::SetRules(rules));
    }

    pub(super) fn stand(&self, topic: &str, since: Since) -> Standing {
        let standing = self.shard.stand(&name(topic), since, false, Term(1));
        standing.unwrap()
    }

    pub(super) fn poll(&self, topic: &str, since: Since) -> Standing {
        let standing = self.shard.stand(&name(topic), since, true, Term(1));
        standing.unwrap()
    }

    /// The gap that a subscriber at `from` is told.
    pub(super) fn gap(&self, topic: &str, from: Position) -> Gap {
        let answer = self.stand(topic, Since::After(from)).answer;
        let Answer::Gap(gap) = answer else {
            panic!("{topic} after {from}: {answer:?}");
        };
        gap
    }

    pub(super) fn blocks(&self) -> Vec<Block> {
        self.shard.freeze().blocks().collect()
    }
}

pub(super) fn begin() -> Command {
    Command::Begin {
        epoch_counter: FIRST,
        secret: Secret([7; 32]),
        level: 1,
    }
}

pub(super) fn at(entries: usize) -> At {
    At {
        term: Term(1),
        index: entries as u64 + 1,
    }
}

pub(super) fn name(topic: &str) -> TopicName {
    topic.parse().unwrap()
}

pub(super) fn pos(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

pub(super) fn content(payload: &str) -> Content {
    Content {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        meta: Arc::new(Meta::default()),
    }
}

pub(super) fn draft(topic: &str, payload: &str) -> Draft {
    Draft {
        topic: name(topic),
        content: content(payload),
        key: None,
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

pub(super) fn keyed(topic: &str, payload: &str, key: &str) -> Draft {
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes())).unwrap();
    Draft {
        key: Some(key),
        ..draft(topic, payload)
    }
}

pub(super) fn place(drafts: Vec<Draft>) -> Command {
    Command::Place(Batch {
        wall_ms: 1_772_360_130_123,
        drafts,
    })
}

pub(super) fn refused(code: Code) -> Fate {
    Fate::Refused(code.into())
}

pub(super) fn retain(count: u64) -> RuleLayer {
    RuleLayer {
        retain_count: Some(count),
        ..RuleLayer::default()
    }
}

pub(super) fn ephemeral() -> RuleLayer {
    RuleLayer {
        class: Some(Class::Ephemeral),
        ..RuleLayer::default()
    }
}

pub(super) fn table(version: u64) -> RuleTable {
    let mut table = RuleTable::default();
    table.version = version;
    table
}

pub(super) fn explicit() -> RuleTable {
    let mut table = table(1);
    table.create = CreatePolicy::Explicit;
    table
}

pub(super) fn at_most(topics: u64) -> RuleTable {
    let mut table = table(1);
    table.max_topics = topics;
    table
}
