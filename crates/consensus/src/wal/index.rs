//! What is in the log, in memory: for each replica its entries by index, its vote, how far it is
//! purged and committed. Records are staged here before they are written, so that readers see them
//! at once, and get their place when they are durable.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use bytes::Bytes;
use fanfare_core::id::Term;

use super::record::{self, Parsed, Record, RecordKind};
use super::segment::{Place, Segment};
use crate::LogPosition;

/// What a cached entry costs beside its payload.
const OVERHEAD: usize = 128;

/// One replica's log.
#[derive(Default)]
pub(super) struct ReplicaLog {
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) purged: Option<LogPosition>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<LogPosition>,
    /// The durable record of each of vote, purge and committed.
    pub(super) state: BTreeMap<RecordKind, (Place, Record)>,
}

/// One entry.
pub(super) struct Slot {
    pub(super) term: u64,
    form: u8,
    serial: u64,
    pub(super) place: Option<Place>,
    cached: Option<(Bytes, Option<Parsed>)>,
}

/// A segment in use, and how many of its bytes are still needed.
pub(super) struct Used {
    pub(super) segment: Segment,
    pub(super) live: u64,
}

/// An entry that was read.
pub struct Read {
    pub term: u64,
    pub index: u64,
    pub form: u8,
    pub payload: Bytes,
    pub parsed: Option<Parsed>,
}

/// The ends of a replica's log and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last entry dropped.
    pub purged: Option<LogPosition>,
    /// The last entry, or `purged` if there is none.
    pub last: Option<LogPosition>,
    pub committed: Option<LogPosition>,
    pub vote: Option<Bytes>,
}

/// What a read found, before the disk is asked.
enum Piece {
    Cached(Read),
    OnDisk {
        at: Place,
        segment: Segment,
        term: u64,
        index: u64,
        form: u8,
    },
}

/// The log in memory.
pub(super) struct Index {
    pub(super) replicas: BTreeMap<u64, ReplicaLog>,
    pub(super) segments: BTreeMap<u64, Used>,
    /// Of the bytes of a segment that are needed, how many are each replica's.
    holders: BTreeMap<u64, BTreeMap<u64, u64>>,
    serial: u64,
    cache: VecDeque<(u64, u64, u64, usize)>,
    cached: usize,
    cache_limit: usize,
}

impl Index {
    pub(super) fn new(cache_limit: usize) -> Self {
        Self {
            replicas: BTreeMap::new(),
            segments: BTreeMap::new(),
            holders: BTreeMap::new(),
            serial: 0,
            cache: VecDeque::new(),
            cached: 0,
            cache_limit,
        }
    }

    /// Shows records to readers before they are written, in the order they will be.
    pub(super) fn stage(&mut self, replica: u64, records: &mut [Record]) {
        for record in records {
            self.serial += 1;
            record.serial = self.serial;
            let payload = record.payload.clone();
            record.freed = self.take_effect(replica, record);
            if record.kind == RecordKind::Entry
                && let Some(log) = self.replicas.get_mut(&replica)
                && let Some(slot) = log.slots.get_mut(&record.index)
            {
                let size = payload.len() + OVERHEAD;
                slot.cached = Some((payload, record.parsed.take()));
                self.cache
                    .push_back((replica, record.index, record.serial, size));
                self.cached += size;
            }
        }
        self.evict();
    }

    /// Drops the oldest cached payloads that are on disk.
    fn evict(&mut self) {
        while self.cached > self.cache_limit {
            let Some(&(replica, index, serial, size)) = self.cache.front() else {
                return;
            };
            let log = self.replicas.get_mut(&replica);
            if let Some(slot) = log.and_then(|log| log.slots.get_mut(&index))
                && slot.serial == serial
            {
                if slot.place.is_none() {
                    return;
                }
                slot.cached = None;
            }
            self.cache.pop_front();
            self.cached -= size;
        }
    }

    /// Changes a replica's log as `record` says; the places of what it makes dead.
    fn take_effect(&mut self, replica: u64, record: &Record) -> Vec<Place> {
        let position = LogPosition {
            term: Term(record.term),
            index: record.index,
        };
        if record.kind == RecordKind::Removal {
            let Some(log) = self.replicas.remove(&replica) else {
                return Vec::new();
            };
            let entries = log.slots.into_values().filter_map(|slot| slot.place);
            return entries
                .chain(log.state.into_values().map(|(place, _)| place))
                .collect();
        }
        let log = self.replicas.entry(replica).or_default();
        let dead: Vec<Slot> = match record.kind {
            RecordKind::Mark | RecordKind::Removal | RecordKind::Roster => Vec::new(),
            RecordKind::Entry => {
                let slot = Slot {
                    term: record.term,
                    form: record.form,
                    serial: record.serial,
                    place: None,
                    cached: None,
                };
                log.slots.insert(record.index, slot).into_iter().collect()
            }
            RecordKind::Truncation => log.slots.split_off(&record.index).into_values().collect(),
            RecordKind::Purge => {
                log.purged = log.purged.max(Some(position));
                let kept = log.slots.split_off(&(record.index.saturating_add(1)));
                std::mem::replace(&mut log.slots, kept)
                    .into_values()
                    .collect()
            }
            RecordKind::Vote => {
                log.vote = Some(record.payload.clone());
                Vec::new()
            }
            RecordKind::Committed => {
                log.committed = (record.form != 0).then_some(position);
                Vec::new()
            }
        };
        dead.into_iter().filter_map(|slot| slot.place).collect()
    }

    /// Records that are durable now get their places, and what they made dead is let go.
    pub(super) fn settle(&mut self, written: &[(u64, &Record, Place)]) {
        for (replica, record, place) in written {
            for dead in &record.freed {
                self.release(*replica, *dead);
            }
            let Some(log) = self.replicas.get_mut(replica) else {
                continue;
            };
            let before = match record.kind {
                RecordKind::Entry => {
                    let Some(slot) = log.slots.get_mut(&record.index) else {
                        continue;
                    };
                    if slot.serial != record.serial {
                        continue;
                    }
                    slot.place.replace(*place)
                }
                RecordKind::Vote | RecordKind::Purge | RecordKind::Committed => {
                    let bare = Record {
                        freed: Vec::new(),
                        parsed: None,
                        ..(*record).clone()
                    };
                    log.state
                        .insert(record.kind, (*place, bare))
                        .map(|(place, _)| place)
                }
                RecordKind::Mark
                | RecordKind::Truncation
                | RecordKind::Removal
                | RecordKind::Roster => continue,
            };
            if let Some(used) = self.segments.get_mut(&place.segment) {
                used.live += u64::from(place.size);
                let held = self.holders.entry(place.segment).or_default();
                *held.entry(*replica).or_default() += u64::from(place.size);
            }
            if let Some(dead) = before {
                self.release(*replica, dead);
            }
        }
        self.evict();
    }

    fn release(&mut self, replica: u64, place: Place) {
        if let Some(used) = self.segments.get_mut(&place.segment) {
            used.live = used.live.saturating_sub(u64::from(place.size));
        }
        if let Some(held) = self.holders.get_mut(&place.segment)
            && let Some(bytes) = held.get_mut(&replica)
        {
            *bytes = bytes.saturating_sub(u64::from(place.size));
        }
    }

    /// A segment that nobody needs is gone.
    pub(super) fn forget(&mut self, segment: u64) {
        self.segments.remove(&segment);
        self.holders.remove(&segment);
    }

    /// Bytes that some replica needs, and bytes of all segments.
    pub(super) fn bytes(&self) -> (u64, u64) {
        let used = self.segments.values();
        used.fold((0, 0), |(live, all), used| {
            (live + used.live, all + used.segment.bytes)
        })
    }

    /// The replica that needs most of the oldest segment, unless that is the only one.
    pub(super) fn oldest_holder(&self) -> Option<u64> {
        let (oldest, _) = self.segments.first_key_value()?;
        let held = self
            .holders
            .get(oldest)
            .filter(|_| self.segments.len() > 1)?;
        let most = held.iter().max_by_key(|(_, bytes)| **bytes)?;
        (*most.1 > 0).then_some(*most.0)
    }

    /// The last entry that can go if of the entries up to `upto` the newest `keep` bytes stay.
    pub(super) fn last_before(&self, replica: u64, upto: u64, keep: u64) -> Option<u64> {
        let slots = self.replicas.get(&replica)?.slots.range(..=upto).rev();
        let mut kept = 0;
        for (index, slot) in slots {
            let size = slot.place.map_or(0, |place| u64::from(place.size));
            if kept + size > keep {
                return Some(*index);
            }
            kept += size;
        }
        None
    }

    /// Takes a record found at start.
    pub(super) fn replay(&mut self, replica: u64, mut record: Record, place: Place) {
        self.serial += 1;
        record.serial = self.serial;
        record.freed = self.take_effect(replica, &record);
        self.settle(&[(replica, &record, place)]);
    }

    /// What of `segment` is still needed, as records to write again.
    pub(super) fn live_in(&self, segment: u64) -> Vec<(u64, Place)> {
        let mut live = Vec::new();
        let held = self.holders.get(&segment);
        let needs = |replica: &u64| held.is_some_and(|held| held.get(replica) > Some(&0));
        for (replica, log) in self.replicas.iter().filter(|(replica, _)| needs(replica)) {
            let entries = log.slots.values().filter_map(|slot| slot.place);
            let state = log.state.values().map(|(place, _)| *place);
            live.extend(
                entries
                    .chain(state)
                    .filter(|at| at.segment == segment)
                    .map(|at| (*replica, at)),
            );
        }
        live
    }

    /// Bytes that each replica needs.
    pub(super) fn live_of_each(&self) -> BTreeMap<u64, u64> {
        let live = |log: &ReplicaLog| {
            let entries = log.slots.values().filter_map(|slot| slot.place);
            let state = log.state.values().map(|(place, _)| *place);
            entries.chain(state).map(|at| u64::from(at.size)).sum()
        };
        let logs = self.replicas.iter();
        logs.map(|(replica, log)| (*replica, live(log))).collect()
    }

    /// The staging of the slot at `index`, so that a copy of its record can take its place.
    pub(super) fn serial_of(&self, replica: u64, index: u64) -> Option<u64> {
        Some(self.replicas.get(&replica)?.slots.get(&index)?.serial)
    }

    pub(super) fn extent(&self, replica: u64) -> Extent {
        let Some(log) = self.replicas.get(&replica) else {
            return Extent::default();
        };
        let last = log.slots.last_key_value();
        Extent {
            purged: log.purged,
            last: last
                .map(|(index, slot)| LogPosition {
                    term: Term(slot.term),
                    index: *index,
                })
                .or(log.purged),
            committed: log.committed,
            vote: log.vote.clone(),
        }
    }
}

/// Entries of `from..to`, at least one if there is one, else at most `limit` bytes of payload.
/// What is not cached is read from disk, outside of the lock.
pub(super) fn read(
    index: &std::sync::Mutex<Index>,
    replica: u64,
    from: u64,
    to: u64,
    limit: usize,
) -> io::Result<Vec<Read>> {
    let pieces = {
        let index = super::lock(index);
        let Some(log) = index.replicas.get(&replica) else {
            return Ok(Vec::new());
        };
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for (&at, slot) in log.slots.range(from..to.max(from)) {
            let piece = match (&slot.cached, slot.place) {
                (Some((payload, parsed)), _) => {
                    bytes += payload.len();
                    let (payload, parsed) = (payload.clone(), parsed.clone());
                    Piece::Cached(Read {
                        term: slot.term,
                        index: at,
                        form: slot.form,
                        payload,
                        parsed,
                    })
                }
                (None, Some(place)) => {
                    bytes += usize::try_from(place.size).unwrap_or(usize::MAX);
                    let used = index.segments.get(&place.segment).ok_or_else(gone)?;
                    let segment = used.segment.clone();
                    Piece::OnDisk {
                        at: place,
                        segment,
                        term: slot.term,
                        index: at,
                        form: slot.form,
                    }
                }
                (None, None) => return Err(gone()),
            };
            if bytes > limit && !pieces.is_empty() {
                break;
            }
            pieces.push(piece);
        }
        pieces
    };
    pieces.into_iter().map(Piece::fetch).collect()
}

fn gone() -> io::Error {
    io::Error::other("an entry is neither in memory nor on disk")
}

impl Piece {
    fn fetch(self) -> io::Result<Read> {
        match self {
            Self::Cached(read) => Ok(read),
            Self::OnDisk {
                at,
                segment,
                term,
                index,
                form,
            } => {
                let bytes = fetch(&segment, at)?;
                let payload = Bytes::from(bytes).slice(record::HEAD..);
                Ok(Read {
                    term,
                    index,
                    form,
                    payload,
                    parsed: None,
                })
            }
        }
    }
}

/// The bytes of the record at `place`, checked.
pub(super) fn fetch(segment: &Segment, place: Place) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(place.size).unwrap_or(0)];
    segment.file.read_exact_at(&mut bytes, place.offset)?;
    if record::decode(&bytes, segment.salt).is_none() {
        let (number, at) = (segment.number, place.offset);
        let text = format!("log segment {number} is corrupt at byte {at}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(bytes)
}
