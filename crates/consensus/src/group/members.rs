//! Who is in the group, and who leads it.

use std::collections::BTreeSet;

use fanfare_core::id::ReplicaId;
use openraft::errors::{self, ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode};

use super::Group;
use crate::StateMachine;
use crate::raft_types::Types;

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

impl<M: StateMachine> Group<M> {
    /// Makes the first members of the group, this one among them. Once in the life of a group.
    pub async fn initialize(&self, members: BTreeSet<ReplicaId>) -> Result<(), InitializeError> {
        let members: BTreeSet<u64> = members.into_iter().map(|replica| replica.0).collect();
        self.raft
            .initialize(members)
            .await
            .map_err(|error| match error {
                RaftError::Fatal(_) => InitializeError::Stopped,
                RaftError::APIError(errors::InitializeError::NotAllowed(_)) => {
                    InitializeError::NotEmpty
                }
                RaftError::APIError(errors::InitializeError::NotInMembers(_)) => {
                    InitializeError::NotMember
                }
            })
    }

    /// Adds a replica that learns and does not vote. Returns once the change is committed, not
    /// once the replica has caught up: see [`Status::behind`](crate::Status::behind).
    pub async fn add_learner(&self, replica: ReplicaId) -> Result<(), ChangeError> {
        let added = self.raft.add_learner(replica.0, EmptyNode {}, false).await;
        added.map(drop).map_err(refused)
    }

    /// Makes `voters` the voters, by a joint change; each must be a learner or voter already. Who
    /// is no voter any more leaves the group.
    pub async fn change_voters(&self, voters: BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let voters: BTreeSet<u64> = voters.into_iter().map(|replica| replica.0).collect();
        self.raft
            .change_membership(voters, false)
            .await
            .map(drop)
            .map_err(refused)
    }

    /// Removes learners from the group.
    pub async fn remove_learners(&self, gone: BTreeSet<ReplicaId>) -> Result<(), ChangeError> {
        let gone = gone.into_iter().map(|replica| replica.0).collect();
        let change = ChangeMembers::RemoveNodes(gone);
        self.raft
            .change_membership(change, false)
            .await
            .map(drop)
            .map_err(refused)
    }
}

fn refused<M: StateMachine>(error: RaftError<Types<M>, ClientWriteError<Types<M>>>) -> ChangeError {
    let error = match error {
        RaftError::Fatal(_) => return ChangeError::Unknown,
        RaftError::APIError(error) => error,
    };
    match error {
        ClientWriteError::ForwardToLeader(to) => ChangeError::NotLeader {
            leader: to.leader_id.map(ReplicaId),
        },
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unknown,
        ClientWriteError::ChangeMembershipError(errors::ChangeMembershipError::InProgress(_)) => {
            ChangeError::InProgress
        }
        ClientWriteError::ChangeMembershipError(other) => ChangeError::Refused(other.to_string()),
        ClientWriteError::PreconditionFailed(other) => ChangeError::Refused(other.to_string()),
    }
}
