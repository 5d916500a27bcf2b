//! Latency of a durable ack on three processes at a steady rate, beside the disk's own fdatasync
//! by three writers in the same run.

use std::time::Duration;

use anyhow::Result;
use clap::Parser as _;
use hdrhistogram::Histogram;

use crate::load::{Outcome, Plan, Traffic};
use crate::process::Processes;
use crate::wire::session::Node;

/// Latency of durable acks on three processes beside fdatasync on the same disk.
#[derive(Clone, Debug, clap::Args)]
pub struct AckPlan {
    /// Publishes a second.
    #[arg(long, default_value_t = 1_000)]
    pub rate: u64,
    /// Seconds of publishing.
    #[arg(long, default_value_t = 20)]
    pub seconds: u64,
}

/// Measures; prints a few lines.
pub async fn acks(plan: &AckPlan) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().to_owned();
    let measure = move || fanfare_cli::bench::fdatasync(&path, 3, Duration::from_secs(5));
    let before = tokio::task::spawn_blocking(measure.clone()).await??;
    let cluster = Processes::start(3, dir.path(), 16).await?;
    let nodes: Vec<Node> = cluster.nodes.iter().map(|n| n.node.clone()).collect();
    let mut load = Plan::parse_from(["load"]);
    load.rate = plan.rate;
    load.seconds = plan.seconds;
    load.subscribers = 0;
    // The first drafts of a new cluster wait for leaders and for the rule: not what is measured.
    let warm = Plan {
        seconds: 3,
        run: "warm-".to_owned(),
        ..load.clone()
    };
    told(&warm, &nodes).await?;
    let outcome = told(&load, &nodes).await?;
    drop(cluster);
    let after = tokio::task::spawn_blocking(measure).await??;
    Ok(report(plan, &outcome, &before, &after))
}

/// Publishes as much as the plan says.
async fn told(plan: &Plan, nodes: &[Node]) -> Result<Outcome> {
    let traffic = Traffic::start(plan, nodes).await?;
    let limit = Duration::from_secs(plan.seconds * 3 + 30);
    traffic
        .acks(plan.rate * plan.seconds * 9 / 10, limit)
        .await?;
    Ok(traffic.finish().await?.0)
}

fn report(
    plan: &AckPlan,
    outcome: &Outcome,
    before: &Histogram<u64>,
    after: &Histogram<u64>,
) -> String {
    let quantiles = |h: &Histogram<u64>| (h.value_at_quantile(0.5), h.value_at_quantile(0.99));
    let (ack, first, second) = (quantiles(&outcome.ack), quantiles(before), quantiles(after));
    let disk = ((first.0 + second.0) / 2, (first.1 + second.1) / 2);
    format!(
        "durable ack at {} publishes a second ({} acks): p50 {} µs, p99 {} µs\nfdatasync by three writers before and after: p50 {} and {} µs, p99 {} and {} µs\nratio: p50 {:.1}, p99 {:.1}",
        plan.rate,
        outcome.ack.len(),
        ack.0,
        ack.1,
        first.0,
        second.0,
        first.1,
        second.1,
        ack.0 as f64 / disk.0.max(1) as f64,
        ack.1 as f64 / disk.1.max(1) as f64,
    )
}
