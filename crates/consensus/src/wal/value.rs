//! The log as a synchronous value: `open`, `commit`, `read`. One write and one sync for all that
//! is committed together; the first failure is the last call that does anything (R5).

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fanfare_host::{Disk, Rng};

use super::index::{self, Extent, Index, Read, Used};
use super::record::{self, HEAD, Record, RecordKind};
use super::roster::Roster;
use super::segment::{self, Ahead, BODY, Maker, Place, Segment, Supply};
use super::{Job, OpenError, lock, recovery};

/// Sizes of a log.
#[derive(Clone)]
pub struct WalOptions {
    /// Draws the salts of segments.
    pub rng: Arc<dyn Rng>,
    /// Bytes of a segment; a record must fit into one.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub cache_bytes: usize,
    /// The oldest segment is emptied by writing its needed records again if they are at most so
    /// many bytes.
    pub carry_bytes: u64,
    /// Bytes of all segments above which a quarter of the oldest may be written again.
    pub budget: u64,
    /// Make segments ahead of need, on a thread of their own.
    pub ahead: bool,
    /// Replicas whose records are passed over: they are lost (R6).
    pub lost: BTreeSet<u64>,
}

impl WalOptions {
    /// Segments of 64 MiB.
    #[must_use]
    pub fn new(rng: Arc<dyn Rng>) -> Self {
        Self {
            rng,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            carry_bytes: 1 << 20,
            budget: 2 << 30,
            ahead: true,
            lost: BTreeSet::new(),
        }
    }
}

/// An open log.
pub struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    index: Arc<Mutex<Index>>,
    supply: Box<dyn Supply>,
    current: Segment,
    /// Where the next buffer goes.
    at: u64,
    /// All before this is durable.
    durable: (u64, u64),
    buffer: Vec<u8>,
    roster: Roster,
    quiet: bool,
    failed: bool,
}

impl Wal {
    /// Opens or creates the log in `dir`. What is read is durable, and marked so, when it returns.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: WalOptions) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Disk {
            path: dir.to_path_buf(),
            source,
        };
        create_dir(disk.as_ref(), dir).map_err(failed)?;
        let mut index = Index::new(options.cache_bytes);
        let mut roster = Roster::default();
        let found = recovery::recover(disk.as_ref(), dir, &options.lost, &mut index, &mut roster)?;
        let maker = Maker {
            disk: Arc::clone(&disk),
            dir: dir.to_path_buf(),
            rng: Arc::clone(&options.rng),
            bytes: options.segment_bytes,
        };
        let (current, at) = match found {
            Some(end) => end,
            None => (maker.make(1).map_err(failed)?, BODY),
        };
        index
            .segments
            .entry(current.number)
            .or_insert_with(|| Used {
                segment: current.clone(),
                live: 0,
            });
        let mut supply: Box<dyn Supply> = if options.ahead {
            Box::new(Ahead::spawn(maker).map_err(failed)?)
        } else {
            Box::new(maker)
        };
        supply.ask(current.number + 1);
        let durable = (current.number, at);
        let mut wal = Self {
            disk,
            dir: dir.to_path_buf(),
            options,
            index: Arc::new(Mutex::new(index)),
            supply,
            current,
            at,
            durable,
            buffer: Vec::new(),
            roster,
            quiet: false,
            failed: false,
        };
        wal.rest().map_err(failed)?;
        Ok(wal)
    }

    pub(super) fn index(&self) -> &Arc<Mutex<Index>> {
        &self.index
    }

    /// The largest payload of a record.
    #[must_use]
    pub fn largest_payload(&self) -> usize {
        let body = usize::try_from(self.options.segment_bytes - BODY).unwrap_or(usize::MAX);
        body.saturating_sub(2 * HEAD)
    }

    /// Shows the records of a job to readers. Jobs are committed in the order of staging.
    pub fn stage(&self, job: &mut Job) {
        lock(&self.index).stage(job.replica, &mut job.records);
    }

    /// Makes the records of staged jobs durable, all with one write and one sync unless a segment
    /// ends between. After an error nothing is known of any of them, and the log takes no more.
    pub fn commit(&mut self, jobs: &[Job]) -> io::Result<()> {
        let records = jobs
            .iter()
            .flat_map(|job| job.records.iter().map(|r| (job.replica, r)));
        self.write(records, false)
    }

    /// Marks that all so far is durable. For a log that falls quiet: nothing else vouches for the
    /// last buffer.
    pub fn rest(&mut self) -> io::Result<()> {
        if !self.quiet {
            self.write(std::iter::empty(), true)?;
            self.quiet = true;
        }
        Ok(())
    }

    /// True if a mark says that all so far is durable.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Removes segments nobody needs, oldest first, and empties the oldest if little of it is
    /// needed. For after the completions of a commit.
    pub fn reclaim(&mut self) -> io::Result<()> {
        let mut carried = false;
        loop {
            let (oldest, live, full) = {
                let index = lock(&self.index);
                let full = index.bytes().1 > self.options.budget;
                match index.segments.first_key_value() {
                    Some((&number, used)) if number < self.current.number => {
                        (number, used.live, full)
                    }
                    _ => return Ok(()),
                }
            };
            let little = if full {
                self.options.segment_bytes / 4
            } else {
                self.options.carry_bytes
            };
            if live == 0 {
                self.disk.remove(&segment::path(&self.dir, oldest))?;
                self.disk.sync_dir(&self.dir)?;
                lock(&self.index).forget(oldest);
            } else if live <= little && oldest + 1 < self.current.number && !carried {
                carried = true;
                self.carry(oldest)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Writes again what is needed of `segment`.
    fn carry(&mut self, segment: u64) -> io::Result<()> {
        let (live, from) = {
            let index = lock(&self.index);
            let from = index
                .segments
                .get(&segment)
                .map(|used| used.segment.clone());
            (index.live_in(segment), from)
        };
        let Some(from) = from else { return Ok(()) };
        let mut records = Vec::with_capacity(live.len());
        for (replica, place) in live {
            let bytes = index::fetch(&from, place)?;
            let Some(found) = record::decode(&bytes, from.salt) else {
                continue;
            };
            let mut record = recovery::record(found);
            if record.kind == RecordKind::Entry {
                let serial = lock(&self.index).serial_of(replica, record.index);
                let Some(serial) = serial else { continue };
                record.serial = serial;
            }
            records.push((replica, record));
        }
        let records = records.iter().map(|(replica, record)| (*replica, record));
        self.write(records, false)
    }

    /// `rests`: the log falls quiet behind these.
    fn write<'a>(
        &mut self,
        records: impl Iterator<Item = (u64, &'a Record)>,
        rests: bool,
    ) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the log failed before"));
        }
        // Set until all went well: after a failed sync nothing may be written again (R5).
        self.failed = true;
        self.quiet = false;
        let mut written = Vec::new();
        self.begin(rests)?;
        for (replica, record) in records {
            if !self.fits(record.size()) {
                self.flush()?;
                self.roll()?;
                self.begin(false)?;
                if !self.fits(record.size()) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
            let place = Place {
                segment: self.current.number,
                offset: self.at + self.buffer.len() as u64,
                size: u32::try_from(record.size()).unwrap_or(u32::MAX),
            };
            record.encode(replica, self.current.salt, &mut self.buffer);
            let spot = (place.segment, place.offset);
            self.roster.note(replica, spot, record.size());
            written.push((replica, record, place));
        }
        self.flush()?;
        lock(&self.index).settle(&written);
        self.failed = false;
        Ok(())
    }

    fn fits(&self, size: usize) -> bool {
        self.at + (self.buffer.len() + size) as u64 <= self.current.bytes
    }

    /// Begins a buffer with its mark, and the roster if it is due. A segment's first buffer has
    /// none, so that the largest record fits in.
    fn begin(&mut self, rests: bool) -> io::Result<()> {
        self.buffer.clear();
        if !self.fits(HEAD) {
            self.roll()?;
        }
        let mark = Record::new(RecordKind::Mark, self.durable.0, self.durable.1);
        mark.encode(0, self.current.salt, &mut self.buffer);
        let due = self.roster.is_due() || (rests && self.roster.has_news());
        if due && self.at > BODY {
            let spot = (self.current.number, self.at + self.buffer.len() as u64);
            let roster = self.roster.record(spot, self.current.bytes);
            if self.fits(roster.size()) {
                roster.encode(0, self.current.salt, &mut self.buffer);
                self.roster.written(roster.size());
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let (dir, number) = (&self.dir, self.current.number);
        let named = |doing: &'static str| {
            move |error: io::Error| {
                let path = segment::path(dir, number);
                let text = format!("{doing} {} failed: {error}", path.display());
                io::Error::new(error.kind(), text)
            }
        };
        let written = self.current.file.write_all_at(&self.buffer, self.at);
        written.map_err(named("writing"))?;
        self.current.file.sync().map_err(named("syncing"))?;
        self.at += self.buffer.len() as u64;
        self.durable = (self.current.number, self.at);
        self.buffer.clear();
        Ok(())
    }

    fn roll(&mut self) -> io::Result<()> {
        let number = self.current.number + 1;
        let next = self.supply.take(number).map_err(|error| {
            let path = segment::path(&self.dir, number);
            let text = format!("making {} failed: {error}", path.display());
            io::Error::new(error.kind(), text)
        })?;
        self.supply.ask(next.number + 1);
        let used = Used {
            segment: next.clone(),
            live: 0,
        };
        lock(&self.index).segments.insert(next.number, used);
        self.current = next;
        self.at = BODY;
        Ok(())
    }

    /// The ends of a replica's log and its state.
    #[must_use]
    pub fn extent(&self, replica: u64) -> Extent {
        lock(&self.index).extent(replica)
    }

    /// Entries of `from..to`, at least one if there is one, else at most `limit` bytes.
    pub fn read(&self, replica: u64, from: u64, to: u64, limit: usize) -> io::Result<Vec<Read>> {
        index::read(&self.index, replica, from, to, limit)
    }

    /// Replicas that have a record.
    #[must_use]
    pub fn replicas(&self) -> Vec<u64> {
        lock(&self.index).replicas.keys().copied().collect()
    }
}

/// Makes a directory, durable with its name.
pub(crate) fn create_dir(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.create_dir_all(dir)?;
    disk.sync_dir(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent)?;
    }
    Ok(())
}
