//! When a snapshot takes the place of a replica's log, and what of the log stays behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use openraft::type_config::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics};

use super::Group;
use crate::StateMachine;
use crate::machine::blocking;
use crate::raft_types::{LogId, Types};
use crate::snapshot::{Haste, is_full};

/// A last stretch of the log stays for slow followers: this part of what makes a snapshot due.
const STRETCH: u64 = 4;
/// For followers that answer and are further behind, so many times what makes a snapshot due.
const LONGEST: u64 = 4;
/// A follower that answered this leader so lately is alive.
const ALIVE: Duration = Duration::from_secs(3);
/// How long raft may take to hear of a snapshot that is written.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// Why a snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// The log has grown by so many bytes since the last one.
    Grown(u64),
    /// The node's log is at its bound, and this replica holds most of its oldest segment.
    Full,
    /// The disk does not give back the last one as it was written.
    Damaged,
}

/// Why no snapshot was written. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the group is not running here")]
    Stopped,
    /// Try again when there is room.
    #[error("the volume has no room for a snapshot")]
    NoRoom,
    /// The disk cannot be trusted (R5): the node was told to exit.
    #[error("the disk failed")]
    Disk(#[source] io::Error),
}

impl<M: StateMachine> Group<M> {
    /// Bytes by which the log has grown since the last snapshot.
    #[must_use]
    pub fn logged(&self) -> u64 {
        self.snapshots.growth().logged()
    }

    /// Why a snapshot of this replica is due, if one is.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        let limits = self.store.limits();
        if self.snapshots.growth().is_damaged() {
            return Some(Due::Damaged);
        }
        let (_, all) = self.log.bytes();
        if all > limits.log_budget && self.log.oldest_holder() == Some(self.config.replica.0) {
            return Some(Due::Full);
        }
        let size = self.snapshots.current().map_or(0, |file| file.length);
        let grown = self.logged();
        (grown >= limits.snapshot_after.max(size)).then_some(Due::Grown(grown))
    }

    /// Writes a snapshot beside apply, and purges the log it takes the place of but for a last
    /// stretch; nothing of the log goes before the snapshot is durable. One at a time a node:
    /// waits for its turn. The last entry in the snapshot.
    pub async fn snapshot(&self, why: Due) -> Result<u64, SnapshotError> {
        let index = self.write_snapshot(Haste::Paced).await?;
        let stretch = match why {
            // Whoever holds the oldest segment must let go of it.
            Due::Full => 0,
            Due::Grown(_) | Due::Damaged => self.store.limits().snapshot_after / STRETCH,
        };
        self.purge(stretch).await?;
        Ok(index)
    }

    /// Writes a snapshot as fast as the disk takes it, so that the next start reads little log.
    pub async fn snapshot_to_stop(&self) -> Result<u64, SnapshotError> {
        self.write_snapshot(Haste::Hurried).await
    }

    #[cfg(test)]
    pub(crate) fn snapshots(&self) -> &crate::snapshot::Snapshots {
        &self.snapshots
    }

    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_ok()
    }

    async fn write_snapshot(&self, haste: Haste) -> Result<u64, SnapshotError> {
        let share = self.snapshots.share();
        let turn = Arc::clone(&share.building).acquire_owned().await;
        let turn = turn.map_err(|_| SnapshotError::Stopped)?;
        let frozen = self
            .raft
            .with_state_machine(|machine| {
                let frozen = machine.freeze();
                Box::pin(async move { frozen })
            })
            .await
            .map_err(|_| SnapshotError::Stopped)?;
        let Some(mut frozen) = frozen else {
            return Ok(self.snapshot_index());
        };
        let snapshots = self.snapshots.clone();
        let written = blocking(move || {
            let written = snapshots.write(&frozen.meta, frozen.state.as_mut(), haste);
            // The writing itself holds it: who waited for it may have given up.
            Ok((written, turn))
        });
        let (written, _turn) = written.await.map_err(SnapshotError::Disk)?;
        let file = written.map_err(|error| {
            if error.kind() == io::ErrorKind::Interrupted {
                return SnapshotError::Stopped;
            }
            share.metrics.snapshots_failed.inc();
            if is_full(&error) {
                return SnapshotError::NoRoom;
            }
            (share.on_poison)(&error);
            SnapshotError::Disk(error)
        })?;
        self.snapshots.growth().taken(frozen.logged);
        let index = file.meta.last_log_id.map_or(0, |id| id.index);
        let (group, bytes) = (self.config.group, file.length);
        tracing::info!(?group, replica = %self.config.replica, index, bytes, "wrote a snapshot");
        self.snapshots.prepare(file);
        self.tell(index).await?;
        Ok(index)
    }

    /// Lets raft know of a snapshot that is on the disk.
    async fn tell(&self, index: u64) -> Result<(), SnapshotError> {
        let mut metrics = self.raft.metrics();
        let trigger = self.raft.trigger().snapshot().await;
        trigger.map_err(|_| SnapshotError::Stopped)?;
        let told = async {
            loop {
                let known = metrics.borrow_watched().snapshot;
                if known.is_some_and(|known| known.index >= index) {
                    return Ok(());
                }
                metrics
                    .changed()
                    .await
                    .map_err(|_| SnapshotError::Stopped)?;
            }
        };
        let in_time = super::propose::in_time(self.clock.as_ref(), TOLD_WITHIN, told).await;
        in_time.unwrap_or(Err(SnapshotError::Stopped))
    }

    fn snapshot_index(&self) -> u64 {
        let metrics = self.raft.metrics();
        metrics.borrow_watched().snapshot.map_or(0, |id| id.index)
    }

    /// Lets go of the log that the snapshot has, but for the newest `stretch` bytes and what
    /// followers that are alive need, as far as that is not much more.
    async fn purge(&self, stretch: u64) -> Result<(), SnapshotError> {
        let replica = self.config.replica.0;
        let upto = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let Some(snapshot) = metrics.snapshot else {
                return Ok(());
            };
            let before = |keep| self.log.last_before(replica, snapshot.index, keep);
            let longest = self.store.limits().snapshot_after.saturating_mul(LONGEST);
            let Some(upto) = before(stretch) else {
                return Ok(());
            };
            let needed = self.needed(&metrics, stretch > 0);
            let needed = needed.max(before(longest).map_or(0, |last| last + 1));
            match needed.checked_sub(1) {
                Some(last) => upto.min(last),
                None => return Ok(()),
            }
        };
        let purged = self.log.extent(replica).purged.map(|at| at.index);
        if Some(upto) <= purged {
            return Ok(());
        }
        let told = self.raft.trigger().purge_log(upto).await;
        told.map_err(|_| SnapshotError::Stopped)
    }

    /// The first entry that a follower needs which is alive. Who needs what is purged already needs
    /// a snapshot; the log behind one that is on its way is needed, too.
    fn needed(&self, metrics: &RaftMetrics<Types<M>>, patient: bool) -> u64 {
        let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
        let there = next(metrics.purged);
        let mut needed = u64::MAX;
        for (follower, matched) in metrics.replication.iter().flatten() {
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(follower));
            let alive = heard.is_some_and(|at| at.is_some_and(|at| at.elapsed() < ALIVE));
            let first = next(*matched);
            if let Some(sent) = self.transfers.to(*follower) {
                needed = needed.min(sent + 1);
            } else if patient && alive && *follower != metrics.id && first >= there {
                needed = needed.min(first);
            }
        }
        needed
    }
}
