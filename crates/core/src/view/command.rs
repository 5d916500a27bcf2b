//! What the metadata group replicates, and what applying it gives.

use crate::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use crate::name::TopicPattern;
use crate::rule::{BadRule, CreatePolicy, RuleLayer};
use crate::view::{Addresses, Replica};

/// A change of the view. What its effect depends on is in it or in the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The first command of a cluster; a second one is refused.
    Bootstrap(Bootstrap),
    /// A node joins: it gets a node id and a replica of the metadata group. Said again of the same
    /// name and disk, it gives the same ids.
    AddNode {
        name: String,
        disk: DiskId,
        level: u32,
        addresses: Addresses,
    },
    /// A node began to run. Said again of the same generation, it changes nothing. Ends a drain.
    NodeStarted {
        node: NodeId,
        generation: Generation,
        disk: DiskId,
        level: u32,
        addresses: Addresses,
    },
    /// A node is to lead nothing and to take no new sessions until its next start. Of an older
    /// start than the recorded one, it is refused.
    Draining {
        node: NodeId,
        generation: Generation,
    },
    /// A node leaves for ever. Refused if a group would be left without a majority.
    RemoveNode {
        node: NodeId,
    },
    /// A node is to leave for ever: its replicas move, to `heir` if one is named, and then it is
    /// removed. Said again with another heir, the last one counts. Refused if the others could not
    /// have as many replicas of each shard.
    Depart {
        node: NodeId,
        heir: Option<NodeId>,
    },
    /// A node stays after all; what has moved stays where it is.
    Stay {
        node: NodeId,
    },
    /// A node's disk came back empty or another (R8): it counts in no quorum until replaced.
    RecordDataLoss {
        node: NodeId,
    },
    /// Replicas of shards whose data on this node cannot be trusted any more (R6): each gets a
    /// successor under a fresh id on the same node. Those of shards that have not begun stay until
    /// they have; those that the view does not place on the node are passed over.
    ReplicasLost {
        node: NodeId,
        replicas: Vec<ReplicaId>,
    },
    /// New placement of shards. `base` is the version of the view it was planned from.
    Place {
        base: u64,
        rows: Vec<Placement>,
    },
    /// An operator accepted the loss of a shard's majority: its group begins anew on `node`, as one
    /// fresh replica, from what replica `from` there has. `base` is the version of the view in which
    /// the copies were compared.
    RepairShard {
        base: u64,
        shard: ShardId,
        node: NodeId,
        from: ReplicaId,
    },
    /// A shard's group has let go replicas that are planned no more, by a committed change: they
    /// may be deleted.
    Left {
        shard: ShardId,
        replicas: Vec<ReplicaId>,
    },
    /// A shard's group has its first entry: nobody initialises it again, and it may be moved.
    ShardBegun {
        shard: ShardId,
    },
    /// Rules of a pattern, new or instead of those it has.
    PutRule {
        pattern: TopicPattern,
        rules: RuleLayer,
    },
    DeleteRule {
        pattern: TopicPattern,
    },
    /// Whether topics are made on use, and how many there may be (0: the default).
    SetCreatePolicy {
        create: CreatePolicy,
        max_topics: u64,
    },
    /// Raises the feature level; refused while a node's binary is below it.
    SetLevel {
        level: u32,
    },
    /// A node's budget of history by its configuration, in bytes. Of an older start than the
    /// recorded one, it is refused.
    SetBudget {
        node: NodeId,
        generation: Generation,
        history: u64,
    },
}

/// A new cluster. Ids of nodes and of the metadata group's replicas are given by who bootstraps,
/// since they are needed before there is a group to give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    pub cluster: ClusterId,
    pub level: u32,
    /// Largest payload, in bytes.
    pub payload_limit: u64,
    pub nodes: Vec<NewNode>,
    /// One a node.
    pub meta: Vec<Replica>,
    /// Row `i` is shard `i`.
    pub shards: Vec<Placement>,
}

/// A node of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNode {
    pub id: NodeId,
    pub name: String,
    pub disk: DiskId,
    /// Highest feature level its binary understands.
    pub level: u32,
    pub addresses: Addresses,
}

/// Where the replicas of a shard should be. A node that has one keeps it; others get fresh ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub shard: ShardId,
    /// Distinct nodes, in the order of the row.
    pub nodes: Vec<NodeId>,
    /// One of `nodes`.
    pub preferred: Option<NodeId>,
}

/// What applying a command gave, the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds, since this version of the view or longer.
    Done { version: u64 },
    /// The node is known since this version or longer; its replica is of the metadata group.
    Added {
        version: u64,
        node: NodeId,
        replica: ReplicaId,
    },
    /// Nothing changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the cluster is not bootstrapped yet")]
    NotBootstrapped,
    #[error("the cluster {cluster} is bootstrapped already")]
    Bootstrapped { cluster: ClusterId },
    /// The proposer's mistake: ids twice, rows of unknown nodes, no shards or too many.
    #[error("the bootstrap contradicts itself")]
    BadBootstrap,
    #[error("the node's name or an address is empty or too long")]
    BadNode,
    #[error("the cluster has as many nodes as it can have")]
    TooManyNodes,
    #[error("node {node} is not known")]
    UnknownNode { node: NodeId },
    #[error("node {node} was removed; its id is not used again")]
    NodeGone { node: NodeId },
    #[error("the name belongs to node {node}")]
    NameTaken { node: NodeId },
    /// Another directory, volume or machine than the one that holds this node's data.
    #[error("node {node} has disk {recorded}, not this one")]
    WrongDisk { node: NodeId, recorded: DiskId },
    #[error("node {node} lost its data and must be replaced")]
    DataLoss { node: NodeId },
    /// A later start is recorded: the caller is a leftover, or its disk is an old copy.
    #[error("a later start of node {node} is recorded: generation {recorded}")]
    OldGeneration { node: NodeId, recorded: Generation },
    #[error("the cluster has feature level {level}, above this binary")]
    BinaryTooOld { level: u32 },
    #[error("feature level {level} is reached already")]
    LevelNotAbove { level: u32 },
    #[error("node {node} knows feature level {level} at most")]
    NodeBelow { node: NodeId, level: u32 },
    /// Once every node runs a newer binary: `fanfare cluster upgrade`.
    #[error("this needs feature level {needs}, and the cluster has {level}")]
    LevelBelow { needs: u32, level: u32 },
    /// `shard`: of which one, `None` for the metadata group.
    #[error("a group would be left without a majority")]
    NoMajority { shard: Option<ShardId> },
    /// `nodes`: that could hold replicas without it.
    #[error("shard {shard} has {replicas} replicas, and only {nodes} other nodes could hold them")]
    TooFewNodes {
        shard: ShardId,
        replicas: u32,
        nodes: u32,
    },
    /// The heir is the node itself, leaves, or has lost its data.
    #[error("node {node} cannot take replicas over")]
    BadHeir { node: NodeId },
    /// Plan again, from this version.
    #[error("the view has changed to version {version}")]
    StalePlan { version: u64 },
    #[error("the placement of shard {shard} contradicts itself or the view")]
    BadPlacement { shard: ShardId },
    #[error("shard {shard} has not begun and cannot move")]
    NotBegun { shard: ShardId },
    #[error("shard {shard} is not known")]
    UnknownShard { shard: ShardId },
    #[error("the rule is out of range: {0}")]
    BadRule(BadRule),
    #[error("the rule table is full")]
    RulesFull,
    #[error("the pattern has no rules")]
    NoSuchRule,
}
