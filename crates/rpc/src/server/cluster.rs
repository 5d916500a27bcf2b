//! `fanfare.v1.ClusterAdmin`.

use std::sync::Arc;

use fanfare_core::id::ShardId;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::convert::cluster::dump_to_pb;
use crate::convert::{Malformed, topic};
use crate::pb::v1 as pb;
use crate::pb::v1::cluster_admin_server::ClusterAdmin as Service;
use crate::public::ClusterAdmin;

use super::call::{Calls, malformed, refused};

/// Most topics of one `Sample`.
const MAX_SAMPLES: usize = 10_000;

pub(super) struct ClusterAdminService {
    pub(super) door: Arc<dyn ClusterAdmin>,
    pub(super) calls: Calls,
}

#[tonic::async_trait]
impl Service for ClusterAdminService {
    async fn get_view(
        &self,
        request: Request<pb::GetViewRequest>,
    ) -> Result<Response<pb::ClusterView>, Status> {
        let (caller, pb::GetViewRequest {}) = self.calls.take(request);
        let id = caller.request_id.clone();
        let status = self.door.view(caller).await.map_err(refused(&id))?;
        Ok(Response::new((&status).into()))
    }

    type WatchViewStream = BoxStream<'static, Result<pb::ClusterView, Status>>;

    async fn watch_view(
        &self,
        request: Request<pb::WatchViewRequest>,
    ) -> Result<Response<Self::WatchViewStream>, Status> {
        let (caller, pb::WatchViewRequest {}) = self.calls.take(request);
        let id = caller.request_id.clone();
        let statuses = self.door.watch_view(caller).await.map_err(refused(&id))?;
        let views = ReceiverStream::new(statuses).map(|status| Ok((&status).into()));
        Ok(Response::new(views.boxed()))
    }

    async fn sample(
        &self,
        request: Request<pb::SampleRequest>,
    ) -> Result<Response<pb::SampleResponse>, Status> {
        let (caller, pb::SampleRequest { topics }) = self.calls.take(request);
        let id = caller.request_id.clone();
        if topics.len() > MAX_SAMPLES {
            let bad = Malformed::new("topics", format!("at most {MAX_SAMPLES}"));
            return Err(malformed(bad, &caller));
        }
        let topics: Result<Vec<_>, _> = topics.iter().map(|name| topic(name, "topics")).collect();
        let topics = topics.map_err(|bad| malformed(bad, &caller))?;
        let samples = self
            .door
            .sample(caller, topics)
            .await
            .map_err(refused(&id))?;
        let samples = samples.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::SampleResponse { samples }))
    }

    type DumpShardStream = BoxStream<'static, Result<pb::TopicDump, Status>>;

    async fn dump_shard(
        &self,
        request: Request<pb::DumpShardRequest>,
    ) -> Result<Response<Self::DumpShardStream>, Status> {
        let (caller, pb::DumpShardRequest { shard }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let dumps = self
            .door
            .dump_shard(caller, ShardId(shard))
            .await
            .map_err(refused(&id))?;
        let parts = ReceiverStream::new(dumps)
            .flat_map(|dump| stream::iter(dump_to_pb(&dump).into_iter().map(Ok)));
        Ok(Response::new(parts.boxed()))
    }
}
