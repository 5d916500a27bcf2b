//! A publisher as the protocol wants it well-behaved: one `PublishStream` at a time, many drafts in
//! flight, a key for each; what is left without an answer is sent again, in its first order, with
//! the same keys, to the next node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fanfare_checker::{AckLevel, Event, Reached, hash};
use futures_util::StreamExt as _;
use rand::RngExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::book::Book;
use super::doors::Doors;
use super::plan::Plan;
use crate::wire::grpc::pb::publish_stream_response::Result as Answer;
use crate::wire::grpc::pb::publisher_client::PublisherClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::Node;

/// A draft that waits for its answer.
#[derive(Clone)]
struct Waiting {
    id: u64,
    /// Of the sending under way; 0 once that has ended.
    op: u64,
    draft: String,
    topic: String,
    payload: Bytes,
    first_sent: Duration,
    done: bool,
}

/// One publisher of the run.
pub(super) struct Publisher {
    pub(super) name: String,
    pub(super) topics: Vec<String>,
    pub(super) doors: Doors,
    /// Which node is asked first.
    pub(super) home: usize,
    pub(super) book: Arc<Book>,
    pub(super) plan: Plan,
}

/// An open call.
struct Call {
    requests: mpsc::Sender<pb::PublishStreamRequest>,
    answers: tonic::Streaming<pb::PublishStreamResponse>,
}

impl Publisher {
    /// Publishes until the time is over and everything is answered, or nobody answers any more.
    pub(super) async fn run(self) -> Result<()> {
        let mut waiting: VecDeque<Waiting> = VecDeque::new();
        let mut pace = tokio::time::interval(self.plan.pace());
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut node = self.home;
        let mut streams = 0_u64;
        let mut next = 0_u64;
        loop {
            if self.book.now() > self.book.give_up() || (self.over() && waiting.is_empty()) {
                break;
            }
            let door = self.doors.at(node).context("no node is known")?;
            let Ok(mut call) = self.open(&door).await else {
                node += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            streams += 1;
            let stream = format!("{}/{streams}", self.name);
            let again: Vec<Waiting> = waiting.drain(..).collect();
            let mut alive = true;
            for mut draft in again {
                draft.op = self.book.op();
                alive = alive && self.send(&call, &stream, &door, &draft).await;
                waiting.push_back(draft);
            }
            while alive
                && !(self.over() && waiting.is_empty())
                && self.book.now() <= self.book.give_up()
            {
                let room = waiting.len() < self.plan.in_flight && !self.over();
                tokio::select! { biased;
                    answer = call.answers.message() => match answer {
                        Ok(Some(answer)) => alive = self.answered(&mut waiting, answer),
                        Ok(None) | Err(_) => alive = false,
                    },
                    _ = pace.tick(), if room => {
                        next += 1;
                        let draft = self.draft(next);
                        waiting.push_back(draft.clone());
                        alive = self.send(&call, &stream, &door, &draft).await;
                    }
                    () = tokio::time::sleep(Duration::from_millis(500)), if !room => {}
                }
            }
            for draft in waiting.iter().filter(|w| w.op != 0) {
                let why = "the stream ended".to_owned();
                self.book
                    .note(&self.name, Event::Unknown { op: draft.op, why });
            }
            node += 1;
        }
        Ok(())
    }

    fn over(&self) -> bool {
        self.book.now() >= self.book.end()
    }

    async fn open(&self, node: &Node) -> Result<Call> {
        let connect = grpc::channel(&node.grpc);
        let channel = tokio::time::timeout(Duration::from_secs(2), connect).await??;
        let (requests, receiver) = mpsc::channel(self.plan.in_flight);
        let mut client = PublisherClient::new(channel);
        let call = client.publish_stream(ReceiverStream::new(receiver).fuse());
        let answers = tokio::time::timeout(Duration::from_secs(5), call)
            .await??
            .into_inner();
        Ok(Call { requests, answers })
    }

    fn draft(&self, n: u64) -> Waiting {
        let which = usize::try_from(n).unwrap_or(0) % self.topics.len();
        let topic = self.topics[which].clone();
        let draft = format!("{}-{n}", self.name);
        let mut text = format!("{draft} {topic} ");
        let mut rng = rand::rng();
        while text.len() < self.plan.payload {
            text.push(char::from(rng.random_range(b'a'..=b'z')));
        }
        Waiting {
            id: n,
            op: self.book.op(),
            draft,
            topic,
            payload: text.into(),
            first_sent: self.book.now(),
            done: false,
        }
    }

    async fn send(&self, call: &Call, stream: &str, node: &Node, draft: &Waiting) -> bool {
        let key = draft.draft.clone();
        self.book.note(
            &self.name,
            Event::Publish {
                op: draft.op,
                draft: draft.draft.clone(),
                topic: draft.topic.clone(),
                stream: stream.to_owned(),
                key: Some(key.clone()),
                ack: AckLevel::Committed,
                hash: hash(&draft.payload),
                node: node.grpc.clone(),
            },
        );
        let age = self.book.now().saturating_sub(draft.first_sent);
        let request = pb::PublishStreamRequest {
            id: draft.id,
            draft: Some(pb::Draft {
                topic: draft.topic.clone(),
                payload: draft.payload.clone(),
                content_type: "text/plain; charset=utf-8".to_owned(),
                key: key.into_bytes().into(),
                key_age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
                ..pb::Draft::default()
            }),
            timeout_ms: 30_000,
        };
        call.requests.send(request).await.is_ok()
    }

    /// Notes an answer; false if the stream should be left for another node: what is unanswered is
    /// sent again there, in order.
    fn answered(&self, waiting: &mut VecDeque<Waiting>, answer: pb::PublishStreamResponse) -> bool {
        let Some(draft) = waiting.iter_mut().find(|w| w.id == answer.id) else {
            return true;
        };
        match answer.result {
            Some(Answer::Receipt(receipt)) => {
                let position = receipt.position.unwrap_or_default();
                let reached = match receipt.reached() {
                    pb::Reached::Durable => Reached::Durable,
                    pb::Reached::Ephemeral => Reached::Ephemeral,
                    pb::Reached::None | pb::Reached::Unspecified => Reached::None,
                };
                let event = Event::Acked {
                    op: draft.op,
                    topic: receipt.topic,
                    epoch: position.epoch,
                    offset: position.offset,
                    class: "durable".to_owned(),
                    reached,
                    duplicate: receipt.duplicate,
                };
                self.book.note(&self.name, event);
                draft.done = true;
                while waiting.front().is_some_and(|w| w.done) {
                    waiting.pop_front();
                }
                waiting.retain(|w| !w.done);
                true
            }
            Some(Answer::Error(status)) => {
                let op = std::mem::take(&mut draft.op);
                let event = match not_placed(&status) {
                    Some(code) => Event::Refused {
                        op,
                        code,
                        outcome: "not_placed".to_owned(),
                    },
                    None => Event::Unknown {
                        op,
                        why: status.message,
                    },
                };
                self.book.note(&self.name, event);
                false
            }
            None => true,
        }
    }
}

/// The code of a definite failure; everything else is unknown.
fn not_placed(status: &tonic_types::Status) -> Option<String> {
    let details = status
        .details
        .iter()
        .filter(|any| any.type_url.ends_with("ErrorInfo"));
    let infos = details.filter_map(|any| {
        <tonic_types::pb::ErrorInfo as prost::Message>::decode(any.value.as_slice()).ok()
    });
    infos
        .filter(|info| {
            info.metadata
                .get("outcome")
                .is_some_and(|o| o == "not_placed")
        })
        .map(|info| info.reason)
        .next()
}
