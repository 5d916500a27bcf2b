//! Names that were deleted, so that a reader who waits for a topic can be told whether one of that
//! name came and went (C27).

use std::collections::BTreeMap;

use super::block::Tombstone;
use crate::name::TopicName;
use crate::position::Epoch;
use crate::ring::Ring;

/// The tombstones of a shard: kept for a day of running time, and at most [`Tombstones::MAX`]. What
/// is dropped is remembered as one number, the highest counter among it.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    order: Ring<Tombstone, 256>,
    latest: BTreeMap<TopicName, Epoch>,
}

impl Tombstones {
    /// Most tombstones of a shard, the older of one name counted too.
    pub(super) const MAX: usize = 100_000;
    /// Running time for which a tombstone is kept, in ms.
    pub(super) const KEPT_MS: u64 = 24 * 3_600 * 1_000;

    pub(super) fn push(&mut self, stone: Tombstone) {
        self.latest.insert(stone.topic.clone(), stone.counter);
        self.order.push(stone);
    }

    /// The counter of the last deletion of this name.
    pub(super) fn of(&self, topic: &TopicName) -> Option<Epoch> {
        self.latest.get(topic).copied()
    }

    /// Drops what is too old or too many. Returns the highest counter dropped, 0 if none; one of a
    /// name that has a later one is no loss.
    pub(super) fn drop_old(&mut self, now_ms: u64) -> Epoch {
        let mut highest = Epoch(0);
        while self.order.len() > Self::MAX || self.next_expiry().is_some_and(|end| end <= now_ms) {
            let Some(stone) = self.order.pop() else { break };
            if self.latest.get(&stone.topic) == Some(&stone.counter) {
                self.latest.remove(&stone.topic);
                highest = highest.max(stone.counter);
            }
        }
        highest
    }

    /// Running time at which the oldest is dropped.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        let oldest = self.order.first()?;
        Some(oldest.time_ms.saturating_add(Self::KEPT_MS))
    }

    pub(super) fn freeze(&self) -> Ring<Tombstone, 256> {
        self.order.clone()
    }
}
