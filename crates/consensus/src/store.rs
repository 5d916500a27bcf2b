//! Everything a node's groups keep on its disk: the log they share, and a directory for each
//! replica with its snapshot, which says that the replica is here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_host::{Clock, Disk, Rng};

use crate::lost::Losses;
use crate::snapshot::{NodeShare, Snapshots};
use crate::wal::{Job, LogParts, Record, RecordKind, WalOptions, create_dir};
use crate::{GroupId, Log, Metrics, OnPoison, OpenError, Reserve};

/// Sizes of a store, and what it takes from its machine.
#[derive(Clone)]
pub struct StoreOptions {
    /// Paces the samples of free space.
    pub clock: Arc<dyn Clock>,
    /// Draws the salts of segments, so that no payload can imitate a record.
    pub rng: Arc<dyn Rng>,
    /// Bytes of a log segment; an entry must fit into one.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub cache_bytes: usize,
    /// Bytes of records waiting to be written, over all groups; appends wait beyond.
    pub queue_bytes: usize,
    /// Free space below which the log has no room (R15).
    pub reserve: Reserve,
    /// Bytes a group's log grows by before a snapshot takes its place, unless the last snapshot was
    /// larger.
    pub snapshot_after: u64,
    /// Bytes of the log's segments above which the group that holds the oldest writes a snapshot.
    pub log_budget: u64,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl StoreOptions {
    /// The sizes of a production node.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self {
            clock,
            rng,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            reserve: Reserve::default(),
            snapshot_after: 64 << 20,
            log_budget: 2 << 30,
            metrics: Arc::default(),
        }
    }
}

/// A node's open store. A clone is the same store.
#[derive(Clone)]
pub struct Store {
    disk: Arc<dyn Disk>,
    replicas: PathBuf,
    log: Log,
    losses: Losses,
    share: NodeShare,
    limits: Limits,
}

/// When snapshots are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) snapshot_after: u64,
    pub(crate) log_budget: u64,
}

/// Name of a replica's directory.
pub(crate) fn name(group: GroupId, replica: ReplicaId) -> String {
    match group {
        GroupId::Meta => format!("meta-{replica}"),
        GroupId::Shard(shard) => format!("shard-{shard}-{replica}"),
    }
}

pub(crate) fn parse(path: &Path) -> Option<(GroupId, ReplicaId)> {
    let name = path.file_name()?.to_str()?;
    let (group, replica) = name.rsplit_once('-')?;
    let group = match group.split_once('-') {
        None if group == "meta" => GroupId::Meta,
        Some(("shard", shard)) => GroupId::Shard(ShardId(shard.parse().ok()?)),
        None | Some(_) => return None,
    };
    Some((group, ReplicaId(replica.parse().ok()?)))
}

impl Store {
    /// Opens or creates the store in `dir`: recovers the log (R6) and finds the replicas. Blocks.
    /// `on_poison` is called once, from the log's thread, when the store can no longer be
    /// trusted: the node must exit (R5).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
        options: StoreOptions,
        on_poison: OnPoison,
    ) -> Result<Self, OpenError> {
        let dir = dir.into();
        let failed = |source| OpenError::Disk {
            path: dir.clone(),
            source,
        };
        let replicas = dir.join("replicas");
        create_dir(disk.as_ref(), &dir).map_err(failed)?;
        create_dir(disk.as_ref(), &replicas).map_err(failed)?;
        let of_log = dir.join("log");
        let wal = WalOptions {
            segment_bytes: options.segment_bytes,
            cache_bytes: options.cache_bytes,
            carry_bytes: options.segment_bytes / 64,
            budget: options.log_budget,
            ..WalOptions::new(options.rng)
        };
        let losses =
            Losses::open(Arc::clone(&disk), &dir, Arc::clone(&options.metrics)).map_err(failed)?;
        let wal = losses.open_log(&of_log, wal)?;
        let limits = Limits {
            snapshot_after: options.snapshot_after,
            log_budget: options.log_budget,
        };
        let share = NodeShare::new(
            Arc::clone(&disk),
            Arc::clone(&options.clock),
            options.reserve,
            Arc::clone(&options.metrics),
            Arc::clone(&on_poison),
        );
        let parts = LogParts {
            disk: Arc::clone(&disk),
            dir: of_log,
            clock: options.clock,
            reserve: options.reserve,
            queue_bytes: options.queue_bytes,
            on_poison,
            metrics: options.metrics,
        };
        let log = Log::start(wal, parts).map_err(failed)?;
        Ok(Self {
            disk,
            replicas,
            log,
            losses,
            share,
            limits,
        })
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Replicas that have been started in this store and not removed, in order. Blocks.
    pub fn replicas(&self) -> io::Result<Vec<(GroupId, ReplicaId)>> {
        let paths = self.disk.list(&self.replicas)?;
        let mut found: Vec<_> = paths.iter().filter_map(|path| parse(path)).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The last entry of a replica's log, of one that runs or not; `None` if it has none.
    #[must_use]
    pub fn last_entry(&self, replica: ReplicaId) -> Option<crate::LogPosition> {
        self.log.extent(replica.0).last
    }

    /// True if the replica has anything here: a log or a snapshot. One that was to be made and was
    /// not has neither. Blocks.
    pub fn holds(&self, group: GroupId, replica: ReplicaId) -> io::Result<bool> {
        if self.log.extent(replica.0).last.is_some() {
            return Ok(true);
        }
        if !self.replicas()?.contains(&(group, replica)) {
            return Ok(false);
        }
        let files = self.disk.list(&self.replicas.join(name(group, replica)))?;
        Ok(files
            .iter()
            .any(|path| path.extension().is_some_and(|end| end == "snapshot")))
    }

    /// Replicas here whose data is lost (R6), in order: they never run again, and another must be
    /// made under a fresh id.
    #[must_use]
    pub fn lost(&self) -> Vec<(GroupId, ReplicaId)> {
        self.losses.all()
    }

    /// Puts the files of a replica that nobody knows aside, into `unknown` beside the log (R9): it is
    /// here no more, and nothing of it is deleted. Where they are now. Blocks.
    pub fn put_aside(&self, group: GroupId, replica: ReplicaId) -> io::Result<PathBuf> {
        self.losses.put_aside(group, replica)
    }

    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Deletes all a stopped replica has on this disk, files last. Its id never comes back. A
    /// crash between leaves the replica here and empty: call it again.
    pub async fn remove(&self, group: GroupId, replica: ReplicaId) -> io::Result<()> {
        let removal = Record::new(RecordKind::Removal, 0, 0);
        self.log
            .submit_and_wait(Job::new(replica.0, vec![removal]))
            .await?;
        let (disk, replicas) = (Arc::clone(&self.disk), self.replicas.clone());
        let dir = replicas.join(name(group, replica));
        let removed = tokio::task::spawn_blocking(move || {
            for path in disk.list(&dir)? {
                disk.remove(&path)?;
            }
            disk.remove_dir(&dir)?;
            disk.sync_dir(&replicas)
        });
        removed
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))?;
        self.losses.forget(group, replica);
        Ok(())
    }

    /// The log of the node.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Writes what waits and ends the log's thread. Stop the groups first.
    pub async fn close(&self) {
        self.share.close().await;
        self.log.close().await;
    }

    /// The snapshots of a replica, which from now on is here.
    pub(crate) fn snapshots(&self, group: GroupId, replica: ReplicaId) -> io::Result<Snapshots> {
        Snapshots::open(self.share.clone(), self.replicas.join(name(group, replica)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicas_directory_names_its_group() {
        for group in [GroupId::Meta, GroupId::Shard(ShardId(12))] {
            let found = (group, ReplicaId(7));
            assert_eq!(
                parse(Path::new(&format!("/d/{}", name(group, ReplicaId(7))))),
                Some(found)
            );
        }
        for stranger in ["/d/shard-7", "/d/meta-x", "/d/other-1-2", "/d/lost+found"] {
            assert_eq!(parse(Path::new(stranger)), None, "{stranger}");
        }
    }
}
