//! openraft's state machine, thin, over the caller's: it counts what is applied and keeps the
//! members. The state is in memory; a restart restores the last snapshot and applies the rest.

use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use crate::raft_types::{
    Answer, CommittedLeaderId, LogId, SnapshotMeta, StoredMembership, Types, position,
};
use crate::snapshot::{SnapshotFile, Snapshots};
use crate::{FrozenState, StateMachine};

type Snapshot = openraft::Snapshot<CommittedLeaderId, u64, openraft::EmptyNode, SnapshotFile>;

/// The caller's machine and how far it is.
pub(crate) struct Machine<M> {
    machine: M,
    snapshots: Snapshots,
    applied: Option<LogId>,
    members: StoredMembership,
}

impl<M: StateMachine> Machine<M> {
    pub(crate) fn new(machine: M, snapshots: Snapshots) -> Self {
        let members = StoredMembership::default();
        Self {
            machine,
            snapshots,
            applied: None,
            members,
        }
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
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
                EntryPayload::Blank => self.machine.apply(at, None),
                EntryPayload::Normal(encoded) => self.machine.apply(at, Some(&encoded.command)),
                EntryPayload::Membership(members) => {
                    self.members = StoredMembership::new(Some(entry.log_id), members);
                    self.machine.apply(at, None)
                }
            };
            self.applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(Answer::new(outcome));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: Mutex::new(Some(self.machine.freeze())),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.members.clone(),
            },
            snapshots: self.snapshots.clone(),
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
        let snapshots = self.snapshots.clone();
        let kept = blocking(move || snapshots.adopt(&snapshot)).await?;
        let mut failed = None;
        let mut blocks = kept.blocks()?;
        let mut good = std::iter::from_fn(|| match blocks.next()? {
            Ok(block) => Some(block),
            Err(error) => {
                failed = Some(error);
                None
            }
        });
        let restored = self
            .machine
            .restore(&mut good as &mut dyn Iterator<Item = Bytes>);
        if let Some(error) = failed {
            return Err(error);
        }
        restored.map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let snapshots = self.snapshots.clone();
        let current = blocking(move || snapshots.current()).await?;
        Ok(current.map(|file| Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        }))
    }
}

/// Writes a frozen state beside apply.
pub(crate) struct Builder {
    /// In a mutex since openraft asks for `Sync`. Taken by the first build.
    state: Mutex<Option<Box<dyn FrozenState>>>,
    meta: SnapshotMeta,
    snapshots: Snapshots,
}

impl<M: StateMachine> RaftSnapshotBuilder<Types<M>> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let state = self
            .state
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut state = state.ok_or_else(|| io::Error::other("this snapshot was built before"))?;
        let (snapshots, meta) = (self.snapshots.clone(), self.meta.clone());
        let file = blocking(move || snapshots.write(&meta, state.as_mut())).await?;
        Ok(Snapshot {
            meta: file.meta.clone(),
            snapshot: file,
        })
    }
}
