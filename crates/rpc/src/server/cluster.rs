//! `fanfare.v1.ClusterAdmin`.

use std::sync::Arc;

use fanfare_core::id::ShardId;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::convert::cluster::dump_to_pb;
use crate::convert::repair::wish;
use crate::convert::{Malformed, topic};
use crate::pb::v1 as pb;
use crate::pb::v1::cluster_admin_server::ClusterAdmin as Service;
use crate::public::{Caller, Changed, ClusterAdmin, ClusterChange, RepairWish, Upgraded};
use crate::roster::{DisconnectWish, SessionsWish};

use super::call::{Calls, malformed, refused};

/// Most topics of one `Sample`.
const MAX_SAMPLES: usize = 10_000;

pub(super) struct ClusterAdminService {
    pub(super) door: Arc<dyn ClusterAdmin>,
    pub(super) calls: Calls,
}

impl ClusterAdminService {
    async fn change(
        &self,
        caller: Caller,
        change: ClusterChange,
    ) -> Result<Response<pb::NodeChange>, Status> {
        let id = caller.request_id.clone();
        let changed = self.door.change(caller, change).await;
        let Changed { node, version } = changed.map_err(refused(&id))?;
        Ok(Response::new(pb::NodeChange {
            node: node.0,
            version,
        }))
    }

    async fn repair(
        &self,
        caller: Caller,
        wish: Result<RepairWish, Malformed>,
    ) -> Result<Response<pb::RepairResponse>, Status> {
        let id = caller.request_id.clone();
        let wish = wish.map_err(|bad| malformed(bad, &caller))?;
        let found = self.door.repair(caller, wish).await;
        Ok(Response::new(found.map_err(refused(&id))?.into()))
    }
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

    async fn drain_node(
        &self,
        request: Request<pb::DrainNodeRequest>,
    ) -> Result<Response<pb::NodeChange>, Status> {
        let (caller, pb::DrainNodeRequest { node }) = self.calls.take(request);
        self.change(caller, ClusterChange::Drain { node }).await
    }

    async fn remove_node(
        &self,
        request: Request<pb::RemoveNodeRequest>,
    ) -> Result<Response<pb::NodeChange>, Status> {
        let (caller, request) = self.calls.take(request);
        let pb::RemoveNodeRequest {
            node,
            fewer_replicas,
            stay,
        } = request;
        let change = match (fewer_replicas, stay) {
            (_, true) => ClusterChange::Stay { node },
            (true, false) => ClusterChange::RemoveNow { node },
            (false, false) => ClusterChange::Remove { node },
        };
        self.change(caller, change).await
    }

    async fn replace_node(
        &self,
        request: Request<pb::ReplaceNodeRequest>,
    ) -> Result<Response<pb::NodeChange>, Status> {
        let (caller, pb::ReplaceNodeRequest { old, new }) = self.calls.take(request);
        self.change(caller, ClusterChange::Replace { old, new })
            .await
    }

    async fn transfer_shard(
        &self,
        request: Request<pb::TransferShardRequest>,
    ) -> Result<Response<pb::TransferShardResponse>, Status> {
        let (caller, pb::TransferShardRequest { shard, node }) = self.calls.take(request);
        let shard = ShardId(shard);
        let change = ClusterChange::Transfer { shard, node };
        self.change(caller, change).await?;
        Ok(Response::new(pb::TransferShardResponse {}))
    }

    async fn repair_shard(
        &self,
        request: Request<pb::RepairShardRequest>,
    ) -> Result<Response<pb::RepairResponse>, Status> {
        let (caller, request) = self.calls.take(request);
        let pb::RepairShardRequest {
            shard,
            accept_data_loss,
            lost,
        } = request;
        self.repair(caller, wish(Some(shard), accept_data_loss, lost))
            .await
    }

    async fn repair_metadata(
        &self,
        request: Request<pb::RepairMetadataRequest>,
    ) -> Result<Response<pb::RepairResponse>, Status> {
        let (caller, request) = self.calls.take(request);
        let pb::RepairMetadataRequest {
            accept_data_loss,
            lost,
        } = request;
        self.repair(caller, wish(None, accept_data_loss, lost))
            .await
    }

    async fn upgrade_cluster(
        &self,
        request: Request<pb::UpgradeClusterRequest>,
    ) -> Result<Response<pb::UpgradeClusterResponse>, Status> {
        let (caller, pb::UpgradeClusterRequest {}) = self.calls.take(request);
        let id = caller.request_id.clone();
        let upgraded = self.door.upgrade(caller).await.map_err(refused(&id))?;
        let Upgraded {
            level,
            known,
            raised,
        } = upgraded;
        Ok(Response::new(pb::UpgradeClusterResponse {
            level,
            known,
            raised,
        }))
    }

    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let (caller, request) = self.calls.take(request);
        let id = caller.request_id.clone();
        let wish = SessionsWish::try_from(request).map_err(|bad| malformed(bad, &caller))?;
        let page = self.door.sessions(caller, wish).await;
        Ok(Response::new(page.map_err(refused(&id))?.into()))
    }

    async fn disconnect(
        &self,
        request: Request<pb::DisconnectRequest>,
    ) -> Result<Response<pb::DisconnectResponse>, Status> {
        let (caller, request) = self.calls.take(request);
        let id = caller.request_id.clone();
        let wish = DisconnectWish::try_from(request).map_err(|bad| malformed(bad, &caller))?;
        let told = self.door.disconnect(caller, wish).await;
        let sessions = told.map_err(refused(&id))?;
        Ok(Response::new(pb::DisconnectResponse { sessions }))
    }

    async fn get_metrics(
        &self,
        request: Request<pb::GetMetricsRequest>,
    ) -> Result<Response<pb::NodeMetrics>, Status> {
        let (caller, pb::GetMetricsRequest {}) = self.calls.take(request);
        let id = caller.request_id.clone();
        let counts = self.door.counts(caller).await.map_err(refused(&id))?;
        Ok(Response::new(counts.into()))
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
