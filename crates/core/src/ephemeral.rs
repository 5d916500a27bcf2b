//! A topic sequenced by its leader alone, in memory: its stream of one epoch, bounded by the
//! topic's rules, and the window of its keys. Gone with the leader; the next stream has another
//! epoch, and a reader of this one is told so by a gap.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::code::Code;
use crate::dedup::{Dedup, KeyHash, KeyRow, Window, window_ms};
use crate::gap::{Answer, Gap, GapReason, Page, Policy, Since, Standing};
use crate::history::{History, Limits, Reach};
use crate::id::Term;
use crate::message::{Draft, Key, Message};
use crate::name::TopicName;
use crate::position::{Epoch, Offset, Position};
use crate::rule::Rules;
use crate::shard::{Fate, Refused, Secret};

/// One ephemeral stream. Times are running times of the shard, in ms.
#[derive(Debug)]
pub struct Ephemeral {
    name: TopicName,
    rules: Rules,
    history: History,
    secret: Secret,
    keys: Dedup,
    window: Window,
    repaired: Epoch,
}

/// What became of a draft, and the message if it was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    pub fate: Fate,
    pub message: Option<Arc<Message>>,
}

impl From<Fate> for Appended {
    fn from(fate: Fate) -> Self {
        Self {
            fate,
            message: None,
        }
    }
}

impl Ephemeral {
    /// Keys that one stream remembers; more are refused until some have expired.
    pub const MAX_KEYS: usize = 100_000;

    /// Begins a stream. `epoch` is one no stream had before; `secret` keys the hashes of its keys.
    pub fn new(name: TopicName, epoch: Epoch, rules: Rules, secret: Secret) -> Self {
        let (history, keys, window) = (History::new(epoch), Dedup::default(), Window::default());
        Self {
            name,
            rules,
            history,
            secret,
            keys,
            window,
            repaired: Epoch(0),
        }
    }

    /// Streams of epochs below `repaired` ended with an accepted loss: their readers are told so.
    #[must_use]
    pub fn after_loss(self, repaired: Epoch) -> Self {
        Self { repaired, ..self }
    }

    /// The stream.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What edges must know of its rules.
    pub fn policy(&self) -> Policy {
        Policy::from(&self.rules)
    }

    /// Its rules are others now; they hold for what is retained too.
    pub fn set_rules(&mut self, rules: Rules, now_ms: u64) {
        self.rules = rules;
        self.tick(now_ms);
    }

    /// Places a draft, or says why not. A repeat within the window has the slot of the first.
    pub fn append(&mut self, draft: &Draft, now_ms: u64, wall_ms: u64) -> Appended {
        self.tick(now_ms);
        let hash = match &draft.key {
            None => None,
            Some(key) => match self.judge(key, draft, now_ms) {
                Ok(hash) => Some(hash),
                Err(fate) => return fate.into(),
            },
        };
        let head = self.history.head();
        if draft
            .expect
            .is_some_and(|expect| !is_expected(expect, head))
        {
            let head = Some(head).filter(|head| head.offset != Offset(0));
            let refused = Refused {
                code: Code::ExpectationFailed,
                head: head.or(Some(Position::NONE)),
            };
            return Fate::Refused(refused).into();
        }
        let message = self.history.append(&draft.content, wall_ms, now_ms);
        self.history.trim(Limits::from(&self.rules), now_ms);
        let position = message.position;
        let dedup_remaining_ms = hash.map(|hash| {
            let row = KeyRow {
                hash,
                offset: position.offset,
                content: draft.content.hash64(),
                time_ms: now_ms,
            };
            let window = window_ms(&self.rules);
            self.keys.insert(window, row);
            window
        });
        let fate = Fate::Placed {
            position,
            dedup_remaining_ms,
        };
        Appended {
            fate,
            message: Some(message),
        }
    }

    /// The hash of a key that has no slot yet and may take one.
    fn judge(&mut self, key: &Key, draft: &Draft, now_ms: u64) -> Result<KeyHash, Fate> {
        let refused = |code: Code| Err(Fate::Refused(code.into()));
        self.window.observe(&self.rules, now_ms);
        let epoch = self.history.epoch();
        let hash = KeyHash::new(&self.secret, &self.name, epoch, key);
        if let Some((row, dedup_remaining_ms)) = self.keys.find(hash, now_ms) {
            if row.content != draft.content.hash64() {
                return refused(Code::IdempotencyMismatch);
            }
            let position = Position {
                epoch,
                offset: row.offset,
            };
            return Err(Fate::Duplicate {
                position,
                dedup_remaining_ms,
            });
        }
        if self.window.is_past(draft.key_age_ms, now_ms) {
            return refused(Code::IdempotencyExpired);
        }
        if self.keys.len() >= Self::MAX_KEYS {
            return refused(Code::Overloaded);
        }
        Ok(hash)
    }

    /// Lets running time pass: drops messages and keys that have grown too old.
    pub fn tick(&mut self, now_ms: u64) {
        self.history.trim(Limits::from(&self.rules), now_ms);
        self.keys.expire(now_ms);
    }

    /// Gives back at least `bytes` for the node's budget, the oldest messages first, or all it has.
    /// Returns the messages dropped.
    pub fn give_back(&mut self, bytes: u64) -> u64 {
        let Some(through) = self.history.freeing(bytes) else {
            return 0;
        };
        let before = self.history.len();
        self.history.cut(through);
        (before - self.history.len()) as u64
    }

    /// True if nothing of it is retained, no message and no key: it may end when nobody attends it.
    pub fn is_spent(&self) -> bool {
        self.history.is_empty() && self.keys.is_empty()
    }

    /// How a subscriber stands to the stream.
    pub fn stand(&self, since: Since, term: Term) -> Standing {
        let (start, head) = (self.history.start(), self.history.head());
        let answer = match since {
            Since::Latest => Answer::Latest,
            Since::Earliest => Answer::Recovered(start.before()),
            Since::Last(count) => {
                let offset = Offset(head.offset.0.saturating_sub(u64::from(count)));
                let from = Position { offset, ..head };
                Answer::Recovered(from.max(start.before()))
            }
            Since::After(after) => self
                .gap(after)
                .map_or(Answer::Recovered(after), Answer::Gap),
        };
        Standing {
            answer,
            start,
            head,
            exists: true,
            policy: self.policy(),
            term,
        }
    }

    /// Messages after `after`: at most `limit`, and at most so many bytes but at least one.
    pub fn page(&self, after: Position, limit: u32, bytes: u64) -> Page {
        let gap = self.gap(after);
        let from = gap.map_or(after, |gap| gap.to);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Page {
            gap,
            messages: self.history.read(from.offset, limit, bytes),
            head: self.history.head(),
            start: self.history.start(),
        }
    }

    /// What a reader at `after` cannot have.
    fn gap(&self, after: Position) -> Option<Gap> {
        let head = self.history.head();
        let gap = |reason, to| Gap {
            reason,
            from: after,
            to,
            missed: None,
        };
        match after.epoch.cmp(&head.epoch) {
            std::cmp::Ordering::Less => {
                let reason = match after.epoch < self.repaired {
                    true => GapReason::DataLoss,
                    false => GapReason::EpochChanged,
                };
                Some(gap(reason, self.history.start().before()))
            }
            std::cmp::Ordering::Greater => Some(gap(GapReason::PositionAhead, head)),
            std::cmp::Ordering::Equal => match self.history.reach(after.offset) {
                Reach::All => None,
                Reach::Trimmed(gap) => Some(gap),
                Reach::Ahead => Some(gap(GapReason::PositionAhead, head)),
            },
        }
    }
}

/// `NONE` expects a topic without messages.
fn is_expected(expect: Position, head: Position) -> bool {
    expect == head || (expect == Position::NONE && head.offset == Offset(0))
}
