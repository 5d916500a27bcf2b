//! `fanfare.v1.Publisher`.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::receipt::Refusal;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::message::draft;
use crate::convert::refusal::{rpc_status, status};
use crate::convert::{Malformed, required};
use crate::pb::v1 as pb;
use crate::pb::v1::publisher_server::Publisher as Service;
use crate::public::{Publisher, StreamAnswer, StreamDraft};

use super::call::{Calls, deadline, refused};
use super::window::{Answer, Window};

/// Patience with a draft of a stream that says none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_TIMEOUT_MS: u32 = 30_000;
/// A client that takes no answer for so long is gone, like one that takes nothing of a session (C25).
const STALL: Duration = Duration::from_secs(60);
/// Drafts handed on and answers waiting, beside what the window counts.
const QUEUE: usize = 64;

pub(super) struct PublisherService {
    pub(super) door: Arc<dyn Publisher>,
    pub(super) calls: Calls,
    pub(super) tasks: TaskTracker,
}

#[tonic::async_trait]
impl Service for PublisherService {
    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let within = deadline(request.metadata());
        let (caller, pb::PublishRequest { draft: raw }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let draft = read_draft(raw, self.door.payload_limit())
            .map_err(|bad| status(&Refusal::from(bad).as_publish(), &id))?;
        let receipt = self
            .door
            .publish(caller, draft, within)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(pb::PublishResponse {
            receipt: Some(receipt.into()),
        }))
    }

    type PublishStreamStream = BoxStream<'static, Result<pb::PublishStreamResponse, Status>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<pb::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let (caller, incoming) = self.calls.take(request);
        let id = caller.request_id.clone();
        let (drafts, rx) = mpsc::channel(QUEUE);
        let answers = self
            .door
            .publish_stream(caller, rx)
            .await
            .map_err(refused(&id))?;
        let (out, body) = mpsc::channel(QUEUE);
        let stream = PublishStream {
            door: self.door.clone(),
            id,
            drafts: Some(drafts),
            window: Window::default(),
            held: None,
            out,
        };
        self.tasks.spawn(stream.run(incoming, answers));
        Ok(Response::new(ReceiverStream::new(body).boxed()))
    }
}

fn read_draft(
    raw: Option<pb::Draft>,
    payload_limit: u64,
) -> Result<fanfare_core::message::Draft, Malformed> {
    draft(required(raw, "draft")?, payload_limit).map_err(|bad| bad.within("draft"))
}

/// One publish stream.
struct PublishStream {
    door: Arc<dyn Publisher>,
    /// Of the call.
    id: String,
    /// `None` once the client has half-closed and all was handed on.
    drafts: Option<mpsc::Sender<StreamDraft>>,
    window: Window,
    /// Read, and waiting for room in `drafts`.
    held: Option<StreamDraft>,
    out: mpsc::Sender<Result<pb::PublishStreamResponse, Status>>,
}

/// The client is gone.
struct Gone;

impl PublishStream {
    async fn run(
        mut self,
        mut incoming: Streaming<pb::PublishStreamRequest>,
        mut answers: mpsc::Receiver<StreamAnswer>,
    ) {
        let mut open = true;
        loop {
            if !open && self.held.is_none() {
                self.drafts = None;
            }
            // Borrowed apart: one arm waits for room in the queue, another fills `held`.
            let room = self.drafts.clone().filter(|_| self.held.is_some());
            let reads = open && self.held.is_none() && self.window.has_room();
            let done = tokio::select! { biased;
                () = self.out.closed() => Err(Gone),
                answer = answers.recv() => match answer {
                    Some(StreamAnswer { seq, result }) => {
                        let answers = self.window.answer(seq, result);
                        self.tell(answers).await
                    }
                    None => return self.end(open).await,
                },
                room = reserve(room) => {
                    match room {
                        Some(room) => _ = self.held.take().map(|draft| room.send(draft)),
                        // The edge takes no more, and its answers end soon.
                        None => self.drafts = None,
                    }
                    Ok(())
                }
                message = incoming.message(), if reads => match message {
                    Ok(Some(message)) => self.take(message).await,
                    Ok(None) => {
                        open = false;
                        Ok(())
                    }
                    Err(_) => Err(Gone),
                },
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn take(&mut self, message: pb::PublishStreamRequest) -> Result<(), Gone> {
        let pb::PublishStreamRequest {
            id,
            draft: raw,
            timeout_ms,
        } = message;
        // The topic of a bad draft still says after which answers its refusal comes.
        let topic = raw.as_ref().and_then(|raw| raw.topic.parse().ok());
        let timeout = match timeout_ms {
            0 => Ok(DEFAULT_TIMEOUT),
            ms @ 1..=MAX_TIMEOUT_MS => Ok(Duration::from_millis(ms.into())),
            _ => Err(Malformed::new("timeout_ms", "must be at most 30000")),
        };
        let draft = read_draft(raw, self.door.payload_limit());
        match draft.and_then(|draft| Ok((draft, timeout?))) {
            Ok((draft, within)) => {
                let seq = self.window.admit(id, draft.topic.clone(), draft.cost());
                self.held = Some(StreamDraft { seq, draft, within });
                Ok(())
            }
            Err(bad) => {
                let refusal = Refusal::from(bad).as_publish();
                let answer = self.window.refuse(id, topic.as_ref(), refusal);
                self.tell(answer).await
            }
        }
    }

    async fn tell(&self, answers: impl IntoIterator<Item = Answer>) -> Result<(), Gone> {
        for (id, result) in answers {
            let result = match result {
                Ok(receipt) => pb::publish_stream_response::Result::Receipt(receipt.into()),
                Err(refusal) => {
                    let status = rpc_status(&refusal, &self.id);
                    pb::publish_stream_response::Result::Error(status)
                }
            };
            let answer = pb::PublishStreamResponse {
                id,
                result: Some(result),
            };
            self.say(Ok(answer)).await?;
        }
        Ok(())
    }

    async fn say(&self, answer: Result<pb::PublishStreamResponse, Status>) -> Result<(), Gone> {
        match tokio::time::timeout(STALL, self.out.send(answer)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// The edge answers nothing more.
    async fn end(self, open: bool) {
        if open || !self.window.is_empty() {
            let status = Status::unavailable("the stream ended; what is unanswered is unknown");
            if self.say(Err(status)).await.is_err() {
                tracing::trace!("the client left before its stream's end");
            }
        }
    }
}

/// Waits for room for the held draft; for ever if none is held. `None`: the edge takes no more.
async fn reserve(
    drafts: Option<mpsc::Sender<StreamDraft>>,
) -> Option<mpsc::OwnedPermit<StreamDraft>> {
    match drafts {
        Some(drafts) => drafts.reserve_owned().await.ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::code::Code;
    use fanfare_core::message::Draft;
    use fanfare_core::receipt::Receipt;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::public::Caller;

    /// An edge that never answers.
    struct Silent;

    impl Publisher for Silent {
        fn payload_limit(&self) -> u64 {
            1 << 10
        }

        fn publish(
            &self,
            _caller: Caller,
            _draft: Draft,
            _within: Duration,
        ) -> BoxFuture<'static, Result<Receipt, Refusal>> {
            std::future::pending().boxed()
        }

        fn publish_stream(
            &self,
            _caller: Caller,
            _drafts: mpsc::Receiver<StreamDraft>,
        ) -> BoxFuture<'static, Result<mpsc::Receiver<StreamAnswer>, Refusal>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_no_answer_for_a_minute_is_gone() {
        let (out, mut body) = mpsc::channel(1);
        let stream = PublishStream {
            door: Arc::new(Silent),
            id: "r-1".to_owned(),
            drafts: None,
            window: Window::default(),
            held: None,
            out,
        };
        let tell = |seconds| {
            let refusal = Refusal::of_publish(Code::Overloaded, "no room");
            let told = stream.tell([(1, Err(refusal))]);
            tokio::time::timeout(Duration::from_secs(seconds), told)
        };
        assert!(matches!(tell(1).await, Ok(Ok(()))));
        assert!(tell(59).await.is_err(), "it is waited for");
        assert!(matches!(tell(61).await, Ok(Err(Gone))));
        assert!(body.recv().await.is_some());
        assert!(matches!(tell(1).await, Ok(Ok(()))));
    }
}
