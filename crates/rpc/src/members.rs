//! What nodes ask of each other as members of a cluster, in core types: who are you, be one of us,
//! pass this on to the metadata leader, I am alive. Served by `cluster`, carried over gRPC here.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::repair::Copy;
use fanfare_core::view::{Addresses, Command, NodeState, Outcome, Refusal, StoreState, View};
use futures_util::future::BoxFuture;

/// A node as a member of a cluster: this one, or another over the network.
pub trait Members: Send + Sync + 'static {
    /// Who the node is. `name`: of the node that asks, which is told what is known of it. The one
    /// call that needs no membership on either side.
    fn identify(&self, name: String) -> BoxFuture<'static, Result<Card, CallError>>;

    /// Makes an empty node a member. Durable when it is answered; said again, it changes nothing.
    fn adopt(&self, adopt: Adopt) -> BoxFuture<'static, Result<(), AdoptError>>;

    /// Asks to be let into the cluster: `card` is of the caller, which is empty. Answered once it
    /// is adopted; said again, it changes nothing.
    fn join(&self, card: Card) -> BoxFuture<'static, Result<NodeId, JoinError>>;

    /// Proposes `command` to the metadata group, if this node leads it, and waits at most `within`.
    fn propose(
        &self,
        envelope: Envelope,
        command: Command,
        within: Duration,
    ) -> BoxFuture<'static, Result<Outcome, ProposeError>>;

    /// Tells how the sender is; answered by how the receiver is, without its replicas.
    fn heartbeat(
        &self,
        envelope: Envelope,
        beat: Beat,
    ) -> BoxFuture<'static, Result<Beat, CallError>>;

    /// The newest view this node has applied; version 0 if none yet.
    fn view(&self, envelope: Envelope) -> BoxFuture<'static, Result<Arc<View>, CallError>>;

    /// The replicas of all groups on the node, and how far their logs go.
    fn copies(&self, envelope: Envelope) -> BoxFuture<'static, Result<Vec<Copy>, CallError>>;
}

/// Reaches the members at an address (`HOST:PORT` of a peer listener). Connects lazily: what
/// cannot be reached answers [`CallError::Unreachable`].
pub trait Dial: Send + Sync + 'static {
    fn members(&self, address: &str) -> Arc<dyn Members>;
}

/// Who calls whom (R1). The receiver refuses what is not for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub cluster: ClusterId,
    pub to: NodeId,
    pub from: NodeId,
    /// The sender's; 0 from a node that has lost its data.
    pub generation: Generation,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// From its configuration.
    pub name: String,
    pub addresses: Addresses,
    /// Highest feature level its binary understands.
    pub level: u32,
    pub stage: Stage,
    /// What its view says of the node that asks.
    pub you: Option<Known>,
}

/// How far a node is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No marker on its disk: it waits to be adopted.
    Empty,
    /// Its disk has a marker.
    Member {
        cluster: ClusterId,
        node: NodeId,
        generation: Generation,
        /// Version of the view it has applied; 0 if none yet.
        view: u64,
    },
}

/// What a view says of a node that asks for itself by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub node: NodeId,
    /// Of its last recorded start; 0 if it never started, and so has nothing to lose.
    pub generation: Generation,
    pub disk: DiskId,
    pub store: StoreState,
    pub state: NodeState,
    /// True if the node that answers hears from a node of this name now.
    pub alive: bool,
}

/// Membership, given to an empty node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    pub cluster: ClusterId,
    /// Who the node is from now on.
    pub node: NodeId,
    /// The identity of its disk from now on.
    pub disk: DiskId,
    /// Where the members are, and which replica of the metadata group the node has. A hint where
    /// to find the group, whose log is the truth.
    pub view: View,
}

/// How a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    pub generation: Generation,
    /// Version of the view it has applied.
    pub view: u64,
    /// The metadata group's leader, as it sees it.
    pub leader: Option<NodeId>,
    /// One a shard replica that runs there, at most [`Beat::MAX_REPLICAS`].
    pub replicas: Vec<ReplicaStatus>,
    /// The free space of its disk is below its reserve (R15).
    pub full: bool,
    /// What the metadata group's leader wants of whoever leads that shard in that term.
    pub hand_over: Option<HandOver>,
}

/// A leadership that should go to another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    pub shard: ShardId,
    /// Of the reign that should end: said again later, it asks nobody for anything.
    pub term: Term,
    pub heir: ReplicaId,
}

impl Beat {
    /// Most replicas in one beat; what is above is left out.
    pub const MAX_REPLICAS: usize = 4_096;
}

/// A shard's replica, as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    pub shard: ShardId,
    pub replica: ReplicaId,
    pub term: Term,
    /// True if it leads in `term`.
    pub leads: bool,
    /// Index of the last entry it has applied.
    pub applied: u64,
    /// On the leader: entries each other replica is behind.
    pub behind: Vec<(ReplicaId, u64)>,
}

/// A call that gave no answer of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Another node, or a member of another cluster, answers at that address (R1).
    #[error("the answer comes from another node than the called one")]
    NotForMe {
        cluster: Option<ClusterId>,
        node: Option<NodeId>,
    },
    /// The receiver knows a later start of the sender: the sender is a leftover.
    #[error("a later start of this node is known: generation {known}")]
    OldGeneration { known: Generation },
    /// Not sent.
    #[error("cannot reach the node: {0}")]
    Unreachable(String),
    /// Sent, and no answer: it may have been done.
    #[error("no answer from the node")]
    NoAnswer,
}

/// Why a node was not adopted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdoptError {
    /// It is a member already, and not this one.
    #[error("the node is a member of cluster {cluster}, as node {node}")]
    Member { cluster: ClusterId, node: NodeId },
    /// The view has no such node, or one with another name, disk or without a replica.
    #[error("the view does not know this node")]
    NotInView,
    #[error("the node's disk failed: {0}")]
    Disk(String),
    #[error(transparent)]
    Call(CallError),
}

/// Why a node was not let into a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// For good, as things are.
    #[error("the cluster refuses the node")]
    Refused(#[source] Refusal),
    /// Nobody is let in without a credential.
    #[error("the cluster lets no node in by itself")]
    Closed,
    /// Ask again.
    #[error("not let in yet: {0}")]
    Later(String),
    #[error(transparent)]
    Call(CallError),
}

/// Why a proposal to the metadata group gave no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not proposed; ask `leader`.
    #[error("this node does not lead the metadata group; the leader is {leader:?}")]
    NotLeader { leader: Option<NodeId> },
    /// Not proposed; the leader has no majority, or does not run the group.
    #[error("the metadata group has no leader with a majority")]
    NoQuorum,
    /// Not proposed: refused by R1.
    #[error("the answer comes from another node than the called one")]
    NotForMe,
    /// Not sent.
    #[error("cannot reach the node: {0}")]
    Unreachable(String),
    /// It may be placed, now or later.
    #[error("proposed, result not learned")]
    Unknown,
}
