//! What consensus asks of those who use it, and what it tells them. No openraft type is in here.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::{ReplicaId, ShardId, Term};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

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

/// Kinds of raft calls between replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Appends and heartbeats.
    Append,
    Vote,
    PreVote,
    /// Leadership handed over.
    Transfer,
}

/// One raft call from replica `from` to replica `to` of `group`.
#[derive(Clone, Debug)]
pub struct Call {
    pub route: Route,
    pub kind: Kind,
    pub body: Bytes,
}

/// Way to the other replicas. The user finds the node that holds `route.to` and brings the body to
/// its [`Door::serve`](crate::Door). An error means no answer: raft retries by itself.
pub trait Wire: Send + Sync + 'static {
    /// One request, one answer.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>>;

    /// A pipeline of appends on `route`: bodies go in, their answers come out in the same order.
    /// An error ends it; the other end serves it as a loop over [`Door::serve`](crate::Door).
    fn appends(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>>;
}

/// Between which replicas a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    pub group: GroupId,
    pub from: ReplicaId,
    pub to: ReplicaId,
}

/// A call that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the node of replica {0} is not known")]
    NoAddress(ReplicaId),
    #[error("the replica is not on the called node")]
    NotHere,
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
}

/// What a replica is in its group now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Highest term seen.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<ReplicaId>,
    /// True if this replica leads in `term`.
    pub leads: bool,
    /// True if this replica leads, has applied an entry of `term`, and may so answer for the group.
    pub serves: bool,
}

/// One group as this replica sees it, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    pub last_index: u64,
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    /// On the leader: entries each replica is behind.
    pub behind: Vec<(ReplicaId, u64)>,
}

/// Why a proposal gave no outcome. The first three are definite: the command is not in the log and
/// never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("the leader has no majority")]
    NoQuorum,
    #[error("the group is not running here")]
    Stopped,
    /// Leadership lost, deadline, shutdown: it may be placed, now or later.
    #[error("proposed, result not learned")]
    Unknown,
}

/// Why a leader could not confirm that it still leads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("no majority confirmed the leader in time")]
    NoQuorum,
    #[error("the group is not running here")]
    Stopped,
}

/// Called once when the node's log can no longer be trusted (R5): the node must exit.
pub type OnPoison = Arc<dyn Fn(&std::io::Error) + Send + Sync>;
