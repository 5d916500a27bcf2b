//! Nodes in this process over real sockets, for stories: start, publish, kill, look.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::position::Position;
use fanfare_host::Faults;
use fanfare_server::dev::{self, Act, Addresses, Logs, Plan, Times};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::port::free_port;
use crate::process;
use crate::wait;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::http;
use crate::wire::session::Node;

const LIMIT: Duration = Duration::from_secs(120);
/// How long a whole story may take.
const STORY: Duration = Duration::from_secs(600);
/// How long one node may take to say what it sees, before the next one is asked.
const ASKED: Duration = Duration::from_secs(10);

/// What a cluster of a story is made of.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Nodes that make the cluster.
    pub nodes: usize,
    /// Nodes after these that join it when the story starts them.
    pub spare: usize,
    /// Bytes of history of each node; `None`: the default.
    pub history_budget: Option<u64>,
    /// Shards; 0: four.
    pub shards: u32,
    /// Sizes of each node's log; `None`: the usual ones.
    pub logs: Option<Logs>,
    /// Times of membership; `None`: the usual ones.
    pub times: Option<Times>,
    /// Where the story stops a change of members, a node each.
    pub barriers: Vec<Barriers>,
    /// What the disk of each node is to fail; the story keeps clones.
    pub faults: Vec<Faults>,
}

impl Setup {
    /// So many nodes, and all as usual.
    pub fn of(nodes: usize) -> Self {
        Self {
            nodes,
            ..Self::default()
        }
    }
}

/// A running cluster of a story.
pub struct Cluster {
    inner: Arc<dev::Cluster>,
    nodes: Vec<Node>,
    ops: Vec<String>,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts so many nodes with 4 shards, tells the story, ends the nodes.
    pub fn run(nodes: usize, story: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::run_with(Setup::of(nodes), story)
    }

    /// The same, with so many bytes of history for each node.
    pub fn run_with_history(
        nodes: usize,
        budget: u64,
        story: impl AsyncFnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let setup = Setup {
            history_budget: Some(budget),
            ..Setup::of(nodes)
        };
        Self::run_with(setup, story)
    }

    /// The same, as it is set up.
    pub fn run_with(setup: Setup, story: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let founders = setup.nodes;
        let cluster = Self::start(setup)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            cluster.led(founders).await?;
            wait::soon("the story", STORY, story(&cluster)).await?
        })
    }

    fn start(setup: Setup) -> Result<Self> {
        let count = setup.nodes + setup.spare;
        // Logs of the nodes by RUST_LOG; another test of the process may have set them up.
        let filter = EnvFilter::builder().with_default_directive(LevelFilter::OFF.into());
        let filter = filter.from_env_lossy();
        let logs = tracing_subscriber::fmt().with_env_filter(filter);
        drop(logs.with_writer(std::io::stderr).try_init());
        let dir = tempfile::tempdir()?;
        let local = || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], free_port()?)));
        let addresses: Vec<Addresses> = (0..count)
            .map(|_| {
                Ok(Addresses {
                    edge: local()?,
                    grpc: local()?,
                    peer: local()?,
                    ops: local()?,
                })
            })
            .collect::<Result<_>>()?;
        let plan = Plan {
            nodes: addresses.clone(),
            dir: dir.path().to_owned(),
            shards: if setup.shards == 0 { 4 } else { setup.shards },
            workers: 2,
            grace: Duration::from_secs(2),
            history_budget: setup.history_budget,
            election: process::election(),
            logs: setup.logs,
            spare: setup.spare,
            times: setup.times,
            barriers: setup.barriers,
            faults: setup.faults,
        };
        let inner = dev::Cluster::start(&plan)?;
        let node = |a: &Addresses| Node {
            edge: a.edge.to_string(),
            grpc: a.grpc.to_string(),
        };
        Ok(Self {
            inner,
            nodes: addresses.iter().map(node).collect(),
            ops: addresses.iter().map(|a| a.ops.to_string()).collect(),
            dir,
        })
    }

    /// Waits until every shard has a leader that every node knows: stories begin there.
    async fn led(&self, founders: usize) -> Result<()> {
        for node in self.nodes.iter().take(founders) {
            wait::until("leaders of all shards", LIMIT, || async {
                let mut admin = ClusterAdminClient::new(grpc::channel(&node.grpc).await?);
                let view = admin.get_view(pb::GetViewRequest {}).await?.into_inner();
                let led = view
                    .shards
                    .iter()
                    .filter(|shard| shard.leader.is_some())
                    .count();
                ensure!(
                    led == view.shards.len() && led > 0,
                    "{led} of {}",
                    view.shards.len()
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Where the i-th node is reached, from 0.
    pub fn node(&self, at: usize) -> &Node {
        &self.nodes[at]
    }

    /// Where the i-th node, from 0, has its data.
    pub fn data(&self, at: usize) -> PathBuf {
        self.dir.path().join(format!("n{}", at + 1))
    }

    /// The operator's door of the i-th node.
    pub fn ops(&self, at: usize) -> &str {
        &self.ops[at]
    }

    /// Publishes the numbers as text, one after the other, through a node.
    pub async fn publish(
        &self,
        at: usize,
        topic: &str,
        numbers: RangeInclusive<u64>,
    ) -> Result<()> {
        for n in numbers {
            http::publish(&self.nodes[at].edge, topic, &n.to_string()).await?;
        }
        Ok(())
    }

    /// The position with this offset in the topic's present stream, as text.
    pub async fn position(&self, topic: &str, offset: u64) -> Result<String> {
        let head = self.topic(topic).await?.head;
        let epoch = grpc::position(head)?.epoch;
        Ok(Position {
            epoch,
            offset: fanfare_core::position::Offset(offset),
        }
        .to_string())
    }

    /// Waits until the topic's head has this offset.
    pub async fn head(&self, at: usize, topic: &str, offset: u64) -> Result<()> {
        wait::until("the head", LIMIT, || async {
            let mut admin = TopicAdminClient::new(grpc::channel(&self.nodes[at].grpc).await?);
            let asked = admin
                .get(pb::GetTopicRequest {
                    name: topic.to_owned(),
                })
                .await?;
            let head = grpc::position(asked.into_inner().head)?;
            ensure!(head.offset.0 == offset, "{head}");
            Ok(())
        })
        .await
    }

    /// True if the topic has a row.
    pub async fn topic_exists(&self, topic: &str) -> Result<bool> {
        let mut admin = self.topics().await?;
        match admin
            .get(pb::GetTopicRequest {
                name: topic.to_owned(),
            })
            .await
        {
            Ok(_) => Ok(true),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    /// Ends a topic.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let request = pb::DeleteTopicRequest {
            name: topic.to_owned(),
            ..Default::default()
        };
        self.topics().await?.delete(request).await?;
        Ok(())
    }

    /// Sets rules and waits until every node knows them.
    pub async fn put_rule(&self, pattern: &str, rules: pb::Rules) -> Result<()> {
        let request = pb::PutRuleRequest {
            pattern: pattern.to_owned(),
            rules: Some(rules),
        };
        self.topics().await?.put_rule(request).await?;
        for node in &self.nodes {
            wait::until("the rule on every node", LIMIT, || async {
                let mut admin = TopicAdminClient::new(grpc::channel(&node.grpc).await?);
                let known = admin
                    .list_rules(pb::ListRulesRequest {})
                    .await?
                    .into_inner()
                    .rules;
                ensure!(
                    known.iter().any(|rule| rule.pattern == pattern),
                    "{known:?}"
                );
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a node has at least so many sessions.
    pub async fn sessions(&self, at: usize, least: u64) -> Result<()> {
        wait::until("sessions", LIMIT, || async {
            let text = http::get(&self.ops[at], "/metrics").await?.text();
            let open = http::metrics(&text)
                .get("fanfare_sessions")
                .copied()
                .unwrap_or(0.0);
            ensure!(open >= least as f64, "{open} sessions");
            Ok(())
        })
        .await
    }

    /// The shard of a topic.
    pub async fn shard_of(&self, topic: &str) -> Result<u32> {
        let name: fanfare_core::name::TopicName = topic.parse()?;
        let view = self.view().await?;
        Ok(name.shard(u32::try_from(view.shards.len())?).0)
    }

    /// Which node leads the topic's shard.
    pub async fn leader_of(&self, topic: &str) -> Result<usize> {
        self.leader_of_shard(self.shard_of(topic).await?).await
    }

    /// The id the i-th node has in the cluster.
    async fn id_of(&self, at: usize) -> Result<u64> {
        let view = self.view().await?;
        let here = |node: &&pb::Node| {
            let addresses = node.addresses.as_ref();
            addresses.is_some_and(|a| a.grpc == self.nodes[at].grpc)
        };
        let node = view.nodes.iter().find(here).context("not in the view")?;
        Ok(node.id)
    }

    /// Which node leads a shard.
    pub async fn leader_of_shard(&self, shard: u32) -> Result<usize> {
        wait::until("a leader", LIMIT, || async {
            let view = self.view().await?;
            let row = view
                .shards
                .get(usize::try_from(shard)?)
                .context("no such shard")?;
            let leader = row.leader.context("no leader")?;
            let node = view
                .nodes
                .iter()
                .find(|n| n.id == leader)
                .context("no such node")?;
            let grpc = &node.addresses.as_ref().context("no addresses")?.grpc;
            self.nodes
                .iter()
                .position(|n| n.grpc == *grpc)
                .context("a strange node")
        })
        .await
    }

    /// Waits until another node than `old` leads the topic's shard.
    pub async fn new_leader_of(&self, topic: &str, old: usize) -> Result<usize> {
        wait::until("a new leader", LIMIT, || async {
            let leader = self.leader_of(topic).await?;
            ensure!(leader != old, "node {old} still leads");
            Ok(leader)
        })
        .await
    }

    /// The cluster as the first node that answers sees it.
    pub async fn view(&self) -> Result<pb::ClusterView> {
        let mut last = None;
        for node in &self.nodes {
            let asked = async {
                let mut admin = ClusterAdminClient::new(grpc::channel(&node.grpc).await?);
                Ok::<_, anyhow::Error>(admin.get_view(pb::GetViewRequest {}).await?.into_inner())
            };
            match wait::soon("the view", ASKED, asked).await {
                Ok(Ok(view)) => return Ok(view),
                Ok(Err(e)) | Err(e) => last = Some(e),
            }
        }
        Err(last.context("no nodes")?)
    }

    /// Has whoever leads a shard hand it to the i-th node, without waiting for the end. False if it
    /// cannot be begun.
    pub async fn begin_transfer(&self, shard: u32, to: usize) -> Result<bool> {
        let heir = NodeId(self.id_of(to).await?);
        let leader = self.leader_of_shard(shard).await?;
        let inner = self.inner.clone();
        let begin = move || inner.transfer(leader, ShardId(shard), heir);
        tokio::task::spawn_blocking(begin).await?
    }

    /// The same, and waits until the node leads it; at once if it does already.
    pub async fn transfer(&self, shard: u32, to: usize) -> Result<()> {
        wait::until("the shard to be handed over", LIMIT, || async {
            let leader = self.leader_of_shard(shard).await?;
            if leader != to {
                // Asked again while the heir cannot take over at once.
                let begun = self.begin_transfer(shard, to).await?;
                anyhow::bail!("node {leader} leads; begun: {begun}");
            }
            Ok(())
        })
        .await
    }

    /// The nodes themselves.
    pub fn inner(&self) -> &Arc<dev::Cluster> {
        &self.inner
    }

    /// As if the node's power went.
    pub async fn kill(&self, at: usize) -> Result<()> {
        self.act(at, Act::Kill).await
    }

    /// Starts a node and waits until it is ready.
    pub async fn start_node(&self, at: usize) -> Result<()> {
        self.act(at, Act::Start).await
    }

    /// Does something to a node.
    pub async fn act(&self, at: usize, act: Act) -> Result<()> {
        let inner = self.inner.clone();
        tokio::task::spawn_blocking(move || inner.act(at, act)).await?
    }

    async fn topics(&self) -> Result<TopicAdminClient<tonic::transport::Channel>> {
        let mut last = None;
        for node in &self.nodes {
            match grpc::channel(&node.grpc).await {
                Ok(channel) => return Ok(TopicAdminClient::new(channel)),
                Err(e) => last = Some(e),
            }
        }
        Err(last.context("no nodes")?)
    }

    async fn topic(&self, name: &str) -> Result<pb::Topic> {
        let asked = self
            .topics()
            .await?
            .get(pb::GetTopicRequest {
                name: name.to_owned(),
            })
            .await?;
        Ok(asked.into_inner())
    }
}
