//! What a node's membership is told at its start, and what it takes from the node around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{Codec, GroupConfig, GroupDeps, GroupId};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::ReplicaId;
use fanfare_core::repair::Copy;
use fanfare_core::view::{Addresses, Command, View};
use fanfare_host::{Clock, Disk, Rng};
use fanfare_rpc::members::{Dial, ReplicaStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Routes;

/// Who may come into the cluster by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Whoever reaches its peer listener and is reached at its own.
    Open,
    /// Nobody by himself.
    Closed,
}

/// Who the node is by its configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Unique in the cluster.
    pub name: String,
    pub addresses: Addresses,
    /// Peer addresses of the nodes of the bootstrap, this one among them or not. None: a cluster
    /// of this node alone.
    pub seeds: Vec<String>,
    /// Highest feature level this binary understands.
    pub level: u32,
    /// Largest payload, in bytes; of a new cluster.
    pub payload_limit: u64,
    /// Bytes of history this node may hold over all its replicas; 0: it does not say.
    pub history_budget: u64,
    pub admission: Admission,
    /// Times of the metadata group; its replica id is filled in once it is known.
    pub group: GroupConfig,
    pub times: Times,
}

impl Config {
    /// A production node's configuration.
    #[must_use]
    pub fn new(name: String, addresses: Addresses, seeds: Vec<String>, level: u32) -> Self {
        Self {
            name,
            addresses,
            seeds,
            level,
            payload_limit: 64 << 10,
            history_budget: 0,
            admission: Admission::Closed,
            group: GroupConfig::new(GroupId::Meta, ReplicaId(0)),
            times: Times::default(),
        }
    }
}

/// Times of membership, all on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two heartbeats to a node.
    pub beat: Duration,
    /// Silence after which a node is suspected. Suspicion is told, and decides nothing.
    pub suspect: Duration,
    /// Silence after which a node is away: its replicas should be made anew elsewhere.
    pub away: Duration,
    /// How long a node must have led the metadata group before it has the replicas of silent nodes
    /// made anew. What operators ask for does not wait.
    pub calm: Duration,
    /// Between two rounds of questions to seeds, and two rounds of the controller.
    pub round: Duration,
    /// How long one call to another node may take.
    pub call: Duration,
    /// Before a proposal is sent again to whoever may lead now.
    pub retry: Duration,
    /// How long a proposal may take, unless it is said.
    pub propose: Duration,
    /// How long `init` waits for the nodes it has adopted to elect a leader.
    pub init: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(500),
            suspect: Duration::from_secs(3),
            away: Duration::from_secs(300),
            calm: Duration::from_secs(30),
            round: Duration::from_secs(1),
            call: Duration::from_secs(2),
            retry: Duration::from_millis(100),
            propose: Duration::from_secs(5),
            init: Duration::from_secs(30),
        }
    }
}

/// What membership takes from the node around it.
#[derive(Clone)]
pub struct Deps {
    /// The node's store, door, wire, clock and task tracker.
    pub groups: GroupDeps,
    pub disk: Arc<dyn Disk>,
    /// The data directory, which holds the marker.
    pub dir: PathBuf,
    pub dial: Arc<dyn Dial>,
    /// Stored form of commands.
    pub commands: Arc<dyn Codec<Command>>,
    /// Stored form of views.
    pub views: Arc<dyn Codec<View>>,
    pub rng: Arc<dyn Rng>,
    /// The same that the wire looks replicas up in.
    pub routes: Routes,
    /// How the shard replicas of this node are.
    pub replicas: watch::Receiver<Vec<ReplicaStatus>>,
    /// The shard replicas that run on this node, for a judgement over a group that lost its majority.
    pub copies: watch::Receiver<Vec<Copy>>,
    /// Told where a change of members is; for tests, which stop it there.
    pub barriers: Barriers,
    /// Ends all tasks of membership.
    pub stop: CancellationToken,
}

impl Deps {
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.groups.clock
    }
}
