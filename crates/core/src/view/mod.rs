//! The metadata of a cluster as every node holds it: nodes, generations, disks, placement, rules,
//! feature level. Changed by [`Command`]s alone, which the metadata group replicates.

mod apply;
mod command;
mod depart;
#[cfg(test)]
mod departures;
mod repair;
#[cfg(test)]
mod stories;

pub use command::{Bootstrap, Command, NewNode, Outcome, Placement, Refusal};
pub use repair::Repaired;

use std::collections::BTreeMap;

use crate::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use crate::name::TopicName;
use crate::rule::RuleTable;

/// The whole metadata state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Counts the changes; 0 before the bootstrap.
    pub version: u64,
    pub cluster: ClusterId,
    /// Feature level: what every binary of the cluster understands.
    pub level: u32,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Nodes that are to be removed once others have their replicas, each with the node that is to
    /// take them over, if one is named.
    pub departing: BTreeMap<NodeId, Option<NodeId>>,
    /// Replicas of the metadata group itself, one a node; [`placement::meta_voters`] says which vote.
    ///
    /// [`placement::meta_voters`]: crate::placement::meta_voters
    pub meta: Vec<Replica>,
    /// By shard id, from 0; never changes its length.
    pub shards: Vec<ShardRow>,
    pub rules: RuleTable,
    /// Largest payload, in bytes.
    pub payload_limit: u64,
    /// The next ids to give; an id is never given again.
    pub next_node: u64,
    pub next_replica: u64,
}

/// A node, as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: NodeId,
    /// Unique, chosen by the operator.
    pub name: String,
    /// Of its last recorded start.
    pub generation: Generation,
    /// Highest feature level its binary understands.
    pub level: u32,
    pub disk: DiskId,
    pub store: StoreState,
    pub state: NodeState,
    pub addresses: Addresses,
    /// Bytes of history that it may hold over all its replicas; 0 until it has told.
    pub history_budget: u64,
}

/// Where a node is reached, each `HOST:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub peer: String,
    pub edge: String,
    pub grpc: String,
    pub ops: String,
}

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Takes part.
    Active,
    /// Leads nothing it can give away, takes no new sessions.
    Draining,
    /// Removed; its id is never used again.
    Gone,
}

/// What is known of a node's disk (R8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreState {
    ReadWrite,
    /// The disk came back empty or another: it counts in no quorum until replaced.
    DataLoss,
    Gone,
}

/// One replica of a group and the node it lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    pub id: ReplicaId,
    pub node: NodeId,
}

/// A shard's placement: where its replicas should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRow {
    pub id: ShardId,
    pub replicas: Vec<Replica>,
    /// Replicas that are planned no more and that the group has not let go yet: they vote, are
    /// reached and keep their files until it has.
    pub leaving: Vec<Replica>,
    /// Which node should lead it when all is calm.
    pub preferred: Option<NodeId>,
    /// True once its group has its first entry: from then on nobody initialises it again.
    pub begun: bool,
    /// Set once an operator has accepted the loss of its majority: where its group began anew.
    pub repaired: Option<Repaired>,
}

impl View {
    /// Most shards of a cluster.
    pub const MAX_SHARDS: usize = 1_024;
    /// Most nodes that are not gone.
    pub const MAX_NODES: usize = 256;
    /// Rows of gone nodes that are kept, so that one that comes back is told; older ones are
    /// forgotten, and then told that they are unknown.
    pub const MAX_GONE: usize = 1_000;

    /// The view before the bootstrap: it takes [`Command::Bootstrap`] and nothing else.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            version: 0,
            cluster: ClusterId(0),
            level: 0,
            nodes: BTreeMap::new(),
            departing: BTreeMap::new(),
            meta: Vec::new(),
            shards: Vec::new(),
            rules: RuleTable::default(),
            payload_limit: 0,
            next_node: 1,
            next_replica: 1,
        }
    }

    /// True once the bootstrap is applied.
    pub fn is_bootstrapped(&self) -> bool {
        self.version > 0
    }

    /// The nodes that are not gone, by id.
    pub fn living(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .values()
            .filter(|node| node.state != NodeState::Gone)
    }

    /// True if rows keep replicas that are planned no more until their groups have let them go. Below
    /// that level of the cluster a replica itself must see that its group has.
    pub fn keeps_leaving(&self) -> bool {
        self.level >= crate::level::LEAVING
    }

    /// True if a replica of a shard was given up for ever: its id was given, and no row has it any
    /// more. Holds of every later view, too.
    pub fn has_left(&self, shard: ShardId, replica: ReplicaId) -> bool {
        let row = self.shard(shard);
        replica.0 < self.next_replica
            && row.is_some_and(|row| row.present().all(|r| r.id != replica))
    }

    /// True if any shard still has a replica on the node, or has not let one go.
    pub fn holds_replicas(&self, node: NodeId) -> bool {
        let mut present = self.shards.iter().flat_map(ShardRow::present);
        present.any(|replica| replica.node == node)
    }

    /// The replica of the metadata group on a node.
    pub fn meta_on(&self, node: NodeId) -> Option<ReplicaId> {
        self.meta.iter().find(|r| r.node == node).map(|r| r.id)
    }

    /// The shard of a topic.
    pub fn shard_of(&self, topic: &TopicName) -> Option<ShardId> {
        let count = u32::try_from(self.shards.len()).ok().filter(|n| *n > 0)?;
        Some(topic.shard(count))
    }

    /// The placement of a shard.
    pub fn shard(&self, id: ShardId) -> Option<&ShardRow> {
        self.shards.get(usize::try_from(id.0).ok()?)
    }

    /// The node of this name that is not gone.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes
            .values()
            .find(|node| node.name == name && node.state != NodeState::Gone)
    }

    /// The node that holds a replica of any group.
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        let shards = self.shards.iter().flat_map(ShardRow::present);
        self.meta
            .iter()
            .chain(shards)
            .find(|r| r.id == replica)
            .map(|r| r.node)
    }
}

impl ShardRow {
    /// The replica of the shard on a node.
    pub fn on(&self, node: NodeId) -> Option<ReplicaId> {
        self.replicas.iter().find(|r| r.node == node).map(|r| r.id)
    }

    /// True if `replica` is of a group that is over, since the shard began anew after it: nobody
    /// follows it, and what it has was left behind by an operator who accepted that.
    pub fn is_over(&self, replica: ReplicaId) -> bool {
        self.repaired.is_some_and(|repaired| replica < repaired.to)
    }

    /// The replicas that are to run: those planned, and those that the group has not let go yet.
    pub fn present(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().chain(&self.leaving)
    }
}
