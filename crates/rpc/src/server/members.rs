//! The serving end of membership. Who calls whom is in the messages, and judged by the members.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::convert::membership::propose;
use crate::convert::required;
use crate::members::{Adopt, Beat, Envelope, Members};
use crate::pb::peer as pb;
use crate::pb::peer::members_server::Members as Service;

pub(super) struct MembersService(pub(super) Arc<dyn Members>);

fn envelope(raw: Option<pb::Envelope>) -> Result<Envelope, Status> {
    required(raw, "envelope")
        .and_then(TryInto::try_into)
        .map_err(Status::from)
}

#[tonic::async_trait]
impl Service for MembersService {
    async fn identify(
        &self,
        call: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyAnswer>, Status> {
        let pb::IdentifyRequest { name } = call.into_inner();
        let result = match self.0.identify(name).await {
            Ok(card) => pb::identify_answer::Result::Card(card.into()),
            Err(error) => pb::identify_answer::Result::Error(error.into()),
        };
        Ok(Response::new(pb::IdentifyAnswer {
            result: Some(result),
        }))
    }

    async fn adopt(
        &self,
        call: Request<pb::AdoptRequest>,
    ) -> Result<Response<pb::AdoptAnswer>, Status> {
        let adopt = Adopt::try_from(call.into_inner()).map_err(Status::from)?;
        Ok(Response::new(self.0.adopt(adopt).await.into()))
    }

    async fn join(
        &self,
        call: Request<pb::JoinRequest>,
    ) -> Result<Response<pb::JoinAnswer>, Status> {
        let pb::JoinRequest { card } = call.into_inner();
        let card = required(card, "card")
            .and_then(TryInto::try_into)
            .map_err(Status::from)?;
        Ok(Response::new(self.0.join(card).await.into()))
    }

    async fn propose(
        &self,
        call: Request<pb::ProposeRequest>,
    ) -> Result<Response<pb::ProposeAnswer>, Status> {
        let (envelope, command, within) = propose(call.into_inner()).map_err(Status::from)?;
        Ok(Response::new(
            self.0.propose(envelope, command, within).await.into(),
        ))
    }

    async fn heartbeat(
        &self,
        call: Request<pb::HeartbeatRequest>,
    ) -> Result<Response<pb::HeartbeatAnswer>, Status> {
        let pb::HeartbeatRequest {
            envelope: from,
            beat,
        } = call.into_inner();
        let beat: Beat = required(beat, "beat")
            .and_then(TryInto::try_into)
            .map_err(Status::from)?;
        let result = match self.0.heartbeat(envelope(from)?, beat).await {
            Ok(beat) => pb::heartbeat_answer::Result::Beat(beat.into()),
            Err(error) => pb::heartbeat_answer::Result::Error(error.into()),
        };
        Ok(Response::new(pb::HeartbeatAnswer {
            result: Some(result),
        }))
    }

    async fn copies(
        &self,
        call: Request<pb::CopiesRequest>,
    ) -> Result<Response<pb::CopiesAnswer>, Status> {
        let pb::CopiesRequest { envelope: from } = call.into_inner();
        let result = match self.0.copies(envelope(from)?).await {
            Ok(copies) => pb::copies_answer::Result::Copies(pb::Copies {
                copies: copies.into_iter().map(Into::into).collect(),
            }),
            Err(error) => pb::copies_answer::Result::Error(error.into()),
        };
        Ok(Response::new(pb::CopiesAnswer {
            result: Some(result),
        }))
    }

    async fn view(
        &self,
        call: Request<pb::ViewRequest>,
    ) -> Result<Response<pb::ViewAnswer>, Status> {
        let pb::ViewRequest { envelope: from } = call.into_inner();
        let result = match self.0.view(envelope(from)?).await {
            Ok(view) => pb::view_answer::Result::View((&*view).into()),
            Err(error) => pb::view_answer::Result::Error(error.into()),
        };
        Ok(Response::new(pb::ViewAnswer {
            result: Some(result),
        }))
    }
}
