//! Snapshots on disk: one file a replica, written beside, synced, then named (R4). Head and blocks
//! carry checksums, and a trailer says that the file is whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_host::{Disk, File, Open};

use crate::raft_types::{LogId, SnapshotMeta};
use crate::wal::create_dir;
use crate::{FrozenState, format};

const MAGIC: &[u8; 8] = b"FANFSNP\0";
const FORMAT: u32 = 1;
/// Written bytes after which a sync paces the writing.
const SYNC_EVERY: u64 = 4 << 20;
/// No block is larger, so that a bad length cannot ask for all memory.
const LARGEST_BLOCK: u32 = 64 << 20;

/// The snapshots of one replica.
#[derive(Clone)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

/// A whole snapshot on disk.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    pub(crate) meta: SnapshotMeta,
}

fn corrupt(path: &Path, what: &str) -> io::Error {
    let text = format!("snapshot {} is corrupt: {what}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Snapshots {
    /// The snapshots in `dir`; what was being written is removed.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        create_dir(disk.as_ref(), &dir)?;
        for path in disk.list(&dir)? {
            if path.extension().is_some_and(|end| end == "new") {
                disk.remove(&path)?;
            }
        }
        Ok(Self { disk, dir })
    }

    fn path(&self, last: Option<&LogId>) -> PathBuf {
        let (index, term) = last.map_or((0, 0), |id| (id.index, id.leader_id.term));
        self.dir.join(format!("{index:020}-{term:020}.snapshot"))
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.disk.list(&self.dir)?;
        paths.retain(|path| path.extension().is_some_and(|end| end == "snapshot"));
        Ok(paths)
    }

    /// The latest snapshot, read whole and found good.
    pub(crate) fn current(&self) -> io::Result<Option<SnapshotFile>> {
        let Some(path) = self.paths()?.pop() else {
            return Ok(None);
        };
        SnapshotFile::open(&self.disk, path).map(Some)
    }

    /// Writes a state as the latest snapshot. Durable when it returns.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        state: &mut dyn FrozenState,
    ) -> io::Result<SnapshotFile> {
        let mut blocks = std::iter::from_fn(|| state.next_block().map(Ok));
        self.keep(meta, &mut blocks)
    }

    /// Takes a snapshot from anywhere as the latest one. Durable when it returns.
    pub(crate) fn adopt(&self, from: &SnapshotFile) -> io::Result<SnapshotFile> {
        if from.path.parent() == Some(self.dir.as_path()) {
            return Ok(from.clone());
        }
        self.keep(&from.meta, &mut from.blocks()?)
    }

    fn keep(
        &self,
        meta: &SnapshotMeta,
        blocks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> io::Result<SnapshotFile> {
        let path = self.path(meta.last_log_id.as_ref());
        let new = path.with_extension("new");
        if let Err(error) = self.fill(&new, meta, blocks) {
            // What was begun is of no use; that it is gone too is not what failed.
            if let Err(error) = self.disk.remove(&new) {
                tracing::warn!(%error, "an unfinished snapshot stays behind");
            }
            return Err(error);
        }
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(&self.dir)?;
        for old in self.paths()? {
            if old != path {
                self.disk.remove(&old)?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(SnapshotFile {
            disk: Arc::clone(&self.disk),
            path,
            meta: meta.clone(),
        })
    }

    fn fill(
        &self,
        path: &Path,
        meta: &SnapshotMeta,
        blocks: &mut dyn Iterator<Item = io::Result<Bytes>>,
    ) -> io::Result<()> {
        let head = format::snapshot_head(meta.last_log_id.as_ref(), &meta.last_membership);
        let mut out = Output {
            file: self.disk.open(path, Open::Create)?,
            at: 0,
            synced: 0,
        };
        out.write(MAGIC)?;
        out.write(&FORMAT.to_le_bytes())?;
        let mut sum = out.block(&head)?;
        let mut count = 0_u64;
        for block in blocks {
            let block = block?;
            if block.len() > LARGEST_BLOCK as usize || block.is_empty() {
                let text = "a block is empty or too large";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            sum = crc32c::crc32c_append(sum, &out.block(&block)?.to_le_bytes());
            count += 1;
        }
        out.write(&0_u32.to_le_bytes())?;
        out.write(&count.to_le_bytes())?;
        out.write(&sum.to_le_bytes())?;
        out.file.sync()
    }
}

/// A file that is written from its beginning.
struct Output {
    file: Box<dyn File>,
    at: u64,
    synced: u64,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_EVERY {
            self.file.sync()?;
            self.synced = self.at;
        }
        Ok(())
    }

    /// Length, checksum, bytes; the checksum.
    fn block(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let sum = crc32c::crc32c(bytes);
        self.write(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        self.write(&sum.to_le_bytes())?;
        self.write(bytes)?;
        Ok(sum)
    }
}

impl SnapshotFile {
    /// Opens a snapshot and verifies all of it.
    fn open(disk: &Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        let mut input = Input::open(disk.as_ref(), &path)?;
        let head = input.head.clone();
        while input.next_block()?.is_some() {}
        let (last_log_id, last_membership) =
            format::read_snapshot_head(head).map_err(|error| corrupt(&path, &error.what))?;
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
        };
        Ok(Self {
            disk: Arc::clone(disk),
            path,
            meta,
        })
    }

    /// The blocks of the state, checked one by one, the trailer after the last.
    pub(crate) fn blocks(&self) -> io::Result<impl Iterator<Item = io::Result<Bytes>> + use<>> {
        let mut input = Input::open(self.disk.as_ref(), &self.path)?;
        let mut failed = false;
        Ok(std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let next = input.next_block().transpose();
            failed = matches!(next, Some(Err(_)));
            next
        }))
    }
}

/// A snapshot that is being read.
struct Input {
    file: Box<dyn File>,
    path: PathBuf,
    at: u64,
    head: Bytes,
    sum: u32,
    count: u64,
}

impl Input {
    fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let file = disk.open(path, Open::Read)?;
        let path = path.to_path_buf();
        let mut input = Self {
            file,
            path,
            at: 0,
            head: Bytes::new(),
            sum: 0,
            count: 0,
        };
        if input.take::<8>()? != *MAGIC {
            return Err(corrupt(&input.path, "bad magic"));
        }
        let format = u32::from_le_bytes(input.take()?);
        if format != FORMAT {
            let text = format!("snapshot {} has format {format}", input.path.display());
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let (head, sum) = input
            .block()?
            .ok_or_else(|| corrupt(&input.path, "it has no head"))?;
        (input.head, input.sum) = (head, sum);
        Ok(input)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, self.at).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                corrupt(&self.path, "it ends early")
            } else {
                error
            }
        })?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// A block and its checksum; `None` at the trailer.
    fn block(&mut self) -> io::Result<Option<(Bytes, u32)>> {
        let length = u32::from_le_bytes(self.take()?);
        if length == 0 {
            return Ok(None);
        }
        if length > LARGEST_BLOCK {
            return Err(corrupt(&self.path, "a block is too long"));
        }
        let sum = u32::from_le_bytes(self.take()?);
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        if crc32c::crc32c(&bytes) != sum {
            return Err(corrupt(&self.path, "a block's checksum is wrong"));
        }
        Ok(Some((Bytes::from(bytes), sum)))
    }

    fn next_block(&mut self) -> io::Result<Option<Bytes>> {
        if let Some((bytes, sum)) = self.block()? {
            self.sum = crc32c::crc32c_append(self.sum, &sum.to_le_bytes());
            self.count += 1;
            return Ok(Some(bytes));
        }
        let (count, sum) = (
            u64::from_le_bytes(self.take()?),
            u32::from_le_bytes(self.take()?),
        );
        if (count, sum) != (self.count, self.sum) || self.at != self.file.len()? {
            return Err(corrupt(&self.path, "the trailer is wrong"));
        }
        Ok(None)
    }
}
