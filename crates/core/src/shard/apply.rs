//! `Shard::apply`: what one committed entry does. No clock, no chance, no order but the log's.

use std::sync::Arc;

use super::Shard;
use super::block::Tombstone;
use super::classes::may_end_streams;
use super::command::{At, Command, Effects, Entry, EpochBlock, Outcome, Refused};
use super::digest::Digest;
use super::place::expectation_failed;
use super::read::TopicInfo;
use crate::code::Code;
use crate::name::TopicName;
use crate::position::Epoch;
use crate::rule::{Class, RuleLayer, RuleTable};
use crate::topic::Topic;

/// An hour of running time, in ms.
const HOUR_MS: u64 = 3_600_000;
/// By how much an accepted loss raises the epoch counter: more than the lost copies can have used.
const REPAIR_STEP: u64 = 1 << 32;

/// What is gathered while one entry is applied.
#[derive(Default)]
pub(super) struct Step {
    pub(super) effects: Effects,
    /// Of what it did to which topic.
    pub(super) digest: Digest,
}

impl Shard {
    /// Applies the entry at `at`, which follows the last one applied.
    pub fn apply(&mut self, at: At, entry: &Entry) -> (Outcome, Effects) {
        let mut step = Step::default();
        self.advance(entry.running_ms);
        let outcome = self.perform(&entry.command, &mut step);
        self.sweep(&mut step);
        self.seal(at, &step.digest);
        (outcome, step.effects)
    }

    /// Goes past an entry of raft's own: nothing changes but that it is seen.
    pub fn pass(&mut self, at: At) {
        self.seal(at, &Digest::default());
    }

    /// The chain is over what each entry did: replicas that applied alike have it alike.
    fn seal(&mut self, at: At, did: &Digest) {
        let mut digest = Digest::default();
        digest.wide(self.row.chain);
        digest.at(at);
        digest.number(self.row.running_ms);
        digest.number(self.row.counter.0);
        digest.number(self.row.forgotten.0);
        digest.wide(did.finish());
        self.row.chain = digest.finish();
        self.row.applied = at;
    }

    fn advance(&mut self, running_ms: u64) {
        let now = self.row.running_ms.max(running_ms);
        if now / HOUR_MS != self.row.running_ms / HOUR_MS {
            self.row.hour_counter = self.row.counter;
        }
        self.row.running_ms = now;
        self.dedup.expire(now);
        self.drop_tombstones();
    }

    fn drop_tombstones(&mut self) {
        let dropped = self.tombstones.drop_old(self.row.running_ms);
        self.row.forgotten = self.row.forgotten.max(dropped);
    }

    fn perform(&mut self, command: &Command, step: &mut Step) -> Outcome {
        match command {
            Command::Begin {
                epoch_counter,
                secret,
                level,
            } => {
                if !self.row.begun {
                    self.row.begun = true;
                    self.row.counter = self.row.counter.max(Epoch(*epoch_counter));
                    self.row.hour_counter = self.row.counter;
                    self.row.secret = *secret;
                    self.row.level = *level;
                }
            }
            Command::Place(batch) => return Outcome::Placed(self.place(batch, step)),
            Command::Create { topic, own } => {
                return Outcome::Created(self.create(topic, own, step));
            }
            Command::Delete { topic, epoch } => {
                return Outcome::Deleted(self.delete(topic, *epoch, step));
            }
            Command::SetRules(table) => self.set_rules(table, step),
            Command::SetLevel(level) => self.row.level = self.row.level.max(*level),
            Command::Trim {
                topic,
                epoch,
                through,
            } => self.trim(topic, *epoch, *through, step),
            Command::ReserveEpochs(count) => {
                let block = self.reserve(*count);
                step.effects.reserved = Some(block);
                return Outcome::Reserved(block);
            }
            Command::Tick => self.tick(step),
            Command::Repair => self.repair(step),
        }
        Outcome::Done
    }

    pub(super) fn next_epoch(&mut self) -> Epoch {
        self.row.counter = Epoch(self.row.counter.0.saturating_add(1));
        self.row.counter
    }

    pub(super) fn begin_topic(&mut self, name: &TopicName, topic: Topic, step: &mut Step) {
        note_topic(&mut step.digest, name, &topic);
        self.topics.insert(name.clone(), Arc::new(topic));
        step.effects.created.push(name.clone());
    }

    fn create(
        &mut self,
        name: &TopicName,
        own: &RuleLayer,
        step: &mut Step,
    ) -> Result<TopicInfo, Refused> {
        if !self.row.begun {
            return Err(Code::NotReady.into());
        }
        match self.topics.get(name) {
            Some(topic) if topic.own() != *own => return Err(Code::TopicExists.into()),
            Some(_) => {}
            None if self.topics.len() >= self.max_topics() => {
                return Err(Code::LimitExceeded.into());
            }
            None => {
                let class = self.row.rules.resolve(name, own).class;
                if class == Class::Durable && self.class_of(name) == Class::Ephemeral {
                    self.bury(name);
                }
                let epoch = self.next_epoch();
                step.digest.layer(own);
                step.effects.block_ended = class == Class::Ephemeral;
                self.begin_topic(name, Topic::new(class, own.clone(), epoch), step);
            }
        }
        self.get(name).ok_or(Refused::from(Code::Internal))
    }

    /// An ephemeral topic made on use has no row, yet its name must be remembered as ended.
    fn delete(
        &mut self,
        name: &TopicName,
        epoch: Option<Epoch>,
        step: &mut Step,
    ) -> Result<Epoch, Refused> {
        if !self.row.begun {
            return Err(Code::NotReady.into());
        }
        match self.topics.get(name) {
            None if self.class_of(name) == Class::Durable => {
                return Err(Code::TopicNotFound.into());
            }
            Some(topic) if topic.class() == Class::Durable => {
                let head = topic.history().head();
                if epoch.is_some_and(|epoch| epoch != head.epoch) {
                    return Err(expectation_failed(head));
                }
            }
            Some(_) | None => {}
        }
        if let Some(topic) = self.topics.remove(name) {
            self.bytes = self.bytes.saturating_sub(topic.history().bytes());
            self.due.remove(&(topic.due_ms, name.clone()));
        }
        let counter = self.bury(name);
        step.digest.text(name.as_str());
        step.effects.deleted.push((name.clone(), counter));
        step.effects.block_ended = true;
        Ok(counter)
    }

    /// Remembers that streams of this name are over; their end is the value returned.
    fn bury(&mut self, name: &TopicName) -> Epoch {
        let counter = self.next_epoch();
        self.tombstones.push(Tombstone {
            topic: name.clone(),
            counter,
            time_ms: self.row.running_ms,
        });
        self.drop_tombstones();
        counter
    }

    fn set_rules(&mut self, table: &RuleTable, step: &mut Step) {
        if table.version <= self.row.rules.version {
            return;
        }
        if may_end_streams(&self.row.rules, table) {
            self.row.forgotten = self.row.counter;
        }
        self.row.rules = table.clone();
        self.row.sweep = self.topics.keys().next().cloned();
        step.digest.table(table);
        step.effects.rules_changed = true;
        step.effects.block_ended = true;
    }

    /// The counter goes one further than the block, so that no stream of the block can have the
    /// epoch of a head told for a topic that does not exist (C27).
    fn reserve(&mut self, count: u32) -> EpochBlock {
        let first = self.row.counter.0.saturating_add(1);
        let last = first.saturating_add(u64::from(count.max(1)) - 1);
        self.row.counter = Epoch(last.saturating_add(1));
        EpochBlock {
            first: Epoch(first),
            last: Epoch(last),
        }
    }

    /// Streams go on with the messages of this copy; their epochs say that some may be lost. Keys
    /// end with the epochs.
    fn repair(&mut self, step: &mut Step) {
        let raised = Epoch(self.row.counter.0.saturating_add(REPAIR_STEP));
        self.row.counter = raised;
        self.row.repaired = raised;
        for (name, topic) in &mut self.topics {
            self.row.counter = Epoch(self.row.counter.0.saturating_add(1));
            let topic = Arc::make_mut(topic);
            topic.continues = Some(topic.history.epoch());
            topic.history.restamp(self.row.counter);
            note_topic(&mut step.digest, name, topic);
        }
        self.row.hour_counter = self.row.counter;
        step.effects.repaired = true;
        step.effects.block_ended = true;
    }
}

/// Makes what happened to a topic part of the shard's chain.
pub(super) fn note_topic(digest: &mut Digest, name: &TopicName, topic: &Topic) {
    let history = topic.history();
    digest.text(name.as_str());
    digest.position(history.start());
    digest.position(history.head());
    digest.wide(history.head_chain());
}
