//! An administrator: topics, rules, the cluster, asked of the nodes in turn until one answers; and
//! the one act that makes a cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::Advice;
use fanfare_core::id::ShardId;
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::Epoch;
use fanfare_core::rule::RuleLayer;
use fanfare_protocol::json::problem::Problem;
use fanfare_rpc::client::{ClientSettings, Overviews, PublicClient};
use fanfare_rpc::heard::{CallError, Overview};
use fanfare_rpc::public::{Changed, ClusterChange, Repair, RepairWish, Sample, Upgraded};
use fanfare_rpc::topics::TopicInfo;
use http::Request;
use http_body_util::Full;

use crate::endpoint::{Address, Endpoints};
use crate::http::Http;
use crate::machine::Machine;
use crate::told::{Ending, Status, Told, strange};

/// Topics of one page of a list.
const PAGE: u32 = 1_000;
/// How long making a cluster may take.
const INIT: Duration = Duration::from_secs(60);
/// How long a node is waited for that only knows lag.
const LAG: Duration = Duration::from_secs(2);

/// Why an administrative call was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// A node refused: act by the code.
    #[error("{0}")]
    Refused(Box<Told>),
    /// No node could be asked.
    #[error("no node was reached: {0}")]
    Unreachable(String),
    /// A node was asked and did not answer: a change may be made or not.
    #[error("no answer, it may be done or not: {0}")]
    NoAnswer(String),
}

/// See the module. Reads and changes go to one node after the other until one answers.
pub struct Admin {
    pub(crate) machine: Machine,
    clients: Vec<PublicClient>,
}

impl Admin {
    /// An administrator by the gRPC doors of `endpoints`.
    pub fn new(machine: Machine, endpoints: &Endpoints) -> Self {
        let connect = |address: &Address| {
            let Machine {
                connector, tasks, ..
            } = &machine;
            let settings = ClientSettings::default();
            PublicClient::connect(address.as_str(), connector.clone(), tasks.clone(), settings)
        };
        let clients = endpoints.grpc.iter().filter_map(connect).collect();
        Self { machine, clients }
    }

    async fn ask<T>(
        &self,
        call: impl AsyncFn(PublicClient) -> Result<T, CallError>,
    ) -> Result<T, AdminError> {
        let mut last = AdminError::Unreachable("no gRPC address is given".to_owned());
        let authorization = self.machine.authorization(false).await;
        for client in &self.clients {
            let client = match &authorization {
                Some(text) => match client.clone().authorized(text) {
                    Some(client) => client,
                    None => {
                        let why = "the token has characters that no header has";
                        return Err(AdminError::Unreachable(why.to_owned()));
                    }
                },
                None => client.clone(),
            };
            let error = match call(client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => admin_error(error),
            };
            let elsewhere = match &error {
                AdminError::Unreachable(_) => true,
                AdminError::Refused(told) => told.advice() == Advice::Reroute,
                AdminError::NoAnswer(_) => false,
            };
            last = error;
            if !elsewhere {
                break;
            }
        }
        Err(last)
    }

    /// Makes a topic.
    pub async fn create(
        &self,
        name: &TopicName,
        rules: &RuleLayer,
    ) -> Result<TopicInfo, AdminError> {
        self.ask(async |client| client.create(name, rules.clone()).await)
            .await
    }

    /// Describes a topic.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicInfo, AdminError> {
        self.ask(async |client| client.topic(name).await).await
    }

    /// A page of topics in the order of their names, and the token of the next one.
    pub async fn topics(
        &self,
        pattern: Option<&TopicPattern>,
        token: &str,
    ) -> Result<(Vec<TopicInfo>, Option<String>), AdminError> {
        self.ask(async |client| client.list(pattern, PAGE, token.to_owned()).await)
            .await
    }

    /// Ends a topic; only if its epoch is `epoch`, if given.
    pub async fn delete(&self, name: &TopicName, epoch: Option<Epoch>) -> Result<(), AdminError> {
        self.ask(async |client| client.delete(name, epoch).await)
            .await
    }

    /// Sets the rules of all topics that match.
    pub async fn put_rule(&self, of: &TopicPattern, rules: &RuleLayer) -> Result<(), AdminError> {
        self.ask(async |client| client.put_rule(of, rules.clone()).await)
            .await
    }

    /// Forgets the rules of a pattern.
    pub async fn delete_rule(&self, of: &TopicPattern) -> Result<(), AdminError> {
        self.ask(async |client| client.delete_rule(of).await).await
    }

    /// All rules by pattern, from the least to the most specific.
    pub async fn rules(&self) -> Result<Vec<(TopicPattern, RuleLayer)>, AdminError> {
        self.ask(async |client| client.rules().await).await
    }

    /// The cluster as one node sees it.
    pub async fn overview(&self) -> Result<Overview, AdminError> {
        self.ask(async |client| client.overview().await).await
    }

    /// The same, now and on each change, until that node ends.
    pub async fn watch(&self) -> Result<Overviews, AdminError> {
        self.ask(async |client| client.watch_overview().await).await
    }

    /// The cluster as one node sees it, with the lag that only leaders know asked of each node. What
    /// a node does not answer in time stays unknown.
    pub async fn joined(&self) -> Result<Overview, AdminError> {
        let base = self.overview().await?;
        let views = base
            .nodes
            .iter()
            .map(|node| self.view_of(node.addresses.grpc.clone()));
        let views = futures_util::future::join_all(views).await;
        let views: Vec<Overview> = views.into_iter().flatten().collect();
        Ok(join_lag(base, &views))
    }

    /// Raises the feature level by one step.
    pub async fn upgrade(&self) -> Result<Upgraded, AdminError> {
        self.ask(async |client| client.upgrade().await).await
    }

    /// What is left of a group that lost its majority, and its new beginning if the wish accepts the
    /// loss. `at`: the gRPC address of the node to ask, else any.
    pub async fn repair(&self, wish: &RepairWish, at: Option<&str>) -> Result<Repair, AdminError> {
        let Some(address) = at else {
            return self
                .ask(async |client| client.repair(wish.clone()).await)
                .await;
        };
        let Some(client) = self.client_of(address).await else {
            let why = format!("the node's address `{address}` is none");
            return Err(AdminError::Unreachable(why));
        };
        client.repair(wish.clone()).await.map_err(admin_error)
    }

    /// Has a change of the cluster's nodes recorded. The view shows how far it is.
    pub async fn change(&self, change: &ClusterChange) -> Result<Option<Changed>, AdminError> {
        self.ask(async |client| client.change(change.clone()).await)
            .await
    }

    /// Asks the node that leads a shard to hand it to `node` (name or id). The view shows whether it
    /// has; until then another request may be needed.
    pub async fn transfer(&self, shard: ShardId, node: &str) -> Result<(), AdminError> {
        let view = self.overview().await?;
        let at = usize::try_from(shard.0).ok();
        let leader = at.and_then(|at| view.shards.get(at)?.leader);
        let address = view.nodes.iter().find(|node| Some(node.id) == leader);
        let node = node.to_owned();
        let change = ClusterChange::Transfer { shard, node };
        let Some(address) = address.map(|node| node.addresses.grpc.clone()) else {
            return self.change(&change).await.map(drop);
        };
        let Some(client) = self.client_of(&address).await else {
            let why = format!("the leader's address `{address}` is none");
            return Err(AdminError::Unreachable(why));
        };
        match client.change(change).await {
            Ok(_) => Ok(()),
            Err(error) => Err(admin_error(error)),
        }
    }

    async fn view_of(&self, address: String) -> Option<Overview> {
        let client = self.client_of(&address).await?;
        tokio::select! { biased;
            view = client.overview() => view.ok(),
            () = self.machine.clock.sleep(LAG) => None,
        }
    }

    pub(crate) async fn client_of(&self, address: &str) -> Option<PublicClient> {
        let Machine {
            connector, tasks, ..
        } = &self.machine;
        let settings = ClientSettings::default();
        let client = PublicClient::connect(address, connector.clone(), tasks.clone(), settings)?;
        match self.machine.authorization(false).await {
            Some(text) => client.authorized(&text),
            None => Some(client),
        }
    }

    /// Where topics stand; those that do not exist are left out.
    pub async fn sample(&self, topics: &[TopicName]) -> Result<Vec<Sample>, AdminError> {
        self.ask(async |client| client.sample(topics).await).await
    }
}

pub(crate) fn admin_error(error: CallError) -> AdminError {
    let told = match error {
        CallError::NotSent(why) => return AdminError::Unreachable(why),
        CallError::NoAnswer(why) => return AdminError::NoAnswer(why),
        CallError::Refused(refusal) => Told::new(refusal.into(), Status::None),
        CallError::Other(other) => Told::new(strange(other), Status::None),
    };
    AdminError::Refused(Box::new(told))
}

/// Fills in what one node does not know of replicas' lag from the others' views.
fn join_lag(mut base: Overview, views: &[Overview]) -> Overview {
    let mut known = BTreeMap::new();
    for replica in views
        .iter()
        .flat_map(|view| &view.shards)
        .flat_map(|shard| shard.replicas.iter().chain(&shard.leaving))
    {
        if let Some(behind) = replica.behind {
            known.insert(replica.id, behind);
        }
    }
    let shards = base.shards.iter_mut();
    for replica in shards.flat_map(|shard| shard.replicas.iter_mut().chain(&mut shard.leaving)) {
        replica.behind = replica.behind.or_else(|| known.get(&replica.id).copied());
    }
    base
}

/// A cluster that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its identity.
    pub cluster: String,
    pub shards: u64,
    /// The whole answer, as JSON.
    pub answer: String,
}

/// Makes the cluster of the seeds of the node whose operator's door is `ops`.
pub async fn init_cluster(
    machine: &Machine,
    ops: &Address,
    shards: u32,
) -> Result<Made, AdminError> {
    let request = Request::post(format!("/cluster/init?shards={shards}"))
        .body(Full::<Bytes>::default())
        .map_err(|error| AdminError::Unreachable(error.to_string()))?;
    let mut http = Http::new(machine.clone(), ops.clone());
    let answered = tokio::select! { biased;
        answered = http.ask(request) => answered,
        () = machine.clock.sleep(INIT) => Err(Ending::Cut("no answer in time".to_owned())),
    };
    let response = answered.map_err(|ending| match ending {
        Ending::NotConnected(why) => AdminError::Unreachable(why),
        Ending::Cut(why) => AdminError::NoAnswer(why),
        Ending::Told(told) => AdminError::Refused(told),
    })?;
    let (status, body) = (response.status().as_u16(), response.into_body());
    if status != 200 {
        let mut told = Told::of_http(status, &body);
        if Problem::read(&body).is_err() {
            told.problem.detail = String::from_utf8_lossy(&body).trim().to_owned();
        }
        return Err(AdminError::Refused(Box::new(told)));
    }
    let strange = |_| AdminError::NoAnswer("the answer is not of this protocol".to_owned());
    let json: serde_json::Value = serde_json::from_slice(&body).map_err(strange)?;
    Ok(Made {
        cluster: json["cluster"].as_str().unwrap_or_default().to_owned(),
        shards: json["shards"].as_u64().unwrap_or_default(),
        answer: json.to_string(),
    })
}

#[cfg(test)]
#[path = "admin_tests.rs"]
mod tests;
