//! Leadership handed over on purpose: who could take it, and the handing over itself. What becomes
//! of drafts meanwhile is the caller's.

use std::time::Duration;

use fanfare_core::id::ReplicaId;
use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics, ServerState};

use super::Group;
use super::propose::in_time;
use crate::StateMachine;
use crate::raft_types::Types;

/// Why a leadership was not handed over. Nothing was sent: who led leads on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    /// The heir is silent, does not vote, or did not get or apply all of the log in time.
    #[error("the heir cannot take over at once")]
    NotReady,
    #[error("the group is not running here")]
    Stopped,
}

/// A leader as its heir must find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Everything is applied here and stored at the heir.
    Ready,
    /// It is near, and more may come.
    Near,
    /// It does not vote, or has not answered lately.
    Unfit,
    /// This replica leads no more.
    Deposed,
}

impl<M: StateMachine> Group<M> {
    /// True if this replica leads and `heir` votes, answered within the last election timeout and
    /// lacks less than `entries`: it could take over at once, or nearly.
    #[must_use]
    pub fn could_take_over(&self, heir: ReplicaId, entries: u64) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        matches!(
            readiness::<M>(&metrics, heir, self.config.election_min),
            Readiness::Ready | Readiness::Near
        ) && lag::<M>(&metrics, heir) < entries
    }

    /// Hands the leadership to `heir` as soon as everything is applied here and stored there, for
    /// which it waits at most `within`; propose nothing meanwhile. An error: nothing was sent. Once
    /// it was, this replica proposes nothing more in its term, whatever becomes of it: if the heir
    /// dies, another is elected after a timeout. Watch `role`.
    pub async fn hand_over(&self, heir: ReplicaId, within: Duration) -> Result<(), HandOverError> {
        let ready = in_time(self.clock.as_ref(), within, self.ready_for(heir)).await;
        ready.unwrap_or(Err(HandOverError::NotReady))?;
        self.raft
            .trigger()
            .transfer_leader(heir.0)
            .await
            .map_err(|_| HandOverError::Stopped)
    }

    async fn ready_for(&self, heir: ReplicaId) -> Result<(), HandOverError> {
        let mut metrics = self.raft.metrics();
        loop {
            let (found, leader) = {
                let metrics = metrics.borrow_watched();
                let found = readiness::<M>(&metrics, heir, self.config.election_min);
                (found, metrics.current_leader.map(ReplicaId))
            };
            match found {
                Readiness::Ready => return Ok(()),
                Readiness::Unfit => return Err(HandOverError::NotReady),
                Readiness::Deposed => return Err(HandOverError::NotLeader { leader }),
                Readiness::Near => {}
            }
            metrics
                .changed()
                .await
                .map_err(|_| HandOverError::Stopped)?;
        }
    }
}

fn readiness<M: StateMachine>(
    metrics: &RaftMetrics<Types<M>>,
    heir: ReplicaId,
    silence: Duration,
) -> Readiness {
    if metrics.state != ServerState::Leader || metrics.running_state.is_err() {
        return Readiness::Deposed;
    }
    let votes = metrics.membership_config.voter_ids().any(|id| id == heir.0);
    let heard = metrics.heartbeat.as_ref().and_then(|of| *of.get(&heir.0)?);
    let lately = heard.is_some_and(|at| at.elapsed() < silence);
    if heir.0 == metrics.id || !votes || !lately {
        return Readiness::Unfit;
    }
    let applied = metrics.last_applied.map(|id| id.index);
    if applied == metrics.last_log_index && lag::<M>(metrics, heir) == 0 {
        Readiness::Ready
    } else {
        Readiness::Near
    }
}

/// Entries of the leader's log that are not known to be stored at `heir`.
fn lag<M: StateMachine>(metrics: &RaftMetrics<Types<M>>, heir: ReplicaId) -> u64 {
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|of| *of.get(&heir.0)?);
    let next = matched.map_or(0, |id| id.index + 1);
    let end = metrics.last_log_index.map_or(0, |last| last + 1);
    end.saturating_sub(next)
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::Term;

    use super::*;
    use crate::testing::{Cluster, SOON};

    #[tokio::test]
    async fn the_heir_serves_in_a_new_term_and_has_everything() {
        let cluster = Cluster::of(3).await;
        let (id, term) = cluster.leader(Term(0)).await;
        let leader = &cluster.members[&id];
        for number in 1..=50 {
            leader.propose(number).await;
        }
        let heir = ReplicaId(id.0 % 3 + 1);
        leader.group.hand_over(heir, SOON).await.unwrap();
        let role = cluster.members[&heir].until(|role| role.serves).await;
        assert!(role.term > term);
        assert_eq!(cluster.members[&heir].propose(51).await, 51);
        let all: Vec<u64> = (1..=51).collect();
        leader.holds(&all).await;
    }

    #[tokio::test]
    async fn nobody_without_a_vote_or_a_sign_of_life_is_an_heir() {
        let mut cluster = Cluster::of(3).await;
        let (id, _) = cluster.leader(Term(0)).await;
        let silent = ReplicaId(id.0 % 3 + 1);
        cluster.stop(silent).await;
        let leader = &cluster.members[&id];
        leader.propose(1).await;
        let deaf = async {
            while leader.group.could_take_over(silent, u64::MAX) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, deaf).await.unwrap();
        for nobody in [silent, id, ReplicaId(9)] {
            let refused = leader.group.hand_over(nobody, SOON).await;
            assert_eq!(refused, Err(HandOverError::NotReady));
        }
        assert_eq!(leader.propose(2).await, 2, "it leads on");
    }

    #[tokio::test]
    async fn a_follower_hands_nothing_over() {
        let cluster = Cluster::of(3).await;
        let (id, _) = cluster.leader(Term(0)).await;
        let follower = &cluster.members[&ReplicaId(id.0 % 3 + 1)];
        follower.until(|role| role.leader == Some(id)).await;
        let refused = follower.group.hand_over(id, SOON).await;
        assert_eq!(refused, Err(HandOverError::NotLeader { leader: Some(id) }));
    }

    #[tokio::test]
    async fn an_heir_that_dies_with_the_crown_leaves_it_to_the_third() {
        let mut cluster = Cluster::of(3).await;
        let (id, term) = cluster.leader(Term(0)).await;
        let leader = &cluster.members[&id];
        leader.propose(1).await;
        let heir = ReplicaId(id.0 % 3 + 1);
        // It answers still when it is chosen, and is cut off before the call reaches it. On a slow
        // machine it may have been silent for too long by then: it is heard, and chosen again.
        loop {
            cluster.heal();
            let heard = async {
                while !leader.group.could_take_over(heir, 1) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SOON, heard).await.unwrap();
            cluster.cut(heir);
            match leader.group.hand_over(heir, SOON).await {
                Ok(()) => break,
                Err(error) => assert_eq!(error, HandOverError::NotReady),
            }
        }
        cluster.members.remove(&heir);
        let (_, later) = cluster.leader(term).await;
        assert!(later > term);
    }
}
