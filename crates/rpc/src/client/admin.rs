//! The administrative services at one address: topics, rules, the cluster.

use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::Epoch;
use fanfare_core::rule::RuleLayer;
use tonic::transport::Channel;

use super::channel::MAX_MESSAGE;
use super::public::{PublicClient, answer};
use crate::convert::heard::heard_rule;
use crate::convert::repair::repair;
use crate::heard::{CallError, Overview};
use crate::pb::v1 as pb;
use crate::pb::v1::cluster_admin_client::ClusterAdminClient;
use crate::pb::v1::topic_admin_client::TopicAdminClient;
use crate::public::{Changed, ClusterChange, Repair, RepairWish, Sample, Upgraded};
use crate::topics::TopicInfo;

/// How long a repair may take: a copy is read whole before it is answered.
const REPAIR: Duration = Duration::from_secs(120);

impl PublicClient {
    fn topics(&self) -> TopicAdminClient<Channel> {
        TopicAdminClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn cluster(&self) -> ClusterAdminClient<Channel> {
        ClusterAdminClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn work<T>(&self, body: T) -> (Duration, tonic::Request<T>) {
        let within = self.settings.work;
        let mut request = self.request(body);
        request.set_timeout(within);
        (within, request)
    }

    /// Makes a topic; `topic_exists` if it is there with other rules.
    pub async fn create(&self, name: &TopicName, rules: RuleLayer) -> Result<TopicInfo, CallError> {
        let (within, call) = self.work(pb::CreateTopicRequest {
            name: name.as_str().to_owned(),
            rules: Some(rules.into()),
        });
        Ok(answer(within, self.topics().create(call))
            .await?
            .try_into()?)
    }

    /// Describes a topic.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicInfo, CallError> {
        let (within, call) = self.work(pb::GetTopicRequest {
            name: name.as_str().to_owned(),
        });
        Ok(answer(within, self.topics().get(call)).await?.try_into()?)
    }

    /// A page of topics in the order of their names, and the token of the next page.
    pub async fn list(
        &self,
        pattern: Option<&TopicPattern>,
        page_size: u32,
        page_token: String,
    ) -> Result<(Vec<TopicInfo>, Option<String>), CallError> {
        let (within, call) = self.work(pb::ListTopicsRequest {
            pattern: pattern.map_or("", TopicPattern::as_str).to_owned(),
            page_size,
            page_token,
        });
        let pb::ListTopicsResponse {
            topics,
            next_page_token,
        } = answer(within, self.topics().list(call)).await?;
        let topics: Result<Vec<_>, _> = topics.into_iter().map(TopicInfo::try_from).collect();
        let next = Some(next_page_token).filter(|token| !token.is_empty());
        Ok((topics?, next))
    }

    /// Ends a topic; only if its epoch is `epoch`, if given.
    pub async fn delete(&self, name: &TopicName, epoch: Option<Epoch>) -> Result<(), CallError> {
        let (within, call) = self.work(pb::DeleteTopicRequest {
            name: name.as_str().to_owned(),
            epoch: epoch.map(|Epoch(epoch)| epoch),
        });
        answer(within, self.topics().delete(call)).await.map(drop)
    }

    /// Sets the rules of all topics that match.
    pub async fn put_rule(
        &self,
        pattern: &TopicPattern,
        rules: RuleLayer,
    ) -> Result<(), CallError> {
        let (within, call) = self.work(pb::PutRuleRequest {
            pattern: pattern.as_str().to_owned(),
            rules: Some(rules.into()),
        });
        answer(within, self.topics().put_rule(call)).await.map(drop)
    }

    /// Forgets the rules of a pattern.
    pub async fn delete_rule(&self, pattern: &TopicPattern) -> Result<(), CallError> {
        let (within, call) = self.work(pb::DeleteRuleRequest {
            pattern: pattern.as_str().to_owned(),
        });
        answer(within, self.topics().delete_rule(call))
            .await
            .map(drop)
    }

    /// All patterns, from the least to the most specific.
    pub async fn rules(&self) -> Result<Vec<(TopicPattern, RuleLayer)>, CallError> {
        let (within, call) = self.work(pb::ListRulesRequest {});
        let pb::ListRulesResponse { rules } =
            answer(within, self.topics().list_rules(call)).await?;
        let rules: Result<Vec<_>, _> = rules.into_iter().map(heard_rule).collect();
        Ok(rules?)
    }

    /// The cluster as the node sees it.
    pub async fn overview(&self) -> Result<Overview, CallError> {
        let (within, call) = self.work(pb::GetViewRequest {});
        Ok(answer(within, self.cluster().get_view(call)).await?.into())
    }

    /// The same, now and on each change.
    pub async fn watch_overview(&self) -> Result<Overviews, CallError> {
        let call = self.request(pb::WatchViewRequest {});
        let incoming = answer(self.settings.work, self.cluster().watch_view(call)).await?;
        Ok(Overviews { incoming })
    }

    /// Has a change of nodes recorded; a transfer only by the node that leads the shard. What it
    /// concerns, and the view that holds it, if the server says so.
    pub async fn change(&self, change: ClusterChange) -> Result<Option<Changed>, CallError> {
        let mut door = self.cluster();
        let remove = |node, fewer_replicas, stay| pb::RemoveNodeRequest {
            node,
            fewer_replicas,
            stay,
        };
        let pb::NodeChange { node, version } = match change {
            ClusterChange::Drain { node } => {
                let (within, call) = self.work(pb::DrainNodeRequest { node });
                answer(within, door.drain_node(call)).await?
            }
            ClusterChange::Remove { node } => {
                let (within, call) = self.work(remove(node, false, false));
                answer(within, door.remove_node(call)).await?
            }
            ClusterChange::RemoveNow { node } => {
                let (within, call) = self.work(remove(node, true, false));
                answer(within, door.remove_node(call)).await?
            }
            ClusterChange::Stay { node } => {
                let (within, call) = self.work(remove(node, false, true));
                answer(within, door.remove_node(call)).await?
            }
            ClusterChange::Replace { old, new } => {
                let (within, call) = self.work(pb::ReplaceNodeRequest { old, new });
                answer(within, door.replace_node(call)).await?
            }
            ClusterChange::Transfer { shard, node } => {
                let shard = shard.0;
                let (within, call) = self.work(pb::TransferShardRequest { shard, node });
                answer(within, door.transfer_shard(call)).await?;
                return Ok(None);
            }
        };
        let node = NodeId(node);
        Ok(Some(Changed { node, version }))
    }

    /// Raises the feature level by one step.
    pub async fn upgrade(&self) -> Result<Upgraded, CallError> {
        let (within, call) = self.work(pb::UpgradeClusterRequest {});
        let mut door = self.cluster();
        let pb::UpgradeClusterResponse {
            level,
            known,
            raised,
        } = answer(within, door.upgrade_cluster(call)).await?;
        Ok(Upgraded {
            level,
            known,
            raised,
        })
    }

    /// What is left of a shard, or of the metadata, that lost its majority; begins it anew if the
    /// wish accepts that.
    pub async fn repair(&self, wish: RepairWish) -> Result<Repair, CallError> {
        let RepairWish {
            shard,
            accept_data_loss,
            lost,
        } = wish;
        let mut door = self.cluster();
        let answered = match shard {
            Some(ShardId(shard)) => {
                let (_, mut call) = self.work(pb::RepairShardRequest {
                    shard,
                    accept_data_loss,
                    lost,
                });
                call.set_timeout(REPAIR);
                answer(REPAIR, door.repair_shard(call)).await?
            }
            None => {
                let (_, mut call) = self.work(pb::RepairMetadataRequest {
                    accept_data_loss,
                    lost,
                });
                call.set_timeout(REPAIR);
                answer(REPAIR, door.repair_metadata(call)).await?
            }
        };
        Ok(repair(answered, shard)?)
    }

    /// Where topics stand; those that do not exist are left out.
    pub async fn sample(&self, topics: &[TopicName]) -> Result<Vec<Sample>, CallError> {
        let topics = topics.iter().map(|name| name.as_str().to_owned()).collect();
        let (within, call) = self.work(pb::SampleRequest { topics });
        let pb::SampleResponse { samples } = answer(within, self.cluster().sample(call)).await?;
        let samples: Result<Vec<_>, _> = samples.into_iter().map(Sample::try_from).collect();
        Ok(samples?)
    }
}

/// The cluster, again on each change.
#[derive(Debug)]
pub struct Overviews {
    incoming: tonic::Streaming<pb::ClusterView>,
}

impl Overviews {
    /// The next state; `None` is the end. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Overview>, CallError> {
        Ok(self.incoming.message().await?.map(Into::into))
    }
}
