//! The shard as consensus applies it: the value of `core` behind a lock, snapshots through the
//! codec of its blocks, and a word to the leader's actor after each entry.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use fanfare_consensus::{Codec, FrozenState, LogPosition, Malformed, StateMachine};
use fanfare_core::message::Draft;
use fanfare_core::shard::{At, Block, Blocks, Command, Entry, Outcome, Restore, Shard};
use tokio::sync::watch;

use crate::attended::Attended;

/// A replica's state, shared by who applies and who reads. Writers hold the lock for one entry,
/// readers for one page.
pub(crate) struct Replica {
    shards: u32,
    shard: RwLock<Shard>,
    attended: RwLock<Option<Arc<Attended>>>,
    applied: watch::Sender<u64>,
    /// Bytes of the entries applied since a snapshot was last due.
    logged: AtomicU64,
}

impl Replica {
    /// The state before the first entry, in a cluster of so many shards.
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            shards,
            shard: RwLock::new(Shard::new(shards)),
            attended: RwLock::default(),
            applied: watch::Sender::new(0),
            logged: AtomicU64::new(0),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shard> {
        self.shard.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shard> {
        self.shard.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with each applied entry: its index.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// About how many bytes the log has grown since the last [`Self::snapshot_taken`].
    pub(crate) fn logged(&self) -> u64 {
        self.logged.load(Ordering::Relaxed)
    }

    /// A snapshot holds so many of these bytes.
    pub(crate) fn snapshot_taken(&self, bytes: u64) {
        self.logged
            .fetch_sub(bytes.min(self.logged()), Ordering::Relaxed);
    }

    /// From now on `attended` hears of each entry; `None`: nobody does.
    pub(crate) fn attend(&self, attended: Option<Arc<Attended>>) {
        *self
            .attended
            .write()
            .unwrap_or_else(PoisonError::into_inner) = attended;
    }
}

/// What consensus replicates for a shard.
pub(crate) struct ShardMachine {
    replica: Arc<Replica>,
    blocks: Arc<dyn Codec<Block>>,
}

impl ShardMachine {
    pub(crate) fn new(replica: Arc<Replica>, blocks: Arc<dyn Codec<Block>>) -> Self {
        Self { replica, blocks }
    }
}

impl StateMachine for ShardMachine {
    type Command = Entry;
    type Outcome = Outcome;

    fn apply(&mut self, at: LogPosition, command: Option<&Entry>) -> Option<Outcome> {
        let place = At {
            term: at.term,
            index: at.index,
        };
        let mut shard = self.replica.write();
        let outcome = match command {
            None => {
                shard.pass(place);
                None
            }
            Some(entry) => {
                self.replica
                    .logged
                    .fetch_add(cost(entry), Ordering::Relaxed);
                let (outcome, effects) = shard.apply(place, entry);
                let attended = self.replica.attended.read();
                if let Some(attended) = &*attended.unwrap_or_else(PoisonError::into_inner) {
                    attended.note(at.term, &effects);
                }
                Some(outcome)
            }
        };
        drop(shard);
        self.replica.applied.send_replace(at.index);
        outcome
    }

    fn freeze(&self) -> Box<dyn FrozenState> {
        let blocks = self.replica.read().freeze().blocks();
        Box::new(FrozenShard {
            blocks,
            codec: Arc::clone(&self.blocks),
        })
    }

    fn restore(&mut self, blocks: &mut dyn Iterator<Item = Bytes>) -> Result<(), Malformed> {
        let malformed = |bad: fanfare_core::shard::BadSnapshot| Malformed {
            what: bad.to_string(),
        };
        let mut restore = Restore::new(self.replica.shards);
        for stored in blocks {
            restore
                .take(&self.blocks.decode(&stored)?)
                .map_err(malformed)?;
        }
        let shard = restore.finish().map_err(malformed)?;
        let index = shard.applied().index;
        *self.replica.write() = shard;
        self.replica.applied.send_replace(index);
        Ok(())
    }
}

/// About how many bytes an entry takes in the log.
fn cost(entry: &Entry) -> u64 {
    const OVERHEAD: u64 = 64;
    let drafts = match &entry.command {
        Command::Place(batch) => batch.drafts.iter().map(Draft::cost).sum(),
        Command::Begin { .. }
        | Command::Create { .. }
        | Command::Delete { .. }
        | Command::SetRules(_)
        | Command::SetLevel(_)
        | Command::Trim { .. }
        | Command::ReserveEpochs(_)
        | Command::Tick
        | Command::Repair => 0,
    };
    OVERHEAD + drafts
}

struct FrozenShard {
    blocks: Blocks,
    codec: Arc<dyn Codec<Block>>,
}

impl FrozenState for FrozenShard {
    fn next_block(&mut self) -> Option<Bytes> {
        self.blocks.next().map(|block| self.codec.encode(&block))
    }
}
