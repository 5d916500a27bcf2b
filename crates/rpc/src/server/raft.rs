//! The serving end of raft calls.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::convert::raft::{answer_to_pb, route};
use crate::convert::required;
use crate::identity::{Check, Local};
use crate::pb::peer as pb;
use crate::pb::peer::raft_server::Raft;
use crate::raft::RaftDoor;

use super::heartbeats::{Caller, MESSAGES, Serving};

/// Bodies taken from the connection and not yet by the replica, and answers not sent yet.
const PIPELINE: usize = 8;

pub(super) struct RaftService {
    pub(super) local: Local,
    pub(super) door: Arc<dyn RaftDoor>,
    pub(super) tasks: TaskTracker,
    pub(super) close: CancellationToken,
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn call(&self, call: Request<pb::RaftCall>) -> Result<Response<pb::RaftAnswer>, Status> {
        let checked = self.local.check(call.metadata(), Check::Raft);
        let sender = checked.map_err(|refused| *refused)?;
        let pb::RaftCall { route: raw, body } = call.into_inner();
        let route = route(required(raw, "route")?)?;
        let answer = self.door.serve(sender, route, body).await;
        Ok(Response::new(answer_to_pb(answer)))
    }

    type PipelineStream = BoxStream<'static, Result<pb::RaftAnswer, Status>>;

    async fn pipeline(
        &self,
        call: Request<Streaming<pb::RaftCall>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let checked = self.local.check(call.metadata(), Check::Raft);
        let sender = checked.map_err(|refused| *refused)?;
        let (answers, out) = mpsc::channel(PIPELINE);
        let door = self.door.clone();
        let mut incoming = call.into_inner();
        self.tasks.spawn(async move {
            // The first body says the route of all.
            let Ok(Some(pb::RaftCall { route: raw, body })) = incoming.message().await else {
                return;
            };
            let Ok(route) = required(raw, "route").and_then(route) else {
                tracing::warn!(%sender, "a pipeline without a route");
                return;
            };
            let (bodies, rx) = mpsc::channel(PIPELINE);
            let mut served = door.serve_pipeline(sender, route, rx, answers);
            let fed = std::pin::pin!(async move {
                let mut next = Some(body);
                while let Some(body) = next {
                    if bodies.send(body).await.is_err() {
                        return;
                    }
                    next = incoming
                        .message()
                        .await
                        .ok()
                        .flatten()
                        .map(|call| call.body);
                }
            });
            tokio::select! { biased;
                () = &mut served => {}
                () = fed => served.await,
            }
        });
        let answers = ReceiverStream::new(out).map(|answer| Ok(answer_to_pb(answer)));
        Ok(Response::new(answers.boxed()))
    }

    type HeartbeatsStream = BoxStream<'static, Result<pb::RaftAnswers, Status>>;

    async fn heartbeats(
        &self,
        call: Request<Streaming<pb::RaftCalls>>,
    ) -> Result<Response<Self::HeartbeatsStream>, Status> {
        let caller = Caller {
            local: self.local.clone(),
            metadata: call.metadata().clone(),
        };
        caller.check().map_err(|refused| *refused)?;
        let (answers, out) = mpsc::channel(MESSAGES);
        let (serving, incoming) = (Serving::new(self.door.clone(), caller), call.into_inner());
        let closed = self.close.clone().cancelled_owned();
        self.tasks.spawn(serving.serve(incoming, answers, closed));
        Ok(Response::new(ReceiverStream::new(out).boxed()))
    }
}
