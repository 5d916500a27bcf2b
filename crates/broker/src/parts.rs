//! What every shard of the node is built with.

use std::collections::BTreeSet;
use std::sync::Arc;

use fanfare_consensus::{Codec, GroupConfig, GroupDeps, GroupId};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::shard::{Block, Entry};
use fanfare_core::view::View;
use fanfare_host::Rng;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::options::BrokerOptions;

/// Shared by the supervisor, its actors and the service.
pub(crate) struct Parts {
    pub(crate) node: NodeId,
    pub(crate) groups: GroupDeps,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) view: watch::Receiver<Arc<View>>,
    pub(crate) entries: Arc<dyn Codec<Entry>>,
    pub(crate) blocks: Arc<dyn Codec<Block>>,
    pub(crate) mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
    pub(crate) mark_left: Arc<dyn Fn(ShardId, Vec<ReplicaId>) + Send + Sync>,
    pub(crate) mark_lost: Arc<dyn Fn(NodeId, Vec<ReplicaId>) + Send + Sync>,
    pub(crate) full: watch::Receiver<BTreeSet<NodeId>>,
    pub(crate) barriers: Barriers,
    pub(crate) options: BrokerOptions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) directory: Arc<Directory>,
    /// Cancelled at shutdown: ends the tasks that watch and tick, and the reading of publish links.
    pub(crate) stop: CancellationToken,
    /// Cancelled once all reigns have ended: ends the delivery links.
    pub(crate) links: CancellationToken,
}

impl BrokerOptions {
    /// The times of a group.
    pub(crate) fn group(&self, group: GroupId, replica: ReplicaId) -> GroupConfig {
        GroupConfig {
            heartbeat: self.heartbeat,
            election_min: self.election_min,
            election_max: self.election_max,
            quorum_loss_probe: self.election_max * 2,
            ..GroupConfig::new(group, replica)
        }
    }
}
