//! `fanfare.v1.Subscriber`: what a session hears, as it comes.

use std::sync::Arc;

use fanfare_core::receipt::Refusal;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::codec::Ready;
use crate::convert::refusal::status;
use crate::pb::subscriber::subscriber_server::Subscriber as Service;
use crate::pb::v1 as pb;
use crate::public::{Disconnect, Event, SubscribeRequest, Subscriber};

use super::call::{Calls, malformed, refused};

pub(super) struct SubscriberService {
    pub(super) door: Arc<dyn Subscriber>,
    pub(super) calls: Calls,
}

#[tonic::async_trait]
impl Service for SubscriberService {
    type SubscribeStream = BoxStream<'static, Result<Ready, Status>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (caller, raw) = self.calls.take(request);
        let id = caller.request_id.clone();
        let request = SubscribeRequest::try_from(raw).map_err(|bad| malformed(bad, &caller))?;
        let events = self
            .door
            .subscribe(caller, request)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(session(events, id)))
    }
}

enum State {
    Events(mpsc::Receiver<Event>),
    Ended(Box<Status>),
    Over,
}

/// The answers of a session: its events, and after a disconnect the status that says the same.
fn session(events: mpsc::Receiver<Event>, id: String) -> BoxStream<'static, Result<Ready, Status>> {
    futures_util::stream::unfold(State::Events(events), move |state| {
        let id = id.clone();
        async move {
            match state {
                State::Events(mut events) => {
                    let event = events.recv().await?;
                    let next = match &event {
                        Event::Disconnect(end) => State::Ended(Box::new(end_status(end, &id))),
                        Event::Subscribed(_) | Event::Items(_) | Event::Heartbeat => {
                            State::Events(events)
                        }
                    };
                    Some((Ok(event.into()), next))
                }
                State::Ended(status) => Some((Err(*status), State::Over)),
                State::Over => None,
            }
        }
    })
    .boxed()
}

fn end_status(end: &Disconnect, id: &str) -> Status {
    let Disconnect {
        code,
        advice: _,
        retry_after_ms,
        cursor: _,
        detail,
    } = end;
    let refusal = Refusal {
        retry_after_ms: *retry_after_ms,
        ..Refusal::new(*code, detail.clone())
    };
    status(&refusal, id)
}
