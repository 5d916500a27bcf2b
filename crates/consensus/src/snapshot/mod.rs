//! Snapshots of a replica: one file, written or received beside, synced, then named (R4), and the
//! log may go only after that. What the snapshots of a node share is here too.

mod file;
mod receive;
mod send;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare_host::{Clock, Disk};
use tokio::sync::Semaphore;

use crate::raft_types::{LogId, SnapshotMeta};
use crate::wal::create_dir;
use crate::{FrozenState, Metrics, OnPoison, Reserve};
pub(crate) use file::{Haste, SnapshotFile};
pub(crate) use receive::Receiver;
pub(crate) use send::{Sender, Transfers};

/// Snapshots a node takes in at a time; more are told to come again.
const RECEIVING: usize = 4;

/// What the snapshots of one node share.
#[derive(Clone)]
pub(crate) struct NodeShare {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reserve: Reserve,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) on_poison: OnPoison,
    /// One is written at a time.
    pub(crate) building: Arc<Semaphore>,
    pub(crate) receiving: Arc<Semaphore>,
    /// Set when the store closes: nothing is written any more.
    closed: Arc<AtomicBool>,
}

impl NodeShare {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        reserve: Reserve,
        metrics: Arc<Metrics>,
        on_poison: OnPoison,
    ) -> Self {
        Self {
            disk,
            clock,
            reserve,
            metrics,
            on_poison,
            building: Arc::new(Semaphore::new(1)),
            receiving: Arc::new(Semaphore::new(RECEIVING)),
            closed: Arc::default(),
        }
    }

    /// Ends what is being written, and waits until it has: another process may open the store next.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        // An error means that nothing is written any more, which is what is waited for.
        drop(self.building.acquire().await);
        self.building.close();
    }

    fn open(&self) -> io::Result<()> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(io::Error::new(
                io::ErrorKind::Interrupted,
                "the store is closed",
            ));
        }
        Ok(())
    }

    /// An error if there is no room for a snapshot. It may use half of the log's reserve, since it
    /// is what lets the log shrink; the other half is for votes and the next segment (R15).
    fn room(&self, dir: &Path) -> io::Result<()> {
        match self.disk.space(dir) {
            Ok(space) if space.free < self.reserve.of(space.total) / 2 => {
                let text = "a snapshot would use the log's reserve";
                Err(io::Error::new(io::ErrorKind::StorageFull, text))
            }
            // A volume that does not tell has room until a write fails.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Blocks for `time`. Without a runtime there is nobody to make room for.
    fn pause(&self, time: Duration) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.block_on(self.clock.sleep(time));
        }
    }
}

/// True for errors that say that the volume is full, which is no failure of the disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The snapshots of one replica. A clone is the same.
#[derive(Clone)]
pub(crate) struct Snapshots(Arc<Inner>);

struct Inner {
    share: NodeShare,
    dir: PathBuf,
    current: Mutex<Option<SnapshotFile>>,
    /// Written, and not told to openraft yet.
    prepared: Mutex<Option<SnapshotFile>>,
    /// Held while a file gets its name.
    placing: Mutex<()>,
    growth: Growth,
}

/// What decides when the next snapshot is due.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    /// Bytes of the entries applied since the last snapshot.
    logged: AtomicU64,
    /// The disk does not give back what was written.
    damaged: AtomicBool,
}

impl Growth {
    pub(crate) fn add(&self, bytes: u64) {
        self.logged.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    /// A snapshot has so many of the bytes.
    pub(crate) fn taken(&self, bytes: u64) {
        let less = |logged: u64| Some(logged.saturating_sub(bytes));
        // The closure always gives a number.
        self.logged
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
        self.damaged.store(false, Ordering::Relaxed);
    }

    pub(crate) fn damage(&self) {
        self.damaged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Snapshots {
    /// The snapshots in `dir`. What was being written or received is removed, the latest one is
    /// read whole: an error if it is not good (R10).
    pub(crate) fn open(share: NodeShare, dir: PathBuf) -> io::Result<Self> {
        let disk = Arc::clone(&share.disk);
        create_dir(disk.as_ref(), &dir)?;
        for path in disk.list(&dir)? {
            if path.extension().is_some_and(|end| end == "new") {
                disk.remove(&path)?;
            }
        }
        let mut paths = paths(disk.as_ref(), &dir)?;
        let latest = paths.pop();
        let opened = latest.map(|path| SnapshotFile::open(disk.as_ref(), path));
        let current = opened.transpose()?;
        for old in paths {
            disk.remove(&old)?;
        }
        Ok(Self(Arc::new(Inner {
            share,
            dir,
            current: Mutex::new(current),
            prepared: Mutex::default(),
            placing: Mutex::default(),
            growth: Growth::default(),
        })))
    }

    pub(crate) fn share(&self) -> &NodeShare {
        &self.0.share
    }

    pub(crate) fn growth(&self) -> &Growth {
        &self.0.growth
    }

    fn path(&self, last: Option<&LogId>) -> PathBuf {
        let (index, term) = last.map_or((0, 0), |id| (id.index, id.leader_id.term));
        self.0.dir.join(format!("{index:020}-{term:020}.snapshot"))
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.0.dir.join(name).with_extension("new")
    }

    /// The latest snapshot.
    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        lock(&self.0.current).clone()
    }

    /// What [`prepare`](Self::prepare) left, once.
    pub(crate) fn prepared(&self) -> Option<SnapshotFile> {
        lock(&self.0.prepared).take()
    }

    /// Leaves a snapshot for openraft, which asks for one when it is told to.
    pub(crate) fn prepare(&self, file: SnapshotFile) {
        *lock(&self.0.prepared) = Some(file);
    }

    /// Writes a state as the latest snapshot. Durable when it returns. Blocks.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        state: &mut dyn FrozenState,
        haste: Haste,
    ) -> io::Result<SnapshotFile> {
        let mut blocks = std::iter::from_fn(|| state.next_block().map(Ok));
        let written = self.keep(meta, &mut blocks, haste)?;
        self.0.share.metrics.snapshots_written.inc();
        Ok(written)
    }

    /// True if the file has its name here already.
    pub(crate) fn has(&self, file: &SnapshotFile) -> bool {
        file.path == self.path(file.meta.last_log_id.as_ref())
    }

    /// Takes a whole snapshot from anywhere as the latest one. Durable when it returns. Blocks.
    pub(crate) fn adopt(&self, from: &SnapshotFile) -> io::Result<SnapshotFile> {
        if self.has(from) {
            return Ok(from.clone());
        }
        if from.path.parent() == Some(self.0.dir.as_path()) {
            return self.place(from.clone());
        }
        self.keep(&from.meta, &mut from.blocks()?, Haste::Hurried)
    }

    fn keep(
        &self,
        meta: &SnapshotMeta,
        blocks: &mut dyn Iterator<Item = io::Result<Bytes>>,
        haste: Haste,
    ) -> io::Result<SnapshotFile> {
        let new = self.temporary("written");
        match file::fill(&self.0.share, &new, meta, haste, blocks) {
            Ok(written) => self.place(written),
            Err(error) => {
                self.discard(&new);
                Err(error)
            }
        }
    }

    /// Gives a synced file the name that makes it the latest snapshot, unless there is a later one.
    fn place(&self, mut file: SnapshotFile) -> io::Result<SnapshotFile> {
        let (disk, dir) = (&self.0.share.disk, &self.0.dir);
        let _turn = lock(&self.0.placing);
        self.0.share.open()?;
        if let Some(current) = self.current()
            && current.meta.last_log_id > file.meta.last_log_id
        {
            self.discard(&file.path);
            return Ok(current);
        }
        let path = self.path(file.meta.last_log_id.as_ref());
        disk.rename(&file.path, &path)?;
        disk.sync_dir(dir)?;
        file.path.clone_from(&path);
        *lock(&self.0.current) = Some(file.clone());
        // From here on the new one counts, whatever becomes of the old ones.
        for old in paths(disk.as_ref(), dir).unwrap_or_default() {
            if old < path {
                self.discard(&old);
            }
        }
        Ok(file)
    }

    /// Removes a file that is of no use; if that fails the next start or snapshot does it.
    fn discard(&self, path: &Path) {
        match self.0.share.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "an old or unfinished snapshot stays");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// The snapshots in a directory, the latest last.
fn paths(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = disk.list(dir)?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "snapshot"));
    Ok(paths)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod file_tests;
#[cfg(test)]
mod tests;
