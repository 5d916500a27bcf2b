//! What a snapshot's file promises: a flipped or missing byte is told, a later one is not replaced
//! by an earlier one, and a volume that fills up ends a snapshot and nothing else.

use fanfare_core::id::Term;
use fanfare_host::{Faults, FaultyDisk, MemDisk, Open, Operation, RealClock, Space};

use super::*;
use crate::testing::Counter;
use crate::{LogPosition, StateMachine as _};

const DIR: &str = "/snapshots";

fn open(disk: Arc<dyn Disk>) -> io::Result<Snapshots> {
    let share = NodeShare::new(
        disk,
        Arc::new(RealClock::new()),
        Reserve::default(),
        Arc::default(),
        Arc::new(|error: &io::Error| panic!("{error}")),
    );
    Snapshots::open(share, DIR.into())
}

fn counter(numbers: u64) -> Counter {
    let mut counter = Counter::default();
    for index in 0..numbers {
        let at = LogPosition {
            term: Term(1),
            index,
        };
        counter.apply(at, Some(&index));
    }
    counter
}

fn write(snapshots: &Snapshots, index: u64) -> io::Result<SnapshotFile> {
    let meta = SnapshotMeta {
        last_log_id: Some(crate::raft_types::log_id(LogPosition {
            term: Term(1),
            index,
        })),
        last_membership: crate::raft_types::StoredMembership::default(),
    };
    let mut state = counter(index + 1).freeze();
    snapshots.write(&meta, state.as_mut(), Haste::Paced)
}

fn names(disk: &dyn Disk) -> Vec<PathBuf> {
    disk.list(Path::new(DIR)).unwrap()
}

#[test]
fn a_snapshot_with_a_flipped_or_missing_byte_is_refused_and_stays() {
    let disk = MemDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let snapshots = open(Arc::clone(&shared)).unwrap();
    let written = write(&snapshots, 9).unwrap();
    assert_eq!(written.blocks().unwrap().count(), 4);
    let path = names(&disk).pop().unwrap();
    let file = disk.open(&path, Open::Write).unwrap();
    let mut good = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut good, 0).unwrap();
    for byte in 0..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 0x40;
        file.write_all_at(&bad, 0).unwrap();
        assert!(open(Arc::clone(&shared)).is_err(), "byte {byte} flipped");
        assert!(written.verify().is_err() || (12..20).contains(&byte));
        file.set_len(byte as u64).unwrap();
        file.write_all_at(&good[..byte], 0).unwrap();
        assert!(open(Arc::clone(&shared)).is_err(), "cut at {byte}");
        file.write_all_at(&good, 0).unwrap();
    }
    let found = open(shared).unwrap().current().unwrap();
    assert_eq!(
        (found.meta, found.length),
        (written.meta, good.len() as u64)
    );
    assert_eq!(names(&disk), [path]);
}

#[test]
fn only_the_latest_snapshot_stays_and_no_earlier_one_takes_its_place() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let snapshots = open(Arc::clone(&disk)).unwrap();
    let old = write(&snapshots, 3).unwrap();
    let new = write(&snapshots, 9).unwrap();
    assert_eq!(names(disk.as_ref()).len(), 1);
    // Who still sends the old one can read it to its end.
    assert_eq!(old.blocks().unwrap().count(), 2);
    let kept = write(&snapshots, 5).unwrap();
    assert_eq!(kept.meta, new.meta);
    assert_eq!(open(disk).unwrap().current().unwrap().meta, new.meta);
}

#[test]
fn what_was_being_written_goes_at_the_next_start() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let snapshots = open(Arc::clone(&disk)).unwrap();
    write(&snapshots, 3).unwrap();
    for name in ["written.new", "received-0.new"] {
        disk.open(&Path::new(DIR).join(name), Open::Create).unwrap();
    }
    open(Arc::clone(&disk)).unwrap();
    assert_eq!(names(disk.as_ref()).len(), 1);
}

#[test]
fn a_volume_that_is_full_ends_a_snapshot_and_leaves_the_one_before() {
    let (below, faults) = (MemDisk::new(), Faults::default());
    let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new(Arc::new(below), faults.clone()));
    let snapshots = open(Arc::clone(&disk)).unwrap();
    let old = write(&snapshots, 3).unwrap();
    for operation in [Operation::Create, Operation::Write, Operation::Rename] {
        faults.fail(operation, 1, io::ErrorKind::StorageFull);
        let failed = write(&snapshots, 9).map(|file| file.meta).unwrap_err();
        assert!(is_full(&failed), "{failed}");
        assert_eq!(snapshots.current().unwrap().meta, old.meta, "{operation:?}");
    }
    let total = 1 << 40;
    let free = Reserve::default().of(total) / 2 - 1;
    faults.set_space(Some(Space { free, total }));
    assert!(is_full(
        &write(&snapshots, 9).map(|file| file.meta).unwrap_err()
    ));
    faults.set_space(None);
    write(&snapshots, 9).unwrap();
    assert_eq!(names(disk.as_ref()).len(), 1);
}
