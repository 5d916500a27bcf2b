//! What publishers sent: drafts by name, their sendings, and what became of them.

use std::collections::BTreeMap;

use crate::observation::{AckLevel, Position};

/// A draft, by the hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DraftId(u128);

impl DraftId {
    pub(crate) fn of(name: &str) -> Self {
        Self(number(name))
    }
}

/// The number that a payload's hash, a key or a name is judged by. Hashes in hex are their own.
pub(crate) fn number(text: &str) -> u128 {
    let hex = text.len() == 32;
    let own = hex.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    own.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

/// A topic, by its place in the judge's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicId(pub(crate) u32);

/// What somebody wants placed, over all its sendings.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) name: Box<str>,
    pub(crate) topic: TopicId,
    pub(crate) keyed: bool,
    /// When it was first sent, and last.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) sendings: u32,
    /// Sendings that were refused for good.
    refused: u32,
    /// Where its first ack said it is.
    pub(crate) acked: Option<Position>,
    /// Where it was first seen.
    placed: Option<(TopicId, Position)>,
}

impl Draft {
    /// True if no sending of it may have been placed (C9).
    pub(crate) fn is_refused(&self) -> bool {
        self.refused == self.sendings
    }
}

/// A sending that has not ended yet.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) draft: DraftId,
    pub(crate) topic: TopicId,
    pub(crate) hash: u128,
    pub(crate) key: Option<u128>,
    pub(crate) ack: AckLevel,
    pub(crate) t: u64,
}

/// A draft seen in two slots.
#[derive(Clone, Debug)]
pub(crate) struct Double {
    pub(crate) draft: DraftId,
    pub(crate) topic: TopicId,
    pub(crate) first: Position,
    pub(crate) second: Position,
}

/// All drafts of a run.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    drafts: BTreeMap<DraftId, Draft>,
    /// By writer and op, which is unique only within its writer.
    open: BTreeMap<String, BTreeMap<u64, Sending>>,
    doubles: Vec<Double>,
}

impl Drafts {
    pub(crate) fn sent(&mut self, by: &str, op: u64, name: &str, sending: Sending) {
        let draft = self.drafts.entry(sending.draft).or_insert_with(|| Draft {
            name: name.into(),
            topic: sending.topic,
            keyed: sending.key.is_some(),
            first: sending.t,
            last: sending.t,
            sendings: 0,
            refused: 0,
            acked: None,
            placed: None,
        });
        draft.sendings += 1;
        draft.first = draft.first.min(sending.t);
        draft.last = draft.last.max(sending.t);
        if !self.open.contains_key(by) {
            self.open.insert(by.to_owned(), BTreeMap::new());
        }
        if let Some(open) = self.open.get_mut(by) {
            open.insert(op, sending);
        }
    }

    /// The sending ended: it is given once.
    pub(crate) fn ended(&mut self, by: &str, op: u64) -> Option<Sending> {
        self.open.get_mut(by)?.remove(&op)
    }

    pub(crate) fn refused(&mut self, draft: DraftId) {
        if let Some(draft) = self.drafts.get_mut(&draft) {
            draft.refused += 1;
        }
    }

    pub(crate) fn acked(&mut self, draft: DraftId, at: Position) {
        if let Some(draft) = self.drafts.get_mut(&draft) {
            draft.acked.get_or_insert(at);
        }
    }

    /// Somebody saw the draft in this slot.
    pub(crate) fn placed(&mut self, id: DraftId, topic: TopicId, at: Position) {
        let Some(draft) = self.drafts.get_mut(&id) else {
            return;
        };
        let (known, first) = *draft.placed.get_or_insert((topic, at));
        if known == topic && first != at {
            self.doubles.push(Double {
                draft: id,
                topic,
                first,
                second: at,
            });
        }
    }

    pub(crate) fn get(&self, id: DraftId) -> Option<&Draft> {
        self.drafts.get(&id)
    }

    /// The draft's name, as far as its sending was seen.
    pub(crate) fn name(&self, id: DraftId) -> String {
        self.get(id)
            .map_or_else(|| format!("{:032x}", id.0), |draft| draft.name.to_string())
    }

    pub(crate) fn doubles(&self) -> &[Double] {
        &self.doubles
    }
}
