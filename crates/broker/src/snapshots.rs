//! Which replica's log a snapshot takes the place of next: one at a time a node, by what is due.

use std::time::Duration;

use fanfare_consensus::{Due, SnapshotError};
use fanfare_core::id::ShardId;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

use crate::directory::{Directory, Local};

/// No other snapshot for so long after one for which there was no room.
const NO_ROOM_FOR: Duration = Duration::from_secs(10);
/// No other of the same shard for so long after one that was due because the node's log is at its
/// bound: if it let nothing go, others may.
const FULL_FOR: Duration = Duration::from_secs(10);

/// A snapshot on its way.
pub(crate) type Writing = JoinHandle<Result<u64, SnapshotError>>;

/// The node's snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    writing: Option<Writing>,
    quiet_until: Duration,
    full: Option<(ShardId, Duration)>,
}

impl Snapshots {
    /// The next that is due, unless one is being written.
    pub(crate) fn next(
        &mut self,
        directory: &Directory,
        now: Duration,
    ) -> Option<(ShardId, Local, Due)> {
        match self.writing.take() {
            Some(writing) if !writing.is_finished() => {
                self.writing = Some(writing);
                return None;
            }
            Some(writing) => {
                // A writer that panicked has no result: the next one may fare better.
                if let Some(Ok(Err(SnapshotError::NoRoom))) = writing.now_or_never() {
                    self.quiet_until = now + NO_ROOM_FOR;
                }
            }
            None => {}
        }
        if now < self.quiet_until {
            return None;
        }
        let all = directory.all().into_iter();
        let all = all.filter_map(|(shard, local)| local.group.due().map(|why| (shard, local, why)));
        let waits = self.full.filter(|(_, until)| now < *until);
        all.filter(|(shard, _, why)| {
            *why != Due::Full || waits.is_none_or(|(waiting, _)| waiting != *shard)
        })
        .max_by_key(|(_, _, why)| *why)
    }

    /// One is being written from now on.
    pub(crate) fn begun(&mut self, shard: ShardId, why: Due, writing: Writing, now: Duration) {
        self.writing = Some(writing);
        if why == Due::Full {
            self.full = Some((shard, now + FULL_FOR));
        }
    }
}
