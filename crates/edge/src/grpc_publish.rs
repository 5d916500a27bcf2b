//! Publishing over gRPC: `rpc`'s public `Publisher` on top of this edge's publish streams.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::message::Draft;
use fanfare_core::name::TopicName;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_protocol::header;
use fanfare_protocol::json::is_json;
use fanfare_rpc::public::{Caller, Publisher, STREAM_DRAFTS, StreamAnswer, StreamDraft};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;

use fanfare_core::code::Code;

use crate::auth::Bearer;
use crate::publish::{PublishStream, Published};
use crate::state::EdgeState;

/// The public service of this edge.
#[derive(Clone)]
pub(crate) struct GrpcPublisher {
    pub(crate) state: Arc<EdgeState>,
}

/// Who calls.
pub(crate) fn bearer(state: &EdgeState, caller: &Caller) -> Result<Bearer, Refusal> {
    let credential = caller.authorization.as_deref();
    let credential = credential
        .map(|raw| header::bearer(raw.as_bytes()))
        .transpose()?;
    state.door.bearer(credential.as_ref())
}

impl Publisher for GrpcPublisher {
    fn payload_limit(&self) -> u64 {
        self.state.publisher.payload_limit()
    }

    fn publish(
        &self,
        caller: Caller,
        draft: Draft,
        within: Duration,
    ) -> BoxFuture<'static, Result<Receipt, Refusal>> {
        let state = self.state.clone();
        async move {
            let bearer = bearer(&state, &caller).map_err(Refusal::as_publish)?;
            check_json(&draft)?;
            let stream = state.publisher.stream();
            stream.publish(&bearer.grants, draft, within).await
        }
        .boxed()
    }

    fn publish_stream(
        &self,
        caller: Caller,
        drafts: mpsc::Receiver<StreamDraft>,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<StreamAnswer>, Refusal>> {
        let opened = bearer(&self.state, &caller)
            .map_err(Refusal::as_publish)
            .map(|bearer| {
                let (answers, receiver) = mpsc::channel(STREAM_DRAFTS);
                let stream = self.state.publisher.stream();
                let work = Streaming {
                    stream,
                    bearer,
                    answers,
                    heads: FuturesUnordered::new(),
                    waiting: BTreeMap::new(),
                };
                self.state.deps.tracker.spawn(work.run(drafts));
                receiver
            });
        std::future::ready(opened).boxed()
    }
}

/// JSON goes out as JSON, so it has to be some; the other doors check as they read.
fn check_json(draft: &Draft) -> Result<(), Refusal> {
    let content = &draft.content;
    if !content.meta.content_type.is_json() || is_json(&content.payload) {
        return Ok(());
    }
    let why = "the content type says JSON, the payload is not";
    Err(Refusal::of_publish(Code::InvalidPayload, why)
        .field("payload")
        .topic(draft.topic.clone()))
}

/// One publish stream: each topic's answers in its order, topics independently. Bounded by the
/// drafts that `rpc` leaves unanswered.
struct Streaming {
    stream: PublishStream,
    bearer: Bearer,
    answers: mpsc::Sender<StreamAnswer>,
    /// The oldest unanswered draft of each topic.
    heads: FuturesUnordered<BoxFuture<'static, (TopicName, StreamAnswer)>>,
    /// The younger ones of topics that have a head.
    waiting: BTreeMap<TopicName, VecDeque<(u64, Published)>>,
}

impl Streaming {
    async fn run(mut self, mut drafts: mpsc::Receiver<StreamDraft>) {
        let mut open = true;
        while open || !self.heads.is_empty() {
            tokio::select! {
                biased;
                Some((topic, answer)) = self.heads.next() => {
                    if self.answers.send(answer).await.is_err() {
                        return;
                    }
                    self.next_of(topic);
                }
                () = self.answers.closed() => return,
                draft = drafts.recv(), if open => match draft {
                    Some(draft) => self.submit(draft).await,
                    None => open = false,
                },
            }
        }
    }

    async fn submit(&mut self, StreamDraft { seq, draft, within }: StreamDraft) {
        let topic = draft.topic.clone();
        let published = match check_json(&draft) {
            Ok(()) => match self.stream.room(draft.cost()).await {
                Ok(room) => self.stream.submit(&self.bearer.grants, room, draft, within),
                Err(refusal) => Published::refused(refusal.topic(topic.clone())),
            },
            Err(refusal) => Published::refused(refusal),
        };
        match self.waiting.get_mut(&topic) {
            Some(younger) => younger.push_back((seq, published)),
            None => {
                self.waiting.insert(topic.clone(), VecDeque::new());
                self.head(topic, seq, published);
            }
        }
    }

    fn next_of(&mut self, topic: TopicName) {
        match self.waiting.get_mut(&topic).and_then(VecDeque::pop_front) {
            Some((seq, published)) => self.head(topic, seq, published),
            None => drop(self.waiting.remove(&topic)),
        }
    }

    fn head(&self, topic: TopicName, seq: u64, published: Published) {
        let answer = async move {
            let result = published.await;
            (topic, StreamAnswer { seq, result })
        };
        self.heads.push(answer.boxed());
    }
}

#[cfg(test)]
mod tests;
