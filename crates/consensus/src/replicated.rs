//! What a group replicates: the caller's state machine, the stored form of its commands, and how a
//! group and a place in its log are named. No openraft type is in here.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::{ShardId, Term};

/// Which group of the cluster: the metadata group or a shard's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupId {
    Meta,
    Shard(ShardId),
}

/// Place of an entry in a group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition {
    pub term: Term,
    pub index: u64,
}

/// What a group replicates. One task applies; readers share the state by whatever the machine
/// holds (for a shard an `Arc<RwLock<Shard>>`).
pub trait StateMachine: Send + Sync + 'static {
    /// What an entry means, already parsed: a leader never decodes what it encoded.
    type Command: Send + Sync + 'static;
    /// What applying it gave, handed to the proposer on the node that proposed it.
    type Outcome: Send + 'static;

    /// Applies one committed entry. `None` is an entry of raft's own (a new leader's blank, a
    /// membership): it changes nothing but is seen, so that the machine knows how far it is.
    /// Must be a function of the state and the command alone.
    fn apply(&mut self, at: LogPosition, command: Option<&Self::Command>) -> Option<Self::Outcome>;

    /// A copy-on-write copy of the state that can be written out beside `apply`.
    fn freeze(&self) -> Box<dyn FrozenState>;

    /// Replaces the state by that of a snapshot, given block by block as `FrozenState` made them.
    /// On an error the state is unchanged.
    fn restore(&mut self, blocks: &mut dyn Iterator<Item = Bytes>) -> Result<(), Malformed>;
}

/// A state to be written out as a snapshot.
pub trait FrozenState: Send + 'static {
    /// The next block, `None` after the last. Blocks are at most a few MiB.
    fn next_block(&mut self) -> Option<Bytes>;
}

/// The stored form of commands.
pub trait Codec<C>: Send + Sync + 'static {
    fn encode(&self, command: &C) -> Bytes;
    fn decode(&self, stored: &Bytes) -> Result<C, Malformed>;
}

/// Stored bytes that cannot be what they claim to be. The replica stops: it must not guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    pub what: String,
}

/// Called once when the node's log can no longer be trusted (R5): the node must exit.
pub type OnPoison = Arc<dyn Fn(&std::io::Error) + Send + Sync>;
