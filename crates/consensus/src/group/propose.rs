//! Proposals, and the confirmation of a leader.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::{ReplicaId, Term};
use fanfare_host::Clock;
use openraft::ReadPolicy;
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::impls::OneshotResponder;
use openraft::raft::ClientWriteResult;

use super::Group;
use crate::raft_types::{CommittedLeaderId, Encoded, Types, position};
use crate::{ConfirmError, LogPosition, ProposeError, StateMachine};

/// A command on its way. Dropping it does not take it back.
#[must_use = "only the outcome says whether the command was placed"]
pub struct Proposal<M: StateMachine> {
    answer: tokio::sync::oneshot::Receiver<ClientWriteResult<Types<M>>>,
    clock: Arc<dyn Clock>,
}

impl<M: StateMachine> Proposal<M> {
    /// Waits, at most `within`, until the command is applied here. An error other than `Unknown`
    /// says that it is not in the log and never will be.
    pub async fn outcome(
        self,
        within: Duration,
    ) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let clock = Arc::clone(&self.clock);
        let outcome = in_time(clock.as_ref(), within, self.applied()).await;
        outcome.unwrap_or(Err(ProposeError::Unknown))
    }

    async fn applied(self) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let Ok(answer) = self.answer.await else {
            return Err(ProposeError::Unknown);
        };
        match answer {
            Ok(applied) => {
                let at = position(&applied.log_id);
                let outcome = applied.data.into_outcome();
                outcome
                    .map(|outcome| (at, outcome))
                    .ok_or(ProposeError::Unknown)
            }
            Err(ClientWriteError::ForwardToLeader(to)) => Err(not_proposed::<M>(&to)),
            Err(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            ) => Err(ProposeError::Unknown),
        }
    }
}

/// `None` if time ran out.
pub(super) async fn in_time<T>(
    clock: &dyn Clock,
    within: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = clock.sleep(within) => None,
    }
}

impl<M: StateMachine> Group<M> {
    /// Proposes `command` if this replica leads in `term`, and waits, at most `within`, until it is
    /// applied here. Calls that run at the same time have no order: see [`submit`](Self::submit).
    /// An error other than `Unknown` says that the command is not in the log and never will be.
    pub async fn propose(
        &self,
        term: Term,
        command: M::Command,
        within: Duration,
    ) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let proposed = async { self.submit(term, command).await?.applied().await };
        let outcome = in_time(self.clock.as_ref(), within, proposed).await;
        outcome.unwrap_or(Err(ProposeError::Unknown))
    }

    /// Hands `command` to the group, to be placed if this replica leads in `term`. Commands of
    /// which each is submitted once the submission of the one before has returned are placed in
    /// that order. Waits only while very much is queued; the one error is `Stopped`.
    pub async fn submit(
        &self,
        term: Term,
        command: M::Command,
    ) -> Result<Proposal<M>, ProposeError> {
        let bytes = self.codec.encode(&command);
        let encoded = Encoded {
            bytes,
            command: Arc::new(command),
        };
        let (responder, answer) = OneshotResponder::new_pair();
        let request = self
            .raft
            .write(encoded)
            .with_leader(CommittedLeaderId::new(term.0));
        // An error here is that of a core that is gone: it never saw the command.
        let sent = request.responder(responder).await;
        sent.map_err(|_| ProposeError::Stopped)?;
        Ok(Proposal {
            answer,
            clock: Arc::clone(&self.clock),
        })
    }

    /// Asks a majority whether this replica still leads (ReadIndex) and waits until all that was
    /// committed before is applied here. At most `within`.
    pub async fn confirm(&self, within: Duration) -> Result<LogPosition, ConfirmError> {
        let confirmed = async {
            let asked = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
            let linearizer = asked.map_err(not_confirmed::<M>)?;
            let ready = linearizer.await_ready(&self.raft).await;
            let state = ready.map_err(|_| ConfirmError::Stopped)?;
            Ok(position(state.read_log_id().log_id()))
        };
        in_time(self.clock.as_ref(), within, confirmed)
            .await
            .unwrap_or(Err(ConfirmError::NoQuorum))
    }
}

/// openraft forwards before it appends: this is definite.
fn not_proposed<M: StateMachine>(to: &ForwardToLeader<Types<M>>) -> ProposeError {
    match to.reason {
        ForwardReason::LeaseExpired => ProposeError::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ProposeError::NotLeader {
            leader: to.leader_id.map(ReplicaId),
        },
    }
}

fn not_confirmed<M: StateMachine>(
    error: RaftError<Types<M>, LinearizableReadError<Types<M>>>,
) -> ConfirmError {
    match error {
        RaftError::Fatal(_) => ConfirmError::Stopped,
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)) => ConfirmError::NoQuorum,
        RaftError::APIError(LinearizableReadError::ForwardToLeader(to)) => match to.reason {
            ForwardReason::LeaseExpired => ConfirmError::NoQuorum,
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                ConfirmError::NotLeader {
                    leader: to.leader_id.map(ReplicaId),
                }
            }
        },
    }
}
