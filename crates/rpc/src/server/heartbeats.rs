//! The serving end of heartbeats that travel together: each is answered by its replica, and the
//! answers that are ready travel together. None waits for another.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::id::NodeId;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;
use tonic::{Status, Streaming};

use crate::convert::raft::{answer_to_pb, route};
use crate::convert::required;
use crate::identity::{Check, Local};
use crate::pb::peer as pb;
use crate::raft::{RaftDoor, RaftError, RaftRoute};

/// Messages of answers that are not sent yet.
pub(super) const MESSAGES: usize = 2;
/// Heartbeats in work and answers that wait; beyond, no more is read.
const IN_WORK: usize = 4_096;
/// How often other tasks go first, so that the answers they are about to give travel along.
const GATHER: usize = 4;

type Answered = (u64, RaftRoute, Result<Bytes, RaftError>);

/// Who calls, and for whom: checked with each message, for a stream outlives views (R1).
pub(super) struct Caller {
    pub(super) local: Local,
    pub(super) metadata: MetadataMap,
}

impl Caller {
    pub(super) fn check(&self) -> Result<NodeId, Box<Status>> {
        self.local.check(&self.metadata, Check::Raft)
    }
}

/// One stream of heartbeats of one node.
pub(super) struct Serving {
    door: Arc<dyn RaftDoor>,
    caller: Caller,
    in_work: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Routes with a heartbeat in work. A second one is refused: so each replica gets its heartbeats
    /// in order, and one that does not answer costs no more than one place.
    busy: BTreeSet<RaftRoute>,
    ready: Vec<pb::raft_answers::Numbered>,
}

impl Serving {
    pub(super) fn new(door: Arc<dyn RaftDoor>, caller: Caller) -> Self {
        Self {
            door,
            caller,
            in_work: FuturesUnordered::new(),
            busy: BTreeSet::new(),
            ready: Vec::new(),
        }
    }

    /// Answers until the caller leaves or is refused, or the door is closed.
    pub(super) async fn serve(
        mut self,
        mut incoming: Streaming<pb::RaftCalls>,
        answers: mpsc::Sender<Result<pb::RaftAnswers, Status>>,
        closed: impl Future<Output = ()>,
    ) {
        let mut closed = std::pin::pin!(closed);
        loop {
            tokio::select! { biased;
                () = &mut closed => return,
                place = answers.reserve(), if !self.ready.is_empty() => {
                    let Ok(place) = place else { return };
                    let answers = std::mem::take(&mut self.ready);
                    place.send(Ok(pb::RaftAnswers { answers }));
                }
                Some(answered) = self.in_work.next() => {
                    self.answered(answered);
                    self.gather().await;
                }
                calls = incoming.message(), if self.in_work.len() + self.ready.len() < IN_WORK => {
                    // An error of the connection is its end.
                    let Ok(Some(calls)) = calls else { return };
                    match self.caller.check() {
                        Ok(sender) => self.take(sender, calls),
                        // A caller that is gone needs no answer.
                        Err(refused) => return drop(answers.send(Err(*refused)).await),
                    }
                }
                () = answers.closed() => return,
            }
        }
    }

    fn take(&mut self, sender: NodeId, pb::RaftCalls { calls }: pb::RaftCalls) {
        for pb::raft_calls::Numbered { number, call } in calls {
            let call = required(call, "call").and_then(|pb::RaftCall { route: raw, body }| {
                let route = required(raw, "route").and_then(route)?;
                Ok((route, body))
            });
            let (route, body) = match call {
                Ok(call) => call,
                Err(bad) => {
                    self.say(number, Err(RaftError::Failed(bad.to_string())));
                    continue;
                }
            };
            if !self.busy.insert(route) {
                let text = "the heartbeat before has no answer yet";
                self.say(number, Err(RaftError::Failed(text.to_owned())));
                continue;
            }
            let served = self.door.serve(sender, route, body);
            self.in_work
                .push(served.map(move |answer| (number, route, answer)).boxed());
        }
    }

    /// Takes what else is answered by now, and lets those go first who are about to answer.
    async fn gather(&mut self) {
        self.take_answered();
        for _ in 0..GATHER {
            if self.in_work.is_empty() {
                return;
            }
            let known = self.ready.len();
            tokio::task::yield_now().await;
            self.take_answered();
            if self.ready.len() == known {
                return;
            }
        }
    }

    fn take_answered(&mut self) {
        while let Some(Some(answered)) = self.in_work.next().now_or_never() {
            self.answered(answered);
        }
    }

    fn answered(&mut self, (number, route, answer): Answered) {
        self.busy.remove(&route);
        self.say(number, answer);
    }

    fn say(&mut self, number: u64, answer: Result<Bytes, RaftError>) {
        self.ready.push(pb::raft_answers::Numbered {
            number,
            answer: Some(answer_to_pb(answer)),
        });
    }
}
