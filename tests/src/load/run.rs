//! A run: start the cluster, load it, hurt it, let it heal, read everything, judge.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_checker::{Event, Judge};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::book::Book;
use super::finals;
use super::plan::Plan;
use super::publisher::Publisher;
use super::report::Outcome;
use super::subscriber::Subscriber;
use crate::process::Processes;
use crate::wait;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::{Node, Transport};

/// Runs the plan and judges it. Progress goes to stderr.
pub async fn run(plan: &Plan) -> Result<Outcome> {
    let own = tempfile::tempdir()?;
    let dir = plan.dir.clone().unwrap_or_else(|| own.path().to_owned());
    let mut cluster = Processes::start(plan.nodes, &dir, plan.shards).await?;
    let nodes: Vec<Node> = cluster.nodes.iter().map(|n| n.node.clone()).collect();
    keep_everything(&nodes[0]).await?;

    let book = Arc::new(Book::new());
    let until = book.now() + Duration::from_secs(plan.seconds);
    let give_up = until + Duration::from_secs(plan.settle);
    let (end, over) = watch::channel(false);
    let mut publishers = start_publishers(plan, &nodes, &book, until);
    let mut subscribers = start_subscribers(plan, &nodes, &book, &over, give_up);

    let mut victim = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    for second in 1..=plan.seconds {
        tick.tick().await;
        if plan.kill_at == Some(second) {
            let which = leads_most(&cluster).await?;
            note(&book, "kill", &cluster.nodes[which].name);
            cluster.nodes[which].kill()?;
            victim = Some(which);
        }
        if let (true, Some(which)) = (plan.start_at == Some(second), victim) {
            note(&book, "start", &cluster.nodes[which].name);
            cluster.nodes[which].start()?;
        }
        if plan.kill_all_at == Some(second) {
            note(&book, "kill", "all");
            for node in &mut cluster.nodes {
                node.kill()?;
            }
            for node in &mut cluster.nodes {
                node.start()?;
            }
        }
        progress(&book, second, plan.seconds);
    }

    while let Some(ended) = publishers.join_next().await {
        ended?.context("a publisher")?;
    }
    end.send_replace(true);
    let mut behind = Vec::new();
    while let Some(ended) = subscribers.join_next().await {
        if let Err(lack) = ended? {
            behind.push(format!("{lack:#}"));
        }
    }
    cluster.ready().await?;
    for (process, node) in cluster.nodes.iter().zip(&nodes) {
        settled(process.name.as_str(), node, &book, plan).await?;
    }
    let lines = book.take();
    let mut judge = Judge::new(plan.nodes);
    lines.iter().for_each(|line| judge.see(line));
    if let Some(dir) = &plan.dir {
        write_observations(dir, &lines)?;
    }
    Ok(Outcome::new(&lines, judge.finish(), behind))
}

fn progress(book: &Book, second: u64, of: u64) {
    use std::io::Write as _;
    let (acks, messages) = book.counts();
    let line = format!("{second:>4}/{of} s   {acks} acks   {messages} messages\n");
    // Progress is a courtesy: a closed stderr stops nothing.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

fn note(book: &Book, fault: &str, target: &str) {
    let (fault, target) = (fault.to_owned(), target.to_owned());
    book.note(
        "run",
        Event::Fault {
            fault,
            target,
            phase: "installed".to_owned(),
        },
    );
}

/// Retention above everything the run publishes, so that nothing is trimmed.
async fn keep_everything(node: &Node) -> Result<()> {
    let mut admin = TopicAdminClient::new(grpc::channel(&node.grpc).await?);
    let rules = pb::Rules {
        retain_count: Some(1_000_000),
        retain_bytes: Some(256 << 20),
        ..pb::Rules::default()
    };
    let request = pb::PutRuleRequest {
        pattern: "load.>".to_owned(),
        rules: Some(rules),
    };
    admin
        .put_rule(request)
        .await
        .context("the rule that keeps everything")?;
    Ok(())
}

fn start_publishers(
    plan: &Plan,
    nodes: &[Node],
    book: &Arc<Book>,
    until: Duration,
) -> JoinSet<Result<()>> {
    let mut set = JoinSet::new();
    for n in 0..plan.streams {
        let topics = (0..plan.topics)
            .filter(|t| t % plan.streams == n)
            .map(Plan::topic);
        let publisher = Publisher {
            name: format!("p{n}"),
            topics: topics.collect(),
            nodes: nodes.to_vec(),
            home: n,
            book: book.clone(),
            plan: plan.clone(),
            until,
        };
        if !publisher.topics.is_empty() {
            set.spawn(publisher.run());
        }
    }
    set
}

fn start_subscribers(
    plan: &Plan,
    nodes: &[Node],
    book: &Arc<Book>,
    over: &watch::Receiver<bool>,
    give_up: Duration,
) -> JoinSet<Result<()>> {
    let mut set = JoinSet::new();
    for n in 0..plan.subscribers {
        let mut transports = Transport::ALL.to_vec();
        transports.rotate_left(n % Transport::ALL.len());
        let subscriber = Subscriber {
            name: format!("s{n}"),
            topic: Plan::topic(n % plan.topics),
            transports,
            nodes: nodes.to_vec(),
            home: n / Transport::ALL.len(),
            book: book.clone(),
            over: over.clone(),
        };
        set.spawn(subscriber.run(give_up));
    }
    set
}

/// The node that leads most shards, by what the running nodes say.
async fn leads_most(cluster: &Processes) -> Result<usize> {
    let view = view(&cluster.nodes[0].node).await?;
    let mut led = vec![0_usize; cluster.nodes.len()];
    for (at, process) in cluster.nodes.iter().enumerate() {
        let id = view.nodes.iter().find(|n| {
            n.addresses
                .as_ref()
                .is_some_and(|a| a.grpc == process.node.grpc)
        });
        let id = id
            .with_context(|| format!("{} is not in the view", process.name))?
            .id;
        led[at] = view
            .shards
            .iter()
            .filter(|shard| shard.leader == Some(id))
            .count();
    }
    let most = led.iter().enumerate().max_by_key(|(_, count)| **count);
    Ok(most.context("no node")?.0)
}

async fn view(node: &Node) -> Result<pb::ClusterView> {
    let mut admin = ClusterAdminClient::new(grpc::channel(&node.grpc).await?);
    Ok(admin.get_view(pb::GetViewRequest {}).await?.into_inner())
}

/// Waits until the node's replicas have applied everything acked, then dumps them.
async fn settled(name: &str, node: &Node, book: &Book, plan: &Plan) -> Result<()> {
    let limit = Duration::from_secs(60);
    wait::until("every replica to catch up", limit, || async {
        let mut admin = ClusterAdminClient::new(grpc::channel(&node.grpc).await?);
        let mut heads = std::collections::BTreeMap::new();
        for shard in 0..plan.shards {
            let mut dump = admin
                .dump_shard(pb::DumpShardRequest { shard })
                .await?
                .into_inner();
            while let Some(topic) = dump.message().await? {
                heads.insert(topic.topic, grpc::position(topic.head)?);
            }
        }
        for topic in (0..plan.topics).map(Plan::topic) {
            let (has, acked) = (heads.get(&topic).copied(), book.acked(&topic));
            anyhow::ensure!(
                has >= acked,
                "{name} has {topic} up to {has:?}, acked is {acked:?}"
            );
        }
        Ok(())
    })
    .await?;
    finals::dump(book, name, node, plan.shards).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the harness's files, not a node's"
)]
fn write_observations(dir: &std::path::Path, lines: &[fanfare_checker::Line]) -> Result<()> {
    let file = std::fs::File::create(dir.join("observations.jsonl"))?;
    let recorder = fanfare_checker::Recorder::new(std::io::BufWriter::new(file));
    lines.iter().try_for_each(|line| recorder.record(line))?;
    Ok(recorder.flush()?)
}
