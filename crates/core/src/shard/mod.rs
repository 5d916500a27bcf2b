//! The shard's state machine: topics by name; `apply(Entry) -> (Outcome, Effects)`; reads; snapshot
//! and restore. A plain value: the same entries give the same rows on every replica.

mod apply;
mod block;
mod classes;
mod command;
mod digest;
mod place;
mod read;
mod restore;
mod retain;
mod snapshot;
mod tombstones;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use block::{BadSnapshot, Block, End, Header, Tombstone, TopicRow};
pub use command::{At, Batch, Command, Effects, Entry, EpochBlock, Fate, Outcome, Refused, Secret};
pub use read::{TopicInfo, Unread};
pub use restore::Restore;
pub use snapshot::{Blocks, Frozen, TopicDump};

use crate::dedup::Dedup;
use crate::name::TopicName;
use crate::position::Epoch;
use crate::topic::Topic;
use tombstones::Tombstones;

/// The replicated state of one shard.
#[derive(Debug)]
pub struct Shard {
    /// Shards of the cluster, for this one's share of the bound on topics.
    shards: u32,
    row: Header,
    topics: BTreeMap<TopicName, Arc<Topic>>,
    /// When the age of which topic is looked at next; derived from the topics.
    due: BTreeSet<(u64, TopicName)>,
    dedup: Dedup,
    tombstones: Tombstones,
    /// Bytes retained by all topics; derived.
    bytes: u64,
}

impl Shard {
    /// A shard before its first entry, of a cluster of so many.
    pub fn new(shards: u32) -> Self {
        Self {
            shards,
            row: Header::default(),
            topics: BTreeMap::new(),
            due: BTreeSet::new(),
            dedup: Dedup::default(),
            tombstones: Tombstones::default(),
            bytes: 0,
        }
    }

    /// The last entry applied.
    pub fn applied(&self) -> At {
        self.row.applied
    }

    /// True once `Begin` is applied; before, nothing is placed and nothing can be read.
    pub fn begun(&self) -> bool {
        self.row.begun
    }

    /// Epochs below this are of streams that ended with a loss an operator accepted; 0 if none did.
    pub fn repaired(&self) -> Epoch {
        self.row.repaired
    }

    /// Running time, in ms: where a new leader's clock goes on.
    pub fn running_ms(&self) -> u64 {
        self.row.running_ms
    }

    /// Feature level that apply branches on. A binary that does not know it must not start.
    pub fn level(&self) -> u32 {
        self.row.level
    }

    /// Version of the rules the shard goes by.
    pub fn rules_version(&self) -> u64 {
        self.row.rules.version
    }

    /// Chain over all entries. Replicas that differ at one index have diverged.
    pub fn chain(&self) -> u128 {
        self.row.chain
    }

    /// Bytes retained by all topics, by [`Content::cost`](crate::message::Content::cost).
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Topics with a row.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Rows of the dedup table.
    pub fn key_count(&self) -> usize {
        self.dedup.len()
    }

    /// Most topics this shard takes: its share of `max_topics` and an eighth more, for names do
    /// not fall evenly on shards.
    fn max_topics(&self) -> usize {
        let all = match self.row.rules.max_topics {
            0 => 1_000_000,
            set => set,
        };
        let share = all.div_ceil(u64::from(self.shards.max(1)));
        usize::try_from(share.saturating_add(share.div_ceil(8))).unwrap_or(usize::MAX)
    }
}
