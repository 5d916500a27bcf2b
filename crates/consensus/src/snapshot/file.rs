//! The file of a snapshot: head and blocks with checksums, and a trailer that says that it is
//! whole. Where files lie and which one counts is not in here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_host::{Disk, File, Open};

use super::NodeShare;
use crate::format;
use crate::raft_types::SnapshotMeta;

const MAGIC: &[u8; 8] = b"FANFSNP\0";
const FORMAT: u32 = 1;
/// Written bytes after which a sync paces the writing.
const SYNC_EVERY: u64 = 4 << 20;
/// The longest pause after a sync.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// No block is larger, so that a bad length cannot ask for all memory.
const LARGEST_BLOCK: u32 = 64 << 20;

/// A whole snapshot on disk. It stays readable through this value when a newer one has taken its
/// place.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    pub(super) path: PathBuf,
    pub(crate) meta: SnapshotMeta,
    /// Bytes of the file.
    pub(crate) length: u64,
    file: Arc<dyn File>,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// With pauses, so that the log's syncs find the disk free half of the time.
    Paced,
    /// As fast as the disk takes it.
    Hurried,
}

pub(super) fn corrupt(path: &Path, what: &str) -> io::Error {
    let text = format!("snapshot {} is corrupt: {what}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Writes a snapshot to a new file at `path`, durable but for its name.
pub(super) fn fill(
    share: &NodeShare,
    path: &Path,
    meta: &SnapshotMeta,
    haste: Haste,
    blocks: &mut dyn Iterator<Item = io::Result<Bytes>>,
) -> io::Result<SnapshotFile> {
    let head = format::snapshot_head(meta.last_log_id.as_ref(), &meta.last_membership);
    let mut out = Output::create(share, path, haste)?;
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
    out.file.sync()?;
    Ok(SnapshotFile {
        path: path.to_path_buf(),
        meta: meta.clone(),
        length: out.at,
        file: Arc::from(out.file),
    })
}

/// A file that is written from its beginning, with a sync for each few MiB.
pub(super) struct Output {
    share: NodeShare,
    file: Box<dyn File>,
    dir: PathBuf,
    at: u64,
    synced: u64,
    since: Duration,
    haste: Haste,
}

impl Output {
    /// A new file at `path`; what was left there by a failure before goes.
    pub(super) fn create(share: &NodeShare, path: &Path, haste: Haste) -> io::Result<Self> {
        let dir = path.parent().unwrap_or(path).to_path_buf();
        share.room(&dir)?;
        match share.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            share: share.clone(),
            file: share.disk.open(path, Open::Create)?,
            dir,
            at: 0,
            synced: 0,
            since: share.clock.now(),
            haste,
        })
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        if self.at - self.synced >= SYNC_EVERY {
            self.share.open()?;
            self.file.sync()?;
            self.synced = self.at;
            self.share.room(&self.dir)?;
            let now = self.share.clock.now();
            if self.haste == Haste::Paced {
                self.share
                    .pause(now.saturating_sub(self.since).min(LONGEST_PAUSE));
            }
            self.since = self.share.clock.now();
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
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
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf) -> io::Result<Self> {
        let file: Arc<dyn File> = Arc::from(disk.open(&path, Open::Read)?);
        let length = file.len()?;
        let mut input = Input::open(Arc::clone(&file), &path)?;
        let head = input.head.clone();
        while input.next_block()?.is_some() {}
        let (last_log_id, last_membership) =
            format::read_snapshot_head(head).map_err(|error| corrupt(&path, &error.what))?;
        let meta = SnapshotMeta {
            last_log_id,
            last_membership,
        };
        Ok(Self {
            path,
            meta,
            length,
            file,
        })
    }

    /// Reads all of it again. An error if the disk does not give back what was written.
    pub(crate) fn verify(&self) -> io::Result<()> {
        self.blocks()?.try_for_each(|block| block.map(drop))
    }

    /// The blocks of the state, checked one by one, the trailer after the last.
    pub(crate) fn blocks(&self) -> io::Result<impl Iterator<Item = io::Result<Bytes>> + use<>> {
        let mut input = Input::open(Arc::clone(&self.file), &self.path)?;
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

    /// The file's bytes from `at`, at most `most` of them; none at its end.
    pub(crate) fn read(&self, at: u64, most: u64) -> io::Result<Bytes> {
        let size = self.length.saturating_sub(at).min(most);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Bytes::from(bytes))
    }
}

/// A snapshot that is being read.
struct Input {
    file: Arc<dyn File>,
    path: PathBuf,
    at: u64,
    head: Bytes,
    sum: u32,
    count: u64,
}

impl Input {
    fn open(file: Arc<dyn File>, path: &Path) -> io::Result<Self> {
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
