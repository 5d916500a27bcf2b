//! What a cluster of three processes costs when there is much of it and little happens: idle with 64
//! shards, 100,000 topics, a failover under 10,000 attachments.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::proc;
use crate::process::Processes;
use crate::wait;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::pb::publisher_client::PublisherClient;
use crate::wire::grpc::{self, pb};
use crate::wire::seen::Seen;
use crate::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(120);
/// Drafts in flight on the one publish stream.
const IN_FLIGHT: usize = 256;
/// Topics of a session: as many as one may have.
const PER_SESSION: usize = 100;

/// CPU and memory of three processes that nobody uses.
#[derive(Clone, Debug, clap::Args)]
pub struct IdleClusterPlan {
    #[arg(long, default_value_t = 64)]
    pub shards: u32,
    /// Seconds that are measured, after ten to settle.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
}

/// Memory of topics with one message each on three processes, and their restart.
#[derive(Clone, Debug, clap::Args)]
pub struct TopicsPlan {
    #[arg(long, default_value_t = 100_000)]
    pub topics: usize,
    #[arg(long, default_value_t = 64)]
    pub shards: u32,
}

/// How long subscribers wait when the leader of many of their topics is killed.
#[derive(Clone, Debug, clap::Args)]
pub struct FailoverPlan {
    /// Topics, each subscribed once through one node; 100 a session.
    #[arg(long, default_value_t = 10_000)]
    pub attachments: usize,
    #[arg(long, default_value_t = 64)]
    pub shards: u32,
}

/// Measures; prints a line a node.
pub async fn idle_cluster(plan: &IdleClusterPlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let cluster = Processes::start(3, dir.path(), plan.shards).await?;
    led(&cluster, plan.shards).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let shares = shares(&cluster, Duration::from_secs(plan.seconds)).await?;
    Ok(format!(
        "three idle processes, {} shards, over {} s:\n{shares}",
        plan.shards, plan.seconds
    ))
}

/// CPU in percent of a core, and resident memory, of each node over `time`.
async fn shares(cluster: &Processes, time: Duration) -> Result<String> {
    let pids = pids(cluster)?;
    let before: Vec<Duration> = pids
        .iter()
        .map(|pid| proc::cpu(*pid))
        .collect::<Result<_>>()?;
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let took = began.elapsed();
    let mut lines = Vec::new();
    for ((node, pid), before) in cluster.nodes.iter().zip(&pids).zip(before) {
        let used = proc::cpu(*pid)?.saturating_sub(before);
        lines.push(format!(
            "  {}: {:.1} % of a core, {:.1} MiB",
            node.name,
            100.0 * used.as_secs_f64() / took.as_secs_f64(),
            mib(proc::resident(*pid)?),
        ));
    }
    Ok(lines.join("\n"))
}

/// Measures; prints a few lines.
pub async fn topics(plan: &TopicsPlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut cluster = Processes::start(3, dir.path(), plan.shards).await?;
    led(&cluster, plan.shards).await?;
    let names: Vec<String> = (0..plan.topics).map(|n| format!("scale.{n}")).collect();
    let before = residents(&cluster)?;
    let began = Instant::now();
    publish(&cluster.nodes[0].node.grpc, &names, "x").await?;
    let published = began.elapsed();
    let with = residents(&cluster)?;
    let idle = shares(&cluster, Duration::from_secs(10)).await?;

    // One node, stopped as an operator stops it, and started again.
    let restarted = cluster.nodes.last_mut().context("no node")?;
    let began = Instant::now();
    restarted.signal("TERM")?;
    restarted.exited(SOON).await?;
    let stopped = began.elapsed();
    let began = Instant::now();
    restarted.start()?;
    restarted.ready().await?;
    let ready = began.elapsed();
    led(&cluster, plan.shards).await?;
    let after = residents(&cluster)?;
    let row = |all: &[u64]| {
        let texts: Vec<String> = all
            .iter()
            .map(|bytes| format!("{:.1}", mib(*bytes)))
            .collect();
        texts.join(" ")
    };
    let each = |all: &[u64]| {
        let grown: f64 = all
            .iter()
            .zip(&before)
            .map(|(now, then)| now.saturating_sub(*then) as f64)
            .sum();
        grown / (all.len() * plan.topics) as f64
    };
    Ok(format!(
        "{} topics with one message each on three processes, {} shards: published in {published:.1?}\n\
         MiB of each node: {} before, {} with them ({:.0} bytes a topic and replica), {} after the restart of the last\n\
         stop {stopped:.1?}, ready again {ready:.1?}; meanwhile idle:\n{idle}",
        plan.topics,
        plan.shards,
        row(&before),
        row(&with),
        each(&with),
        row(&after),
    ))
}

/// Measures; prints a line.
pub async fn failover(plan: &FailoverPlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let mut cluster = Processes::start(3, dir.path(), plan.shards).await?;
    led(&cluster, plan.shards).await?;
    let names: Vec<String> = (0..plan.attachments).map(|n| format!("fail.{n}")).collect();
    let edge = cluster.nodes[0].node.clone();
    publish(&edge.grpc, &names, "1").await?;
    let mut sessions = Vec::new();
    let began = Instant::now();
    for topics in names.chunks(PER_SESSION) {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let begin = Begin::From("latest".to_owned());
        let mut session = Session::open(Transport::Grpc, &edge, &topics, &begin).await?;
        let mut attached = 0;
        while attached < topics.len() {
            let seen = wait::soon("an answer", SOON, session.next()).await??;
            attached += usize::from(matches!(seen, Some(Seen::Attached(_))));
            ensure!(seen.is_some(), "a session ended");
        }
        sessions.push((session, topics.len()));
    }
    let attached = began.elapsed();
    let idle = shares(&cluster, Duration::from_secs(10)).await?;

    // Not the node whose edge they use, but one that leads a third of the shards.
    cluster.nodes[1].kill()?;
    let began = Instant::now();
    let receiving = sessions.into_iter().map(|(mut session, topics)| {
        tokio::task::spawn(async move {
            let mut got = 0;
            while got < topics {
                match wait::soon("a message", SOON, session.next()).await?? {
                    Some(Seen::Message(_)) => got += 1,
                    Some(Seen::Gap(gap)) => anyhow::bail!("{gap:?}"),
                    Some(_) => {}
                    None => anyhow::bail!("a session ended after {got} of {topics}"),
                }
            }
            Ok::<_, anyhow::Error>(began.elapsed())
        })
    });
    let receiving: Vec<_> = receiving.collect();
    publish(&edge.grpc, &names, "2").await?;
    let acked = began.elapsed();
    let mut last = Duration::ZERO;
    for received in receiving {
        last = last.max(received.await??);
    }
    Ok(format!(
        "{} attachments by {} sessions of one node, {} shards: attached in {attached:.1?}; after kill -9 of another node all publishes acked in {acked:.1?}, all received in {last:.1?}; before, idle:\n{idle}",
        plan.attachments,
        plan.attachments.div_ceil(PER_SESSION),
        plan.shards,
    ))
}

/// Publishes one message to each topic, in order, and waits for all acks; what is refused or of
/// unknown fate is sent again with its key.
async fn publish(address: &str, topics: &[String], payload: &str) -> Result<()> {
    let mut client = PublisherClient::new(grpc::channel(address).await?);
    let (requests, receiver) = mpsc::channel(IN_FLIGHT);
    let mut answers = client
        .publish_stream(ReceiverStream::new(receiver).fuse())
        .await?
        .into_inner();
    let request = |at: usize| pb::PublishStreamRequest {
        id: at as u64,
        draft: Some(pb::Draft {
            topic: topics[at].clone(),
            payload: payload.to_owned().into_bytes().into(),
            content_type: "text/plain".to_owned(),
            key: format!("{payload}-{at}").into_bytes().into(),
            ..pb::Draft::default()
        }),
        timeout_ms: 30_000,
    };
    let (mut sent, mut acked, mut again) = (0, 0, Vec::new());
    let mut flying = 0;
    while acked < topics.len() {
        while flying < IN_FLIGHT && (sent < topics.len() || !again.is_empty()) {
            let at = again.pop().unwrap_or_else(|| {
                sent += 1;
                sent - 1
            });
            requests.send(request(at)).await?;
            flying += 1;
        }
        let answer = wait::soon("an ack", SOON, answers.message()).await??;
        let answer = answer.context("the stream ended")?;
        flying -= 1;
        match answer.result {
            Some(pb::publish_stream_response::Result::Receipt(_)) => acked += 1,
            _ => again.push(usize::try_from(answer.id)?),
        }
    }
    Ok(())
}

/// Waits until every shard has a leader.
async fn led(cluster: &Processes, shards: u32) -> Result<()> {
    let grpc = &cluster.nodes[0].node.grpc;
    wait::until("leaders of all shards", SOON, || async {
        let mut admin = ClusterAdminClient::new(grpc::channel(grpc).await?);
        let view = admin.get_view(pb::GetViewRequest {}).await?.into_inner();
        let led = view.shards.iter().filter(|row| row.leader.is_some());
        let led = led.count();
        ensure!(led == usize::try_from(shards)?, "{led} of {shards}");
        Ok(())
    })
    .await
}

fn pids(cluster: &Processes) -> Result<Vec<u32>> {
    let pids = cluster.nodes.iter().map(|node| node.pid());
    pids.map(|pid| pid.context("not running")).collect()
}

fn residents(cluster: &Processes) -> Result<Vec<u64>> {
    pids(cluster)?.into_iter().map(proc::resident).collect()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
