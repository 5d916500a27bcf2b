//! What a start finds in the segments. Where no record can be read, marks decide: if one says that
//! the log was durable beyond that place, the bytes are corrupt and nothing is touched (R6); if
//! none does, the log ends there and what follows is the tail of a buffer that was never synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use bytes::Bytes;
use fanfare_host::Disk;

use super::OpenError;
use super::aside;
use super::index::{Index, Used};
use super::record::{self, Found, HEAD, Record, RecordKind};
use super::roster::{Roster, Told};
use super::segment::{self, BODY, Place, Segment};

const CHUNK: usize = 64 << 10;

/// A segment that was read.
struct Scanned {
    segment: Segment,
    /// Where its records end.
    end: u64,
    /// Beyond `end` not all is zero.
    dirty: bool,
    /// Where its last buffer begins.
    last_buffer: u64,
}

/// Reads all segments of `dir` into `index`. The segment to go on in and the place where, `None`
/// if there is none yet.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    lost: &BTreeSet<u64>,
    index: &mut Index,
    roster: &mut Roster,
) -> Result<Option<(Segment, u64)>, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Disk { path, source }
    };
    aside::finish(disk, dir).map_err(failed(dir))?;
    let mut numbers = Vec::new();
    let mut unfinished = Vec::new();
    for path in disk.list(dir).map_err(failed(dir))? {
        if segment::is_unfinished(&path) {
            unfinished.push(path);
        } else if let Some(number) = segment::number(&path) {
            numbers.push(number);
        }
    }
    let mut vouched: BTreeMap<u64, u64> = BTreeMap::new();
    let mut scans = Vec::with_capacity(numbers.len());
    for (nth, &number) in numbers.iter().enumerate() {
        let path = segment::path(dir, number);
        if nth > 0 && numbers[nth - 1] + 1 != number {
            let what = format!("segment {} before it is missing", number - 1);
            return Err(OpenError::Corrupt {
                path,
                offset: 0,
                what,
            });
        }
        let opened = segment::open(disk, &path, number)?;
        index.segments.insert(
            number,
            Used {
                segment: opened.clone(),
                live: 0,
            },
        );
        let scan = scan(opened, lost, index, roster, &mut vouched).map_err(failed(&path))?;
        scans.push(scan);
    }
    for scan in &scans {
        if let Some(&durable) = vouched.get(&scan.segment.number)
            && durable > scan.end
        {
            return Err(OpenError::Corrupt {
                path: segment::path(dir, scan.segment.number),
                offset: scan.end,
                what: format!("the log was durable up to byte {durable}"),
            });
        }
    }
    check_holes(dir, index)?;

    for path in unfinished {
        disk.remove(&path).map_err(failed(&path))?;
    }
    let tail = scans.iter().rposition(|scan| scan.end > BODY).unwrap_or(0);
    for scan in scans.drain(scans.len().min(tail + 1)..) {
        let path = segment::path(dir, scan.segment.number);
        disk.remove(&path).map_err(failed(&path))?;
        index.segments.remove(&scan.segment.number);
    }
    disk.sync_dir(dir).map_err(failed(dir))?;
    let Some(last) = scans.pop() else {
        return Ok(None);
    };
    let path = segment::path(dir, last.segment.number);
    refresh(&last).map_err(failed(&path))?;
    Ok(Some((last.segment, last.end)))
}

/// Reads one segment's records into `index`, and its marks into `vouched`.
fn scan(
    segment: Segment,
    lost: &BTreeSet<u64>,
    index: &mut Index,
    roster: &mut Roster,
    vouched: &mut BTreeMap<u64, u64>,
) -> io::Result<Scanned> {
    let mut bytes = vec![0; usize::try_from(segment.bytes).unwrap_or(usize::MAX)];
    segment.file.read_exact_at(&mut bytes, 0)?;
    let mut vouch = |(number, durable): (u64, u64)| {
        let known = vouched.entry(number).or_default();
        *known = durable.max(*known);
    };
    let mut at = usize::try_from(BODY).unwrap_or(0);
    let mut last_buffer = BODY;
    while let Some(found) = record::decode(&bytes[at..], segment.salt) {
        if found.kind == RecordKind::Mark {
            vouch((found.term, found.index));
            last_buffer = at as u64;
        } else if found.kind == RecordKind::Roster {
            if let Some(told) = Told::read(&found, segment.number) {
                roster.learn(&told);
            }
        } else {
            let size = found.size();
            let place = Place {
                segment: segment.number,
                offset: at as u64,
                size: u32::try_from(size).unwrap_or(u32::MAX),
            };
            roster.note(found.replica, (place.segment, place.offset), size);
            if !lost.contains(&found.replica) {
                index.replay(found.replica, record(found), place);
            }
        }
        at += found.size();
    }
    let rest = &bytes[at..];
    let rest = &rest[..used(rest)];
    let dirty = !rest.is_empty();
    // A mark may end beyond the last byte that is not zero.
    let look = (rest.len() + HEAD).min(bytes.len() - at);
    let marks = record::marks(&bytes[at..at + look], segment.salt);
    marks.for_each(|(_, said)| vouch(said));
    Ok(Scanned {
        segment,
        end: at as u64,
        dirty,
        last_buffer,
    })
}

/// Length of `bytes` without the zeros at the end, rounded up.
pub(super) fn used(bytes: &[u8]) -> usize {
    let zeros = [0; CHUNK];
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        if bytes[start..end] != zeros[..end - start] {
            return end;
        }
        end = start;
    }
    0
}

/// A found record as one to be kept.
pub(super) fn record(found: Found<'_>) -> Record {
    let payload = Bytes::copy_from_slice(found.payload);
    Record {
        form: found.form,
        payload,
        ..Record::new(found.kind, found.term, found.index)
    }
}

/// A log whose entries are not consecutive has lost some.
pub(super) fn check_holes(dir: &Path, index: &Index) -> Result<(), OpenError> {
    for (replica, log) in &index.replicas {
        let mut expected = log.purged.map_or(0, |at| at.index + 1);
        for (&at, slot) in &log.slots {
            if at != expected {
                let place = slot
                    .place
                    .map_or((0, 0), |place| (place.segment, place.offset));
                return Err(OpenError::Corrupt {
                    path: segment::path(dir, place.0),
                    offset: place.1,
                    what: format!("replica {replica} has entry {at} and not {expected}"),
                });
            }
            expected = at + 1;
        }
    }
    Ok(())
}

/// Wipes what is behind the end and makes the last buffer durable. It is written again, since a
/// sync that failed before the restart may have left pages that the machine believes are clean.
fn refresh(last: &Scanned) -> io::Result<()> {
    let file = &last.segment.file;
    if last.dirty {
        let zeros = vec![0; 1 << 20];
        let mut at = last.end;
        while at < last.segment.bytes {
            let left = usize::try_from(last.segment.bytes - at).unwrap_or(usize::MAX);
            let some = &zeros[..left.min(zeros.len())];
            file.write_all_at(some, at)?;
            at += some.len() as u64;
        }
    }
    let mut buffer = vec![0; usize::try_from(last.end - last.last_buffer).unwrap_or(0)];
    file.read_exact_at(&mut buffer, last.last_buffer)?;
    file.write_all_at(&buffer, last.last_buffer)?;
    file.sync()
}
