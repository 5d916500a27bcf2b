//! openraft's network, thin, over a `Wire`: bodies out, answers in, each within its time.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::id::ReplicaId;
use fanfare_host::Clock;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use openraft::EmptyNode;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::mpsc;

use crate::acked::Acked;
use crate::raft_types::{LogId, Types, Vote};
use crate::snapshot::{Sender, SnapshotFile};
use crate::{Call, GroupId, Kind, Malformed, Route, StateMachine, Wire, WireError, format};

/// Appends on their way to one replica at a time. With 4 MiB each this bounds the bytes.
const WINDOW: usize = 8;

type Rpc<M, T> = Result<T, RPCError<Types<M>>>;
type Answers<'s, M> = BoxStream<'s, Rpc<M, StreamAppendResult<Types<M>>>>;

/// Makes the ways from one replica to others.
pub(crate) struct Network {
    pub(crate) wire: Arc<dyn Wire>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) append_timeout: Duration,
    pub(crate) sender: Sender,
    pub(crate) acked: Acked,
}

impl<M: StateMachine> RaftNetworkFactory<Types<M>> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        self.peer(target, false)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        self.peer(target, true)
    }
}

impl Network {
    fn peer(&self, target: u64, one_by_one: bool) -> Peer {
        Peer {
            wire: Arc::clone(&self.wire),
            clock: Arc::clone(&self.clock),
            route: Route {
                group: self.group,
                from: self.replica,
                to: ReplicaId(target),
            },
            append_timeout: self.append_timeout,
            sender: self.sender.clone(),
            acked: self.acked.clone(),
            one_by_one,
        }
    }
}

/// The way to one other replica.
pub(crate) struct Peer {
    wire: Arc<dyn Wire>,
    clock: Arc<dyn Clock>,
    route: Route,
    append_timeout: Duration,
    sender: Sender,
    acked: Acked,
    /// Appends are calls of their own: a pipeline for a single heartbeat would cost more.
    one_by_one: bool,
}

fn unreachable<M: StateMachine>(error: impl ToString) -> RPCError<Types<M>> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl Peer {
    async fn call<M: StateMachine, T>(
        &self,
        kind: Kind,
        body: Bytes,
        within: Duration,
        read: impl FnOnce(Bytes) -> Result<T, Malformed>,
    ) -> Rpc<M, T> {
        let call = self.wire.call(Call {
            route: self.route,
            kind,
            body,
        });
        let answer = tokio::select! {
            biased;
            answer = call => answer,
            () = self.clock.sleep(within) => Err(WireError::Timeout),
        };
        read(answer.map_err(unreachable::<M>)?).map_err(unreachable::<M>)
    }
}

impl<M: StateMachine> RaftNetworkV2<Types<M>> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types<M>>,
        _option: RPCOption,
    ) -> Rpc<M, AppendEntriesResponse<Types<M>>> {
        let body = format::append_request(&request);
        let read = format::read_append_response::<M>;
        let answer = if request.entries.is_empty() {
            // openraft gives heartbeats up by itself: no timer for each.
            let answer = self.wire.heartbeat(self.route, body).await;
            read(answer.map_err(unreachable::<M>)?).map_err(unreachable::<M>)?
        } else {
            // openraft's time is that of a heartbeat, too short for entries on a busy disk.
            let within = self.append_timeout;
            self.call(Kind::Append, body, within, read).await?
        };
        let flying = Flying::new(&request, Duration::ZERO);
        note::<M>(&self.acked, self.route.to, &flying, &answer)?;
        Ok(answer)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<M, Answers<'s, M>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types<M>>> + Send + Unpin + 'static,
    {
        if self.one_by_one {
            return stream_append_sequential(self, input, option);
        }
        let (bodies, from_here) = mpsc::channel(WINDOW);
        let answers = self.wire.appends(self.route, from_here);
        let pipeline = Pipeline {
            input: Some(input),
            bodies: Some(bodies),
            answers,
            flying: VecDeque::with_capacity(WINDOW),
            to: self.route.to,
            acked: self.acked.clone(),
            clock: Arc::clone(&self.clock),
            timeout: self.append_timeout,
        };
        let answers: Answers<'s, M> = stream::unfold(Some(pipeline), |pipeline| async {
            let mut pipeline = pipeline?;
            let answer = pipeline.next::<M>().await?;
            let goes_on = matches!(answer, Ok((Ok(_), true)));
            Some((
                answer.map(|(answer, _)| answer),
                goes_on.then_some(pipeline),
            ))
        })
        .boxed();
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<M>>,
        option: RPCOption,
    ) -> Rpc<M, VoteResponse<Types<M>>> {
        let body = format::vote_request(&request);
        self.call(
            Kind::Vote,
            body,
            option.hard_ttl(),
            format::read_vote_response::<M>,
        )
        .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<M>>,
        option: RPCOption,
    ) -> Rpc<M, VoteResponse<Types<M>>> {
        let body = format::vote_request(&request);
        self.call(
            Kind::PreVote,
            body,
            option.hard_ttl(),
            format::read_vote_response::<M>,
        )
        .await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<M>>,
        option: RPCOption,
    ) -> Rpc<M, TransferLeaderResponse<Types<M>>> {
        let body = format::transfer_request(&request);
        self.call(
            Kind::Transfer,
            body,
            option.hard_ttl(),
            format::read_transfer_response::<M>,
        )
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<Types<M>, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<M>>, StreamingError<Types<M>>> {
        let (wire, file) = (self.wire.as_ref(), snapshot.snapshot);
        let last = snapshot.meta.last_log_id;
        match self
            .sender
            .send(wire, self.route, &vote, file, cancel)
            .await
        {
            None => Err(StreamingError::Closed(ReplicationClosed::new("cancelled"))),
            Some(Ok(theirs)) => {
                if let Some(last) = last.filter(|_| theirs == vote) {
                    let term = vote.leader_id.term;
                    self.acked.stored(self.route.to, term, last.index);
                }
                Ok(SnapshotResponse::new(theirs))
            }
            // Always this error: others are tried again without a pause.
            Some(Err(error)) => Err(StreamingError::Unreachable(Unreachable::from_string(error))),
        }
    }
}

/// An append that has no answer yet.
struct Flying {
    /// The leader's term.
    term: u64,
    previous: Option<LogId>,
    last: Option<LogId>,
    until: Duration,
}

impl Flying {
    fn new<M: StateMachine>(request: &AppendEntriesRequest<Types<M>>, until: Duration) -> Self {
        let last = request.entries.last().map(|entry| entry.log_id);
        Self {
            term: request.vote.leader_id.term,
            previous: request.prev_log_id,
            last: last.or(request.prev_log_id),
            until,
        }
    }
}

/// Notes how far a replica's log goes by its answer. An error: it lacks what it had acknowledged, and
/// is as good as away.
fn note<M: StateMachine>(
    acked: &Acked,
    to: ReplicaId,
    flying: &Flying,
    answer: &AppendEntriesResponse<Types<M>>,
) -> Rpc<M, ()> {
    let stored = match answer {
        AppendEntriesResponse::Success => flying.last,
        AppendEntriesResponse::PartialSuccess(last) => *last,
        AppendEntriesResponse::HigherVote(_) => None,
        AppendEntriesResponse::Conflict => {
            let lacks = flying.previous.map(|at| at.index);
            return match lacks.is_some_and(|index| acked.lacks(to, flying.term, index)) {
                true => Err(unreachable::<M>("it lacks what it had acknowledged")),
                false => Ok(()),
            };
        }
    };
    if let Some(stored) = stored {
        acked.stored(to, flying.term, stored.index);
    }
    Ok(())
}

/// Appends to one replica, several on their way at a time, answered in order.
struct Pipeline<S> {
    /// `None` once it ended.
    input: Option<S>,
    bodies: Option<mpsc::Sender<Bytes>>,
    answers: mpsc::Receiver<Result<Bytes, WireError>>,
    flying: VecDeque<Flying>,
    to: ReplicaId,
    acked: Acked,
    clock: Arc<dyn Clock>,
    timeout: Duration,
}

/// What the pipeline waited for.
enum Event<R> {
    Answer(Option<Result<Bytes, WireError>>),
    Late,
    Request(Option<R>),
}

impl<S> Pipeline<S> {
    /// The next answer, and whether more may follow; `None` once all are answered.
    async fn next<M: StateMachine>(
        &mut self,
    ) -> Option<Rpc<M, (StreamAppendResult<Types<M>>, bool)>>
    where
        S: Stream<Item = AppendEntriesRequest<Types<M>>> + Send + Unpin,
    {
        loop {
            if self.flying.is_empty() && self.input.is_none() {
                return None;
            }
            let clock = Arc::clone(&self.clock);
            let oldest = self.flying.front().map(|flying| flying.until);
            let full = self.flying.len() >= WINDOW;
            let event = tokio::select! {
                biased;
                answer = self.answers.recv() => Event::Answer(answer),
                () = async { clock.sleep_until(oldest.unwrap_or_default()).await },
                    if oldest.is_some() => Event::Late,
                request = async {
                    match &mut self.input {
                        Some(input) => input.next().await,
                        None => None,
                    }
                }, if !full && self.input.is_some() => Event::Request(request),
            };
            match event {
                Event::Request(None) => {
                    self.input = None;
                    self.bodies = None;
                }
                Event::Request(Some(request)) => {
                    if let Err(error) = self.send(&request) {
                        return Some(Err(unreachable::<M>(error)));
                    }
                }
                Event::Late => return Some(Err(unreachable::<M>(WireError::Timeout))),
                Event::Answer(None) => {
                    let ended = WireError::Unreachable("the stream of appends ended".to_owned());
                    return Some(Err(unreachable::<M>(ended)));
                }
                Event::Answer(Some(Err(error))) => return Some(Err(unreachable::<M>(error))),
                Event::Answer(Some(Ok(body))) => return Some(self.answered(body)),
            }
        }
    }

    fn send<M: StateMachine>(
        &mut self,
        request: &AppendEntriesRequest<Types<M>>,
    ) -> Result<(), WireError> {
        let until = self.clock.now().saturating_add(self.timeout);
        self.flying.push_back(Flying::new(request, until));
        // The channel holds as many as may be on their way, so that only a closed one refuses.
        let sent = self
            .bodies
            .as_ref()
            .map(|to| to.try_send(format::append_request(request)));
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(WireError::Unreachable(
                "the stream of appends is closed".to_owned(),
            )),
        }
    }

    fn answered<M: StateMachine>(
        &mut self,
        body: Bytes,
    ) -> Rpc<M, (StreamAppendResult<Types<M>>, bool)> {
        let Some(flying) = self.flying.pop_front() else {
            return Err(unreachable::<M>("an answer to nothing"));
        };
        let answer = format::read_append_response::<M>(body).map_err(unreachable::<M>)?;
        if answer.is_conflict() && flying.previous.is_none() {
            return Err(unreachable::<M>("a conflict with nothing"));
        }
        note::<M>(&self.acked, self.to, &flying, &answer)?;
        let whole = match &answer {
            AppendEntriesResponse::PartialSuccess(last) => *last == flying.last,
            AppendEntriesResponse::Success
            | AppendEntriesResponse::Conflict
            | AppendEntriesResponse::HigherVote(_) => true,
        };
        Ok((
            answer.into_stream_result(flying.previous, flying.last),
            whole,
        ))
    }
}
