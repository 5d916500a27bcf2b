//! What becomes of drafts: refused, known already, or placed at the next offset (contract sections 3
//! to 5). The same on every replica, whatever batch they came in.

use std::sync::Arc;

use super::Shard;
use super::apply::{Step, note_topic};
use super::command::{Batch, Fate, Refused};
use super::digest::Digest;
use crate::code::Code;
use crate::dedup::{KeyHash, KeyRow, window_ms};
use crate::history::Limits;
use crate::message::Draft;
use crate::position::{Offset, Position};
use crate::rule::{Class, CreatePolicy, RuleLayer};
use crate::topic::Topic;

/// The key of a draft that may be placed, and the window that its row gets.
#[derive(Clone, Copy)]
struct Keyed {
    hash: KeyHash,
    window_ms: u64,
}

impl Shard {
    pub(super) fn place(&mut self, batch: &Batch, step: &mut Step) -> Vec<Fate> {
        let mut fates = Vec::with_capacity(batch.drafts.len());
        for draft in &batch.drafts {
            let fate = match self.admit(draft, step) {
                Ok(keyed) => self.place_one(draft, keyed, batch.wall_ms, step),
                Err(fate) => fate,
            };
            note_fate(&mut step.digest, &fate);
            fates.push(fate);
        }
        fates
    }

    /// Judges a draft; makes the topic if that is all it lacks. A known key is looked up before
    /// the expectation: a draft that was placed as expected is a duplicate when it comes again.
    fn admit(&mut self, draft: &Draft, step: &mut Step) -> Result<Option<Keyed>, Fate> {
        if !self.row.begun {
            return Err(Fate::Refused(Code::NotReady.into()));
        }
        if !self.topics.contains_key(&draft.topic) {
            self.admit_new(draft)?;
            let epoch = self.next_epoch();
            let topic = Topic::new(Class::Durable, RuleLayer::default(), epoch);
            self.begin_topic(&draft.topic, topic, step);
        }
        self.admit_known(draft)
    }

    /// A draft of a topic without a row.
    fn admit_new(&self, draft: &Draft) -> Result<(), Fate> {
        let refused = |code: Code| Err(Fate::Refused(code.into()));
        let rules = self.row.rules.resolve(&draft.topic, &RuleLayer::default());
        if rules.class == Class::Ephemeral {
            return Err(Fate::Ephemeral);
        }
        if self.row.rules.create == CreatePolicy::Explicit {
            return refused(Code::TopicNotFound);
        }
        if draft.key.is_some() && draft.key_age_ms >= window_ms(&rules) {
            return refused(Code::IdempotencyExpired);
        }
        if draft.expect.is_some_and(|expect| expect != Position::NONE) {
            return Err(Fate::Refused(expectation_failed(Position::NONE)));
        }
        if self.topics.len() >= self.max_topics() {
            return refused(Code::LimitExceeded);
        }
        if draft.key.is_some() && self.dedup.is_full() {
            return refused(Code::Overloaded);
        }
        Ok(())
    }

    /// A draft of a topic with a row.
    fn admit_known(&mut self, draft: &Draft) -> Result<Option<Keyed>, Fate> {
        let refused = |code: Code| Err(Fate::Refused(code.into()));
        let now = self.row.running_ms;
        let Some(topic) = self.topics.get_mut(&draft.topic) else {
            return refused(Code::Internal);
        };
        if topic.class() == Class::Ephemeral {
            return Err(Fate::Ephemeral);
        }
        let head = topic.history().head();
        let mut keyed = None;
        if let Some(key) = &draft.key {
            let topic = Arc::make_mut(topic);
            let rules = topic.rules_kept(&draft.topic, &self.row.rules).clone();
            topic.window.observe(&rules, now);
            let hash = KeyHash::new(&self.row.secret, &draft.topic, head.epoch, key);
            if let Some((row, remaining)) = self.dedup.find(hash, now) {
                if row.content != draft.content.hash64() {
                    return refused(Code::IdempotencyMismatch);
                }
                let offset = row.offset;
                return Err(Fate::Duplicate {
                    position: Position { offset, ..head },
                    dedup_remaining_ms: remaining,
                });
            }
            if topic.window.is_past(draft.key_age_ms, now) {
                return refused(Code::IdempotencyExpired);
            }
            keyed = Some(Keyed {
                hash,
                window_ms: topic.window.ms,
            });
        }
        let met = |expect: Position| {
            expect == head || (expect == Position::NONE && head.offset == Offset(0))
        };
        if draft.expect.is_some_and(|expect| !met(expect)) {
            return Err(Fate::Refused(expectation_failed(head)));
        }
        if keyed.is_some() && self.dedup.is_full() {
            return refused(Code::Overloaded);
        }
        Ok(keyed)
    }

    fn place_one(
        &mut self,
        draft: &Draft,
        keyed: Option<Keyed>,
        wall_ms: u64,
        step: &mut Step,
    ) -> Fate {
        let now = self.row.running_ms;
        let Some(topic) = self.topics.get_mut(&draft.topic) else {
            return Fate::Refused(Code::Internal.into());
        };
        let topic = Arc::make_mut(topic);
        let limits = Limits::from(topic.rules_kept(&draft.topic, &self.row.rules));
        let (message, freed) = topic.place(&draft.content, wall_ms, limits, now);
        self.bytes = (self.bytes + message.content.cost()).saturating_sub(freed);
        if topic.due_ms == 0
            && let Some(due) = topic.ages_out_at(limits)
        {
            topic.due_ms = due;
            self.due.insert((due, draft.topic.clone()));
        }
        note_topic(&mut step.digest, &draft.topic, topic);
        let position = message.position;
        match step.effects.placed.get_mut(&draft.topic) {
            Some(run) => run.push(message),
            None => {
                let run = vec![message];
                step.effects.placed.insert(draft.topic.clone(), run);
            }
        }
        if let Some(Keyed { hash, window_ms }) = keyed {
            let row = KeyRow {
                hash,
                offset: position.offset,
                content: draft.content.hash64(),
                time_ms: now,
            };
            self.dedup.insert(window_ms, row);
        }
        Fate::Placed {
            position,
            dedup_remaining_ms: keyed.map(|keyed| keyed.window_ms),
        }
    }
}

/// Refused, with the head that was not the expected one.
pub(super) fn expectation_failed(head: Position) -> Refused {
    Refused {
        code: Code::ExpectationFailed,
        head: Some(head),
    }
}

fn note_fate(digest: &mut Digest, fate: &Fate) {
    match fate {
        Fate::Placed { position, .. } => digest.position(*position),
        Fate::Duplicate { position, .. } => {
            digest.text("duplicate");
            digest.position(*position);
        }
        Fate::Refused(refused) => digest.text(refused.code.as_str()),
        Fate::Ephemeral => digest.text("ephemeral"),
    }
}
