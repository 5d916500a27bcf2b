//! Begins a group anew, as one replica, from what a stopped replica of it has: for an operator who
//! accepts that a majority of the disks is lost. Nothing here does it by itself.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::{ReplicaId, Term};
use openraft::EntryPayload;

use crate::raft_types::{
    LogId, Membership, SnapshotMeta, StoredMembership, Vote, log_id, position,
};
use crate::snapshot::Haste;
use crate::storage::LogStore;
use crate::wal::{Job, Record};
use crate::{Codec, FrozenState, GroupDeps, GroupId, LogPosition, StateMachine, format};

/// By how much the term rises: more elections than the lost replicas can have held meanwhile, so
/// that no answer of the group before seems newer than one of the group to come.
const TERM_STEP: u64 = 1 << 20;
/// Bytes of entries that are read at once.
const PAGE: usize = 4 << 20;

/// Why a group was not begun anew. The old replica is as it was in every case.
#[derive(Debug, thiserror::Error)]
pub enum RefoundError {
    /// Stop it first: its log must not grow meanwhile.
    #[error("replica {0} still runs")]
    Running(ReplicaId),
    /// Neither a log nor a snapshot: there is nothing to begin from.
    #[error("replica {0} has no data here")]
    Nothing(ReplicaId),
    /// Choose another copy.
    #[error("what replica {replica} has cannot be used")]
    Stored {
        replica: ReplicaId,
        source: io::Error,
    },
}

/// Where the new group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Founded {
    pub replica: ReplicaId,
    /// The place of what `found` did: the last one in the new replica's snapshot.
    pub at: LogPosition,
}

/// Makes a new replica whose snapshot holds all that `from` has, its whole log applied, committed
/// or not: what a lost majority may have acked is in it as far as this copy goes. `found` then
/// changes the state for the new group, at the place it is told, and gives the replica's id, which
/// must be fresh. The new replica is its group's only member; start it as any other. Durable when
/// this returns; until then a replica of the new id has nothing, and this can be done again.
pub async fn refound<M: StateMachine>(
    deps: &GroupDeps,
    group: GroupId,
    from: ReplicaId,
    machine: M,
    codec: Arc<dyn Codec<M::Command>>,
    found: impl FnOnce(&mut M, LogPosition) -> io::Result<ReplicaId> + Send + 'static,
) -> Result<Founded, RefoundError> {
    let stored = |source| RefoundError::Stored {
        replica: from,
        source,
    };
    if deps.door.is_here(group, from) {
        return Err(RefoundError::Running(from));
    }
    let store = deps.store.clone();
    let replayed = blocking(move || {
        let mut machine = machine;
        if !store.holds(group, from)? {
            return Ok(None);
        }
        let base = store.snapshots(group, from)?.current();
        let mut last = None;
        if let Some(file) = base {
            let mut failed = None;
            let mut blocks = file.blocks()?;
            let mut good = std::iter::from_fn(|| match blocks.next()? {
                Ok(block) => Some(block),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            let restored = machine.restore(&mut good as &mut dyn Iterator<Item = Bytes>);
            if let Some(error) = failed {
                return Err(error);
            }
            restored.map_err(io::Error::other)?;
            last = file.meta.last_log_id;
        }
        let extent = store.log().extent(from.0);
        let log = LogStore::<M>::new(store.log().clone(), from.0, codec);
        last = replay(&log, extent.last.map(|at| at.index), last, &mut machine)?;
        let voted = extent.vote.as_ref().map(format::read_vote).transpose();
        let voted = voted.map_err(io::Error::other)?;
        let at = next(last, voted);
        let replica = found(&mut machine, at)?;
        Ok(Some((Founded { replica, at }, machine.freeze())))
    });
    let Some((founded, mut state)) = replayed.await.map_err(stored)? else {
        return Err(RefoundError::Nothing(from));
    };

    let Founded { replica, at } = founded;
    // The vote first: with the snapshot the replica is there, and it must not vote in old terms.
    let vote = Record::vote(format::vote(&Vote::new(at.term.0, replica.0)));
    let job = Job::new(replica.0, vec![vote]);
    let log = deps.store.log();
    log.submit_and_wait(job).await.map_err(stored)?;
    let store = deps.store.clone();
    let written = blocking(move || {
        let members = BTreeSet::from([replica.0]);
        let members = Membership::new_with_defaults(vec![members], []);
        let meta = SnapshotMeta {
            last_log_id: Some(log_id(at)),
            last_membership: StoredMembership::new(Some(log_id(at)), members),
        };
        let snapshots = store.snapshots(group, replica)?;
        snapshots.write(
            &meta,
            state.as_mut() as &mut dyn FrozenState,
            Haste::Hurried,
        )
    });
    written.await.map_err(stored)?;
    Ok(founded)
}

/// Applies the log after `last` to its end; the place of the last entry.
fn replay<M: StateMachine>(
    log: &LogStore<M>,
    end: Option<u64>,
    mut last: Option<LogId>,
    machine: &mut M,
) -> io::Result<Option<LogId>> {
    let Some(end) = end else { return Ok(last) };
    loop {
        let from = last.as_ref().map_or(0, |id| id.index + 1);
        if from > end {
            return Ok(last);
        }
        let entries = log.read(from, end.saturating_add(1), PAGE)?;
        if entries
            .first()
            .is_none_or(|first| first.log_id.index != from)
        {
            let text = format!("the log has a hole at entry {from}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        for entry in entries {
            let command = match &entry.payload {
                EntryPayload::Normal(encoded) => Some(&*encoded.command),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            };
            machine.apply(position(&entry.log_id), command);
            last = Some(entry.log_id);
        }
    }
}

/// The first place of the new group: after all that is in the old replica, in a term above all.
fn next(last: Option<LogId>, voted: Option<Vote>) -> LogPosition {
    let term = last.as_ref().map_or(0, |id| id.leader_id.term);
    let term = term.max(voted.map_or(0, |vote| vote.leader_id.term));
    LogPosition {
        term: Term(term.saturating_add(TERM_STEP)),
        index: last.map_or(0, |id| id.index).saturating_add(1),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
#[path = "refound_tests.rs"]
mod tests;
