//! Proposals, and the confirmation of a leader.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::{ReplicaId, Term};
use openraft::ReadPolicy;
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, LinearizableReadError, RaftError,
};
use openraft::impls::OneshotResponder;

use super::Group;
use crate::raft_types::{CommittedLeaderId, Encoded, Types, position};
use crate::{ConfirmError, LogPosition, ProposeError, StateMachine};

impl<M: StateMachine> Group<M> {
    /// Proposes `command` if this replica leads in `term`, and waits, at most `within`, until it is
    /// applied here. An error other than `Unknown` says that the command is not in the log and
    /// never will be.
    pub async fn propose(
        &self,
        term: Term,
        command: M::Command,
        within: Duration,
    ) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let bytes = self.codec.encode(&command);
        let encoded = Encoded {
            bytes,
            command: Arc::new(command),
        };
        let proposed = self.submit(term, encoded);
        self.in_time(within, proposed)
            .await
            .unwrap_or(Err(ProposeError::Unknown))
    }

    async fn submit(
        &self,
        term: Term,
        encoded: Encoded<M::Command>,
    ) -> Result<(LogPosition, M::Outcome), ProposeError> {
        let (responder, answer) = OneshotResponder::new_pair();
        let request = self
            .raft
            .write(encoded)
            .with_leader(CommittedLeaderId::new(term.0));
        // An error here is that of a core that is gone: it never saw the command.
        request
            .responder(responder)
            .await
            .map_err(|_| ProposeError::Stopped)?;
        let Ok(answer) = answer.await else {
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
        self.in_time(within, confirmed)
            .await
            .unwrap_or(Err(ConfirmError::NoQuorum))
    }

    /// `None` if time ran out.
    async fn in_time<T>(&self, within: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.clock.sleep(within) => None,
        }
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
