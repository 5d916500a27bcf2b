//! A shard's state written out as blocks and built from them again. `freeze` costs one count for
//! each topic and each chunk of keys, so that blocks are made beside apply.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Shard;
use super::block::{BadSnapshot, Block, End, Header, Tombstone, TopicRow};
use super::digest::Digest;
use super::restore::Restore;
use crate::dedup::{FrozenKeys, KeyRow};
use crate::history::{History, Record};
use crate::name::TopicName;
use crate::position::Position;
use crate::ring::Ring;
use crate::rule::Class;
use crate::topic::Topic;

/// A shard as it was when it was frozen.
#[derive(Clone, Debug)]
pub struct Frozen {
    header: Header,
    topics: Vec<(TopicName, Arc<Topic>)>,
    keys: FrozenKeys,
    tombstones: Ring<Tombstone, 256>,
}

/// One topic as an observation `final` tells it (contract section 11).
#[derive(Clone, Debug)]
pub struct TopicDump {
    pub name: TopicName,
    pub class: Class,
    /// Lowest retained slot, or the one after head.
    pub start: Position,
    pub head: Position,
    /// Chain up to the slot before `start`.
    pub chain: u128,
    /// What is retained, with the hashes of the payloads.
    pub records: Vec<Record>,
}

impl Shard {
    /// A copy that later entries do not change.
    pub fn freeze(&self) -> Frozen {
        let row = |(name, topic): (&TopicName, &Arc<Topic>)| (name.clone(), Arc::clone(topic));
        Frozen {
            header: self.row.clone(),
            topics: self.topics.iter().map(row).collect(),
            keys: self.dedup.freeze(),
            tombstones: self.tombstones.freeze(),
        }
    }

    /// Builds the shard of a snapshot, of a cluster with so many shards. Nothing is built unless
    /// all blocks are there and fit together.
    pub fn restore(
        shards: u32,
        blocks: impl IntoIterator<Item = Block>,
    ) -> Result<Self, BadSnapshot> {
        let mut restore = Restore::new(shards);
        for block in blocks {
            restore.take(&block)?;
        }
        restore.finish()
    }
}

impl Frozen {
    /// The row of the shard.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All topics with a row, ascending by name.
    pub fn dump(&self) -> impl Iterator<Item = TopicDump> {
        self.topics.iter().map(|(name, topic)| TopicDump {
            name: name.clone(),
            class: topic.class(),
            start: topic.history().start(),
            head: topic.history().head(),
            chain: topic.history().start_chain(),
            records: topic.history().records(0).cloned().collect(),
        })
    }

    /// The blocks of the snapshot, made one by one.
    pub fn blocks(self) -> Blocks {
        Blocks {
            header: Some(Box::new(self.header)),
            topics: self.topics.into(),
            written: 0,
            keys: self.keys.into(),
            tombstones: self.tombstones,
            digest: Digest::default(),
            end: Some(End::default()),
        }
    }
}

/// See [`Frozen::blocks`].
pub struct Blocks {
    header: Option<Box<Header>>,
    /// Topics not written to their end; of the first, `written` records are.
    topics: VecDeque<(TopicName, Arc<Topic>)>,
    written: usize,
    keys: VecDeque<(u64, Ring<KeyRow, 512>)>,
    tombstones: Ring<Tombstone, 256>,
    digest: Digest,
    end: Option<End>,
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let rows = self.header.take().map(Block::Header);
        let rows = rows.or_else(|| self.rest_of_topic());
        let rows = rows.or_else(|| self.topics());
        let rows = rows.or_else(|| self.keys());
        let rows = rows.or_else(|| self.tombstones());
        if let (Some(block), Some(end)) = (&rows, &mut self.end) {
            self.digest.block(block);
            count(end, block);
            return rows;
        }
        let checksum = self.digest.finish();
        self.end
            .take()
            .map(|end| Block::End(End { checksum, ..end }))
    }
}

impl Blocks {
    fn rest_of_topic(&mut self) -> Option<Block> {
        let (_, topic) = self.topics.front().filter(|_| self.written > 0)?;
        let mut room = Block::TARGET_BYTES;
        let records = fill(topic.history(), self.written, &mut room);
        self.written += records.len();
        if self.written >= topic.history().len() {
            self.topics.pop_front();
            self.written = 0;
        }
        Some(Block::History(records))
    }

    /// Rows until the block is full; the last one's records may go on in the next block.
    fn topics(&mut self) -> Option<Block> {
        let mut room = Block::TARGET_BYTES;
        let mut rows = Vec::new();
        while let Some((name, topic)) = self.topics.front()
            && room > 0
            && rows.len() < Block::MAX_ROWS
        {
            let records = fill(topic.history(), 0, &mut room);
            let written = records.len();
            rows.push(topic_row(name, topic, records));
            if written < topic.history().len() {
                self.written = written;
                break;
            }
            self.topics.pop_front();
        }
        Some(rows)
            .filter(|rows| !rows.is_empty())
            .map(Block::Topics)
    }

    fn keys(&mut self) -> Option<Block> {
        let (window_ms, queue) = self.keys.front_mut()?;
        let window_ms = *window_ms;
        let rows = drain(queue);
        if queue.is_empty() {
            self.keys.pop_front();
        }
        Some(Block::Keys { window_ms, rows })
    }

    fn tombstones(&mut self) -> Option<Block> {
        let stones = drain(&mut self.tombstones);
        Some(stones)
            .filter(|stones| !stones.is_empty())
            .map(Block::Tombstones)
    }
}

/// Records after the first `skip`, until `room` is used up. At least one if there is any room, and
/// what is above the room is taken from it too.
fn fill(history: &History, skip: usize, room: &mut u64) -> Vec<Record> {
    let fits = |record: &&Record| {
        let some = *room > 0;
        *room = room.saturating_sub(record.message.content.cost());
        some
    };
    history.records(skip).take_while(fits).cloned().collect()
}

fn drain<T: Clone, const N: usize>(ring: &mut Ring<T, N>) -> Vec<T> {
    let mut rows = Vec::new();
    while rows.len() < Block::MAX_ROWS
        && let Some(row) = ring.pop()
    {
        rows.push(row);
    }
    rows
}

fn topic_row(name: &TopicName, topic: &Topic, records: Vec<Record>) -> TopicRow {
    let history = topic.history();
    TopicRow {
        name: name.clone(),
        class: topic.class(),
        own: topic.own(),
        epoch: history.epoch(),
        next: history.head().offset.next(),
        start_chain: history.start_chain(),
        head_chain: history.head_chain(),
        trimmed_by: history.trimmed_by(),
        continues: topic.continues,
        due_ms: topic.due_ms,
        window: topic.window,
        retained: history.len() as u64,
        records,
    }
}

pub(super) fn count(end: &mut End, block: &Block) {
    match block {
        Block::Topics(rows) => {
            end.topics += rows.len() as u64;
            let records = rows.iter().map(|row| row.records.len() as u64);
            end.messages += records.sum::<u64>();
        }
        Block::History(records) => end.messages += records.len() as u64,
        Block::Keys { rows, .. } => end.keys += rows.len() as u64,
        Block::Tombstones(stones) => end.tombstones += stones.len() as u64,
        Block::Header(_) | Block::End(_) => {}
    }
}
