//! A node that was away for so long that the others have purged the log it needs: it comes back by
//! snapshots and is what the others are. And a log that stays within its bound.

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_server::dev::Logs;
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::wait;
use fanfare_tests::wire::http;

const SOON: Duration = Duration::from_secs(120);

/// Sizes that a few seconds of load fill several times.
const LOGS: Logs = Logs {
    segment: 1 << 20,
    snapshot_after: 256 << 10,
    budget: 4 << 20,
};

fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.rate = 300;
    plan.payload = 16 << 10;
    plan.topics = 12;
    plan.subscribers = 24;
    plan.streams = 6;
    plan
}

/// A number that a node counts.
async fn metric(cluster: &Cluster, node: usize, name: &str) -> Result<f64> {
    let text = http::get(cluster.ops(node), "/metrics").await?.text();
    let all = http::metrics(&text);
    ensure!(all.contains_key(name), "{name} is not counted");
    Ok(all.get(name).copied().unwrap_or_default())
}

/// Waits until a node has counted something under this name.
async fn counts(cluster: &Cluster, node: usize, name: &str) -> Result<()> {
    wait::until(name, SOON, || async {
        let count = metric(cluster, node, name).await?;
        ensure!(count >= 1.0, "node {node} counts {count}");
        Ok(())
    })
    .await
}

#[test]
fn a_node_behind_purged_logs_comes_back_by_snapshots() -> Result<()> {
    let setup = Setup {
        logs: Some(LOGS),
        ..Setup::of(3)
    };
    Cluster::run_with(setup, async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(100, SOON).await?;
        let away = (cluster.leader_of("load.0").await? + 1) % 3;
        traffic.fault("kill", "follower");
        cluster.kill(away).await?;
        // 8 MiB, twice the bound of a log.
        traffic.acks(500, SOON).await?;
        cluster.start_node(away).await?;
        traffic.acks(100, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(outcome.report.gaps == 0, "nothing was trimmed: {outcome}");
        counts(cluster, away, "fanfare_snapshots_installed_total").await?;
        for node in 0..3 {
            wait::until("a log within its bound", SOON, || async {
                let bytes = metric(cluster, node, "fanfare_log_bytes").await?;
                ensure!(bytes <= LOGS.budget as f64, "{bytes} bytes");
                Ok(())
            })
            .await?;
            counts(cluster, node, "fanfare_snapshots_written_total").await?;
        }
        // All at once, from snapshots and what is behind them.
        for node in 0..3 {
            cluster.kill(node).await?;
        }
        let starts = (0..3).map(|at| cluster.start_node(at));
        for started in futures_util::future::join_all(starts).await {
            started?;
        }
        let leader = cluster.leader_of("load.0").await?;
        cluster.publish(leader, "load.0", 1..=1).await
    })
}
