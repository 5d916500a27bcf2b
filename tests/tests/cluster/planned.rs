//! Planned operations under load, on nodes in this process: shards that change hands, nodes that
//! are stopped and started one after the other. Nobody may notice but by waiting: nothing is lost,
//! no stream ends, and what the edges were told to publish they publish. How long it takes is
//! measured elsewhere (`fanfare-measure transfers`).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_checker::{Event, Line};
use fanfare_server::dev::{Act, Times};
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::wait;
use futures_util::future::join_all;

const SOON: Duration = Duration::from_secs(120);

fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.rate = 200;
    plan.topics = 8;
    plan.subscribers = 16;
    plan.streams = 4;
    plan
}

/// Runs load while the story operates on the cluster; all nodes must run at its end. The lines of
/// the load are judged by the contract, and have one epoch a topic; no edge gave a draft up.
fn story(operate: impl AsyncFnOnce(&Cluster, &Traffic) -> Result<()>) -> Result<()> {
    no_edge_gave_up(&judged(operate)?)
}

/// The same, where a fault comes between, so that an edge may be left without an answer.
fn judged(operate: impl AsyncFnOnce(&Cluster, &Traffic) -> Result<()>) -> Result<Vec<Line>> {
    let mut seen = Vec::new();
    Cluster::run(3, async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(200, SOON).await?;
        operate(cluster, &traffic).await?;
        traffic.acks(200, SOON).await?;
        let (outcome, lines) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(
            outcome.report.gaps == 0,
            "nothing was trimmed, and yet: {outcome}"
        );
        one_epoch(&lines)?;
        all_acked(&lines)?;
        seen = lines;
        Ok(())
    })?;
    Ok(seen)
}

fn one_epoch(lines: &[Line]) -> Result<()> {
    let mut epochs: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines {
        if let Event::Acked { topic, epoch, .. } = &line.event {
            let first = *epochs.entry(topic).or_insert(*epoch);
            ensure!(first == *epoch, "{topic}: epochs {first} and {epoch}");
        }
    }
    Ok(())
}

/// What was unknown was so to a client whose own stream ended.
fn no_edge_gave_up(lines: &[Line]) -> Result<()> {
    for line in lines {
        if let Event::Unknown { why, .. } = &line.event {
            ensure!(why == "the stream ended", "an edge gave up: {why}");
        }
    }
    Ok(())
}

/// Every draft is acked in the end.
fn all_acked(lines: &[Line]) -> Result<()> {
    let mut drafts: BTreeMap<&str, bool> = BTreeMap::new();
    let mut ops: BTreeMap<u64, &str> = BTreeMap::new();
    for line in lines {
        match &line.event {
            Event::Publish { op, draft, .. } => {
                ops.insert(*op, draft);
                drafts.entry(draft).or_default();
            }
            Event::Acked { op, .. } => {
                if let Some(draft) = ops.get(op) {
                    drafts.insert(draft, true);
                }
            }
            _ => {}
        }
    }
    let lost: Vec<_> = drafts.iter().filter(|(_, acked)| !**acked).collect();
    ensure!(lost.is_empty(), "never acked: {lost:?}");
    Ok(())
}

#[test]
fn every_shard_goes_around_the_nodes_and_back() -> Result<()> {
    story(async |cluster, traffic| {
        for to in [1, 2, 1, 0] {
            for shard in 0..4 {
                traffic.fault("transfer", &format!("shard {shard} to node {to}"));
                cluster.transfer(shard, to).await?;
            }
            traffic.acks(40, SOON).await?;
        }
        Ok(())
    })
}

#[test]
fn nodes_are_stopped_and_started_one_after_the_other() -> Result<()> {
    story(async |cluster, traffic| {
        for at in 0..3 {
            traffic.fault("stop", &format!("node {at}"));
            cluster.act(at, Act::Stop).await?;
            traffic.acks(60, SOON).await?;
            cluster.start_node(at).await?;
            traffic.acks(60, SOON).await?;
        }
        Ok(())
    })
}

#[test]
fn nodes_that_stop_together_wait_for_no_heir_and_come_back() -> Result<()> {
    // Who has no heir may leave an edge without an answer; the publisher asks again.
    judged(async |cluster, traffic| {
        traffic.fault("stop", "all");
        let stops = (0..3).map(|at| cluster.act(at, Act::Stop));
        for stopped in join_all(stops).await {
            stopped?;
        }
        let starts = (0..3).map(|at| cluster.start_node(at));
        for started in join_all(starts).await {
            started?;
        }
        Ok(())
    })
    .map(drop)
}

#[test]
fn an_heir_that_is_killed_as_it_takes_over_leaves_the_shard_to_another() -> Result<()> {
    judged(async |cluster, traffic| {
        let topic = "load.0";
        let shard = cluster.shard_of(topic).await?;
        let old = cluster.leader_of_shard(shard).await?;
        let heir = (old + 1) % 3;
        traffic.fault("transfer", &format!("shard {shard} to node {heir}"));
        cluster.begin_transfer(shard, heir).await?;
        cluster.kill(heir).await?;
        traffic.acks(100, SOON).await?;
        cluster.new_leader_of(topic, heir).await?;
        cluster.start_node(heir).await
    })
    .map(drop)
}

#[test]
fn leaderships_go_home_one_after_the_other_once_all_is_calm() -> Result<()> {
    let times = Times {
        calm: Duration::from_secs(1),
        ..Times::default()
    };
    let setup = Setup {
        times: Some(times),
        ..Setup::of(3)
    };
    Cluster::run_with(setup, async |cluster| {
        for shard in 0..4 {
            cluster.transfer(shard, 0).await?;
        }
        // Of four shards no node is preferred by more than two.
        wait::until("leaderships on all nodes", SOON, || async {
            let mut led = [0; 3];
            for shard in 0..4 {
                led[cluster.leader_of_shard(shard).await?] += 1;
            }
            led.sort_unstable();
            ensure!(led == [1, 1, 2], "they lead {led:?}");
            Ok(())
        })
        .await
    })
}
