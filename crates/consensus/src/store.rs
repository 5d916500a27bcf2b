//! Everything a node's groups keep on its disk: the log they share, a directory for each replica.

use std::path::PathBuf;
use std::sync::Arc;

use fanfare_core::id::ReplicaId;
use fanfare_host::{Clock, Disk, Rng};

use crate::{GroupId, Log, OnPoison, OpenError, Reserve};

/// Sizes of a store, and what it takes from its machine.
#[derive(Clone)]
pub struct StoreOptions {
    /// Paces the samples of free space.
    pub clock: Arc<dyn Clock>,
    /// Draws the salts of segments, so that no payload can imitate a record.
    pub rng: Arc<dyn Rng>,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
    /// Bytes of recent entries kept in memory.
    pub cache_bytes: usize,
    /// Bytes of records waiting to be written, over all groups; appends wait beyond.
    pub queue_bytes: usize,
    /// Free space below which the log has no room (R15).
    pub reserve: Reserve,
}

impl StoreOptions {
    /// The sizes of a production node.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self {
            clock,
            rng,
            segment_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            queue_bytes: 64 << 20,
            reserve: Reserve::default(),
        }
    }
}

/// A node's open store. A clone is the same store.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or creates the store in `dir`: recovers the log (R6) and finds the replicas. Blocks.
    /// `on_poison` is called once, from the log's thread, when the store can no longer be
    /// trusted: the node must exit (R5).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: impl Into<PathBuf>,
        options: StoreOptions,
        on_poison: OnPoison,
    ) -> Result<Self, OpenError> {
        let _ = (disk, dir.into(), options, on_poison);
        unimplemented!()
    }

    /// Replicas that have been started in this store and not removed, in order.
    #[must_use]
    pub fn replicas(&self) -> Vec<(GroupId, ReplicaId)> {
        unimplemented!()
    }

    /// Deletes all a stopped replica has on this disk, files last. Its id never comes back.
    pub async fn remove(&self, group: GroupId, replica: ReplicaId) -> std::io::Result<()> {
        let _ = (group, replica);
        unimplemented!()
    }

    /// The log of the node.
    #[must_use]
    pub fn log(&self) -> &Log {
        unimplemented!()
    }

    /// Writes what waits and ends the log's thread. Stop the groups first.
    pub async fn close(&self) {
        unimplemented!()
    }
}
