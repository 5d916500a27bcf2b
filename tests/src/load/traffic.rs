//! The traffic of a run: publishers and subscribers against nodes, and at the end the judgement of
//! everything that they were told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_checker::{Event, Judge, Line};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::book::Book;
use super::doors::Doors;
use super::finals::{self, Holding, Holdings};
use super::plan::Plan;
use super::publisher::Publisher;
use super::report::Outcome;
use super::sight;
use super::subscriber::Subscriber;
use crate::wait;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::{Node, Transport};

/// Running publishers and subscribers.
pub struct Traffic {
    plan: Plan,
    doors: Doors,
    book: Arc<Book>,
    end: watch::Sender<bool>,
    publishers: JoinSet<Result<()>>,
    subscribers: JoinSet<Result<()>>,
}

impl Traffic {
    /// Sets retention above everything that will be published, and starts.
    pub async fn start(plan: &Plan, nodes: &[Node]) -> Result<Self> {
        retain(plan, &nodes[0]).await?;
        let length = Duration::from_secs(plan.seconds);
        let book = Arc::new(Book::new(length, Duration::from_secs(plan.settle)));
        let doors = Doors::new(nodes);
        let (end, over) = watch::channel(false);
        let publishers = start_publishers(plan, &doors, &book);
        let subscribers = start_subscribers(plan, &doors, &book, &over);
        Ok(Self {
            plan: plan.clone(),
            doors,
            book,
            end,
            publishers,
            subscribers,
        })
    }

    /// Where clients go; a story that adds or removes nodes says so here.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// What was seen so far.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Notes a fault that the story brings about.
    pub fn fault(&self, fault: &str, target: &str) {
        let (fault, target) = (fault.to_owned(), target.to_owned());
        self.book.note(
            "run",
            Event::Fault {
                fault,
                target,
                phase: "installed".to_owned(),
            },
        );
    }

    /// Waits for so many acks from now on.
    pub async fn acks(&self, more: u64, limit: Duration) -> Result<()> {
        let wanted = self.book.counts().0 + more;
        wait::until("acks", limit, || async {
            let (acks, _) = self.book.counts();
            anyhow::ensure!(acks >= wanted, "{acks} of {wanted}");
            Ok(())
        })
        .await
    }

    /// An error names the first thing that is not calm in the cluster, as all nodes that clients
    /// know see it together: a node that another does not hear, a shard without a leader or a
    /// replica, one that lags or is still to go.
    pub async fn calm(&self) -> Result<()> {
        let doors: Vec<String> = self.doors.all().into_iter().map(|door| door.grpc).collect();
        let sight = sight::look(&doors).await?;
        sight.heard()?;
        sight.calm()
    }

    /// Ends the publishing, waits until everything published is answered and read, reads what the nodes hold, and
    /// judges. All nodes must run.
    pub async fn finish(mut self) -> Result<(Outcome, Vec<Line>)> {
        self.book.close();
        while let Some(ended) = self.publishers.join_next().await {
            ended?.context("a publisher")?;
        }
        self.end.send_replace(true);
        let mut behind = Vec::new();
        while let Some(ended) = self.subscribers.join_next().await {
            if let Err(lack) = ended? {
                behind.push(format!("{lack:#}"));
            }
        }
        let door = self.doors.at(0).context("no node is known")?;
        let held = finals::holdings(&door).await?;
        for holding in &held.nodes {
            self.settled(&held, holding).await?;
        }
        let lines = self.book.take();
        let mut judge = Judge::new(held.replicas);
        lines.iter().for_each(|line| judge.see(line));
        Ok((Outcome::new(&lines, judge.finish(), behind), lines))
    }

    /// Waits until the node's replicas have applied everything acked, then dumps them.
    async fn settled(&self, held: &Holdings, holding: &Holding) -> Result<()> {
        let Holding { name, grpc, shards } = holding;
        wait::until(
            "every replica to catch up",
            Duration::from_secs(180),
            || async {
                let mut admin = ClusterAdminClient::new(grpc::channel(grpc).await?);
                let mut heads = std::collections::BTreeMap::new();
                for &shard in shards {
                    let mut dump = admin
                        .dump_shard(pb::DumpShardRequest { shard })
                        .await?
                        .into_inner();
                    while let Some(topic) = dump.message().await? {
                        heads.insert(topic.topic, grpc::position(topic.head)?);
                    }
                }
                let topics = (0..self.plan.topics).map(Plan::topic);
                for topic in topics.filter(|topic| shards.contains(&held.shard_of(topic))) {
                    let (has, acked) = (heads.get(&topic).copied(), self.book.acked(&topic));
                    anyhow::ensure!(
                        has >= acked,
                        "{name}: {topic} up to {has:?}, acked {acked:?}"
                    );
                }
                Ok(())
            },
        )
        .await?;
        finals::dump(&self.book, holding).await
    }
}

/// The plan's retention; by default above everything the run publishes, so that nothing is trimmed.
async fn retain(plan: &Plan, node: &Node) -> Result<()> {
    let mut admin = TopicAdminClient::new(grpc::channel(&node.grpc).await?);
    let rules = pb::Rules {
        retain_count: Some(plan.retain_count),
        retain_bytes: Some(plan.retain_bytes),
        ..pb::Rules::default()
    };
    let request = pb::PutRuleRequest {
        pattern: "load.>".to_owned(),
        rules: Some(rules),
    };
    admin
        .put_rule(request)
        .await
        .context("the rule of retention")?;
    Ok(())
}

fn start_publishers(plan: &Plan, doors: &Doors, book: &Arc<Book>) -> JoinSet<Result<()>> {
    let mut set = JoinSet::new();
    for n in 0..plan.streams {
        let topics = (0..plan.topics)
            .filter(|t| t % plan.streams == n)
            .map(Plan::topic);
        let publisher = Publisher {
            name: format!("{}p{n}", plan.run),
            topics: topics.collect(),
            doors: doors.clone(),
            home: n,
            book: book.clone(),
            plan: plan.clone(),
        };
        if !publisher.topics.is_empty() {
            set.spawn(publisher.run());
        }
    }
    set
}

fn start_subscribers(
    plan: &Plan,
    doors: &Doors,
    book: &Arc<Book>,
    over: &watch::Receiver<bool>,
) -> JoinSet<Result<()>> {
    let mut set = JoinSet::new();
    for n in 0..plan.subscribers {
        let mut transports = Transport::ALL.to_vec();
        transports.rotate_left(n % Transport::ALL.len());
        let subscriber = Subscriber {
            name: format!("s{n}"),
            topic: Plan::topic(n % plan.topics),
            transports,
            doors: doors.clone(),
            home: n / Transport::ALL.len(),
            book: book.clone(),
            over: over.clone(),
        };
        set.spawn(subscriber.run());
    }
    set
}
