//! `fanfare.v1.TopicAdmin`.

use std::sync::Arc;

use fanfare_core::position::Epoch;
use fanfare_core::rule::RuleLayer;
use tonic::{Request, Response, Status};

use crate::convert::topics::list_to_pb;
use crate::convert::{Malformed, pattern, topic};
use crate::pb::v1 as pb;
use crate::pb::v1::topic_admin_server::TopicAdmin as Service;
use crate::public::{ListTopics, TopicAdmin};

use super::call::{Calls, malformed, refused};

pub(super) struct TopicAdminService {
    pub(super) door: Arc<dyn TopicAdmin>,
    pub(super) calls: Calls,
}

fn layer(rules: Option<pb::Rules>) -> Result<RuleLayer, Malformed> {
    RuleLayer::try_from(rules.unwrap_or_default()).map_err(|bad| bad.within("rules"))
}

#[tonic::async_trait]
impl Service for TopicAdminService {
    async fn create(
        &self,
        request: Request<pb::CreateTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let (caller, pb::CreateTopicRequest { name, rules }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let name = topic(&name, "name").map_err(|bad| malformed(bad, &caller))?;
        let rules = layer(rules).map_err(|bad| malformed(bad, &caller))?;
        let made = self
            .door
            .create(caller, name, rules)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(made.into()))
    }

    async fn get(
        &self,
        request: Request<pb::GetTopicRequest>,
    ) -> Result<Response<pb::Topic>, Status> {
        let (caller, pb::GetTopicRequest { name }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let name = topic(&name, "name").map_err(|bad| malformed(bad, &caller))?;
        let found = self.door.get(caller, name).await.map_err(refused(&id))?;
        Ok(Response::new(found.into()))
    }

    async fn list(
        &self,
        request: Request<pb::ListTopicsRequest>,
    ) -> Result<Response<pb::ListTopicsResponse>, Status> {
        let (caller, raw) = self.calls.take(request);
        let id = caller.request_id.clone();
        let request = ListTopics::try_from(raw).map_err(|bad| malformed(bad, &caller))?;
        let limit = request.limit;
        let topics = self
            .door
            .list(caller, request)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(list_to_pb(limit, topics)))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteTopicRequest>,
    ) -> Result<Response<pb::DeleteTopicResponse>, Status> {
        let (caller, pb::DeleteTopicRequest { name, epoch }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let name = topic(&name, "name").map_err(|bad| malformed(bad, &caller))?;
        self.door
            .delete(caller, name, epoch.map(Epoch))
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(pb::DeleteTopicResponse {}))
    }

    async fn put_rule(
        &self,
        request: Request<pb::PutRuleRequest>,
    ) -> Result<Response<pb::PutRuleResponse>, Status> {
        let (
            caller,
            pb::PutRuleRequest {
                pattern: which,
                rules,
            },
        ) = self.calls.take(request);
        let id = caller.request_id.clone();
        let which = pattern(&which, "pattern").map_err(|bad| malformed(bad, &caller))?;
        let rules = layer(rules).map_err(|bad| malformed(bad, &caller))?;
        self.door
            .put_rule(caller, which, rules)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(pb::PutRuleResponse {}))
    }

    async fn delete_rule(
        &self,
        request: Request<pb::DeleteRuleRequest>,
    ) -> Result<Response<pb::DeleteRuleResponse>, Status> {
        let (caller, pb::DeleteRuleRequest { pattern: which }) = self.calls.take(request);
        let id = caller.request_id.clone();
        let which = pattern(&which, "pattern").map_err(|bad| malformed(bad, &caller))?;
        self.door
            .delete_rule(caller, which)
            .await
            .map_err(refused(&id))?;
        Ok(Response::new(pb::DeleteRuleResponse {}))
    }

    async fn list_rules(
        &self,
        request: Request<pb::ListRulesRequest>,
    ) -> Result<Response<pb::ListRulesResponse>, Status> {
        let (caller, pb::ListRulesRequest {}) = self.calls.take(request);
        let id = caller.request_id.clone();
        let rules = self.door.list_rules(caller).await.map_err(refused(&id))?;
        let rule = |(pattern, rules): (fanfare_core::name::TopicPattern, RuleLayer)| pb::Rule {
            pattern: pattern.as_str().to_owned(),
            rules: Some(rules.into()),
        };
        let rules = rules.into_iter().map(rule).collect();
        Ok(Response::new(pb::ListRulesResponse { rules }))
    }
}
