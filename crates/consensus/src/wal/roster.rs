//! The roster: who wrote to the log lately, and how often. It stands in the log every few KiB, so
//! that when bytes between two of them are bad, it can be told whose records were there.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::record::{Found, Record, RecordKind};

/// A roster follows at the latest after so many bytes...
const EVERY: u64 = 16 << 10;
/// ...or so many times its own size.
const SHARE: u64 = 16;
/// It lists who wrote within so many bytes before it.
const WINDOW: u64 = 1 << 20;

/// A place in the log: segment and byte.
pub(super) type Spot = (u64, u64);

/// What is known of one replica's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Records so far.
    pub(super) count: u64,
    /// Where the last one begins.
    pub(super) last: Spot,
}

/// The roster as the writer keeps it.
#[derive(Default)]
pub(super) struct Roster {
    rows: BTreeMap<u64, Row>,
    since: u64,
    size: u64,
}

/// A roster read from the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Who is not listed has no record from here on.
    pub(super) horizon: Spot,
    pub(super) rows: BTreeMap<u64, Row>,
}

impl Roster {
    /// A record of `replica` was written or found.
    pub(super) fn note(&mut self, replica: u64, at: Spot, size: usize) {
        let row = self
            .rows
            .entry(replica)
            .or_insert(Row { count: 0, last: at });
        row.count += 1;
        row.last = at;
        self.since += size as u64;
    }

    /// A roster was found.
    pub(super) fn learn(&mut self, told: &Told) {
        self.rows
            .extend(told.rows.iter().map(|(id, row)| (*id, *row)));
        self.since = 0;
    }

    /// True if the next buffer should bring one.
    pub(super) fn is_due(&self) -> bool {
        self.since >= EVERY.max(self.size * SHARE)
    }

    /// True if records were written since the last one.
    pub(super) fn has_news(&self) -> bool {
        self.since > 0
    }

    /// The record to write at `at`; `segment` is the size of segments.
    pub(super) fn record(&self, at: Spot, segment: u64) -> Record {
        let horizon = match at.1.checked_sub(WINDOW) {
            Some(offset) => (at.0, offset),
            None => (at.0.saturating_sub(1), segment.saturating_sub(WINDOW)),
        };
        let mut payload = Vec::new();
        for (replica, row) in self.rows.iter().filter(|(_, row)| row.last >= horizon) {
            let back = at.0 - row.last.0.min(at.0);
            for number in [*replica, row.count, back, row.last.1] {
                put(number, &mut payload);
            }
        }
        Record {
            payload: Bytes::from(payload),
            ..Record::new(RecordKind::Roster, horizon.0, horizon.1)
        }
    }

    /// It was written.
    pub(super) fn written(&mut self, size: usize) {
        self.since = 0;
        self.size = size as u64;
    }
}

impl Told {
    /// Reads the roster that stands in segment `at`; `None` if it is none (a filling).
    pub(super) fn read(found: &Found<'_>, at: u64) -> Option<Self> {
        if found.kind != RecordKind::Roster || found.form != 0 {
            return None;
        }
        let mut rest = found.payload;
        let mut rows = BTreeMap::new();
        while !rest.is_empty() {
            let (replica, count) = (take(&mut rest)?, take(&mut rest)?);
            let (back, offset) = (take(&mut rest)?, take(&mut rest)?);
            let last = (at.checked_sub(back)?, offset);
            rows.insert(replica, Row { count, last });
        }
        let horizon = (found.term, found.index);
        Some(Self { horizon, rows })
    }
}

/// Seven bits a byte, the lowest first.
fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(u8::try_from(number & 0x7F).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or(0));
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::record;
    use super::*;

    #[test]
    fn a_roster_reads_back_and_lists_who_wrote_lately() {
        let mut roster = Roster::default();
        roster.note(900, (1, 64), 40);
        roster.note(3, (4, 70), 40);
        roster.note(3, (4, 5 << 20), 40);
        roster.note(u64::MAX, (4, 6 << 20), 40);
        let mut bytes = Vec::new();
        roster
            .record((4, 6 << 20), 64 << 20)
            .encode(0, 5, &mut bytes);
        let told = Told::read(&record::decode(&bytes, 5).unwrap(), 4).unwrap();
        assert_eq!(told.horizon, (4, 5 << 20));
        let row = |count, offset| Row {
            count,
            last: (4, offset),
        };
        let rows = [(3, row(2, 5 << 20)), (u64::MAX, row(1, 6 << 20))];
        assert_eq!(told.rows, BTreeMap::from(rows));
    }

    #[test]
    fn a_roster_of_a_release_is_read_by_this_one() {
        let mut roster = Roster::default();
        roster.note(900, (4, 70), 40);
        roster.note(3, (4, 5 << 20), 40);
        roster.note(u64::MAX, (4, 6 << 20), 40);
        let mut bytes = Vec::new();
        let record = roster.record((4, 6 << 20), 64 << 20);
        record.encode(0, 5, &mut bytes);
        let now = [("roster".to_owned(), bytes)].into();
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1/roster.txt");
        let old = fanfare_host::golden::values(std::path::Path::new(dir), &now);
        let found = record::decode(&old["roster"], 5).unwrap();
        let told = Told::read(&found, 4).unwrap();
        let ids: Vec<u64> = told.rows.keys().copied().collect();
        assert_eq!((told.horizon, ids), ((4, 5 << 20), vec![3, u64::MAX]));
    }

    #[test]
    fn the_window_reaches_into_the_segment_before() {
        let mut roster = Roster::default();
        roster.note(1, (2, (64 << 20) - 5_000), 40);
        let mut bytes = Vec::new();
        roster.record((3, 500), 64 << 20).encode(0, 5, &mut bytes);
        let told = Told::read(&record::decode(&bytes, 5).unwrap(), 3).unwrap();
        assert_eq!(told.horizon, (2, 63 << 20));
        assert_eq!(told.rows[&1].last, (2, (64 << 20) - 5_000));
    }
}
