//! openraft's state machine, thin, over the caller's: it counts what is applied and keeps the
//! members. The state is in memory; a restart restores the last snapshot and applies the rest.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use crate::raft_types::{
    Answer, CommittedLeaderId, LogId, SnapshotMeta, StoredMembership, Types, position,
};
use crate::snapshot::{Haste, SnapshotFile, Snapshots};
use crate::wal::{Job, RECORD_HEAD};
use crate::{FrozenState, Log, StateMachine};

pub(crate) type Snapshot =
    openraft::Snapshot<CommittedLeaderId, u64, openraft::EmptyNode, SnapshotFile>;

/// The caller's machine and how far it is.
pub(crate) struct Machine<M> {
    /// In a mutex so that a thread that may block can restore it; nobody else takes it meanwhile.
    machine: Arc<Mutex<M>>,
    snapshots: Snapshots,
    log: Log,
    replica: u64,
    applied: Option<LogId>,
    members: StoredMembership,
}

/// A state as it was after an entry.
pub(crate) struct Frozen {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: Box<dyn FrozenState>,
    /// Bytes of log that a snapshot of it takes the place of.
    pub(crate) logged: u64,
}

impl<M: StateMachine> Machine<M> {
    pub(crate) fn new(machine: M, snapshots: Snapshots, log: Log, replica: u64) -> Self {
        Self {
            machine: Arc::new(Mutex::new(machine)),
            snapshots,
            log,
            replica,
            applied: None,
            members: StoredMembership::default(),
        }
    }

    fn machine(&self) -> MutexGuard<'_, M> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now, to be written out beside apply. `None`: the last snapshot has it.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let growth = self.snapshots.growth();
        let current = self.snapshots.current();
        let known = current.is_some_and(|file| file.meta.last_log_id >= self.applied);
        if self.applied.is_none() || (known && !growth.is_damaged()) {
            return None;
        }
        Some(Frozen {
            meta: self.meta(),
            state: self.machine().freeze(),
            logged: growth.logged(),
        })
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.members.clone(),
        }
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl<M: StateMachine> RaftStateMachine<Types<M>> for Machine<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<M>>>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let at = position(&entry.log_id);
            let outcome = match entry.payload {
                EntryPayload::Blank => self.machine().apply(at, None),
                EntryPayload::Normal(encoded) => {
                    self.snapshots.growth().add(encoded.bytes.len() as u64);
                    self.machine().apply(at, Some(&encoded.command))
                }
                EntryPayload::Membership(members) => {
                    self.members = StoredMembership::new(Some(entry.log_id), members);
                    self.machine().apply(at, None)
                }
            };
            self.snapshots.growth().add(RECORD_HEAD as u64);
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Answer::new(outcome));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (meta, snapshots) = (self.meta(), self.snapshots.clone());
        Builder {
            work: Mutex::new(Some(match self.snapshots.prepared() {
                Some(file) => Work::Done(file),
                None => Work::Write(self.machine().freeze()),
            })),
            meta,
            snapshots,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> io::Result<()> {
        if snapshot.meta != *meta {
            let text = "a snapshot is not the one its head says";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let (snapshots, received) = (self.snapshots.clone(), !self.snapshots.has(&snapshot));
        if received {
            // A cut of the log that contradicts the snapshot must be durable before it (R4): else
            // a start would find both.
            self.log
                .submit_and_wait(Job::new(self.replica, Vec::new()))
                .await?;
        }
        let machine = Arc::clone(&self.machine);
        blocking(move || {
            let kept = snapshots.adopt(&snapshot)?;
            let mut failed = None;
            let mut blocks = kept.blocks()?;
            let mut good = std::iter::from_fn(|| match blocks.next()? {
                Ok(block) => Some(block),
                Err(error) => {
                    failed = Some(error);
                    None
                }
            });
            let mut machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            let restored = machine.restore(&mut good as &mut dyn Iterator<Item = Bytes>);
            failed.map_or(Ok(()), Err)?;
            restored.map_err(io::Error::other)
        })
        .await?;
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        let growth = self.snapshots.growth();
        growth.taken(growth.logged());
        if received {
            self.snapshots.share().metrics.snapshots_installed.inc();
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshots.current().map(|file| Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        }))
    }
}

/// Gives openraft the snapshot that was written for it, or writes a frozen state beside apply.
pub(crate) struct Builder {
    /// In a mutex since openraft asks for `Sync`. Taken by the first build.
    work: Mutex<Option<Work>>,
    meta: SnapshotMeta,
    snapshots: Snapshots,
}

enum Work {
    Done(SnapshotFile),
    Write(Box<dyn FrozenState>),
}

impl<M: StateMachine> RaftSnapshotBuilder<Types<M>> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        let file = match work.take() {
            None => return Err(io::Error::other("this snapshot was built before")),
            Some(Work::Done(file)) => file,
            Some(Work::Write(mut state)) => {
                let (snapshots, meta) = (self.snapshots.clone(), self.meta.clone());
                blocking(move || snapshots.write(&meta, state.as_mut(), Haste::Hurried)).await?
            }
        };
        Ok(Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        })
    }
}
