//! The shard's table of idempotency keys (C10, C11): which slot a key took, for a window of running
//! time. A row is found by its hash and forgotten in the order of its expiry.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;
use xxhash_rust::xxh3::Xxh3;

use crate::message::Key;
use crate::name::TopicName;
use crate::position::{Epoch, Offset};
use crate::ring::Ring;
use crate::rule::Rules;
use crate::shard::Secret;

#[cfg(test)]
mod tests;

/// 128-bit hash of (topic, epoch, key) under the shard's secret. Part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u64; 2]);

impl KeyHash {
    /// xxh3-128 of the secret, the topic's length (u64) and name, the epoch (u64) and the key.
    pub fn new(secret: &Secret, topic: &TopicName, epoch: Epoch, key: &Key) -> Self {
        let name = topic.as_str().as_bytes();
        let mut hash = Xxh3::new();
        hash.update(&secret.0);
        hash.update(&(name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update(&epoch.0.to_be_bytes());
        hash.update(key.as_bytes());
        let bytes = hash.digest128().to_be_bytes();
        let (high, low) = bytes.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0, |all, b| all << 8 | u64::from(*b));
        Self([word(high), word(low)])
    }
}

/// A key and the slot it took: 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub hash: KeyHash,
    pub offset: Offset,
    /// [`Content::hash64`](crate::message::Content::hash64) of what was placed.
    pub content: u64,
    /// Running time at which it was placed.
    pub time_ms: u64,
}

/// How long the keys of one topic are known. A rule that lengthens the time does so for keys
/// placed under it only, so the former one counts for older keys until they cannot matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Under which the last keyed draft was judged; 0: there was none.
    pub ms: u64,
    pub narrower: Option<Narrower>,
}

/// A window that was shorter than the present one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Narrower {
    pub ms: u64,
    /// Keys first sent up to this running time may have been placed, and forgotten, under it.
    pub until_ms: u64,
}

impl Window {
    /// Takes in what the rules say now, before a keyed draft is judged.
    pub fn observe(&mut self, rules: &Rules, now_ms: u64) {
        let ms = window_ms(rules);
        if self
            .narrower
            .is_some_and(|n| n.until_ms.saturating_add(ms.max(self.ms)) <= now_ms)
        {
            self.narrower = None;
        }
        if self.ms != 0 && ms > self.ms {
            let narrowest = self.narrower.map_or(self.ms, |n| n.ms.min(self.ms));
            self.narrower = Some(Narrower {
                ms: narrowest,
                until_ms: now_ms,
            });
        }
        self.ms = ms;
    }

    /// True if a key first sent `age_ms` ago, of which there is no row, may have been placed and
    /// forgotten.
    pub fn is_past(&self, age_ms: u64, now_ms: u64) -> bool {
        let narrow = |n: Narrower| age_ms >= n.ms && now_ms.saturating_sub(age_ms) <= n.until_ms;
        age_ms >= self.ms || self.narrower.is_some_and(narrow)
    }
}

/// The window that the rules set, in ms; at most 49 days.
pub fn window_ms(rules: &Rules) -> u64 {
    let ms = u32::try_from(rules.dedup_age.as_millis()).unwrap_or(u32::MAX);
    u64::from(ms)
}

/// Where a row stands: in which queue, at which number.
#[derive(Clone, Copy, Debug)]
struct Place {
    window: u32,
    number: u32,
}

/// Rows placed under one window, the oldest first.
#[derive(Clone, Debug, Default)]
struct Queue {
    /// Number of the first row; wraps.
    base: u32,
    rows: Ring<KeyRow, 512>,
}

/// The table. At [`Dedup::MAX_ROWS`] keyed drafts are refused until rows have expired.
#[derive(Debug, Default)]
pub struct Dedup {
    queues: BTreeMap<u32, Queue>,
    /// Never iterated.
    index: HashMap<KeyHash, Place, FixedState>,
}

/// The rows of a table at one moment, by window in ms.
pub(crate) type FrozenKeys = Vec<(u64, Ring<KeyRow, 512>)>;

impl Dedup {
    /// Most rows of a shard: about 160 MiB with the index.
    pub const MAX_ROWS: usize = 2_000_000;

    /// Rows in the table.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// True if no row fits in.
    pub fn is_full(&self) -> bool {
        self.len() >= Self::MAX_ROWS
    }

    /// The row of a key, and for how many ms of running time it is still promised.
    pub fn find(&self, hash: KeyHash, now_ms: u64) -> Option<(&KeyRow, u64)> {
        let place = self.index.get(&hash)?;
        let queue = self.queues.get(&place.window)?;
        let at = place.number.wrapping_sub(queue.base);
        let row = queue.rows.get(usize::try_from(at).ok()?)?;
        let end = row.time_ms.saturating_add(u64::from(place.window));
        Some((row, end.saturating_sub(now_ms)))
    }

    /// True if there is a row of this key.
    pub fn contains(&self, hash: KeyHash) -> bool {
        self.index.contains_key(&hash)
    }

    /// Adds a row whose hash is not in the table, placed under a window of `window_ms`; rows come
    /// in order of their time.
    pub fn insert(&mut self, window_ms: u64, row: KeyRow) {
        let window = u32::try_from(window_ms).unwrap_or(u32::MAX);
        let queue = self.queues.entry(window).or_default();
        let count = u32::try_from(queue.rows.len()).unwrap_or(u32::MAX);
        let number = queue.base.wrapping_add(count);
        queue.rows.push(row);
        self.index.insert(row.hash, Place { window, number });
    }

    /// Forgets what has expired at running time `now_ms`.
    pub fn expire(&mut self, now_ms: u64) {
        let index = &mut self.index;
        self.queues.retain(|window, queue| {
            while let Some(row) = queue.rows.first()
                && expiry(*window, row) <= now_ms
            {
                index.remove(&row.hash);
                queue.rows.pop();
                queue.base = queue.base.wrapping_add(1);
            }
            !queue.rows.is_empty()
        });
    }

    /// Running time at which the next row expires.
    pub fn next_expiry(&self) -> Option<u64> {
        let firsts = self
            .queues
            .iter()
            .filter_map(|(window, queue)| queue.rows.first().map(|row| expiry(*window, row)));
        firsts.min()
    }

    pub(crate) fn freeze(&self) -> FrozenKeys {
        let rows = |(window, queue): (&u32, &Queue)| (u64::from(*window), queue.rows.clone());
        self.queues.iter().map(rows).collect()
    }
}

/// A row stays a little longer than promised, so that neither rounding nor the drift of two clocks
/// makes a key look younger than the row that was forgotten.
fn expiry(window: u32, row: &KeyRow) -> u64 {
    let window = u64::from(window);
    row.time_ms.saturating_add(window + window / 1_000 + 10)
}
