//! Who leads a shard and who can read it, as far as this node knows: the view, what leaders and
//! replicas said since, and a way to ask when that was wrong.

use std::sync::Arc;

use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::Redirect;
use fanfare_core::name::TopicName;
use fanfare_rpc::peer::Peer;

/// Topic to shard, shard to leader and readers.
pub struct Directory {}

impl Directory {
    /// The shard of a topic; `None` while the view has no shards.
    pub fn shard_of(&self, _topic: &TopicName) -> Option<ShardId> {
        None
    }

    /// The leader, as far as known: the last that was learnt, else the view's preferred replica.
    pub fn leader(&self, _shard: ShardId) -> Option<NodeId> {
        None
    }

    /// Takes note of what a node said; false if it is no news (an older term).
    pub fn learn(&self, _shard: ShardId, _redirect: Redirect) -> bool {
        false
    }

    /// Asks the shard's replicas, this node's first, whom they follow; learns and returns the
    /// newest answer that names a leader, `None` if there is none within a second. Callers at the
    /// same time share one round.
    pub async fn seek(&self, _shard: ShardId) -> Option<Redirect> {
        None
    }

    /// Nodes with a replica of the shard, this node first, then the leader.
    pub fn readers(&self, _shard: ShardId) -> Vec<NodeId> {
        Vec::new()
    }

    /// The peer of a node, if the view has it.
    pub fn peer(&self, _node: NodeId) -> Option<Arc<dyn Peer>> {
        None
    }
}
