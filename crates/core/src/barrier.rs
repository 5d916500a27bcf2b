//! Named points of a change of members, where a test may stop a node or look at it. Nothing decides
//! anything by them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::id::ShardId;

/// Where a change is: the step that its name says is done, the next one is not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Barrier {
    /// The metadata leader has planned a placement and not proposed it.
    Planned,
    /// The placement is in the view.
    Placed,
    /// The new replica runs on its node, empty.
    ReplicaStarted,
    /// The shard's leader is about to add the new replica to the group.
    LearnerChosen,
    /// The new replica learns.
    LearnerAdded,
    /// The new replica is near enough to vote.
    CaughtUp,
    /// The joint change is committed, the old replica out of the group.
    VotersChanged,
    /// The shard's leader is about to give the leadership away, since its replica leaves.
    HandingOver,
    /// The leader has seen a committed group without the old replica and not told the metadata.
    OldRemoved,
    /// The view has let the old replica go.
    ViewRecorded,
    /// The old replica has stopped; its files are there.
    Stopped,
    /// The files of the old replica are gone.
    FilesDeleted,
    /// The metadata group is about to change its voters.
    MetaVoters,
    /// A departing node holds nothing any more and is about to be removed.
    Emptied,
}

impl Barrier {
    /// All, in the order of a move.
    pub const ALL: [Self; 14] = [
        Self::Planned,
        Self::Placed,
        Self::ReplicaStarted,
        Self::LearnerChosen,
        Self::LearnerAdded,
        Self::CaughtUp,
        Self::VotersChanged,
        Self::HandingOver,
        Self::OldRemoved,
        Self::ViewRecorded,
        Self::Stopped,
        Self::FilesDeleted,
        Self::MetaVoters,
        Self::Emptied,
    ];
}

type Hook =
    dyn Fn(Barrier, Option<ShardId>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What is called at each barrier and waited for; nothing by default. A clone calls the same.
#[derive(Clone, Default)]
pub struct Barriers(Option<Arc<Hook>>);

impl Barriers {
    /// Has `hook` called at each barrier, with the shard it is about (`None`: the metadata group).
    pub fn new<F>(hook: impl Fn(Barrier, Option<ShardId>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Some(Arc::new(move |barrier, shard| {
            Box::pin(hook(barrier, shard))
        })))
    }

    /// Says that a change is here, and waits as long as the hook does.
    pub async fn pass(&self, barrier: Barrier, shard: Option<ShardId>) {
        if let Some(hook) = &self.0 {
            hook(barrier, shard).await;
        }
    }
}

impl fmt::Debug for Barriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Barriers").field(&self.0.is_some()).finish()
    }
}
