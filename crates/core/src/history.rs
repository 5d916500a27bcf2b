//! Messages of one stream, bounded by count, bytes and age, with the running hash of everything
//! that was ever in it. What follows a place is a run of messages or a gap, never less.

use std::sync::Arc;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::gap::{Gap, GapReason, TrimmedBy};
use crate::message::{Content, Message};
use crate::position::{Epoch, Offset, Position};
use crate::ring::Ring;
use crate::rule::Rules;

#[cfg(test)]
mod tests;

/// xxh3-128 of a payload, seed 0: what a chain is made of. Part of the format.
pub fn payload_hash(payload: &[u8]) -> u128 {
    xxh3_128(payload)
}

/// The chain after `offset`: xxh3-128 of the chain before, the offset and the payload's hash, each
/// big endian. The chain before offset 1 is 0. Part of the format.
pub fn chain_step(before: u128, offset: Offset, payload: u128) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&before.to_be_bytes());
    hash.update(&offset.0.to_be_bytes());
    hash.update(&payload.to_be_bytes());
    hash.digest128()
}

/// A retained message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub message: Arc<Message>,
    /// Running time at which it was placed, in ms.
    pub time_ms: u64,
    /// [`payload_hash`] of its payload.
    pub hash: u128,
}

impl Record {
    /// A record of a message placed at `time_ms`.
    pub fn new(message: Arc<Message>, time_ms: u64) -> Self {
        let hash = payload_hash(&message.content.payload);
        Self {
            message,
            time_ms,
            hash,
        }
    }

    fn offset(&self) -> Offset {
        self.message.position.offset
    }
}

/// How much a history may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub count: u64,
    /// By [`Content::cost`]. The newest message stays even if it alone is above.
    pub bytes: u64,
    /// Running time for which a message is kept.
    pub age_ms: u64,
}

impl From<&Rules> for Limits {
    fn from(rules: &Rules) -> Self {
        Self {
            count: rules.retain_count.max(1),
            bytes: rules.retain_bytes,
            age_ms: u64::try_from(rules.retain_age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What a history has after some offset of its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything.
    All,
    /// Everything after this gap.
    Trimmed(Gap),
    /// The offset is above the head.
    Ahead,
}

/// The retained end of a stream. Cheap to clone: chunks of records are shared.
#[derive(Clone, Debug)]
pub struct History {
    epoch: Epoch,
    next: Offset,
    records: Ring<Record, 64>,
    bytes: u64,
    start_chain: u128,
    head_chain: u128,
    trimmed_by: Option<TrimmedBy>,
}

impl History {
    /// A stream without messages.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            next: Offset(1),
            records: Ring::default(),
            bytes: 0,
            start_chain: 0,
            head_chain: 0,
            trimmed_by: None,
        }
    }

    /// A stream as a snapshot tells it: no record yet, `start` the lowest that will come, the
    /// chain up to before it.
    pub(crate) fn resumed(
        epoch: Epoch,
        start: Offset,
        chain: u128,
        trimmed_by: Option<TrimmedBy>,
    ) -> Self {
        Self {
            next: start,
            start_chain: chain,
            head_chain: chain,
            trimmed_by,
            ..Self::new(epoch)
        }
    }

    /// The stream's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Position of the newest message; offset 0 before the first.
    pub fn head(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: self.next.before(),
        }
    }

    /// The lowest retained slot, or the one after the head.
    pub fn start(&self) -> Position {
        let first = self.records.first().map_or(self.next, Record::offset);
        Position {
            epoch: self.epoch,
            offset: first,
        }
    }

    /// Bytes retained, by [`Content::cost`].
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages retained.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if nothing is retained.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Running time at which the oldest retained message was placed.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.records.first().map(|record| record.time_ms)
    }

    /// Chain up to the slot before [`start`](Self::start).
    pub fn start_chain(&self) -> u128 {
        self.start_chain
    }

    /// Chain up to the head.
    pub fn head_chain(&self) -> u128 {
        self.head_chain
    }

    /// Which limit moved the start last. If several did, older slots are told by this one too.
    pub fn trimmed_by(&self) -> Option<TrimmedBy> {
        self.trimmed_by
    }

    /// The retained records, the oldest first, without the first `skip` of them.
    pub fn records(&self, skip: usize) -> impl Iterator<Item = &Record> {
        self.records.iter_from(skip)
    }

    /// Places a message at the next offset. The payload is copied, since the given one may be a
    /// slice that keeps a whole frame alive; a description equal to the last one is shared with it.
    pub fn append(&mut self, content: &Content, wall_ms: u64, time_ms: u64) -> Arc<Message> {
        let meta = match self.records.last() {
            Some(last) if last.message.content.meta == content.meta => {
                Arc::clone(&last.message.content.meta)
            }
            Some(_) | None => Arc::clone(&content.meta),
        };
        let message = Arc::new(Message {
            position: self.head().next(),
            wall_ms,
            content: Content {
                payload: Bytes::copy_from_slice(&content.payload),
                meta,
            },
        });
        let record = Record::new(Arc::clone(&message), time_ms);
        self.bytes += message.content.cost();
        self.head_chain = chain_step(self.head_chain, self.next, record.hash);
        self.next = self.next.next();
        self.records.push(record);
        message
    }

    /// Takes a record out of a snapshot, as [`append`](Self::append) does with a draft. False, and
    /// nothing taken, if it is not the next one.
    pub(crate) fn adopt(&mut self, record: &Record) -> bool {
        let message = &record.message;
        let next = message.position == self.head().next();
        if next {
            self.append(&message.content, message.wall_ms, record.time_ms);
        }
        next
    }

    /// Drops the oldest messages while a limit is exceeded at running time `now_ms`. Returns the
    /// bytes freed.
    pub fn trim(&mut self, limits: Limits, now_ms: u64) -> u64 {
        let before = self.bytes;
        while let Some(by) = self.exceeded(limits, now_ms) {
            self.drop_oldest(by);
        }
        before - self.bytes
    }

    fn exceeded(&self, limits: Limits, now_ms: u64) -> Option<TrimmedBy> {
        let oldest = self.oldest_ms()?;
        let count = self.records.len() as u64;
        if oldest.saturating_add(limits.age_ms) <= now_ms {
            Some(TrimmedBy::Age)
        } else if count > limits.count {
            Some(TrimmedBy::Count)
        } else if self.bytes > limits.bytes && count > 1 {
            Some(TrimmedBy::Bytes)
        } else {
            None
        }
    }

    /// Drops all up to and including `through`, for the node's budget. Returns the bytes freed.
    pub fn cut(&mut self, through: Offset) -> u64 {
        let before = self.bytes;
        while !self.records.is_empty() && self.start().offset <= through {
            self.drop_oldest(TrimmedBy::Budget);
        }
        before - self.bytes
    }

    /// Up to where [`cut`](Self::cut) must go to free at least `bytes`, and not one message further;
    /// the head if all that is retained is less. `None` if nothing is retained or nothing wanted.
    pub fn freeing(&self, bytes: u64) -> Option<Offset> {
        let mut freed = 0;
        let mut through = None;
        for record in self.records.iter_from(0) {
            if freed >= bytes {
                break;
            }
            freed += record.message.content.cost();
            through = Some(record.offset());
        }
        through
    }

    fn drop_oldest(&mut self, by: TrimmedBy) {
        if let Some(record) = self.records.pop() {
            self.bytes -= record.message.content.cost();
            self.start_chain = chain_step(self.start_chain, record.offset(), record.hash);
            self.trimmed_by = Some(by);
        }
    }

    /// What is there after an offset of this stream.
    pub fn reach(&self, after: Offset) -> Reach {
        if after > self.head().offset {
            Reach::Ahead
        } else if after.next() < self.start().offset {
            let from = Position {
                epoch: self.epoch,
                offset: after,
            };
            Reach::Trimmed(self.trimmed_after(from))
        } else {
            Reach::All
        }
    }

    /// The gap `trimmed` of a reader whose last position is `from`: of this stream and below the
    /// start, or before its beginning (C27).
    pub fn trimmed_after(&self, from: Position) -> Gap {
        let to = self.start().before();
        let passed = if from.epoch == self.epoch {
            from.offset.0
        } else {
            0
        };
        Gap {
            reason: GapReason::Trimmed(self.trimmed_by.unwrap_or(TrimmedBy::Count)),
            from,
            to,
            missed: Some(to.offset.0.saturating_sub(passed)),
        }
    }

    /// Retained messages after `after`: at most `limit`, and at most so many bytes but at least
    /// one.
    pub fn read(&self, after: Offset, limit: usize, bytes: u64) -> Vec<Arc<Message>> {
        let skipped = after.next().0.saturating_sub(self.start().offset.0);
        let place = usize::try_from(skipped).unwrap_or(usize::MAX);
        let mut messages = Vec::new();
        let mut cost = 0;
        for record in self.records.iter_from(place).take(limit) {
            cost += record.message.content.cost();
            if cost > bytes && !messages.is_empty() {
                break;
            }
            messages.push(Arc::clone(&record.message));
        }
        messages
    }

    /// Goes on under another epoch with the same offsets and messages, as after an accepted loss.
    pub(crate) fn restamp(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        let records = std::mem::take(&mut self.records);
        let restamped = records.iter().map(|record| {
            let mut message = Message::clone(&record.message);
            message.position.epoch = epoch;
            Record {
                message: Arc::new(message),
                ..record.clone()
            }
        });
        self.records = restamped.collect();
    }
}
