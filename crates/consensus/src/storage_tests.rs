//! openraft's own suite over the real log, and what the log's thread promises.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use fanfare_core::id::ReplicaId;
use fanfare_host::{
    Faults, FaultyDisk, MemDisk, Operation, RealClock, RealDisk, Space, SystemRng, VolatileDisk,
};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use super::*;
use crate::machine::Machine;
use crate::testing::{Counter, Numbers};
use crate::{GroupId, OnPoison, Store, StoreOptions};

const REPLICA: ReplicaId = ReplicaId(1);

fn options() -> StoreOptions {
    let options = StoreOptions::new(Arc::new(RealClock::new()), Arc::new(SystemRng));
    StoreOptions {
        segment_bytes: 64 << 10,
        ..options
    }
}

fn never() -> OnPoison {
    Arc::new(|error: &io::Error| panic!("{error}"))
}

fn counted() -> (OnPoison, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let inside = Arc::clone(&count);
    let on_poison = Arc::new(move |_: &io::Error| {
        inside.fetch_add(1, Ordering::SeqCst);
    });
    (on_poison, count)
}

struct Builder;

impl StoreBuilder<Types<Counter>, LogStore<Counter>, Machine<Counter>, (tempfile::TempDir, Store)>
    for Builder
{
    async fn build(
        &self,
    ) -> Result<
        (
            (tempfile::TempDir, Store),
            LogStore<Counter>,
            Machine<Counter>,
        ),
        StorageError<Types<Counter>>,
    > {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(Arc::new(RealDisk), dir.path(), options(), never()).unwrap();
        let log = LogStore::new(store.log().clone(), REPLICA.0, Arc::new(Numbers));
        let snapshots = store.snapshots(GroupId::Meta, REPLICA).unwrap();
        let machine = Machine::new(
            Counter::default(),
            snapshots,
            store.log().clone(),
            REPLICA.0,
        );
        Ok(((dir, store), log, machine))
    }
}

#[tokio::test]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

fn entry(index: u64) -> Record {
    Record::entry(1, index, 0, Bytes::from_static(b"payload"))
}

#[tokio::test]
async fn jobs_that_wait_together_share_a_sync() {
    let faults = Faults::default();
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone());
    let store = Store::open(Arc::new(disk), "/data", options(), never()).unwrap();
    let before = faults.count(Operation::Sync);
    let stalled = faults.hold(Operation::Sync);
    let (done, mut results) = tokio::sync::mpsc::channel(200);
    for replica in 1..=200 {
        let done = done.clone();
        let mut job = Job::new(replica, vec![entry(0)]);
        job.done = Some(Box::new(move |result| done.try_send(result).unwrap()));
        store.log().submit(job).await.unwrap();
    }
    drop((done, stalled));
    let mut durable = 0;
    while let Some(result) = results.recv().await {
        result.unwrap();
        durable += 1;
    }
    assert_eq!(durable, 200);
    // One for the job that found the log idle, one for all that queued behind it, and those of
    // the segments that were made meanwhile.
    let syncs = faults.count(Operation::Sync) - before;
    assert!(syncs < 10, "{syncs} syncs for 200 jobs");
    store.close().await;
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_acked_and_the_node_is_told_once() {
    for nth in 1..10 {
        let below = MemDisk::new();
        let faults = Faults::default();
        let volatile = VolatileDisk::new(Arc::new(below.clone()));
        let disk = FaultyDisk::new(Arc::new(volatile.clone()), faults.clone());
        let (on_poison, told) = counted();
        let store = Store::open(Arc::new(disk), "/data", options(), on_poison).unwrap();
        // The next segment is being made: its sync must not be the one that fails.
        store
            .log()
            .submit_and_wait(Job::new(1, vec![entry(0)]))
            .await
            .unwrap();
        faults.fail(Operation::Sync, nth, io::ErrorKind::Other);
        let mut acked = 1;
        while store
            .log()
            .submit_and_wait(Job::new(1, vec![entry(acked)]))
            .await
            .is_ok()
        {
            acked += 1;
            assert!(acked < 1000, "no sync failed");
        }
        for _ in 0..3 {
            assert!(
                store
                    .log()
                    .submit_and_wait(Job::new(1, vec![entry(acked)]))
                    .await
                    .is_err()
            );
        }
        store.close().await;
        assert!(store.log().is_poisoned());
        assert_eq!(told.load(Ordering::SeqCst), 1);
        volatile.kill();
        let again = Store::open(Arc::new(below), "/data", options(), never()).unwrap();
        let last = again.log().extent(1).last.unwrap().index + 1;
        assert!(last >= acked, "{last} of {acked}");
        again.close().await;
    }
}

#[tokio::test]
async fn a_closed_log_has_all_that_was_submitted_and_vouches_for_it() {
    let below = MemDisk::new();
    let volatile = VolatileDisk::new(Arc::new(below.clone()));
    let store = Store::open(Arc::new(volatile.clone()), "/data", options(), never()).unwrap();
    store
        .log()
        .submit_and_wait(Job::new(1, vec![entry(0)]))
        .await
        .unwrap();
    let at = crate::LogPosition {
        term: fanfare_core::id::Term(1),
        index: 0,
    };
    let mut lazy = Job::new(1, vec![Record::committed(Some(at))]);
    lazy.hurry = false;
    store.log().submit(lazy).await.unwrap();
    store.close().await;
    assert!(
        store
            .log()
            .submit(Job::new(1, vec![entry(1)]))
            .await
            .is_err()
    );
    volatile.kill();
    let again = Store::open(Arc::new(below), "/data", options(), never()).unwrap();
    let extent = again.log().extent(1);
    assert_eq!((extent.last, extent.committed), (Some(at), Some(at)));
    again.close().await;
}

#[tokio::test]
async fn below_the_reserve_there_is_no_room() {
    let faults = Faults::default();
    let disk = FaultyDisk::new(Arc::new(MemDisk::new()), faults.clone());
    let total = 1 << 40;
    let reserve = options().reserve.of(total);
    assert_eq!(reserve, total / 100 * 2);
    assert_eq!(options().reserve.of(1 << 30), 256 << 20);
    faults.set_space(Some(Space {
        free: reserve,
        total,
    }));
    let store = Store::open(Arc::new(disk), "/data", options(), never()).unwrap();
    assert!(!store.log().has_room());
    // Sampled at most once a second.
    faults.set_space(Some(Space {
        free: reserve + 1,
        total,
    }));
    assert!(!store.log().has_room());
    store.close().await;
}
