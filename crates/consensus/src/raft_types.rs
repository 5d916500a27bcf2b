//! openraft's types, for a state machine: what an entry and an answer are here.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fanfare_core::id::{ReplicaId, Term};
use openraft::impls::{BoxedErrorSource, InlineBatch, OneshotResponder, leader_id_std};
use openraft::{EmptyNode, EntryPayload, RaftTypeConfig};

use crate::machine::Machine;
use crate::{LogPosition, StateMachine};

/// openraft's configuration for groups of `M`.
pub(crate) struct Types<M>(PhantomData<fn() -> M>);

pub(crate) type Raft<M> = openraft::Raft<Types<M>, Machine<M>>;
pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Membership = openraft::Membership<u64, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, EmptyNode>;
pub(crate) type Entry<M> = openraft::alias::EntryOf<Types<M>>;

impl<M: StateMachine> RaftTypeConfig for Types<M> {
    type D = Encoded<M::Command>;
    type R = Answer<M::Outcome>;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = EntryPayload<Self::D, u64, EmptyNode>;
    type Entry = openraft::Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = OneshotResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = BoxedErrorSource;
}

impl<M> fmt::Debug for Types<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

impl<M> Clone for Types<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Types<M> {}

impl<M> Default for Types<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M> PartialEq for Types<M> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<M> Eq for Types<M> {}

impl<M> PartialOrd for Types<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Types<M> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// A command in its stored form and parsed: encoded once, decoded at most once a replica.
pub(crate) struct Encoded<C> {
    pub(crate) bytes: Bytes,
    pub(crate) command: Arc<C>,
}

impl<C> Clone for Encoded<C> {
    fn clone(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            command: Arc::clone(&self.command),
        }
    }
}

impl<C> fmt::Debug for Encoded<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

impl<C> fmt::Display for Encoded<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave. openraft asks for `Sync`, an outcome is only `Send`.
pub(crate) struct Answer<O>(Mutex<Option<O>>);

impl<O> Answer<O> {
    pub(crate) fn new(outcome: Option<O>) -> Self {
        Self(Mutex::new(outcome))
    }

    pub(crate) fn into_outcome(self) -> Option<O> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O> fmt::Debug for Answer<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

pub(crate) fn position(id: &LogId) -> LogPosition {
    LogPosition {
        term: Term(id.leader_id.term),
        index: id.index,
    }
}

pub(crate) fn log_id(at: LogPosition) -> LogId {
    LogId {
        leader_id: CommittedLeaderId::new(at.term.0),
        index: at.index,
    }
}

pub(crate) fn replicas(ids: impl Iterator<Item = u64>) -> Vec<ReplicaId> {
    let mut ids: Vec<ReplicaId> = ids.map(ReplicaId).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
