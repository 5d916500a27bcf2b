//! What holds the log's segments, and what a purge can let go.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_host::{MemDisk, SystemRng};

use super::record::{Record, RecordKind};
use super::{Job, Wal, WalOptions, lock};

const SEGMENT: u64 = 4_096;

fn open(budget: u64) -> Wal {
    let options = WalOptions {
        segment_bytes: SEGMENT,
        carry_bytes: SEGMENT / 64,
        budget,
        ahead: false,
        ..WalOptions::new(Arc::new(SystemRng))
    };
    Wal::open(Arc::new(MemDisk::new()), Path::new("/log"), options).unwrap()
}

fn commit(wal: &mut Wal, replica: u64, record: Record) {
    let mut job = Job::new(replica, vec![record]);
    wal.stage(&mut job);
    wal.commit(&[job]).unwrap();
    wal.reclaim().unwrap();
}

fn entry(index: u64, size: usize) -> Record {
    Record::entry(1, index, 1, Bytes::from(vec![7; size]))
}

/// Replica 1 writes on and purges, replica 9 has written `size` bytes once.
fn with_an_idle_one(wal: &mut Wal, size: usize, segments: u64) {
    commit(wal, 9, entry(0, size));
    for index in 0..segments * 8 {
        commit(wal, 1, entry(index, 400));
        if index > 0 {
            commit(wal, 1, Record::new(RecordKind::Purge, 1, index - 1));
        }
    }
}

#[test]
fn who_holds_the_oldest_segment_is_named_and_lets_it_go_by_a_purge() {
    let mut wal = open(u64::MAX);
    assert_eq!(lock(wal.index()).oldest_holder(), None);
    with_an_idle_one(&mut wal, 2_000, 10);
    let (live, all) = lock(wal.index()).bytes();
    assert!(all >= 10 * SEGMENT, "{all} bytes for {live}");
    assert_eq!(lock(wal.index()).oldest_holder(), Some(9));
    commit(&mut wal, 9, Record::new(RecordKind::Purge, 1, 0));
    assert!(lock(wal.index()).bytes().1 <= 2 * SEGMENT);
}

#[test]
fn at_its_bound_a_log_carries_more_of_who_is_idle() {
    let mut wal = open(4 * SEGMENT);
    with_an_idle_one(&mut wal, 900, 20);
    let (_, all) = lock(wal.index()).bytes();
    assert!(all <= 6 * SEGMENT, "{all} bytes");
    assert_eq!(wal.read(9, 0, 9, usize::MAX).unwrap().len(), 1);
}

#[test]
fn a_last_stretch_is_counted_in_bytes() {
    let mut wal = open(u64::MAX);
    for index in 0..20 {
        commit(&mut wal, 1, entry(index, 100));
    }
    let size = entry(0, 100).size() as u64;
    let index = lock(wal.index());
    assert_eq!(index.last_before(1, 19, 0), Some(19));
    assert_eq!(index.last_before(1, 19, 3 * size), Some(16));
    assert_eq!(index.last_before(1, 9, 3 * size + 1), Some(6));
    assert_eq!(index.last_before(1, 19, 20 * size), None);
    assert_eq!(index.last_before(2, 19, 0), None, "it has no log");
}
