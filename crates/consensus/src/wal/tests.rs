//! The log on a disk that fails and forgets: what was committed is there after a restart, what was
//! not is gone or whole, and bad bytes below a mark are refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_host::{Disk, Faults, FaultyDisk, MemDisk, Open, Operation, SeededRng, VolatileDisk};

use super::*;
use crate::LogPosition;

const DIR: &str = "/data/wal";
const SEGMENT: u64 = 4096;

fn options() -> WalOptions {
    let rng = Arc::new(SeededRng::new(7));
    WalOptions {
        segment_bytes: SEGMENT,
        carry_bytes: 256,
        ahead: false,
        ..WalOptions::new(rng)
    }
}

fn open(disk: impl Disk) -> Result<Wal, OpenError> {
    Wal::open(Arc::new(disk), Path::new(DIR), options())
}

fn commit(wal: &mut Wal, replica: u64, records: Vec<Record>) -> io::Result<()> {
    let mut job = Job::new(replica, records);
    wal.stage(&mut job);
    wal.commit(&[job])
}

fn entry(term: u64, index: u64) -> Record {
    Record::entry(
        term,
        index,
        1,
        Bytes::from(format!("entry {index} of term {term}")),
    )
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<Record> {
    indexes.map(|index| entry(term, index)).collect()
}

/// (index, term) of all entries; each payload is checked.
fn read(wal: &Wal, replica: u64) -> Vec<(u64, u64)> {
    let found = wal.read(replica, 0, u64::MAX, usize::MAX).unwrap();
    for read in &found {
        assert_eq!(read.payload, entry(read.term, read.index).payload);
    }
    found
        .into_iter()
        .map(|read| (read.index, read.term))
        .collect()
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition {
        term: fanfare_core::id::Term(term),
        index,
    }
}

fn bytes_of(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A copy of a disk whose one file has other bytes.
fn copy_with(disk: &MemDisk, changed: &Path, bytes: &[u8]) -> MemDisk {
    let copy = MemDisk::new();
    copy.create_dir_all(Path::new(DIR)).unwrap();
    for path in disk.list(Path::new(DIR)).unwrap() {
        let file = copy.open(&path, Open::Create).unwrap();
        let from = if path == changed {
            bytes.to_vec()
        } else {
            bytes_of(disk, &path)
        };
        file.write_all_at(&from, 0).unwrap();
    }
    copy
}

/// Where the last mark of a segment begins.
fn last_mark(bytes: &[u8]) -> usize {
    let salt = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
    record::marks(bytes, salt).last().unwrap().0
}

fn first() -> PathBuf {
    segment::path(Path::new(DIR), 1)
}

#[test]
fn all_that_was_committed_is_there_after_a_restart() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    commit(&mut wal, 1, entries(1, 0..10)).unwrap();
    commit(
        &mut wal,
        2,
        vec![Record::vote(Bytes::from_static(b"vote")), entry(3, 0)],
    )
    .unwrap();
    commit(
        &mut wal,
        1,
        vec![Record::new(RecordKind::Truncation, 0, 7), entry(2, 7)],
    )
    .unwrap();
    commit(&mut wal, 1, vec![Record::new(RecordKind::Purge, 1, 2)]).unwrap();
    commit(&mut wal, 1, vec![Record::committed(Some(at(1, 5)))]).unwrap();
    for _ in 0..2 {
        let wal = open(disk.clone()).unwrap();
        assert_eq!(read(&wal, 1), vec![(3, 1), (4, 1), (5, 1), (6, 1), (7, 2)]);
        assert_eq!(read(&wal, 2), vec![(0, 3)]);
        let one = wal.extent(1);
        assert_eq!((one.purged, one.last), (Some(at(1, 2)), Some(at(2, 7))));
        assert_eq!(one.committed, Some(at(1, 5)));
        assert_eq!(wal.extent(2).vote.as_deref(), Some(&b"vote"[..]));
    }
}

#[test]
fn staged_entries_are_read_before_they_are_written_and_from_disk_when_not_cached() {
    let disk = MemDisk::new();
    let small = WalOptions {
        cache_bytes: 0,
        ..options()
    };
    let mut wal = Wal::open(Arc::new(disk), Path::new(DIR), small).unwrap();
    let mut job = Job::new(1, entries(1, 0..200));
    wal.stage(&mut job);
    assert_eq!(read(&wal, 1).len(), 200);
    wal.commit(&[job]).unwrap();
    let all: Vec<(u64, u64)> = (0..200).map(|index| (index, 1)).collect();
    assert_eq!(read(&wal, 1), all);
    assert_eq!(wal.read(1, 5, 100, 1).unwrap().len(), 1);
    assert_eq!(wal.read(1, 5, 9, usize::MAX).unwrap().len(), 4);
}

#[test]
fn several_groups_share_one_sync() {
    let faults = Faults::default();
    let mut wal = open(FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone())).unwrap();
    let jobs: Vec<Job> = (1..=16)
        .map(|replica| {
            let mut job = Job::new(replica, entries(1, 0..2));
            wal.stage(&mut job);
            job
        })
        .collect();
    let before = (
        faults.count(Operation::Sync),
        faults.count(Operation::Write),
    );
    wal.commit(&jobs).unwrap();
    let after = (
        faults.count(Operation::Sync),
        faults.count(Operation::Write),
    );
    assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
}

#[test]
fn a_torn_tail_is_cut_at_any_byte() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    commit(&mut wal, 1, entries(1, 0..5)).unwrap();
    let before = bytes_of(&disk, &first());
    commit(&mut wal, 1, entries(1, 5..8)).unwrap();
    let after = bytes_of(&disk, &first());
    let start = before.iter().rposition(|byte| *byte != 0).unwrap();
    let end = after.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(end - start > 3 * 40);
    for cut in start + 1..=end {
        // Cut there; or that byte alone is bad; or only what is before it is lost.
        let mut short = after.clone();
        short[cut..].fill(0);
        let mut bad = after.clone();
        bad[cut] ^= 0x10;
        let mut hole = after.clone();
        hole[start + 1..cut].fill(0);
        for torn in [short, bad, hole] {
            let torn_disk = copy_with(&disk, &first(), &torn);
            let mut wal = open(torn_disk.clone()).unwrap();
            let kept = read(&wal, 1);
            assert!(kept.len() >= 5, "cut at {cut} lost a durable entry");
            assert!(
                kept.iter()
                    .enumerate()
                    .all(|(n, (index, _))| n as u64 == *index)
            );
            // What was cut does not come back behind what is written now.
            let next = kept.len() as u64;
            commit(&mut wal, 1, vec![entry(2, next)]).unwrap();
            let again = read(&open(torn_disk).unwrap(), 1);
            assert_eq!(again.len(), kept.len() + 1);
            assert_eq!(again.last(), Some(&(next, 2)));
        }
    }
}

#[test]
fn whole_records_behind_a_cut_do_not_come_back() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    commit(&mut wal, 1, entries(1, 0..5)).unwrap();
    commit(&mut wal, 1, entries(1, 5..9)).unwrap();
    // The first of the last buffer's four entries is bad, the others are whole.
    let mut torn = bytes_of(&disk, &first());
    let size = entry(1, 5).size();
    let end = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    torn[end - 3 * size - 1] ^= 1;
    let disk = copy_with(&disk, &first(), &torn);
    let mut wal = open(disk.clone()).unwrap();
    assert_eq!(read(&wal, 1).len(), 5);
    // A mark and this entry end where the last of the old entries began.
    let opened = bytes_of(&disk, &first());
    let next = opened.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let payload = vec![7; end - size - next - 2 * record::HEAD];
    commit(
        &mut wal,
        1,
        vec![Record::entry(2, 5, 1, Bytes::from(payload))],
    )
    .unwrap();
    assert_eq!(open(disk).unwrap().extent(1).last, Some(at(2, 5)));
}

#[test]
fn a_flipped_bit_below_a_mark_is_refused_and_named() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    commit(&mut wal, 1, entries(1, 0..3)).unwrap();
    wal.rest().unwrap();
    let good = bytes_of(&disk, &first());
    let end = good.iter().rposition(|byte| *byte != 0).unwrap();
    let last_mark = last_mark(&good);
    let mut refused = 0;
    for byte in usize::try_from(segment::BODY).unwrap()..end - 8 {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        let copy = copy_with(&disk, &first(), &bad);
        match open(copy.clone()) {
            Err(OpenError::Corrupt { path, offset, .. }) => {
                assert_eq!(path, first());
                assert!(offset <= byte as u64);
                assert_eq!(
                    bytes_of(&copy, &first()),
                    bad,
                    "a refused log is left as it is"
                );
                refused += 1;
            }
            Err(other) => panic!("{other}"),
            // Only the last mark itself has nobody to vouch for it.
            Ok(wal) => {
                assert!(byte >= last_mark, "byte {byte} of {last_mark}");
                assert_eq!(read(&wal, 1).len(), 3);
            }
        }
    }
    assert!(refused > 3 * 40);
}

#[test]
fn a_segment_that_is_missing_or_whose_head_is_bad_is_refused() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    for index in 0..200 {
        commit(&mut wal, 1, vec![entry(1, index)]).unwrap();
    }
    let second = segment::path(Path::new(DIR), 2);
    let mut bad = bytes_of(&disk, &second);
    bad[9] ^= 4;
    let refused = open(copy_with(&disk, &second, &bad));
    assert!(matches!(refused, Err(OpenError::Corrupt { path, .. }) if path == second));
    // A bit in the body of a sealed segment.
    let mut bad = bytes_of(&disk, &second);
    bad[2000] ^= 4;
    let refused = open(copy_with(&disk, &second, &bad));
    assert!(matches!(refused, Err(OpenError::Corrupt { path, .. }) if path == second));
    disk.remove(&second).unwrap();
    assert!(matches!(open(disk), Err(OpenError::Corrupt { .. })));
}

#[test]
fn after_any_failed_write_or_sync_nothing_is_taken_and_a_restart_is_consistent() {
    for operation in [
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::Create,
    ] {
        let mut failures = 0;
        for nth in 1..60 {
            let below = MemDisk::new();
            let faults = Faults::default();
            let volatile = VolatileDisk::new(Arc::new(below.clone()));
            let disk = FaultyDisk::new(Arc::new(volatile.clone()), faults.clone());
            let mut wal = open(disk).unwrap();
            faults.fail(operation, nth, io::ErrorKind::StorageFull);
            let mut acked = 0;
            for index in 0..200 {
                if commit(&mut wal, 1, vec![entry(1, index)]).is_err() {
                    failures += 1;
                    assert!(commit(&mut wal, 1, vec![entry(1, index + 1)]).is_err());
                    break;
                }
                acked = index + 1;
            }
            volatile.kill();
            let kept = read(&open(below).unwrap(), 1).len() as u64;
            assert!(
                kept >= acked && kept <= acked + 1,
                "{operation:?} {nth}: {kept} of {acked}"
            );
        }
        assert!(failures > 0, "{operation:?} never failed");
    }
}

#[test]
fn a_power_cut_with_blocks_in_any_order_keeps_what_was_acked() {
    for seed in 0..200_u64 {
        let below = MemDisk::new();
        let faults = Faults::default();
        let volatile = VolatileDisk::new(Arc::new(below.clone()));
        let disk = FaultyDisk::new(Arc::new(volatile.clone()), faults.clone());
        let mut wal = open(disk).unwrap();
        let mut acked = 0;
        faults.fail(Operation::Sync, 2 + seed % 13, io::ErrorKind::Other);
        for batch in 0..40 {
            let from = batch * 20;
            if commit(&mut wal, 1, entries(1, from..from + 20)).is_err() {
                break;
            }
            acked = from + 20;
        }
        let rng = SeededRng::new(seed);
        volatile
            .kill_keeping(|| fanfare_host::Rng::below(&rng, 2) == 0)
            .unwrap();
        let kept = read(&open(below).unwrap(), 1);
        assert!(
            kept.len() as u64 >= acked,
            "seed {seed}: {} of {acked}",
            kept.len()
        );
    }
}

#[test]
fn segments_go_when_nobody_needs_them_and_idle_replicas_do_not_hold_them() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    // An idle replica with a little of everything, all in the first segment.
    let vote = Record::vote(Bytes::from_static(b"idle"));
    let purge = Record::new(RecordKind::Purge, 1, 3);
    commit(&mut wal, 9, vec![vote, purge, entry(1, 4)]).unwrap();
    for index in 0..1000 {
        commit(&mut wal, 1, vec![entry(1, index)]).unwrap();
        if index % 10 == 0 && index > 20 {
            commit(
                &mut wal,
                1,
                vec![Record::new(RecordKind::Purge, 1, index - 20)],
            )
            .unwrap();
        }
        wal.reclaim().unwrap();
    }
    let segments = disk.list(Path::new(DIR)).unwrap().len();
    assert!(segments <= 3, "{segments} segments are left");
    for wal in [wal, open(disk.clone()).unwrap()] {
        assert_eq!(read(&wal, 1).first(), Some(&(971, 1)));
        assert_eq!(read(&wal, 1).len(), 29);
        assert_eq!(read(&wal, 9), vec![(4, 1)]);
        assert_eq!(wal.extent(9).vote.as_deref(), Some(&b"idle"[..]));
        assert_eq!(wal.extent(9).purged, Some(at(1, 3)));
    }
    let mut wal = open(disk.clone()).unwrap();
    commit(&mut wal, 9, vec![Record::new(RecordKind::Removal, 0, 0)]).unwrap();
    assert_eq!(open(disk).unwrap().replicas(), vec![1]);
}

#[test]
fn a_segment_is_kept_while_its_purge_is_not_durable() {
    let disk = MemDisk::new();
    let mut wal = open(disk.clone()).unwrap();
    for index in 0..200 {
        commit(&mut wal, 1, vec![entry(1, index)]).unwrap();
    }
    let mut purge = Job::new(1, vec![Record::new(RecordKind::Purge, 1, 190)]);
    wal.stage(&mut purge);
    wal.reclaim().unwrap();
    assert_eq!(read(&open(disk.clone()).unwrap(), 1).len(), 200);
    wal.commit(&[purge]).unwrap();
    wal.reclaim().unwrap();
    assert_eq!(read(&open(disk).unwrap(), 1).len(), 9);
}
