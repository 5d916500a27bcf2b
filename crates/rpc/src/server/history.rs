//! `fanfare.v1.History`.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::convert::history::page_to_pb;
use crate::pb::v1 as pb;
use crate::pb::v1::history_server::History as Service;
use crate::public::{History, HistoryRequest};

use super::call::{Calls, malformed, refused};

pub(super) struct HistoryService {
    pub(super) door: Arc<dyn History>,
    pub(super) calls: Calls,
}

#[tonic::async_trait]
impl Service for HistoryService {
    async fn page(
        &self,
        request: Request<pb::PageRequest>,
    ) -> Result<Response<pb::PageResponse>, Status> {
        let (caller, raw) = self.calls.take(request);
        let id = caller.request_id.clone();
        let request = HistoryRequest::try_from(raw).map_err(|bad| malformed(bad, &caller))?;
        let topic = request.topic.clone();
        let page = self
            .door
            .page(caller, request)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(page_to_pb(&topic, &page)))
    }
}
