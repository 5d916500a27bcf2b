//! The record: what a log holds, in bytes. A record is a head of fixed size and a payload; its
//! checksum is salted by the segment, so that no payload can imitate a record.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use super::segment::Place;
use crate::LogPosition;

/// Bytes of a record's head: checksum, payload length, kind, form, replica, term, index.
pub(crate) const HEAD: usize = 4 + 4 + 1 + 1 + 8 + 8 + 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordKind {
    /// The log was durable up to segment `term`, byte `index`, before this was written.
    Mark,
    /// The entry at (`term`, `index`); `form` says how to read the payload.
    Entry,
    /// The replica's vote, in the payload.
    Vote,
    /// Entries from `index` on are cut.
    Truncation,
    /// Entries up to (`term`, `index`) are dropped.
    Purge,
    /// Entries up to (`term`, `index`) are committed; `form` 0 is none.
    Committed,
    /// The replica is removed with all it had.
    Removal,
    /// Who wrote lately; `form` 0. Else a filling that stands where bytes were bad. In the log it is
    /// a truncation of replica 0, which there is none of: versions before pass over it.
    Roster,
}

impl RecordKind {
    fn from_byte(byte: u8, replica: u64) -> Option<Self> {
        Some(match byte {
            4 if replica == 0 => Self::Roster,
            1 => Self::Mark,
            2 => Self::Entry,
            3 => Self::Vote,
            4 => Self::Truncation,
            5 => Self::Purge,
            6 => Self::Committed,
            7 => Self::Removal,
            _ => return None,
        })
    }

    fn byte(self) -> u8 {
        match self {
            Self::Mark => 1,
            Self::Entry => 2,
            Self::Vote => 3,
            Self::Truncation | Self::Roster => 4,
            Self::Purge => 5,
            Self::Committed => 6,
            Self::Removal => 7,
        }
    }
}

/// What an entry's payload parses to, kept beside the bytes while they are cached.
pub type Parsed = Arc<dyn Any + Send + Sync>;

/// One record on its way to the log.
#[derive(Clone)]
pub struct Record {
    pub kind: RecordKind,
    pub form: u8,
    pub term: u64,
    pub index: u64,
    pub payload: Bytes,
    pub parsed: Option<Parsed>,
    /// Which staging of the index this record belongs to.
    pub(super) serial: u64,
    /// Records this one makes dead once it is durable.
    pub(super) freed: Vec<Place>,
}

impl Record {
    /// A record without payload.
    #[must_use]
    pub fn new(kind: RecordKind, term: u64, index: u64) -> Self {
        let payload = Bytes::new();
        Self {
            kind,
            form: 0,
            term,
            index,
            payload,
            parsed: None,
            serial: 0,
            freed: Vec::new(),
        }
    }

    /// An entry.
    #[must_use]
    pub fn entry(term: u64, index: u64, form: u8, payload: Bytes) -> Self {
        Self {
            form,
            payload,
            ..Self::new(RecordKind::Entry, term, index)
        }
    }

    /// A vote.
    #[must_use]
    pub fn vote(payload: Bytes) -> Self {
        Self {
            payload,
            ..Self::new(RecordKind::Vote, 0, 0)
        }
    }

    /// How far the log is committed.
    #[must_use]
    pub fn committed(at: Option<LogPosition>) -> Self {
        let (term, index) = at.map_or((0, 0), |at| (at.term.0, at.index));
        let form = u8::from(at.is_some());
        Self {
            form,
            ..Self::new(RecordKind::Committed, term, index)
        }
    }

    /// A record of `size` bytes, at least a head, that says nothing.
    pub(super) fn filling(size: usize) -> Self {
        Self {
            form: 1,
            payload: Bytes::from(vec![0; size.saturating_sub(HEAD)]),
            ..Self::new(RecordKind::Roster, 0, 0)
        }
    }

    /// Bytes of the record in a segment.
    pub(super) fn size(&self) -> usize {
        HEAD + self.payload.len()
    }

    /// Appends the record's bytes to `out`.
    pub(super) fn encode(&self, replica: u64, salt: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[self.kind.byte(), self.form]);
        out.extend_from_slice(&replica.to_le_bytes());
        out.extend_from_slice(&self.term.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.payload);
        let sum = crc32c::crc32c_append(salt, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A record as found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) kind: RecordKind,
    pub(super) form: u8,
    pub(super) replica: u64,
    pub(super) term: u64,
    pub(super) index: u64,
    pub(super) payload: &'a [u8],
}

impl Found<'_> {
    pub(super) fn size(&self) -> usize {
        HEAD + self.payload.len()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes
        .get(at..at + 8)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

/// The record that begins `bytes`; `None` if none does, because the log ends there or because the
/// bytes are bad: only marks can tell these apart.
pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<Found<'_>> {
    let sum = u32_at(bytes, 0)?;
    let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let whole = bytes.get(..HEAD.checked_add(length)?)?;
    let replica = u64_at(whole, 10)?;
    let kind = RecordKind::from_byte(whole[8], replica)?;
    if crc32c::crc32c_append(salt, &whole[4..]) != sum {
        return None;
    }
    Some(Found {
        kind,
        form: whole[9],
        replica,
        term: u64_at(whole, 18)?,
        index: u64_at(whole, 26)?,
        payload: &whole[HEAD..],
    })
}

/// Marks anywhere in `bytes`, whatever is around them: where each begins, and what it says.
pub(super) fn marks(bytes: &[u8], salt: u32) -> impl Iterator<Item = (usize, (u64, u64))> + '_ {
    // Length 0, kind, form 0, replica 0: what every mark's head has behind its checksum.
    let mut pattern = [0; 14];
    pattern[4] = RecordKind::Mark.byte();
    let windows = bytes.windows(HEAD).enumerate();
    windows.filter_map(move |(at, window)| {
        if window[4..18] != pattern {
            return None;
        }
        decode(window, salt).map(|mark| (at, (mark.term, mark.index)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_no_flipped_bit_does() {
        let record = Record::entry(7, 42, 1, Bytes::from_static(b"hello"));
        let mut bytes = Vec::new();
        record.encode(9, 0xABCD, &mut bytes);
        let found = decode(&bytes, 0xABCD).unwrap();
        assert_eq!(
            (found.kind, found.form, found.replica),
            (RecordKind::Entry, 1, 9)
        );
        assert_eq!(
            (found.term, found.index, found.payload),
            (7, 42, &b"hello"[..])
        );
        assert_eq!(found.size(), record.size());
        assert_eq!(decode(&bytes, 0xABCE), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, 0xABCD), None, "bit {bit}");
        }
    }

    #[test]
    fn a_mark_is_found_amid_rubbish_and_a_payload_cannot_imitate_one() {
        let mark = Record::new(RecordKind::Mark, 3, 4096);
        let mut bytes = vec![0xFF; 13];
        mark.encode(0, 1, &mut bytes);
        mark.encode(0, 2, &mut bytes);
        bytes.extend_from_slice(&[7; 5]);
        assert_eq!(marks(&bytes, 1).collect::<Vec<_>>(), vec![(13, (3, 4096))]);
    }
}
