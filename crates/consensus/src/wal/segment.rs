//! Segments: files of a fixed size, full of zeros before the first record. A new one is created,
//! filled, synced, named and its directory synced before it is used (R4), ahead of need.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use fanfare_host::{Disk, File, Open, Rng};

use super::OpenError;

/// Where the first record of a segment begins.
pub(super) const BODY: u64 = 64;

const MAGIC: &[u8; 8] = b"FANFWAL\0";
const FORMAT: u32 = 1;
const FILL: usize = 1 << 20;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) size: u32,
}

/// An open segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) salt: u32,
    pub(super) bytes: u64,
    pub(super) file: Arc<dyn File>,
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:010}.wal"))
}

/// The number in a segment's name.
pub(super) fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_suffix(".wal")?;
    if digits.len() != 10 {
        None
    } else {
        digits.parse().ok()
    }
}

/// True if `path` is a segment that was being made.
pub(super) fn is_unfinished(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(".wal.new"))
}

/// Makes segment `number`, durable in every respect when it returns.
pub(super) fn prepare(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    salt: u32,
    bytes: u64,
) -> io::Result<Segment> {
    let to = path(dir, number);
    let from = to.with_extension("wal.new");
    let file = disk.open(&from, Open::Create)?;
    let zeros = vec![0; FILL.min(usize::try_from(bytes).unwrap_or(FILL))];
    let mut at = 0;
    while at < bytes {
        let rest = usize::try_from(bytes - at).unwrap_or(FILL).min(zeros.len());
        file.write_all_at(&zeros[..rest], at)?;
        at += rest as u64;
    }
    let mut head = Vec::with_capacity(36);
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&salt.to_le_bytes());
    head.extend_from_slice(&number.to_le_bytes());
    head.extend_from_slice(&bytes.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    file.write_all_at(&head, 0)?;
    file.sync()?;
    disk.rename(&from, &to)?;
    disk.sync_dir(dir)?;
    Ok(Segment {
        number,
        salt,
        bytes,
        file: Arc::from(file),
    })
}

/// Opens a segment and checks its head.
pub(super) fn open(disk: &dyn Disk, path: &Path, number: u64) -> Result<Segment, OpenError> {
    let failed = |source| OpenError::Disk {
        path: path.to_path_buf(),
        source,
    };
    let corrupt = |what: &str| OpenError::Corrupt {
        path: path.to_path_buf(),
        offset: 0,
        what: what.to_owned(),
    };
    let file = disk.open(path, Open::Write).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    if length < BODY {
        return Err(corrupt("the file is shorter than its head"));
    }
    let mut head = [0; 36];
    file.read_exact_at(&mut head, 0).map_err(failed)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    if crc32c::crc32c(&head[..32]) != word(32) || &head[..8] != MAGIC {
        return Err(corrupt("bad head"));
    }
    if word(8) != FORMAT {
        let path = path.to_path_buf();
        return Err(OpenError::Newer {
            path,
            found: word(8),
            known: FORMAT,
        });
    }
    if long(16) != number {
        return Err(corrupt("the head has another segment's number"));
    }
    if long(24) != length {
        return Err(corrupt("the file has not the length its head says"));
    }
    Ok(Segment {
        number,
        salt: word(12),
        bytes: length,
        file: Arc::from(file),
    })
}

/// Where new segments come from.
pub(super) trait Supply: Send {
    /// Segment `number` will be needed.
    fn ask(&mut self, number: u64);
    /// Segment `number`, asked for or not.
    fn take(&mut self, number: u64) -> io::Result<Segment>;
}

/// Makes segments.
#[derive(Clone)]
pub(super) struct Maker {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) bytes: u64,
}

impl Maker {
    pub(super) fn make(&self, number: u64) -> io::Result<Segment> {
        let salt = u32::try_from(self.rng.next_u64() >> 32).unwrap_or(1);
        prepare(self.disk.as_ref(), &self.dir, number, salt, self.bytes)
    }
}

/// Makes a segment when it is taken.
impl Supply for Maker {
    fn ask(&mut self, _number: u64) {}

    fn take(&mut self, number: u64) -> io::Result<Segment> {
        self.make(number)
    }
}

/// Makes the next segment ahead of need, on a thread that ends with this value.
pub(super) struct Ahead {
    asks: Option<mpsc::SyncSender<u64>>,
    made: mpsc::Receiver<(u64, io::Result<Segment>)>,
    asked: Option<u64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ahead {
    pub(super) fn spawn(maker: Maker) -> io::Result<Self> {
        let (asks, asked) = mpsc::sync_channel(1);
        let (make, made) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("log-fill".to_owned())
            .spawn(move || {
                for number in asked {
                    if make.send((number, maker.make(number))).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            asks: Some(asks),
            made,
            asked: None,
            thread: Some(thread),
        })
    }
}

/// Waits for the thread: a log that is opened again must not meet a segment in the making.
impl Drop for Ahead {
    fn drop(&mut self) {
        self.asks = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that makes segments panicked");
        }
    }
}

impl Supply for Ahead {
    fn ask(&mut self, number: u64) {
        if self.asked.is_none()
            && let Some(asks) = &self.asks
            && asks.try_send(number).is_ok()
        {
            self.asked = Some(number);
        }
    }

    fn take(&mut self, number: u64) -> io::Result<Segment> {
        let gone = || io::Error::other("the thread that makes segments ended");
        if self.asked.is_none() {
            let asks = self.asks.as_ref().ok_or_else(gone)?;
            asks.send(number).map_err(|_| gone())?;
        }
        self.asked = None;
        let (made, segment) = self.made.recv().map_err(|_| gone())?;
        debug_assert_eq!(made, number);
        segment
    }
}
