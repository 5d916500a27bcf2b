//! The serving end of raft calls.

use std::sync::Arc;

use fanfare_core::id::NodeId;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tonic::{Request, Response, Status, Streaming};

use crate::convert::raft::{answer_to_pb, route};
use crate::convert::{Malformed, required};
use crate::identity::{Check, Local};
use crate::pb::peer as pb;
use crate::pb::peer::raft_server::Raft;
use crate::raft::{RaftDoor, RaftRoute};

pub(super) struct RaftService {
    pub(super) local: Local,
    pub(super) door: Arc<dyn RaftDoor>,
}

fn bad(bad: Malformed) -> Status {
    Status::invalid_argument(bad.to_string())
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn call(&self, call: Request<pb::RaftCall>) -> Result<Response<pb::RaftAnswer>, Status> {
        let checked = self.local.check(call.metadata(), Check::Raft);
        let sender = checked.map_err(|refused| *refused)?;
        let pb::RaftCall { route: raw, body } = call.into_inner();
        let route = route(required(raw, "route").map_err(bad)?).map_err(bad)?;
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
        let pipeline = Pipeline {
            door: self.door.clone(),
            sender,
            incoming: call.into_inner(),
            route: None,
        };
        // One call at a time: the next is taken when the one before is answered.
        let answers = stream::try_unfold(pipeline, |mut pipeline| async move {
            Ok(pipeline.next().await?.map(|answer| (answer, pipeline)))
        });
        Ok(Response::new(answers.boxed()))
    }
}

struct Pipeline {
    door: Arc<dyn RaftDoor>,
    sender: NodeId,
    incoming: Streaming<pb::RaftCall>,
    /// Of the first call; it is that of all.
    route: Option<RaftRoute>,
}

impl Pipeline {
    async fn next(&mut self) -> Result<Option<pb::RaftAnswer>, Status> {
        let Some(pb::RaftCall { route: raw, body }) = self.incoming.message().await? else {
            return Ok(None);
        };
        let route = match self.route {
            Some(route) => route,
            None => route(required(raw, "route").map_err(bad)?).map_err(bad)?,
        };
        self.route = Some(route);
        let answer = self.door.serve(self.sender, route, body).await;
        Ok(Some(answer_to_pb(answer)))
    }
}
