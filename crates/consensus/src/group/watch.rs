//! What a replica tells of itself: role, status, whether it hears a majority.

use std::sync::Arc;

use fanfare_core::id::{ReplicaId, Term};
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::Group;
use crate::pace::Timer;
use crate::raft_types::{Raft, Types, replicas};
use crate::{Role, StateMachine, Status};

/// The role, kept up to date by a task until the raft ends; `timer` is told who leads.
pub(super) fn follow<M: StateMachine>(
    raft: &Raft<M>,
    timer: Arc<Timer>,
    tasks: &TaskTracker,
) -> watch::Receiver<Role> {
    let (mut metrics, mut of_server) = (raft.metrics(), raft.server_metrics());
    let (tell, role) = watch::channel(role_of::<M>(&metrics.borrow_watched()));
    tasks.spawn(async move {
        // True while the role may change without a change of the server's state.
        let mut unsettled = true;
        loop {
            let now = role_of::<M>(&metrics.borrow_and_update());
            timer.set_leads(now.leads);
            let becomes_serving = now.leads && !now.serves;
            tell.send_if_modified(|known| {
                let changed = *known != now;
                *known = now;
                changed
            });
            // openraft tells all metrics at each look and each heartbeat. It tells those of the
            // server first: what is read when they change may be older, and the next is not.
            let went_on = match unsettled || becomes_serving {
                true => metrics.changed().await.is_ok(),
                false => of_server.changed().await.is_ok(),
            };
            unsettled = !(unsettled || becomes_serving);
            if !went_on {
                break;
            }
        }
        timer.set_leads(false);
        tell.send_modify(|known| (known.leads, known.serves, known.leader) = (false, false, None));
    });
    role
}

fn role_of<M: StateMachine>(metrics: &RaftMetrics<Types<M>>) -> Role {
    let term = metrics.current_term;
    let runs = metrics.running_state.is_ok();
    let leads = runs && metrics.state == ServerState::Leader;
    let applied = metrics.last_applied.map(|id| id.leader_id.term);
    Role {
        term: Term(term),
        leader: metrics.current_leader.filter(|_| runs).map(ReplicaId),
        leads,
        serves: leads && applied == Some(term),
    }
}

impl<M: StateMachine> Group<M> {
    /// The replica's role, now and on each change.
    #[must_use]
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// True if a majority answered this leader within the last election timeout (R12). False on
    /// a replica that does not lead.
    #[must_use]
    pub fn hears_majority(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.state != ServerState::Leader || metrics.running_state.is_err() {
            return false;
        }
        let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        let heard = metrics.last_quorum_acked.map(|at| at.elapsed());
        alone || heard.is_some_and(|ago| ago < self.config.election_max)
    }

    /// Other replicas that lack what they had acknowledged to this one while it led: their disks
    /// have forgotten it. They are not replicated to any more; each must be made anew under a fresh
    /// id (R8).
    #[must_use]
    pub fn went_back(&self) -> Vec<ReplicaId> {
        self.acked.went_back()
    }

    /// False if the node's log has no room for drafts (R15).
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.log.has_room()
    }

    /// True if the replica has no log, not even one that a snapshot took the place of: it was never
    /// part of its group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.extent(self.config.replica.0).last.is_none()
    }

    /// The last entry of this replica's log, committed or not: of copies of one group the one with
    /// the highest is the best.
    #[must_use]
    pub fn last_entry(&self) -> Option<crate::LogPosition> {
        self.log.extent(self.config.replica.0).last
    }

    /// The group as this replica sees it.
    #[must_use]
    pub fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let last_index = metrics.last_log_index.unwrap_or(0);
        let index = |id: Option<crate::raft_types::LogId>| id.map_or(0, |id| id.index);
        let behind = metrics
            .replication
            .iter()
            .flatten()
            .map(|(replica, matched)| {
                let next = matched.map_or(0, |id| id.index + 1);
                (ReplicaId(*replica), (last_index + 1).saturating_sub(next))
            });
        let members_at = metrics.membership_config.log_id().map(|id| id.index);
        let members = metrics.membership_config.membership();
        Status {
            role: role_of::<M>(&metrics),
            last_index,
            committed: index(metrics.local_committed),
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            purged: index(metrics.purged),
            voters: replicas(members.voter_ids()),
            joint: members.get_joint_config().len() > 1,
            learners: replicas(members.learner_ids()),
            members_committed: members_at
                .is_some_and(|at| metrics.local_committed.is_some_and(|c| c.index >= at)),
            behind: behind.collect(),
        }
    }
}
