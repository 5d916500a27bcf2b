//! Building a shard from the blocks of a snapshot, with every row checked against the others.

use std::sync::Arc;

use super::Shard;
use super::block::{BadSnapshot, Block, End, Header, TopicRow};
use super::digest::Digest;
use crate::history::{History, Record};
use crate::name::TopicName;
use crate::position::Offset;
use crate::topic::Topic;

/// A shard in the making: blocks in, the shard out. Payloads are copied out of the blocks.
#[derive(Debug)]
pub struct Restore {
    shard: Shard,
    stage: Stage,
    /// The last topic, while records of it may follow.
    open: Option<Open>,
    digest: Digest,
    counted: End,
}

/// How far the blocks have come; they do not go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Header,
    Topics,
    Keys,
    Tombstones,
    End,
}

impl Stage {
    fn of(block: &Block) -> Self {
        match block {
            Block::Header(_) => Self::Header,
            Block::Topics(_) | Block::History(_) => Self::Topics,
            Block::Keys { .. } => Self::Keys,
            Block::Tombstones(_) => Self::Tombstones,
            Block::End(_) => Self::End,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Header => "its header",
            Self::Topics => "topics",
            Self::Keys => "keys",
            Self::Tombstones => "tombstones",
            Self::End => "its end",
        }
    }
}

#[derive(Debug)]
struct Open {
    name: TopicName,
    topic: Topic,
    /// What the topic must be once all its records are there.
    next: Offset,
    retained: u64,
    head_chain: u128,
}

impl Restore {
    /// Begins the shard of a snapshot, of a cluster with so many shards.
    pub fn new(shards: u32) -> Self {
        Self {
            shard: Shard::new(shards),
            stage: Stage::Nothing,
            open: None,
            digest: Digest::default(),
            counted: End::default(),
        }
    }

    /// Takes the next block. After an error the whole must be dropped.
    pub fn take(&mut self, block: &Block) -> Result<(), BadSnapshot> {
        let next = Stage::of(block);
        let first = self.stage == Stage::Nothing;
        let single = matches!(next, Stage::Header | Stage::End);
        if first != (next == Stage::Header) || next < self.stage || (single && next == self.stage) {
            let expected = if first { Stage::Header } else { self.stage };
            return Err(BadSnapshot::Order {
                expected: expected.name(),
                found: next.name(),
            });
        }
        self.stage = next;
        super::snapshot::count(&mut self.counted, block);
        match block {
            Block::Header(header) => self.shard.row = Header::clone(header),
            Block::Topics(rows) => {
                for row in rows {
                    self.close()?;
                    self.open(row)?;
                }
            }
            Block::History(records) => self.records(records)?,
            Block::Keys { window_ms, rows } => {
                for row in rows {
                    if self.shard.dedup.contains(row.hash) {
                        return Err(BadSnapshot::Unsorted("keys"));
                    }
                    self.shard.dedup.insert(*window_ms, *row);
                }
            }
            Block::Tombstones(stones) => {
                for stone in stones {
                    self.shard.tombstones.push(stone.clone());
                }
            }
            Block::End(end) => {
                let checksum = self.digest.finish();
                let counted = End {
                    checksum,
                    ..self.counted
                };
                if *end != counted {
                    return Err(BadSnapshot::Checksum);
                }
            }
        }
        self.digest.block(block);
        Ok(())
    }

    /// The shard, if the end has come.
    pub fn finish(mut self) -> Result<Shard, BadSnapshot> {
        self.close()?;
        if self.stage != Stage::End {
            return Err(BadSnapshot::Order {
                expected: Stage::End.name(),
                found: Stage::Nothing.name(),
            });
        }
        Ok(self.shard)
    }

    fn open(&mut self, row: &TopicRow) -> Result<(), BadSnapshot> {
        let bad = || BadSnapshot::Topic(row.name.clone());
        let last = self.shard.topics.last_key_value();
        if last.is_some_and(|(last, _)| *last >= row.name) {
            return Err(BadSnapshot::Unsorted("topics"));
        }
        let start = row
            .next
            .0
            .checked_sub(row.retained)
            .filter(|start| *start > 0);
        let start = Offset(start.ok_or_else(bad)?);
        let history = History::resumed(row.epoch, start, row.start_chain, row.trimmed_by);
        let mut topic = Topic::with_history(row.class, row.own.clone(), history);
        topic.continues = row.continues;
        topic.due_ms = row.due_ms;
        topic.window = row.window;
        self.open = Some(Open {
            name: row.name.clone(),
            topic,
            next: row.next,
            retained: row.retained,
            head_chain: row.head_chain,
        });
        self.records(&row.records)
    }

    fn records(&mut self, records: &[Record]) -> Result<(), BadSnapshot> {
        let Some(open) = &mut self.open else {
            return Err(BadSnapshot::Order {
                expected: "a topic",
                found: "history",
            });
        };
        if records
            .iter()
            .all(|record| open.topic.history.adopt(record))
        {
            Ok(())
        } else {
            Err(BadSnapshot::Topic(open.name.clone()))
        }
    }

    fn close(&mut self) -> Result<(), BadSnapshot> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let Open { name, topic, .. } = open;
        let history = topic.history();
        let whole = history.len() as u64 == open.retained
            && history.head().offset.next() == open.next
            && history.head_chain() == open.head_chain
            && (topic.due_ms != 0 || history.is_empty());
        if !whole {
            return Err(BadSnapshot::Topic(name));
        }
        self.shard.bytes += history.bytes();
        if topic.due_ms != 0 {
            self.shard.due.insert((topic.due_ms, name.clone()));
        }
        self.shard.topics.insert(name, Arc::new(topic));
        Ok(())
    }
}
