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
/// Bytes of a segment's head.
const HEAD: usize = 36;

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
    match disk.remove(&from) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&from, Open::Create)?;
    let zeros = vec![0; FILL.min(usize::try_from(bytes).unwrap_or(FILL))];
    let mut at = 0;
    while at < bytes {
        let rest = usize::try_from(bytes - at).unwrap_or(FILL).min(zeros.len());
        file.write_all_at(&zeros[..rest], at)?;
        at += rest as u64;
    }
    let mut head = Vec::with_capacity(HEAD);
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

/// A segment's file, read whole whatever is wrong with it.
pub(super) struct Whole {
    pub(super) salt: u32,
    /// As many as the head says; zeros where the file is too short.
    pub(super) bytes: Vec<u8>,
    /// What is wrong with the file, though its records can be read; the head in `bytes` is right.
    pub(super) flaw: Option<String>,
    /// Where a file that is too short ends: what stood behind is gone.
    pub(super) cut: Option<u64>,
}

/// Reads a segment to look at. The inner error says why nothing of it can be read.
pub(super) fn read(
    disk: &dyn Disk,
    path: &Path,
    number: u64,
) -> Result<Result<Whole, String>, OpenError> {
    let failed = |source| OpenError::Disk {
        path: path.to_path_buf(),
        source,
    };
    let file = disk.open(path, Open::Read).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let Some(found) = bytes
        .get(..HEAD)
        .and_then(|head| <[u8; HEAD]>::try_from(head).ok())
    else {
        return Ok(Err("the file is shorter than its head".to_owned()));
    };
    let mut flaw = None;
    let head = match Head::read(&found) {
        Some(head) => head,
        None => {
            let Some((head, mended)) = mend(found).filter(|(head, _)| head.number == number) else {
                return Ok(Err("bad head".to_owned()));
            };
            bytes[..HEAD].copy_from_slice(&mended);
            flaw = Some("one byte of the head is bad".to_owned());
            head
        }
    };
    if head.format != FORMAT {
        return Err(OpenError::Newer {
            path: path.to_path_buf(),
            found: head.format,
            known: FORMAT,
        });
    }
    if head.number != number {
        return Ok(Err("the head has another segment's number".to_owned()));
    }
    let cut = Some(length).filter(|length| *length < head.bytes);
    if head.bytes != length {
        flaw = Some(format!("it has {length} bytes and not {}", head.bytes));
        bytes.resize(usize::try_from(head.bytes).unwrap_or(usize::MAX), 0);
    }
    Ok(Ok(Whole {
        salt: head.salt,
        bytes,
        flaw,
        cut,
    }))
}

/// The head that differs in one byte from `found`.
fn mend(found: [u8; HEAD]) -> Option<(Head, [u8; HEAD])> {
    for at in 0..HEAD {
        for other in 1..=u8::MAX {
            let mut head = found;
            head[at] ^= other;
            if let Some(read) = Head::read(&head) {
                return Some((read, head));
            }
        }
    }
    None
}

/// What a segment's head says.
struct Head {
    format: u32,
    salt: u32,
    number: u64,
    bytes: u64,
}

impl Head {
    /// `None` if the bytes are no head.
    fn read(head: &[u8; HEAD]) -> Option<Self> {
        let word =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        if crc32c::crc32c(&head[..32]) != word(32) || &head[..8] != MAGIC {
            return None;
        }
        Some(Self {
            format: word(8),
            salt: word(12),
            number: long(16),
            bytes: long(24),
        })
    }
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
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, 0).map_err(failed)?;
    let head = Head::read(&head).ok_or_else(|| corrupt("bad head"))?;
    if head.format != FORMAT {
        let path = path.to_path_buf();
        return Err(OpenError::Newer {
            path,
            found: head.format,
            known: FORMAT,
        });
    }
    if head.number != number {
        return Err(corrupt("the head has another segment's number"));
    }
    if head.bytes != length {
        return Err(corrupt("the file has not the length its head says"));
    }
    Ok(Segment {
        number,
        salt: head.salt,
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
    maker: Maker,
    asks: Option<mpsc::SyncSender<u64>>,
    made: mpsc::Receiver<(u64, io::Result<Segment>)>,
    asked: Option<u64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ahead {
    pub(super) fn spawn(maker: Maker) -> io::Result<Self> {
        let (asks, asked) = mpsc::sync_channel(1);
        let (make, made) = mpsc::sync_channel(1);
        let own = maker.clone();
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
            maker: own,
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
        match segment {
            // What lacked then may be there now.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => self.maker.make(number),
            made => made,
        }
    }
}
