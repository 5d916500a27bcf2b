//! A run on processes: start the cluster, load it, kill on the way, let it heal, judge.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::book::Book;
use super::data;
use super::operate::Operator;
use super::operation::Operations;
use super::pauses::pauses;
use super::plan::{ENDLESS, Plan};
use super::report::Outcome;
use super::traffic::Traffic;
use crate::process::Processes;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::Node;

/// Runs the plan and judges it. Progress goes to stderr.
pub async fn run(plan: &Plan) -> Result<Outcome> {
    let own = tempfile::tempdir()?;
    let dir = plan.dir.clone().unwrap_or_else(|| own.path().to_owned());
    let old = plan.old_binary.clone();
    let mut cluster = Processes::start_with(plan.nodes, &dir, plan.shards, old).await?;
    let nodes: Vec<Node> = cluster.nodes.iter().map(|n| n.node.clone()).collect();
    let plan = &endless(plan);
    let traffic = Traffic::start(plan, &nodes).await?;
    let mut windows = Vec::new();
    let mut data = None;
    match &plan.operations {
        Some(Operations(list)) => {
            let operator = Operator::new(plan, &mut cluster, &traffic);
            windows = operator.carry_out(list).await?;
        }
        None if plan.watch_data => data = Some(data::watch(plan, &mut cluster, &traffic).await?),
        None => faults(plan, &mut cluster, &traffic).await?,
    }
    cluster.ready().await?;
    let (mut outcome, lines) = traffic.finish().await?;
    outcome.pauses = pauses(&lines, &windows, plan.shards);
    outcome.data = data;
    if let Some(dir) = &plan.dir {
        write_observations(dir, &lines)?;
        let run = fanfare_checker::Run::with_replicas(plan.nodes.min(3));
        std::fs::write(dir.join("run.json"), serde_json::to_vec(&run)?)?;
    }
    Ok(outcome)
}

/// The plan whose load lasts as long as what is done under it, if that says when it is over.
fn endless(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if plan.watch_data || plan.operations.is_some() {
        plan.seconds = ENDLESS;
    }
    plan
}

/// Seconds of load, with kills at theirs.
async fn faults(plan: &Plan, cluster: &mut Processes, traffic: &Traffic) -> Result<()> {
    let mut victim = None;
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    for second in 1..=plan.seconds {
        tick.tick().await;
        if plan.kill_at == Some(second) {
            let which = leads_most(cluster).await?;
            traffic.fault("kill", &cluster.nodes[which].name);
            cluster.nodes[which].kill()?;
            victim = Some(which);
        }
        if let (true, Some(which)) = (plan.start_at == Some(second), victim) {
            traffic.fault("start", &cluster.nodes[which].name);
            cluster.nodes[which].start()?;
        }
        if plan.kill_all_at == Some(second) {
            traffic.fault("kill", "all");
            cluster.kill_all()?;
            for node in &mut cluster.nodes {
                node.start()?;
            }
        }
        progress(traffic.book(), second, plan.seconds);
    }
    Ok(())
}

fn progress(book: &Book, second: u64, of: u64) {
    use std::io::Write as _;
    let (acks, messages) = book.counts();
    let line = format!("{second:>4}/{of} s   {acks} acks   {messages} messages\n");
    // Progress is a courtesy: a closed stderr stops nothing.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// The node that leads most shards, by what the first one says.
async fn leads_most(cluster: &Processes) -> Result<usize> {
    let view = view(&cluster.nodes[0].node).await?;
    let mut led = vec![0_usize; cluster.nodes.len()];
    for (at, process) in cluster.nodes.iter().enumerate() {
        let here = |n: &&pb::Node| {
            n.addresses
                .as_ref()
                .is_some_and(|a| a.grpc == process.node.grpc)
        };
        let node = view.nodes.iter().find(here);
        let id = node
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

fn write_observations(dir: &std::path::Path, lines: &[fanfare_checker::Line]) -> Result<()> {
    let file = std::fs::File::create(dir.join("observations.jsonl"))?;
    let recorder = fanfare_checker::Recorder::new(std::io::BufWriter::new(file));
    lines.iter().try_for_each(|line| recorder.record(line))?;
    Ok(recorder.flush()?)
}
