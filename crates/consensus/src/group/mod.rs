//! One replica of one raft group: start, stop, propose, watch its role.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::{ReplicaId, Term};
use fanfare_host::Clock;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::{
    Codec, ConfirmError, Door, GroupId, LogPosition, ProposeError, Role, StateMachine, Status,
    Store, Wire,
};

/// Which replica of which group, and its times (replication.md 11 says why these).
#[derive(Clone, Debug)]
pub struct GroupConfig {
    pub group: GroupId,
    pub replica: ReplicaId,
    /// Time between heartbeats of a leader.
    pub heartbeat: Duration,
    /// An election begins between `election_min` and `election_max` after the last heartbeat.
    pub election_min: Duration,
    /// Also the leader's lease.
    pub election_max: Duration,
    /// A leader without a majority falls silent after this.
    pub quorum_loss_probe: Duration,
    /// How long an append with entries may take; heartbeats have `heartbeat`.
    pub append_timeout: Duration,
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
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("replica {0} runs already")]
    Running(ReplicaId),
    /// The stored state cannot be used; the node must not guess.
    #[error("the replica's stored state cannot be used: {0}")]
    Stored(String),
    #[error("the group's settings are refused: {0}")]
    Config(String),
}

/// Why a group was not initialised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError {
    #[error("the replica has a log already")]
    NotEmpty,
    #[error("the replica is not among the members")]
    NotMember,
    #[error("the group is not running here")]
    Stopped,
}

/// Why the members or the leader of a group did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    /// Try again once the one before has ended.
    #[error("another change is under way")]
    InProgress,
    #[error("the change is refused: {0}")]
    Refused(String),
    #[error("the group is not running here")]
    Stopped,
    /// Leadership lost or no answer in time: read the members again.
    #[error("proposed, result not learned")]
    Unknown,
}

/// A running replica. A clone is the same replica.
pub struct Group<M: StateMachine> {
    machine: std::marker::PhantomData<fn() -> M>,
}

impl<M: StateMachine> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            machine: self.machine,
        }
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
        let _ = (config, deps, machine, codec);
        unimplemented!()
    }

    /// Proposes `command` if this replica leads in `term`, and waits, at most `within`, until it is
    /// applied here.
    pub async fn propose(
        &self,
        term: Term,
        command: M::Command,
        within: Duration,
    ) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let _ = (term, command, within);
        unimplemented!()
    }

    /// The replica's role, now and on each change.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        unimplemented!()
    }

    /// Asks a majority whether this replica still leads (ReadIndex) and waits until all that was
    /// committed before is applied here. At most `within`.
    pub async fn confirm(&self, within: Duration) -> Result<LogPosition, ConfirmError> {
        let _ = within;
        unimplemented!()
    }

    /// True if a majority answered this leader within the last election timeout (R12). False on
    /// a replica that does not lead.
    #[must_use]
    pub fn hears_majority(&self) -> bool {
        unimplemented!()
    }

    /// False if the node's log has no room for drafts (R15).
    #[must_use]
    pub fn has_room(&self) -> bool {
        unimplemented!()
    }

    /// True if the replica has neither log nor snapshot: it was never part of its group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }

    /// Makes the first members of the group, this one among them. Once in the life of a group.
    pub async fn initialize(&self, members: BTreeSet<ReplicaId>) -> Result<(), InitializeError> {
        let _ = members;
        unimplemented!()
    }

    /// Adds a replica that learns and does not vote. Returns once the change is committed, not
    /// once the replica has caught up: see [`Status::behind`].
    pub async fn add_learner(&self, replica: ReplicaId) -> Result<(), ChangeError> {
        let _ = replica;
        unimplemented!()
    }

    /// Makes `voters` the voters, by a joint change; each must be a learner or voter already. Who
    /// is no voter any more leaves the group.
    pub async fn change_voters(&self, voters: BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let _ = voters;
        unimplemented!()
    }

    /// Removes learners from the group.
    pub async fn remove_learners(&self, gone: BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let _ = gone;
        unimplemented!()
    }

    /// Asks `to` to take over. Returns at once: watch `role`.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), ChangeError> {
        let _ = to;
        unimplemented!()
    }

    /// The group as this replica sees it.
    #[must_use]
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Leaves the door and stops. Pending proposals end as unknown.
    pub async fn stop(&self) {
        unimplemented!()
    }
}
