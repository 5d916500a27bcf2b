//! The shard's state machine: topics by name; `apply(Entry) -> (Outcome, Effects)`; reads; snapshot
//! and restore. A plain value: the same entries give the same rows on every replica.

mod block;
mod command;

pub use block::{BadSnapshot, Block, End, Header, Tombstone, TopicRow};
pub use command::{At, Batch, Command, Effects, Entry, EpochBlock, Fate, Outcome, Refused, Secret};

use crate::name::TopicName;
use crate::position::Position;
use crate::rule::{RuleLayer, Rules};

/// What is told of a topic that has a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    /// Lowest retained slot, or the one after head.
    pub start: Position,
    pub head: Position,
    /// Bytes retained.
    pub bytes: u64,
    /// Rules of its `Create`.
    pub own: RuleLayer,
    /// All rules as they hold now, the class too.
    pub rules: Rules,
}
