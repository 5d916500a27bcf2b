//! What a group tells of itself: its role, its status, and why it refused.

use fanfare_core::id::{ReplicaId, Term};

/// What a replica is in its group now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Highest term seen.
    pub term: Term,
    /// The leader of that term, if known.
    pub leader: Option<ReplicaId>,
    /// True if this replica leads in `term`.
    pub leads: bool,
    /// True if this replica leads, has applied an entry of `term`, and may so answer for the group.
    pub serves: bool,
}

/// One group as this replica sees it, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub role: Role,
    pub last_index: u64,
    pub committed: u64,
    pub applied: u64,
    pub snapshot: u64,
    /// Entries up to this one are in no log here: who needs them needs the snapshot.
    pub purged: u64,
    pub voters: Vec<ReplicaId>,
    /// True between the two halves of a change of voters: `voters` are the old and the new ones,
    /// and both need a majority. A leader's crash can leave it so until the change is said again.
    pub joint: bool,
    pub learners: Vec<ReplicaId>,
    /// True if these members are committed: no other leader can bring the former ones back.
    pub members_committed: bool,
    /// On the leader: entries each replica is behind.
    pub behind: Vec<(ReplicaId, u64)>,
}

impl Status {
    /// Takes a voter that `could` not take over now for one that lacks everything, however little it
    /// lacked when it was heard last: a leader that must go would wait for the dead.
    pub fn pass_over(&mut self, could: impl Fn(ReplicaId) -> bool) {
        for (id, behind) in &mut self.behind {
            if self.voters.contains(id) && !could(*id) {
                *behind = u64::MAX;
            }
        }
    }
}

/// Why a proposal gave no outcome. The first three are definite: the command is not in the log and
/// never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("the leader has no majority")]
    NoQuorum,
    #[error("the group is not running here")]
    Stopped,
    /// Leadership lost, deadline, shutdown: it may be placed, now or later.
    #[error("proposed, result not learned")]
    Unknown,
}

/// Why a leader could not confirm that it still leads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader { leader: Option<ReplicaId> },
    #[error("no majority confirmed the leader in time")]
    NoQuorum,
    #[error("the group is not running here")]
    Stopped,
}
