//! Heartbeats of all replicas of this node to those of another: one stream, on which what is ready
//! together goes as one message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::convert::raft::answer_of;
use crate::pb::peer as pb;
use crate::pb::peer::raft_client::RaftClient;
use crate::raft::RaftError;

use super::failure::Failure;
use super::raft::client;
use super::remote::Remote;

/// Heartbeats that wait to be sent; one more is refused, as if it had been lost.
const QUEUE: usize = 2_048;
/// Heartbeats sent and not answered, also those that their callers gave up; one more is refused.
const UNANSWERED: usize = 4_096;
/// Heartbeats in one message.
const TOGETHER: usize = 512;
/// Messages handed to the connection and not sent yet.
const MESSAGES: usize = 2;
/// How often other tasks go first, so that what they are about to send travels along.
const GATHER: usize = 4;

/// `None`: the other node does not know the stream.
type Answer = Option<Result<Bytes, RaftError>>;

/// A heartbeat on its way, and who waits for its answer.
struct Waiting {
    call: pb::RaftCall,
    answer: oneshot::Sender<Answer>,
}

/// The heartbeats to one start of a node. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heartbeats(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// The way to the task that has the stream; closed when that has ended.
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
    /// That start of the node does not know the stream.
    unknown: AtomicBool,
}

impl Remote {
    /// Sends a heartbeat and waits for its answer. `None`: the other node does not know heartbeats
    /// that travel together, and this one was not sent.
    pub(super) async fn heartbeat(&self, call: pb::RaftCall) -> Answer {
        let Heartbeats(inner) = &self.lanes.heartbeats;
        if inner.unknown.load(Ordering::Acquire) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        if let Err(error) = self.hand_over(Waiting { call, answer }) {
            return Some(Err(error));
        }
        answered.await.unwrap_or_else(|_| Some(Err(ended())))
    }

    /// Gives a heartbeat to the task that has the stream, to a new one if there is none.
    fn hand_over(&self, waiting: Waiting) -> Result<(), RaftError> {
        let Heartbeats(inner) = &self.lanes.heartbeats;
        let mut queue = inner.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = match queue.as_ref().map(mpsc::Sender::try_reserve) {
            Some(Ok(place)) => {
                place.send(waiting);
                return Ok(());
            }
            Some(Err(mpsc::error::TrySendError::Full(()))) => return Err(too_many()),
            Some(Err(mpsc::error::TrySendError::Closed(()))) | None => waiting,
        };
        let (frames, messages) = mpsc::channel(MESSAGES);
        let request = self.request(ReceiverStream::new(messages))?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        // The channel is new and empty.
        drop(sender.try_send(waiting));
        *queue = Some(sender);
        let task = Task {
            queue: receiver,
            frames,
            unanswered: BTreeMap::new(),
            number: 0,
        };
        // Not the whole of `self`: it would keep the queue open.
        let (client, inner) = (client(self, false), Arc::downgrade(inner));
        self.dialer.tasks.spawn(async move {
            task.run(client, request, || {
                if let Some(inner) = inner.upgrade() {
                    inner.unknown.store(true, Ordering::Release);
                }
            })
            .await;
        });
        Ok(())
    }
}

/// What the task of one stream has.
struct Task {
    queue: mpsc::Receiver<Waiting>,
    frames: mpsc::Sender<pb::RaftCalls>,
    unanswered: BTreeMap<u64, oneshot::Sender<Answer>>,
    number: u64,
}

impl Task {
    /// Until the stream ends or nobody can send any more. Who waits still is told.
    async fn run(
        mut self,
        mut client: RaftClient<Channel>,
        request: Request<ReceiverStream<pb::RaftCalls>>,
        note_unknown: impl FnOnce(),
    ) {
        let answer: Answer = match client.heartbeats(request).await {
            Ok(opened) => Some(Err(self.exchange(opened.into_inner()).await)),
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                note_unknown();
                None
            }
            Err(status) => Some(Err(Failure::from(status).into())),
        };
        self.queue.close();
        while let Some(waiting) = self.queue.recv().await {
            tell(waiting.answer, answer.clone());
        }
        for (_, waiting) in self.unanswered {
            tell(waiting, answer.clone());
        }
    }

    /// Sends what is ready together and tells answers, until the stream ends, for the reason that
    /// it returns, or nobody can send any more.
    async fn exchange(&mut self, mut answers: Streaming<pb::RaftAnswers>) -> RaftError {
        let frames = self.frames.clone();
        let mut next = Vec::with_capacity(TOGETHER);
        loop {
            tokio::select! { biased;
                incoming = answers.message() => match incoming {
                    Ok(Some(message)) => self.answered(message),
                    Ok(None) => return ended(),
                    Err(status) => return Failure::from(status).into(),
                },
                place = frames.reserve(), if !next.is_empty() => {
                    let Ok(place) = place else { return ended() };
                    let calls = next.drain(..).filter_map(|waiting| self.numbered(waiting));
                    let calls = calls.collect();
                    place.send(pb::RaftCalls { calls });
                }
                count = self.queue.recv_many(&mut next, TOGETHER), if next.is_empty() => {
                    if count == 0 {
                        return ended();
                    }
                    self.gather(&mut next).await;
                }
            }
        }
    }

    /// Lets those go first who are about to send too.
    async fn gather(&mut self, next: &mut Vec<Waiting>) {
        for _ in 0..GATHER {
            let known = next.len();
            tokio::task::yield_now().await;
            while next.len() < TOGETHER
                && let Ok(more) = self.queue.try_recv()
            {
                next.push(more);
            }
            if next.len() == known {
                return;
            }
        }
    }

    /// The call as it is sent; `None` if its caller gave it up meanwhile, or too many are on their
    /// way.
    fn numbered(&mut self, Waiting { call, answer }: Waiting) -> Option<pb::raft_calls::Numbered> {
        if answer.is_closed() {
            return None;
        }
        if self.unanswered.len() >= UNANSWERED {
            tell(answer, Some(Err(too_many())));
            return None;
        }
        self.number += 1;
        self.unanswered.insert(self.number, answer);
        Some(pb::raft_calls::Numbered {
            number: self.number,
            call: Some(call),
        })
    }

    fn answered(&mut self, pb::RaftAnswers { answers }: pb::RaftAnswers) {
        for pb::raft_answers::Numbered { number, answer } in answers {
            // Each number is answered once; what comes beyond is nobody's.
            if let Some(waiting) = self.unanswered.remove(&number) {
                let answer = answer.unwrap_or(pb::RaftAnswer { result: None });
                tell(waiting, Some(answer_of(answer)));
            }
        }
    }
}

/// Who gave up needs no answer.
fn tell(waiting: oneshot::Sender<Answer>, answer: Answer) {
    drop(waiting.send(answer));
}

fn ended() -> RaftError {
    RaftError::Unreachable("the stream of heartbeats ended".to_owned())
}

fn too_many() -> RaftError {
    RaftError::Unreachable("too many heartbeats have no answer".to_owned())
}
