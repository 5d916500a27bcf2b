//! The shard as consensus applies it: the value of `core` behind a lock, snapshots through the
//! codec of its blocks, and a word to the leader's actor after each entry.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use fanfare_consensus::{Codec, FrozenState, LogPosition, Malformed, StateMachine};
use fanfare_core::shard::{At, Block, Blocks, Entry, Outcome, Restore, Shard};
use tokio::sync::watch;

use crate::attended::Attended;

/// A replica's state, shared by who applies and who reads. Writers hold the lock for one entry,
/// readers for one page.
pub(crate) struct Replica {
    shards: u32,
    shard: RwLock<Shard>,
    attended: RwLock<Option<Arc<Attended>>>,
    applied: watch::Sender<u64>,
}

impl Replica {
    /// The state before the first entry, in a cluster of so many shards.
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            shards,
            shard: RwLock::new(Shard::new(shards)),
            attended: RwLock::default(),
            applied: watch::Sender::new(0),
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

struct FrozenShard {
    blocks: Blocks,
    codec: Arc<dyn Codec<Block>>,
}

impl FrozenState for FrozenShard {
    fn next_block(&mut self) -> Option<Bytes> {
        self.blocks.next().map(|block| self.codec.encode(&block))
    }
}
