//! One replica of one raft group: its settings, start and stop. What it is asked for is in
//! `propose`, `members`, `compact` and `hand_over`, what it tells of itself in `watch`.

mod compact;
mod hand_over;
mod members;
mod propose;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::ReplicaId;
use fanfare_host::Clock;
use openraft::SnapshotPolicy;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acked::Acked;
use crate::door::Serving;
use crate::machine::Machine;
use crate::network::Network;
use crate::pace::Timer;
use crate::raft_types::Raft;
use crate::runtime;
use crate::snapshot::{Receiver, Sender, Snapshots, Transfers};
use crate::storage::LogStore;
use crate::{Codec, Door, GroupId, Log, Pace, Role, StateMachine, Store, Wire};
pub use compact::{Due, SnapshotError};
pub use hand_over::HandOverError;
pub use members::{ChangeError, InitializeError};
pub use propose::Proposal;

/// Which replica of which group, and its times (replication.md 11 says why these).
#[derive(Clone, Debug)]
pub struct GroupConfig {
    pub group: GroupId,
    pub replica: ReplicaId,
    /// Shortest time between heartbeats of a leader, and how long one may take. They are sent when
    /// the leaders of the node look at their timers, together, which is a third less often.
    pub heartbeat: Duration,
    /// An election begins between `election_min` and `election_max` after the last heartbeat.
    pub election_min: Duration,
    /// Also the leader's lease.
    pub election_max: Duration,
    /// A leader without a majority falls silent after this.
    pub quorum_loss_probe: Duration,
    /// How long an append with entries may take; heartbeats have `heartbeat`.
    pub append_timeout: Duration,
    /// How long each piece of a snapshot may take; the whole has no limit.
    pub piece_timeout: Duration,
}

impl GroupConfig {
    /// The times of a production node.
    #[must_use]
    pub fn new(group: GroupId, replica: ReplicaId) -> Self {
        Self {
            group,
            replica,
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1000),
            quorum_loss_probe: Duration::from_millis(2000),
            append_timeout: Duration::from_secs(5),
            piece_timeout: Duration::from_secs(10),
        }
    }
}

/// What all groups of a node share.
#[derive(Clone)]
pub struct GroupDeps {
    pub store: Store,
    pub door: Door,
    pub wire: Arc<dyn Wire>,
    pub clock: Arc<dyn Clock>,
    pub tasks: TaskTracker,
    /// When the node's leaders look at their timers.
    pub pace: Pace,
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("replica {0} runs already")]
    Running(ReplicaId),
    /// The stored state cannot be used; the node must not guess.
    #[error("the replica's stored state cannot be used: {0}")]
    Stored(String),
    /// The replica's data is bad (R6): it never runs again, and another must be made under a fresh
    /// id. [`Store::lost`] names it.
    #[error("the replica's data is lost: {0}")]
    Lost(String),
    #[error("the group's settings are refused: {0}")]
    Config(String),
}

/// A running replica. A clone is the same replica.
pub struct Group<M: StateMachine> {
    raft: Raft<M>,
    codec: Arc<dyn Codec<M::Command>>,
    config: Arc<GroupConfig>,
    role: tokio::sync::watch::Receiver<Role>,
    log: Log,
    store: Store,
    snapshots: Snapshots,
    transfers: Transfers,
    acked: Acked,
    receiver: Arc<Receiver<M>>,
    door: Door,
    clock: Arc<dyn Clock>,
}

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            codec: Arc::clone(&self.codec),
            config: Arc::clone(&self.config),
            role: self.role.clone(),
            log: self.log.clone(),
            store: self.store.clone(),
            snapshots: self.snapshots.clone(),
            transfers: self.transfers.clone(),
            acked: self.acked.clone(),
            receiver: Arc::clone(&self.receiver),
            door: self.door.clone(),
            clock: Arc::clone(&self.clock),
        }
    }
}

impl GroupConfig {
    /// The same, with elections after `silence` of a leader, or up to twice as long.
    #[must_use]
    pub fn electing_after(self, silence: Duration) -> Self {
        Self {
            election_min: silence,
            election_max: silence * 2,
            quorum_loss_probe: silence * 4,
            ..self
        }
    }

    /// openraft's settings. What is not named here does not matter or must stay as it is.
    fn of_raft(&self) -> Result<openraft::Config, StartError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: "fanfare".to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            quorum_loss_probe_interval: Some(millis(self.quorum_loss_probe)),
            enable_pre_vote: Some(true),
            // A restarted leader would serve its old term from a state that forgot its tail.
            enable_leader_restore: Some(false),
            // Entries are batches: what is due is counted in bytes, by the caller.
            snapshot_policy: SnapshotPolicy::Never,
            // What stays of the log is counted in bytes too, and purged by `compact`.
            max_in_snapshot_log_to_keep: u64::MAX,
            allow_log_reversion: None,
            ..openraft::Config::default()
        };
        config
            .validate()
            .map_err(|error| StartError::Config(error.to_string()))
    }
}

impl<M: StateMachine> Group<M> {
    /// Starts the replica on its stored state; a replica new to this store has an empty log and
    /// waits to be initialised or to be added. It is behind the door before it can vote.
    pub async fn start(
        config: GroupConfig,
        deps: &GroupDeps,
        machine: M,
        codec: Arc<dyn Codec<M::Command>>,
    ) -> Result<Self, StartError> {
        let (group, replica) = (config.group, config.replica);
        if deps.door.is_here(group, replica) {
            return Err(StartError::Running(replica));
        }
        let of_raft = Arc::new(config.of_raft()?);
        if let Some(why) = deps.store.losses().why(group, replica) {
            return Err(StartError::Lost(why));
        }
        let store = deps.store.clone();
        let opened = tokio::task::spawn_blocking(move || store.snapshots(group, replica))
            .await
            .map_err(|error| StartError::Stored(error.to_string()))?;
        let snapshots = match opened {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(given_up(deps, group, replica, error.to_string()).await);
            }
            opened => opened.map_err(|error| StartError::Stored(error.to_string()))?,
        };
        let log = deps.store.log().clone();
        let (purged, known) = (log.extent(replica.0).purged, snapshots.current());
        let reached = known.and_then(|file| file.meta.last_log_id);
        if purged.is_some_and(|purged| reached.is_none_or(|last| last.index < purged.index)) {
            // R10: a start from nothing would forget what was acked.
            let text = "the snapshot that took the place of its log is missing".to_owned();
            return Err(given_up(deps, group, replica, text).await);
        }
        let (transfers, acked) = (Transfers::default(), Acked::default());
        let network = Network {
            wire: Arc::clone(&deps.wire),
            clock: Arc::clone(&deps.clock),
            group,
            replica,
            append_timeout: config.append_timeout,
            sender: Sender {
                snapshots: snapshots.clone(),
                transfers: transfers.clone(),
                patience: config.piece_timeout,
            },
            acked: acked.clone(),
        };
        let entries = LogStore::<M>::new(log.clone(), replica.0, Arc::clone(&codec));
        let machine = Machine::new(machine, snapshots.clone(), log.clone(), replica.0);
        let raft = Raft::<M>::build(replica.0, of_raft, network, entries, machine)
            .await
            .map_err(|error| StartError::Stored(error.to_string()))?;
        let receiver = Arc::new(Receiver::new(raft.clone(), snapshots.clone(), group));
        let serving = Serving {
            raft: raft.clone(),
            codec: Arc::clone(&codec),
            log: log.clone(),
            needs_room: group != GroupId::Meta,
            receiver: Arc::clone(&receiver),
            gone: CancellationToken::new(),
        };
        if !deps.door.enter(group, replica, Arc::new(serving)) {
            return Err(StartError::Running(replica));
        }
        let timer = Timer::new(deps.pace.clone(), replica, config.heartbeat);
        let timer = Arc::new(timer);
        runtime::keeping_to(Arc::clone(&timer), || raft.run());
        let role = watch::follow(&raft, timer, &deps.tasks);
        Ok(Self {
            raft,
            codec,
            config: Arc::new(config),
            role,
            log,
            store: deps.store.clone(),
            snapshots,
            transfers,
            acked,
            receiver,
            door: deps.door.clone(),
            clock: Arc::clone(&deps.clock),
        })
    }

    /// Leaves the door and stops. Pending proposals end as unknown.
    pub async fn stop(&self) {
        self.door.leave(self.config.group, self.config.replica);
        self.receiver.stop().await;
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, replica = %self.config.replica, "a replica did not stop cleanly");
        }
    }

    /// Which group this is a replica of.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.config.group
    }

    /// Which replica this is.
    #[must_use]
    pub fn replica(&self) -> ReplicaId {
        self.config.replica
    }
}

/// What a replica with a bad snapshot starts as: a shard's is lost, and its snapshots are set aside;
/// of the metadata group's nothing is touched (R10).
async fn given_up(deps: &GroupDeps, group: GroupId, replica: ReplicaId, why: String) -> StartError {
    if group == GroupId::Meta {
        return StartError::Stored(format!(
            "{why}. Nothing was changed: `fanfare doctor` shows all that is wrong; replace the node \
             (`fanfare cluster replace`)"
        ));
    }
    let (losses, text) = (deps.store.losses().clone(), why.clone());
    let marking = tokio::task::spawn_blocking(move || losses.condemn(group, replica, &text));
    match marking.await {
        Ok(Ok(())) => StartError::Lost(why),
        Ok(Err(error)) => StartError::Stored(format!("{why}; setting it aside failed: {error}")),
        Err(error) => StartError::Stored(format!("{why}; setting it aside failed: {error}")),
    }
}

#[cfg(test)]
mod tests;
