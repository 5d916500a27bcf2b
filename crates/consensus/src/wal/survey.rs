//! A look at the log that changes nothing: what of it can be read, where bytes are bad that were
//! durable, and whose records may have been there. For a start that met corruption, and the doctor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fanfare_host::{Disk, Open};

use super::index::{Index, Used};
use super::record::{self, Found, HEAD, RecordKind};
use super::recovery::{self, used};
use super::roster::{Spot, Told};
use super::segment::{self, BODY, Place};
use super::{Extent, OpenError};

/// How far behind a bad record every byte is tried as the beginning of the next.
const NEAR: usize = 64 << 10;

/// Bytes of a segment that were durable and are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub path: PathBuf,
    pub segment: u64,
    /// First bad byte, and the first behind that can be read again.
    pub from: u64,
    pub to: u64,
    pub what: String,
}

/// A segment as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub path: PathBuf,
    pub number: u64,
    pub bytes: u64,
    /// Bytes up to the last record.
    pub used: u64,
    /// Bytes that some replica still needs.
    pub live: u64,
}

/// What is in a log.
#[derive(Debug, Default)]
pub struct Survey {
    pub segments: Vec<SegmentFacts>,
    /// In the order of the log.
    pub bad: Vec<Stretch>,
    /// Replicas that may have had records in bad stretches; `None`: it cannot be told.
    pub suspects: Option<BTreeSet<u64>>,
    /// Of each replica with a record.
    pub replicas: BTreeMap<u64, Extent>,
    /// Bytes that each replica needs.
    pub live: BTreeMap<u64, u64>,
}

/// What reading a segment from its beginning meets.
enum Step<'a> {
    Record(usize, Found<'a>),
    /// Nothing to read up to the second place.
    Bad(usize, usize),
    /// No record from here on.
    End(usize),
}

/// Reads as far as anything can be read; `see` says whether to go on.
fn walk<'a>(bytes: &'a [u8], salt: u32, mut see: impl FnMut(Step<'a>) -> bool) {
    let mut at = usize::try_from(BODY).unwrap_or(0);
    loop {
        while let Some(found) = record::decode(&bytes[at..], salt) {
            if !see(Step::Record(at, found)) {
                return;
            }
            at += found.size();
        }
        let Some(next) = resume(&bytes[at..], salt) else {
            see(Step::End(at));
            return;
        };
        if !see(Step::Bad(at, at + next)) {
            return;
        }
        at += next;
    }
}

/// Where behind a bad record the next one begins: where its length says, or wherever one is found
/// nearby, or at the next mark. The salt keeps a payload from looking like a record.
fn resume(bytes: &[u8], salt: u32) -> Option<usize> {
    let end = used(bytes);
    let length = bytes.get(4..8)?.try_into().ok().map(u32::from_le_bytes)?;
    let told = usize::try_from(length).ok()?.checked_add(HEAD)?;
    if told < end && record::decode(&bytes[told..], salt).is_some() {
        return Some(told);
    }
    let near = (1..NEAR.min(end)).find(|at| record::decode(&bytes[*at..], salt).is_some());
    if near.is_some() {
        return near;
    }
    // A mark may end beyond the last byte that is not zero.
    let look = bytes.get(1..(end + HEAD).min(bytes.len()))?;
    let (at, _) = record::marks(look, salt).next()?;
    Some(at + 1)
}

/// Finds out whose records were in bad stretches.
#[derive(Default)]
struct Inquest {
    /// How many records of each replica there should be so far, of whom it is known.
    counts: BTreeMap<u64, u64>,
    /// True if who is not among them has none.
    complete: bool,
    /// Where the first stretch begins that no roster behind has told of.
    open: Option<Spot>,
    suspects: BTreeSet<u64>,
    unknown: bool,
}

impl Inquest {
    fn record(&mut self, replica: u64) {
        if self.complete {
            self.counts.entry(replica).or_insert(0);
        }
        if let Some(count) = self.counts.get_mut(&replica) {
            *count += 1;
        }
    }

    fn bad(&mut self, at: Spot) {
        self.open.get_or_insert(at);
    }

    fn roster(&mut self, told: &Told) {
        if let Some(open) = self.open.take() {
            self.unknown |= told.horizon > open;
            for (replica, row) in told.rows.iter().filter(|(_, row)| row.last >= open) {
                let none = self.complete.then_some(&0);
                let found = self.counts.get(replica).or(none);
                if found != Some(&row.count) {
                    self.suspects.insert(*replica);
                }
            }
        }
        self.counts
            .extend(told.rows.iter().map(|(id, row)| (*id, row.count)));
        self.complete |= told.horizon.0 == 0;
    }

    fn end(self) -> Option<BTreeSet<u64>> {
        let known = !self.unknown && self.open.is_none();
        known.then_some(self.suspects)
    }
}

/// Looks at the log in `dir`, passing over the records of `lost` replicas. Blocks.
pub fn survey(disk: &dyn Disk, dir: &Path, lost: &BTreeSet<u64>) -> Result<Survey, OpenError> {
    let listed = disk.list(dir).map_err(|source| OpenError::Disk {
        path: dir.to_path_buf(),
        source,
    })?;
    let numbers: Vec<u64> = listed.iter().filter_map(|p| segment::number(p)).collect();
    let mut vouched: BTreeMap<u64, u64> = BTreeMap::new();
    for &number in &numbers {
        let Ok(whole) = segment::read(disk, &segment::path(dir, number), number)? else {
            continue;
        };
        walk(&whole.bytes, whole.salt, |step| {
            if let Step::Record(_, found) = step
                && found.kind == RecordKind::Mark
            {
                let known = vouched.entry(found.term).or_default();
                *known = found.index.max(*known);
            }
            true
        });
    }

    let mut survey = Survey::default();
    let mut inquest = Inquest {
        // From the log's first record on, nobody had any before.
        complete: numbers.first() == Some(&1),
        ..Inquest::default()
    };
    let mut index = Index::new(0);
    for (nth, &number) in numbers.iter().enumerate() {
        let path = segment::path(dir, number);
        let stretch = |from, to, what: &str| Stretch {
            path: path.clone(),
            segment: number,
            from,
            to,
            what: what.to_owned(),
        };
        if nth > 0 && numbers[nth - 1] + 1 != number {
            inquest.bad((numbers[nth - 1] + 1, 0));
            let what = format!("segment {} before it is missing", number - 1);
            survey.bad.push(stretch(0, 0, &what));
        }
        let whole = match segment::read(disk, &path, number)? {
            Ok(whole) => whole,
            Err(what) => {
                inquest.bad((number, 0));
                survey.bad.push(stretch(0, 0, &what));
                continue;
            }
        };
        if let Some(what) = &whole.flaw {
            survey.bad.push(stretch(0, BODY, what));
        }
        let file = disk.open(&path, Open::Read);
        let file = file.map_err(|source| OpenError::Disk {
            path: path.clone(),
            source,
        })?;
        let segment = segment::Segment {
            number,
            salt: whole.salt,
            bytes: whole.bytes.len() as u64,
            file: std::sync::Arc::from(file),
        };
        index.segments.insert(number, Used { segment, live: 0 });
        let durable = vouched.get(&number).copied().unwrap_or(0);
        let mut end = BODY;
        walk(&whole.bytes, whole.salt, |step| {
            let (from, to) = match step {
                Step::Record(at, found) => {
                    end = (at + found.size()) as u64;
                    take(&found, (number, at as u64), lost, &mut index, &mut inquest);
                    return true;
                }
                Step::Bad(from, to) => (from as u64, to as u64),
                Step::End(at) => (at as u64, durable),
            };
            if from >= durable {
                return false;
            }
            inquest.bad((number, from));
            let what = format!("the log was durable up to byte {durable}");
            survey.bad.push(stretch(from, to, &what));
            true
        });
        if let Some(cut) = whole.cut {
            // No mark of the part that is gone can say how far it was durable.
            inquest.bad((number, cut.min(end)));
        }
        survey.segments.push(SegmentFacts {
            path,
            number,
            bytes: whole.bytes.len() as u64,
            used: end,
            live: 0,
        });
    }
    for facts in &mut survey.segments {
        facts.live = index
            .segments
            .get(&facts.number)
            .map_or(0, |used| used.live);
    }
    survey.suspects = inquest.end();
    let ids = index.replicas.keys();
    survey.replicas = ids.map(|id| (*id, index.extent(*id))).collect();
    survey.live = index.live_of_each();
    let suspects = survey.suspects.clone().unwrap_or_default();
    index.replicas.retain(|id, _| !suspects.contains(id));
    if survey.suspects.is_some()
        && let Err(OpenError::Corrupt { path, offset, what }) = recovery::check_holes(dir, &index)
    {
        let segment = segment::number(&path).unwrap_or(0);
        survey.bad.push(Stretch {
            path,
            segment,
            from: offset,
            to: offset,
            what,
        });
        survey.suspects = None;
    }
    Ok(survey)
}

fn take(
    found: &Found<'_>,
    at: Spot,
    lost: &BTreeSet<u64>,
    index: &mut Index,
    inquest: &mut Inquest,
) {
    match found.kind {
        RecordKind::Mark => {}
        RecordKind::Roster => {
            match Told::read(found, at.0) {
                Some(told) => inquest.roster(&told),
                // A filling: something stood here.
                None => inquest.bad(at),
            }
        }
        RecordKind::Entry
        | RecordKind::Vote
        | RecordKind::Truncation
        | RecordKind::Purge
        | RecordKind::Committed
        | RecordKind::Removal => {
            inquest.record(found.replica);
            if !lost.contains(&found.replica) {
                let place = Place {
                    segment: at.0,
                    offset: at.1,
                    size: u32::try_from(found.size()).unwrap_or(u32::MAX),
                };
                index.replay(found.replica, recovery::record(*found), place);
            }
        }
    }
}
