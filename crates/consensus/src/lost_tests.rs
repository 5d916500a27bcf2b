//! A store with bad bytes: shards' replicas are lost one by one, the metadata group's is not touched,
//! and what is lost stays lost until it is removed.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::ShardId;
use fanfare_host::{MemDisk, RealClock, SystemRng};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::*;
use crate::testing::{Counter, Numbers};
use crate::{
    Call, Door, Group, GroupConfig, GroupDeps, Pace, Route, StartError, Store, StoreOptions, Wire,
    WireError, inspect,
};

const DATA: &str = "/data";

/// A way to nobody.
struct Nowhere;

impl Wire for Nowhere {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>> {
        Box::pin(async move { Err(WireError::NoAddress(call.route.to)) })
    }

    fn appends(
        &self,
        _: Route,
        _: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        mpsc::channel(1).1
    }
}

fn open(disk: &MemDisk) -> Result<Store, OpenError> {
    let options = StoreOptions::new(Arc::new(RealClock::new()), Arc::new(SystemRng));
    let options = StoreOptions {
        segment_bytes: 64 << 10,
        ..options
    };
    let never = Arc::new(|error: &io::Error| panic!("{error}"));
    Store::open(Arc::new(disk.clone()), DATA, options, never)
}

fn shard(replica: u64) -> (GroupId, ReplicaId) {
    let number = u32::try_from(replica).unwrap();
    (GroupId::Shard(ShardId(number)), ReplicaId(replica))
}

const META: (GroupId, ReplicaId) = (GroupId::Meta, ReplicaId(1));

/// A stopped store of the metadata group's replica 1 and of shards' replicas 2 to 4, each with
/// entries whose payload names it.
async fn stopped() -> MemDisk {
    let disk = MemDisk::new();
    let store = open(&disk).unwrap();
    for (group, replica) in [META, shard(2), shard(3), shard(4)] {
        store.snapshots(group, replica).unwrap();
        for index in 0..4 {
            let payload = Bytes::from(format!("payload of {replica}"));
            let record = Record::entry(1, index, 1, payload);
            let job = Job::new(replica.0, vec![record]);
            store.log().submit_and_wait(job).await.unwrap();
        }
    }
    store.close().await;
    // The start after marks all of it as durable.
    open(&disk).unwrap().close().await;
    disk
}

/// Flips a bit in the first payload of `replica`.
fn flip(disk: &MemDisk, replica: u64) {
    let path = Path::new("/data/log/0000000001.wal");
    let file = disk.open(path, Open::Write).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let payload = format!("ayload of {replica}");
    let mut windows = bytes.windows(payload.len());
    let at = windows.position(|w| w == payload.as_bytes()).unwrap() - 1;
    file.write_all_at(&[bytes[at] ^ 2], at as u64).unwrap();
}

/// All files and their bytes.
fn all(disk: &MemDisk, dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in disk.list(dir).unwrap() {
        match disk.open(&path, Open::Read) {
            Ok(file) => {
                let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
                file.read_exact_at(&mut bytes, 0).unwrap();
                found.push((path, bytes));
            }
            Err(_) => found.extend(all(disk, &path)),
        }
    }
    found
}

fn lasts(store: &Store) -> Vec<Option<u64>> {
    (1..=4)
        .map(|id| store.log().extent(id).last.map(|at| at.index))
        .collect()
}

fn deps(store: Store) -> GroupDeps {
    GroupDeps {
        store,
        door: Door::new(),
        wire: Arc::new(Nowhere),
        clock: Arc::new(RealClock::new()),
        tasks: TaskTracker::new(),
        pace: Pace::default(),
    }
}

async fn start(
    store: &Store,
    (group, replica): (GroupId, ReplicaId),
) -> Result<Group<Counter>, StartError> {
    let config = GroupConfig::new(group, replica);
    let counter = Counter::default();
    Group::start(config, &deps(store.clone()), counter, Arc::new(Numbers)).await
}

#[tokio::test]
async fn bad_bytes_cost_the_shards_replica_that_wrote_them_until_it_is_removed() {
    let disk = stopped().await;
    flip(&disk, 3);
    for round in 0..2 {
        let store = open(&disk).unwrap();
        assert_eq!(store.lost(), [shard(3)], "round {round}");
        assert_eq!(lasts(&store), [Some(3), Some(3), None, Some(3)]);
        let refused = start(&store, shard(3)).await.map(drop);
        assert!(matches!(refused, Err(StartError::Lost(_))), "{refused:?}");
        store.close().await;
    }
    let aside = disk.list(Path::new("/data/quarantine")).unwrap();
    assert_eq!(aside, [Path::new("/data/quarantine/0000000001.wal")]);
    let store = open(&disk).unwrap();
    let (group, replica) = shard(3);
    store.remove(group, replica).await.unwrap();
    assert_eq!(store.lost(), []);
    store.close().await;
    let store = open(&disk).unwrap();
    assert_eq!(
        (store.lost(), store.replicas().unwrap()),
        (vec![], vec![META, shard(2), shard(4)])
    );
    assert_eq!(lasts(&store), [Some(3), Some(3), None, Some(3)]);
    store.close().await;
    assert_eq!(disk.list(Path::new("/data/quarantine")).unwrap(), aside);
}

#[tokio::test]
async fn records_of_one_that_was_removed_cost_nobody_anything() {
    let disk = stopped().await;
    // A crash took the directory of the removed replica, and bad bytes its records.
    for file in disk.list(Path::new("/data/replicas/shard-3-3")).unwrap() {
        disk.remove(&file).unwrap();
    }
    disk.remove_dir(Path::new("/data/replicas/shard-3-3"))
        .unwrap();
    flip(&disk, 3);
    for _ in 0..2 {
        let store = open(&disk).unwrap();
        assert_eq!(store.lost(), []);
        assert_eq!(lasts(&store), [Some(3), Some(3), None, Some(3)]);
        store.close().await;
    }
}

#[tokio::test]
async fn bad_bytes_of_the_metadata_group_refuse_the_start_and_change_nothing() {
    let disk = stopped().await;
    flip(&disk, 1);
    let before = all(&disk, Path::new(DATA));
    for _ in 0..2 {
        let refused = open(&disk).map(drop).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("/data/log/0000000001.wal is corrupt at byte"),
            "{text}"
        );
        assert!(
            text.contains("metadata group") && text.contains("cluster replace"),
            "{text}"
        );
        assert_eq!(all(&disk, Path::new(DATA)), before);
    }
}

#[tokio::test]
async fn a_bad_snapshot_costs_a_shards_replica_and_is_set_aside() {
    let disk = stopped().await;
    let name = "00000000000000000009-00000000000000000001.snapshot";
    let dir = Path::new("/data/replicas/shard-2-2");
    let file = disk.open(&dir.join(name), Open::Create).unwrap();
    file.write_all_at(b"no snapshot", 0).unwrap();
    let store = open(&disk).unwrap();
    let refused = start(&store, shard(2)).await.map(drop);
    assert!(matches!(refused, Err(StartError::Lost(_))), "{refused:?}");
    assert_eq!(store.lost(), [shard(2)]);
    let aside = disk.list(Path::new("/data/quarantine")).unwrap();
    let wanted = format!("/data/quarantine/shard-2-2-{name}");
    assert_eq!(aside, [Path::new(&wanted)]);
    start(&store, shard(9)).await.unwrap().stop().await;
    store.close().await;
}

#[tokio::test]
async fn a_bad_snapshot_of_the_metadata_group_is_not_touched() {
    let disk = stopped().await;
    let dir = Path::new("/data/replicas/meta-1");
    let file = disk.open(&dir.join("1-1.snapshot"), Open::Create).unwrap();
    file.write_all_at(b"no snapshot", 0).unwrap();
    let store = open(&disk).unwrap();
    let before = all(&disk, dir);
    let refused = start(&store, META).await.map(drop);
    let Err(StartError::Stored(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("1-1.snapshot is corrupt"), "{why}");
    assert_eq!(all(&disk, dir), before);
    assert_eq!(store.lost(), []);
    store.close().await;
}

#[tokio::test]
async fn what_nobody_knows_is_put_aside_whole() {
    let disk = stopped().await;
    let dir = Path::new("/data/replicas/shard-4-4");
    let file = disk.open(&dir.join("1-1.snapshot"), Open::Create).unwrap();
    file.write_all_at(b"precious", 0).unwrap();
    let store = open(&disk).unwrap();
    let (group, replica) = shard(4);
    let to = store.put_aside(group, replica).unwrap();
    assert_eq!(to, Path::new("/data/unknown/shard-4-4"));
    let kept = all(&disk, &to);
    assert_eq!(kept, [(to.join("1-1.snapshot"), b"precious".to_vec())]);
    assert_eq!(store.replicas().unwrap(), [META, shard(2), shard(3)]);
    store.close().await;
}

#[tokio::test]
async fn a_doctor_names_what_is_wrong_and_changes_nothing() {
    let disk = stopped().await;
    let sound = inspect(&disk, Path::new(DATA)).unwrap();
    // This store never had a marker; nothing else is wrong with it.
    assert_eq!(sound.faults.len(), 1, "{:?}", sound.faults);
    assert_eq!(sound.replicas.len(), 4);
    let last = sound.replicas[0].last.map(|at| at.index);
    assert_eq!((sound.replicas[0].first, last), (Some(0), Some(3)));
    flip(&disk, 3);
    let before = all(&disk, Path::new(DATA));
    let found = inspect(&disk, Path::new(DATA)).unwrap();
    let fault = found.faults.iter().find(|fault| fault.offset.is_some());
    let fault = fault.expect("the flipped bit");
    assert!(fault.path.ends_with("log/0000000001.wal"), "{fault:?}");
    assert!(
        fault.what.contains("{3}") && fault.advice.contains("start"),
        "{fault:?}"
    );
    flip(&disk, 1);
    let found = inspect(&disk, Path::new(DATA)).unwrap();
    let advice = &found.faults[1].advice;
    assert!(advice.contains("replace the node"), "{advice}");
    flip(&disk, 1);
    assert_eq!(all(&disk, Path::new(DATA)), before);
    // After a start the segment is aside, the replica lost, and the rest sound.
    open(&disk).unwrap().close().await;
    let mended = inspect(&disk, Path::new(DATA)).unwrap();
    assert_eq!((mended.faults.len(), mended.quarantine.len()), (1, 1));
    let lost: Vec<u64> = mended
        .replicas
        .iter()
        .filter(|r| r.lost)
        .map(|r| r.replica.0)
        .collect();
    assert_eq!(lost, [3]);
}
