//! How long publishing pauses when a shard changes hands on purpose: transfers under load, and a
//! rolling stop and start of all nodes, on three nodes in this process.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser as _;
use fanfare_checker::{Event, Line};

use crate::cluster::Cluster;
use crate::load::{Plan, Traffic};

/// What is looked at after an operation began.
const WINDOW: Duration = Duration::from_secs(3);

/// Pauses of publishing over planned operations, on three nodes in this process.
#[derive(Clone, Debug, clap::Args)]
pub struct TransferPlan {
    /// Transfers, around all shards.
    #[arg(long, default_value_t = 40)]
    pub transfers: usize,
    /// Times that every node is stopped and started again.
    #[arg(long, default_value_t = 1)]
    pub rolls: usize,
    /// Publishes a second, over twelve topics.
    #[arg(long, default_value_t = 300)]
    pub rate: u64,
}

/// When something was done, on the clock of the book, and to which shard; to all if to none.
struct Mark {
    at: Duration,
    shard: Option<u32>,
}

/// Measures; prints a few lines.
pub fn transfers(plan: &TransferPlan) -> Result<String> {
    let mut text = String::new();
    Cluster::run(3, async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let mut load = Plan::parse_from(["load"]);
        (load.shards, load.topics, load.streams) = (4, 12, 3);
        (load.rate, load.subscribers, load.seconds) = (plan.rate, 24, 600);
        let traffic = Traffic::start(&load, &nodes).await?;
        traffic.acks(500, Duration::from_secs(30)).await?;
        let mut shards = BTreeMap::new();
        for topic in (0..load.topics).map(Plan::topic) {
            let shard = cluster.shard_of(&topic).await?;
            shards.insert(topic, shard);
        }
        // Beside what the machine does to drafts by itself.
        let (mut calm, mut moved) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            calm.push(Mark {
                at: traffic.book().now(),
                shard: None,
            });
            tokio::time::sleep(WINDOW).await;
        }
        for n in 0..plan.transfers {
            let shard = u32::try_from(n)? % load.shards;
            let to = (cluster.leader_of_shard(shard).await? + 1 + n / 4 % 2) % 3;
            let at = traffic.book().now();
            cluster.transfer(shard, to).await?;
            moved.push(Mark {
                at,
                shard: Some(shard),
            });
            traffic.acks(100, Duration::from_secs(30)).await?;
        }
        let (mut stopped, mut started) = (Vec::new(), Vec::new());
        for node in (0..plan.rolls * 3).map(|n| n % 3) {
            stopped.push(Mark {
                at: traffic.book().now(),
                shard: None,
            });
            cluster.act(node, fanfare_server::dev::Act::Stop).await?;
            traffic.acks(300, Duration::from_secs(30)).await?;
            started.push(Mark {
                at: traffic.book().now(),
                shard: None,
            });
            cluster.start_node(node).await?;
            traffic.acks(300, Duration::from_secs(30)).await?;
        }
        let (outcome, lines) = traffic.finish().await?;
        let waits = waits(&lines);
        text.push_str(&report("none", &calm, &shards, &waits));
        text.push_str(&report("transfer", &moved, &shards, &waits));
        text.push_str(&report("stop", &stopped, &shards, &waits));
        text.push_str(&report("start", &started, &shards, &waits));
        text.push_str(&format!("{outcome}"));
        ensure!(outcome.is_clean(), "{outcome}");
        Ok(())
    })?;
    Ok(text)
}

/// First sending and ack of every draft, by topic.
fn waits(lines: &[Line]) -> BTreeMap<String, Vec<(Duration, Duration)>> {
    let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
    let mut drafts: BTreeMap<u64, &str> = BTreeMap::new();
    let mut waits: BTreeMap<String, Vec<(Duration, Duration)>> = BTreeMap::new();
    for line in lines {
        match &line.event {
            Event::Publish { op, draft, .. } => {
                drafts.insert(*op, draft);
                sent.entry(draft).or_insert(line.t);
            }
            Event::Acked { op, topic, .. } => {
                if let Some(at) = drafts.get(op).and_then(|draft| sent.get(draft)) {
                    let row = (Duration::from_nanos(*at), Duration::from_nanos(line.t));
                    waits.entry(topic.clone()).or_default().push(row);
                }
            }
            _ => {}
        }
    }
    waits
}

/// The longest wait of a draft that was sent in the window of each mark, a shard at a time.
fn report(
    name: &str,
    marks: &[Mark],
    shards: &BTreeMap<String, u32>,
    waits: &BTreeMap<String, Vec<(Duration, Duration)>>,
) -> String {
    let mut pauses = Vec::new();
    for mark in marks {
        let mut longest: BTreeMap<u32, Duration> = BTreeMap::new();
        for (topic, rows) in waits {
            let shard = shards.get(topic).copied().unwrap_or_default();
            if mark.shard.is_some_and(|only| only != shard) {
                continue;
            }
            let window = mark.at..mark.at + WINDOW;
            let of = rows.iter().filter(|(sent, _)| window.contains(sent));
            let most = of.map(|(sent, acked)| acked.saturating_sub(*sent)).max();
            let row = longest.entry(shard).or_default();
            *row = (*row).max(most.unwrap_or_default());
        }
        pauses.extend(longest.into_values());
    }
    pauses.sort();
    let at = |share: f64| {
        let nth = (pauses.len() as f64 * share).ceil() as usize;
        let pause = pauses.get(nth.saturating_sub(1)).copied();
        pause.unwrap_or_default().as_secs_f64() * 1_000.0
    };
    format!(
        "{name:<9} longest wait of a draft, {} times a shard: p50 {:.0} ms  p90 {:.0} ms  p99 {:.0} ms  max {:.0} ms\n",
        pauses.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    )
}
