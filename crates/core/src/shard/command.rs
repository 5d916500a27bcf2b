//! What a shard's log holds (`Entry`), what applying it gives the proposer (`Outcome`), and what
//! the leader's shell must pass on to attached edges (`Effects`). Plain values.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::code::Code;
use crate::id::Term;
use crate::message::{Draft, Message};
use crate::name::TopicName;
use crate::position::{Epoch, Offset, Position};
use crate::rule::{RuleLayer, RuleTable};
use crate::shard::read::TopicInfo;

/// Place of an entry in the shard's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub term: Term,
    pub index: u64,
}

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Running time of the shard at its leader when it proposed this, in ms; apply takes the
    /// maximum of this and what it has.
    pub running_ms: u64,
    pub command: Command,
}

/// What an entry does. Its effect depends on nothing but the command and the shard's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first leader's first entry; a second one changes nothing.
    Begin {
        /// ms since 2026-01-01 at bootstrap: no epoch of an earlier cluster comes again.
        epoch_counter: u64,
        secret: Secret,
        level: u32,
    },
    /// Places drafts of durable topics, in order.
    Place(Batch),
    /// Makes a topic with rules of its own.
    Create { topic: TopicName, own: RuleLayer },
    /// Ends a topic; with `epoch`, only that stream.
    Delete {
        topic: TopicName,
        epoch: Option<Epoch>,
    },
    /// The rules of the metadata group; ignored unless newer than what the shard has (0 at first).
    SetRules(RuleTable),
    /// Raises the feature level; never lowers it.
    SetLevel(u32),
    /// Drops history of one stream up to and including an offset, for the node's budget.
    Trim {
        topic: TopicName,
        epoch: Epoch,
        through: Offset,
    },
    /// Sets aside so many epochs for ephemeral streams of the leader that proposed it.
    ReserveEpochs(u32),
    /// Lets running time pass: drops what has grown too old.
    Tick,
    /// An operator accepted the loss of a majority's disks: every stream goes on under a new epoch.
    Repair,
}

/// Key of the hashes in the dedup table, so that nobody outside can choose keys that collide.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Drafts proposed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Wall clock of the leader when it closed the batch, ms since 1970: for display only.
    pub wall_ms: u64,
    /// In the order of their arrival. Each `key_age_ms` includes the time the draft was held by the
    /// leader up to the entry's running time.
    pub drafts: Vec<Draft>,
}

/// What became of an entry, for its proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell: `Begin`, `SetRules`, `SetLevel`, `Trim`, `Tick`, `Repair`.
    Done,
    /// One fate a draft, in the order of the batch.
    Placed(Vec<Fate>),
    /// The topic as it is now, made or found with equal rules.
    Created(Result<TopicInfo, Refused>),
    /// The counter's value that stands for the end of the topic.
    Deleted(Result<Epoch, Refused>),
    Reserved(EpochBlock),
}

/// What became of one draft. Each but the first two is definite: not placed, on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Placed {
        position: Position,
        /// Running time for which its key is known; `None` without a key.
        dedup_remaining_ms: Option<u64>,
    },
    /// The key has this slot already (C10).
    Duplicate {
        position: Position,
        dedup_remaining_ms: u64,
    },
    Refused(Refused),
    /// The topic is ephemeral: its messages never go through the log. The proposer saw other rules
    /// or rows than apply did; it hands the draft to the topic's ephemeral stream, as if it had
    /// just arrived.
    Ephemeral,
}

/// Why apply refused: definite, `not_placed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: Code,
    /// With `expectation_failed`: the head; [`Position::NONE`] if the topic does not exist, so that
    /// the publisher may expect what it is told.
    pub head: Option<Position>,
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self { code, head: None }
    }
}

/// Epochs that no other stream of the shard takes: `first` up to and including `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochBlock {
    pub first: Epoch,
    pub last: Epoch,
}

/// What one entry changed, as far as attached edges and ephemeral streams must learn it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// New messages of durable topics, each topic's in order and contiguous.
    pub placed: BTreeMap<TopicName, Vec<Arc<Message>>>,
    /// Topics made by this entry, by `Create` or by a first publish, before `placed`. An ephemeral
    /// stream of that name is over.
    pub created: Vec<TopicName>,
    /// Topics ended by this entry, with the counter's value that stands for their end: their
    /// attachments are over.
    pub deleted: Vec<(TopicName, Epoch)>,
    /// The table of rules is another: policies may have changed.
    pub rules_changed: bool,
    /// Every stream has a new epoch: all attachments are over.
    pub repaired: bool,
    /// The leader's block of epochs must not be used any more (replication section 7).
    pub block_ended: bool,
    /// A new block. Only the leader that proposed the entry uses it.
    pub reserved: Option<EpochBlock>,
}

impl Effects {
    /// True if nobody need be told anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
