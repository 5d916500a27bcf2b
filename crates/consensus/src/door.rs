//! The receiving end of a node: finds the running replica a raft call is for, and lets it answer.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanfare_core::id::ReplicaId;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::raft_types::{Raft, Types};
use crate::snapshot::Receiver;
use crate::wal::Log;
use crate::{Call, Codec, GroupId, Kind, Malformed, Route, StateMachine, WireError, format};

/// A replica that answers calls.
pub(crate) trait Served: Send + Sync {
    fn serve(&self, kind: Kind, body: Bytes) -> BoxFuture<'_, Result<Bytes, WireError>>;

    fn serve_appends(
        self: Arc<Self>,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) -> BoxFuture<'static, ()>;

    fn serve_snapshot(
        self: Arc<Self>,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) -> BoxFuture<'static, ()>;

    /// It has left: pipelines end, also idle ones.
    fn leave(&self);
}

type Replicas = BTreeMap<(GroupId, ReplicaId), Arc<dyn Served>>;

/// Registry of the replicas that run on this node. A clone is the same door.
#[derive(Clone, Default)]
pub struct Door(Arc<Mutex<Replicas>>);

impl Door {
    /// A door behind which nothing runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn replicas(&self) -> MutexGuard<'_, Replicas> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one raft call; [`WireError::NotHere`] if the replica does not run here (R1).
    pub async fn serve(&self, call: Call) -> Result<Bytes, WireError> {
        let key = (call.route.group, call.route.to);
        let served = self
            .replicas()
            .get(&key)
            .cloned()
            .ok_or(WireError::NotHere)?;
        served.serve(call.kind, call.body).await
    }

    /// Answers a pipeline of appends, in order, several in work at a time; ends with the bodies,
    /// or after an answer that is an error.
    pub async fn serve_appends(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) {
        let served = self.replicas().get(&(route.group, route.to)).cloned();
        match served {
            Some(served) => served.serve_appends(bodies, answers).await,
            // A caller that is gone needs no answer.
            None => drop(answers.send(Err(WireError::NotHere)).await),
        }
    }

    /// Takes the pieces of a snapshot; ends after the answer that is final.
    pub async fn serve_snapshot(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) {
        let served = self.replicas().get(&(route.group, route.to)).cloned();
        match served {
            Some(served) => served.serve_snapshot(bodies, answers).await,
            // A caller that is gone needs no answer.
            None => drop(answers.send(Err(WireError::NotHere)).await),
        }
    }

    /// True if the replica runs here.
    #[must_use]
    pub fn is_here(&self, group: GroupId, replica: ReplicaId) -> bool {
        self.replicas().contains_key(&(group, replica))
    }

    /// False if the replica is behind the door already.
    pub(crate) fn enter(
        &self,
        group: GroupId,
        replica: ReplicaId,
        served: Arc<dyn Served>,
    ) -> bool {
        let mut replicas = self.replicas();
        if replicas.contains_key(&(group, replica)) {
            return false;
        }
        replicas.insert((group, replica), served);
        true
    }

    pub(crate) fn leave(&self, group: GroupId, replica: ReplicaId) {
        let gone = self.replicas().remove(&(group, replica));
        if let Some(served) = gone {
            served.leave();
        }
    }
}

/// A running raft as the door sees it.
pub(crate) struct Serving<M: StateMachine> {
    pub(crate) raft: Raft<M>,
    pub(crate) codec: Arc<dyn Codec<M::Command>>,
    pub(crate) log: Log,
    /// Appends of shards are refused when the log has no room; metadata uses the reserve (R15).
    pub(crate) needs_room: bool,
    pub(crate) receiver: Arc<Receiver<M>>,
    /// Cancelled when it has left the door.
    pub(crate) gone: CancellationToken,
}

fn bad(error: &Malformed) -> WireError {
    WireError::Unreachable(error.to_string())
}

fn stopped<M: StateMachine>(error: RaftError<Types<M>>) -> WireError {
    halted::<M>(&error.unwrap_fatal())
}

fn halted<M: StateMachine>(error: &Fatal<Types<M>>) -> WireError {
    match error {
        Fatal::Stopped => WireError::NotHere,
        Fatal::StorageError(_) | Fatal::Panicked => WireError::Unreachable(error.to_string()),
    }
}

impl<M: StateMachine> Serving<M> {
    fn append_request(&self, body: Bytes) -> Result<AppendEntriesRequest<Types<M>>, WireError> {
        let request = format::read_append_request::<M>(body, self.codec.as_ref());
        let request = request.map_err(|error| bad(&error))?;
        if self.needs_room && !request.entries.is_empty() && !self.log.has_room() {
            return Err(WireError::Unreachable("the log has no room".to_owned()));
        }
        Ok(request)
    }

    async fn pipeline(
        self: Arc<Self>,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) {
        let refused = Arc::new(Mutex::new(None));
        let state = (Arc::clone(&self), bodies, Arc::clone(&refused));
        let requests = stream::unfold(state, |(this, mut bodies, refused)| async move {
            match this.append_request(bodies.recv().await?) {
                Ok(request) => Some((request, (this, bodies, refused))),
                Err(error) => {
                    *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        });
        let mut results = pin!(self.raft.stream_append(requests));
        loop {
            let result = tokio::select! { biased;
                result = results.next() => result,
                () = self.gone.cancelled() => None,
            };
            let Some(result) = result else { break };
            let answer = result
                .map(|result| response_of(&result))
                .map_err(|error| halted::<M>(&error));
            let ends = !matches!(answer, Ok(AppendEntriesResponse::PartialSuccess(_)));
            let body = answer.map(|answer| format::append_response::<M>(&answer));
            if answers.send(body).await.is_err() || ends {
                return;
            }
        }
        let refused = refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(error) = refused {
            // A caller that is gone needs no answer.
            drop(answers.send(Err(error)).await);
        }
    }

    async fn answer(&self, kind: Kind, body: Bytes) -> Result<Bytes, WireError> {
        match kind {
            Kind::Append => {
                let request = self.append_request(body)?;
                let answer = self.raft.append_entries(request).await.map_err(stopped)?;
                Ok(format::append_response(&answer))
            }
            Kind::Vote => {
                let request = format::read_vote_request::<M>(body).map_err(|error| bad(&error))?;
                let answer = self.raft.vote(request).await.map_err(stopped)?;
                Ok(format::vote_response(&answer))
            }
            Kind::PreVote => {
                let request = format::read_vote_request::<M>(body).map_err(|error| bad(&error))?;
                let answer = self.raft.pre_vote(request).await.map_err(stopped)?;
                Ok(format::vote_response(&answer))
            }
            Kind::Transfer => {
                let request =
                    format::read_transfer_request::<M>(body).map_err(|error| bad(&error))?;
                let answer = self.raft.handle_transfer_leader(request).await;
                Ok(format::transfer_response(
                    &answer.map_err(|error| halted::<M>(&error))?,
                ))
            }
            Kind::Snapshot => Err(WireError::Unreachable(
                "a snapshot comes in pieces".to_owned(),
            )),
        }
    }
}

/// The caller knows the last entry it sent, and so whether all of them were taken.
fn response_of<M: StateMachine>(
    result: &StreamAppendResult<Types<M>>,
) -> AppendEntriesResponse<Types<M>> {
    match result {
        Ok(last) => AppendEntriesResponse::PartialSuccess(*last),
        Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(*vote),
    }
}

impl<M: StateMachine> Served for Serving<M> {
    fn leave(&self) {
        self.gone.cancel();
    }

    fn serve_appends(
        self: Arc<Self>,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(self.pipeline(bodies, answers))
    }

    fn serve_snapshot(
        self: Arc<Self>,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, WireError>>,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.receiver.serve(bodies, answers).await })
    }

    fn serve(&self, kind: Kind, body: Bytes) -> BoxFuture<'_, Result<Bytes, WireError>> {
        Box::pin(self.answer(kind, body))
    }
}
