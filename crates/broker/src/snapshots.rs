//! Which replica's log a snapshot takes the place of next: one at a time a node, by what is due.

use std::time::Duration;

use fanfare_consensus::{Due, SnapshotError};
use fanfare_core::id::ShardId;

use crate::directory::{Directory, Local};

/// No other snapshot for so long after one for which there was no room.
const NO_ROOM_FOR: Duration = Duration::from_secs(10);
/// No other of the same shard for so long after one that was due because the node's log is at its
/// bound: if it let nothing go, others may.
const FULL_FOR: Duration = Duration::from_secs(10);

/// The node's snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    writing: bool,
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
        if self.writing || now < self.quiet_until {
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
    pub(crate) fn begun(&mut self, shard: ShardId, why: Due, now: Duration) {
        self.writing = true;
        if why == Due::Full {
            self.full = Some((shard, now + FULL_FOR));
        }
    }

    /// It is written, or not.
    pub(crate) fn ended(&mut self, written: &Result<u64, SnapshotError>, now: Duration) {
        self.writing = false;
        if matches!(written, Err(SnapshotError::NoRoom)) {
            self.quiet_until = now + NO_ROOM_FOR;
        }
    }
}
