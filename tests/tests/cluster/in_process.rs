//! The stories with nodes in this process, whose disks forget what was not synced.

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_server::dev::Act;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::load::{Plan, Traffic};

const SOON: Duration = Duration::from_secs(120);

fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.rate = 300;
    plan.topics = 12;
    plan.subscribers = 24;
    plan.streams = 3;
    plan
}

/// Runs load while the story hurts the cluster; all nodes must run at the story's end.
fn story(hurt: impl AsyncFnOnce(&Cluster, &Traffic) -> Result<()>) -> Result<()> {
    Cluster::run(3, async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(200, SOON).await?;
        hurt(cluster, &traffic).await?;
        traffic.acks(200, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(
            outcome.report.gaps == 0,
            "nothing was trimmed, and yet: {outcome}"
        );
        Ok(())
    })
}

#[test]
fn a_killed_leader_loses_nothing_and_catches_up() -> Result<()> {
    story(async |cluster, traffic| {
        let leader = cluster.leader_of("load.0").await?;
        traffic.fault("kill", "leader");
        cluster.kill(leader).await?;
        traffic.acks(300, SOON).await?;
        cluster.start_node(leader).await
    })
}

#[test]
fn a_killed_follower_is_not_noticed_and_catches_up() -> Result<()> {
    story(async |cluster, traffic| {
        let follower = (cluster.leader_of("load.0").await? + 1) % 3;
        traffic.fault("kill", "follower");
        cluster.kill(follower).await?;
        traffic.acks(300, SOON).await?;
        cluster.start_node(follower).await
    })
}

#[test]
fn all_killed_at_once_come_back_with_everything_acked() -> Result<()> {
    story(async |cluster, traffic| {
        traffic.fault("kill", "all");
        for at in 0..3 {
            cluster.kill(at).await?;
        }
        let starts = (0..3).map(|at| cluster.start_node(at));
        for started in futures_util::future::join_all(starts).await {
            started?;
        }
        Ok(())
    })
}

#[test]
fn a_leader_that_sleeps_and_wakes_acks_nothing_false() -> Result<()> {
    story(async |cluster, traffic| {
        let leader = cluster.leader_of("load.0").await?;
        traffic.fault("pause", "leader");
        cluster.act(leader, Act::Pause).await?;
        traffic.acks(200, SOON).await?;
        cluster.act(leader, Act::Resume).await
    })
}

#[test]
fn a_leader_that_drains_hands_over() -> Result<()> {
    story(async |cluster, traffic| {
        let leader = cluster.leader_of("load.0").await?;
        traffic.fault("stop", "leader");
        cluster.act(leader, Act::Stop).await?;
        traffic.acks(200, SOON).await?;
        cluster.start_node(leader).await
    })
}
