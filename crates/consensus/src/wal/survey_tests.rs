//! Bad bytes below a mark: whose records were there is told exactly, the segment is set aside as it
//! was, and all the others have what they had.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fanfare_host::{Disk, Faults, FaultyDisk, MemDisk, Open, Operation, SeededRng};

use super::*;
use crate::wal::aside::set_aside;

const DIR: &str = "/data/log";
const ASIDE: &str = "/data/quarantine";
const SEGMENT: u64 = 64 << 10;

fn options(lost: BTreeSet<u64>) -> WalOptions {
    WalOptions {
        segment_bytes: SEGMENT,
        carry_bytes: 256,
        ahead: false,
        lost,
        ..WalOptions::new(Arc::new(SeededRng::new(7)))
    }
}

fn open(disk: &MemDisk, lost: &BTreeSet<u64>) -> Result<Wal, OpenError> {
    let options = options(lost.clone());
    Wal::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

fn commit(wal: &mut Wal, replica: u64, record: Record) {
    let mut job = Job::new(replica, vec![record]);
    wal.stage(&mut job);
    wal.commit(&[job]).unwrap();
}

fn entry(index: u64, bytes: usize) -> Record {
    Record::entry(1, index, 1, Bytes::from(vec![7; bytes]))
}

fn bytes_of(disk: &MemDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Open::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A copy of a disk on which `damage` is done to one file.
fn damaged(disk: &MemDisk, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> MemDisk {
    let copy = MemDisk::new();
    copy.create_dir_all(Path::new(DIR)).unwrap();
    let mut damage = Some(damage);
    for from in disk.list(Path::new(DIR)).unwrap() {
        let mut bytes = bytes_of(disk, &from);
        if from == path {
            damage.take().unwrap()(&mut bytes);
        }
        let file = copy.open(&from, Open::Create).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
    copy
}

fn segment_path(number: u64) -> PathBuf {
    segment::path(Path::new(DIR), number)
}

/// Surveys, sets aside, opens again without the suspects; the suspects.
fn salvage(disk: &MemDisk) -> BTreeSet<u64> {
    let survey = survey(disk, Path::new(DIR), &BTreeSet::new()).unwrap();
    assert!(!survey.bad.is_empty());
    let suspects = survey.suspects.expect("it can be told");
    let aside = set_aside(disk, Path::new(DIR), Path::new(ASIDE), &survey.bad).unwrap();
    assert!(!aside.is_empty());
    suspects
}

/// Replicas 1 to 5, each with a vote and entries in stretches of its own; all but one replica's
/// extents are as they were after the salvage.
fn log_of_five() -> (MemDisk, Vec<(u64, Extent)>) {
    let disk = MemDisk::new();
    let mut wal = open(&disk, &BTreeSet::new()).unwrap();
    for replica in 1..=5 {
        commit(&mut wal, replica, Record::vote(Bytes::from_static(b"vote")));
        for index in 0..6 {
            commit(&mut wal, replica, entry(index, 30));
        }
    }
    wal.rest().unwrap();
    // What a rest writes, no mark behind it vouches for.
    commit(&mut wal, 1, entry(6, 1));
    let replicas = wal.replicas().into_iter();
    let extents = replicas.map(|id| (id, wal.extent(id))).collect();
    (disk, extents)
}

#[test]
fn a_bad_byte_costs_the_replica_whose_record_it_is_in_and_no_other() {
    let (disk, extents) = log_of_five();
    let good = bytes_of(&disk, &segment_path(1));
    let clean = survey(&disk, Path::new(DIR), &BTreeSet::new()).unwrap();
    assert_eq!(
        (clean.bad.len(), clean.suspects),
        (0, Some(BTreeSet::new()))
    );
    let salt = u32::from_le_bytes(good[12..16].try_into().unwrap());
    let mut at = usize::try_from(segment::BODY).unwrap();
    let (mut told, mut blamed) = (0, BTreeSet::new());
    // Every record up to the roster that the rest wrote, a byte of head and of payload in each.
    loop {
        let found = record::decode(&good[at..], salt).unwrap();
        if found.kind == RecordKind::Roster {
            break;
        }
        for byte in [at, at + 5, at + 9, at + found.size() - 1] {
            let bad = damaged(&disk, &segment_path(1), |bytes| bytes[byte] ^= 0x21);
            let suspects = salvage(&bad);
            let own: BTreeSet<u64> = match found.kind == RecordKind::Mark {
                true => BTreeSet::new(),
                false => BTreeSet::from([found.replica]),
            };
            assert!(suspects.is_superset(&own), "byte {byte}: {suspects:?}");
            // A bad length or mark takes the rest of its buffer with it: the one record here.
            assert!(suspects.len() <= 1, "byte {byte}: {suspects:?}");
            let wal = open(&bad, &suspects).unwrap();
            for (id, extent) in extents.iter().filter(|(id, _)| !suspects.contains(id)) {
                assert_eq!(wal.extent(*id), *extent, "replica {id}, byte {byte}");
            }
            let aside = bytes_of(&bad, &Path::new(ASIDE).join("0000000001.wal"));
            assert_eq!(aside.iter().zip(&good).filter(|(a, b)| a != b).count(), 1);
            blamed.extend(suspects);
            told += 1;
        }
        at += found.size();
    }
    assert!(told > 4 * 60, "{told}");
    assert_eq!(blamed, BTreeSet::from([1, 2, 3, 4, 5]));
}

#[test]
fn a_lost_sector_costs_those_who_wrote_there() {
    let (disk, extents) = log_of_five();
    let bad = damaged(&disk, &segment_path(1), |bytes| bytes[512..1024].fill(0));
    let suspects = salvage(&bad);
    assert!(!suspects.is_empty() && suspects.len() <= 3, "{suspects:?}");
    let wal = open(&bad, &suspects).unwrap();
    for (id, extent) in extents.iter().filter(|(id, _)| !suspects.contains(id)) {
        assert_eq!(wal.extent(*id), *extent, "replica {id}");
    }
    // The log goes on, and what is set aside does not come up again.
    let mut wal = wal;
    commit(&mut wal, 5, entry(6, 30));
    drop(wal);
    let again = open(&bad, &suspects).unwrap();
    assert_eq!(again.extent(5).last.unwrap().index, 6);
}

#[test]
fn a_segments_bad_head_or_length_costs_nobody_anything() {
    let disk = MemDisk::new();
    let mut wal = open(&disk, &BTreeSet::new()).unwrap();
    for index in 0..400 {
        commit(&mut wal, 1 + index % 3, entry(index / 3, 300));
    }
    wal.rest().unwrap();
    let read = |wal: &Wal, id| wal.read(id, 0, u64::MAX, usize::MAX).unwrap().len();
    let before: Vec<usize> = (1..=3).map(|id| read(&wal, id)).collect();
    assert!(disk.list(Path::new(DIR)).unwrap().len() > 2);
    for byte in 0..36 {
        let bad = damaged(&disk, &segment_path(2), |bytes| bytes[byte] ^= 0x80);
        assert!(open(&bad, &BTreeSet::new()).is_err(), "byte {byte}");
        assert_eq!(salvage(&bad), BTreeSet::new(), "byte {byte}");
        let wal = open(&bad, &BTreeSet::new()).unwrap();
        let after: Vec<usize> = (1..=3).map(|id| read(&wal, id)).collect();
        assert_eq!(after, before, "byte {byte}");
    }
    let longer = damaged(&disk, &segment_path(2), |bytes| bytes.extend([9; 700]));
    assert_eq!(salvage(&longer), BTreeSet::new());
    open(&longer, &BTreeSet::new()).unwrap();
    let short = damaged(&disk, &segment_path(2), |bytes| {
        bytes.truncate(bytes.len() - 3_000);
    });
    let suspects = salvage(&short);
    assert_eq!(suspects, BTreeSet::from([1, 2, 3]));
    open(&short, &suspects).unwrap();
}

#[test]
fn what_no_roster_tells_of_is_not_guessed() {
    let disk = MemDisk::new();
    let mut wal = open(&disk, &BTreeSet::new()).unwrap();
    for index in 0..20 {
        commit(&mut wal, 1, entry(index, 30));
    }
    // Neither rest nor enough bytes: no roster stands behind these.
    let bad = damaged(&disk, &segment_path(1), |bytes| bytes[600] ^= 1);
    let found = survey(&bad, Path::new(DIR), &BTreeSet::new()).unwrap();
    assert_eq!((found.bad.len(), found.suspects), (1, None));
    // Cut off with all its marks, the log looks like a new one.
    let cut = damaged(&disk, &segment_path(1), |bytes| bytes.truncate(100));
    let found = survey(&cut, Path::new(DIR), &BTreeSet::new()).unwrap();
    assert_eq!((found.bad.len(), found.suspects), (1, None));
    let gone = damaged(&disk, &segment_path(1), Vec::clear);
    let found = survey(&gone, Path::new(DIR), &BTreeSet::new()).unwrap();
    assert_eq!((found.bad.len(), found.suspects), (1, None));
}

#[test]
fn a_crash_while_a_segment_is_set_aside_is_brought_to_its_end() {
    let (disk, _) = log_of_five();
    for operation in [
        Operation::Create,
        Operation::Write,
        Operation::Sync,
        Operation::Rename,
        Operation::SyncDir,
    ] {
        for nth in 1..=4 {
            let bad = damaged(&disk, &segment_path(1), |bytes| bytes[700] ^= 1);
            let found = survey(&bad, Path::new(DIR), &BTreeSet::new()).unwrap();
            let faults = Faults::default();
            let faulty = FaultyDisk::new(Arc::new(bad.clone()), faults.clone());
            faults.fail(operation, nth, std::io::ErrorKind::StorageFull);
            let done = set_aside(&faulty, Path::new(DIR), Path::new(ASIDE), &found.bad);
            let suspects = found.suspects.unwrap();
            if done.is_err() && open(&bad, &suspects).is_err() {
                // As it was: the next start sets it aside.
                assert_eq!(salvage(&bad), suspects);
            }
            let wal = open(&bad, &suspects).unwrap();
            assert_eq!(
                wal.replicas().len(),
                5 - suspects.len(),
                "{operation:?} {nth}"
            );
        }
    }
}
