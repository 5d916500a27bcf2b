//! The blocks of a shard's snapshot, as plain values, in the order in which they are written:
//! one `Header`, `Topics` with `History` behind a topic that is larger than a block, `Keys`,
//! `Tombstones`, one `End`. Their stored form is made elsewhere.

use crate::dedup::{KeyRow, Window};
use crate::gap::TrimmedBy;
use crate::history::Record;
use crate::name::TopicName;
use crate::position::{Epoch, Offset};
use crate::rule::{Class, RuleLayer, RuleTable};
use crate::shard::{At, Secret};

/// One block of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    Header(Box<Header>),
    /// Ascending by name, over all blocks.
    Topics(Vec<TopicRow>),
    /// More records of the last topic before it.
    History(Vec<Record>),
    /// Rows of the dedup table, the oldest first, all placed under one window.
    Keys {
        window_ms: u64,
        rows: Vec<KeyRow>,
    },
    /// The oldest first.
    Tombstones(Vec<Tombstone>),
    End(End),
}

impl Block {
    /// A block is closed when its content costs this much, by the measure of retention.
    pub const TARGET_BYTES: u64 = 1 << 20;
    /// Rows without payload of a block.
    pub const MAX_ROWS: usize = 4_096;
}

/// The row of the shard itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The last entry that is in this state.
    pub applied: At,
    /// False before `Begin`.
    pub begun: bool,
    pub running_ms: u64,
    /// Epoch counter, now and at the last full hour of running time.
    pub counter: Epoch,
    pub hour_counter: Epoch,
    pub level: u32,
    pub secret: Secret,
    pub rules: RuleTable,
    /// Over all entries.
    pub chain: u128,
    /// Highest counter of a tombstone that was dropped. Also raised to the counter by rules that
    /// may have ended ephemeral streams: who waited before them cannot be sure.
    pub forgotten: Epoch,
    /// Positions of an epoch below this are from before an accepted loss; 0: there was none.
    pub repaired: Epoch,
    /// Topics from this name on have not been looked at since the rules changed.
    pub sweep: Option<TopicName>,
}

/// The row of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    pub name: TopicName,
    pub class: Class,
    /// Rules of its `Create`.
    pub own: RuleLayer,
    pub epoch: Epoch,
    /// Offset of the next message. The start is this less `retained`.
    pub next: Offset,
    /// Chain up to the slot before the start, and up to the head.
    pub start_chain: u128,
    pub head_chain: u128,
    /// Which limit trimmed last.
    pub trimmed_by: Option<TrimmedBy>,
    /// The stream that this one continues since an accepted loss.
    pub continues: Option<Epoch>,
    /// Running time at which its age is looked at next; 0: never, nothing is retained.
    pub due_ms: u64,
    pub window: Window,
    /// Messages retained: those here and those of the `History` blocks that follow.
    pub retained: u64,
    pub records: Vec<Record>,
}

/// A name that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub topic: TopicName,
    /// The counter's value that stands for its end.
    pub counter: Epoch,
    /// Running time of the deletion.
    pub time_ms: u64,
}

/// The last block: what must have come before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    pub topics: u64,
    pub messages: u64,
    pub keys: u64,
    pub tombstones: u64,
    /// xxh3-128 over every field of the blocks before.
    pub checksum: u128,
}

/// A snapshot that is not one: install nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSnapshot {
    #[error("a snapshot has {found} where {expected} must be")]
    Order {
        expected: &'static str,
        found: &'static str,
    },
    #[error("the snapshot's rows of topic {0} contradict each other")]
    Topic(TopicName),
    #[error("the snapshot's {0} are out of order")]
    Unsorted(&'static str),
    #[error("the snapshot's counts or checksum do not fit its rows")]
    Checksum,
}
