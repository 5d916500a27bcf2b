//! Runs of the library: every way to publish, every transport, drops, a node that dies.

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_cli::bench::{self, BenchError, Outcome, Pace, Phase, Plan};
use fanfare_client::{Endpoints, Machine, Transport, Via};
use fanfare_core::rule::{Class, RuleLayer};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::port::free_port;
use fanfare_tests::wait;
use tokio::sync::watch;

/// Nobody waits so long.
const SETTLE: Duration = Duration::from_secs(60);

fn endpoints(cluster: &Cluster, nodes: usize) -> Endpoints {
    let url = |address: &str| format!("http://{address}");
    let edges: Vec<String> = (0..nodes).map(|at| url(&cluster.node(at).edge)).collect();
    let grpc: Vec<String> = (0..nodes).map(|at| url(&cluster.node(at).grpc)).collect();
    Endpoints::read(&edges, &grpc).unwrap()
}

/// A run of three seconds.
fn small(cluster: &Cluster, nodes: usize) -> Plan {
    Plan {
        topics: 6,
        subscribers: 12,
        pace: Pace::Rate(60.0),
        poll_every: Duration::from_millis(200),
        warmup: Duration::from_millis(500),
        time: Duration::from_millis(2_500),
        settle: SETTLE,
        ..Plan::new(endpoints(cluster, nodes))
    }
}

async fn run(plan: Plan) -> Result<Outcome, BenchError> {
    let (_interrupt, interrupts) = watch::channel(0);
    bench::run(plan, Machine::real(), interrupts, |_| {}).await
}

fn clean(outcome: &Outcome) -> Result<()> {
    ensure!(outcome.is_clean(), "{outcome}");
    ensure!(outcome.delivered.behind == 0, "{outcome}");
    Ok(())
}

#[test]
fn every_way_in_and_every_way_out_is_measured_and_judged() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let outcome = run(Plan {
            via: vec![Via::Grpc, Via::Http, Via::Ws],
            publishers: 3,
            transports: vec![
                Transport::Ws,
                Transport::Sse,
                Transport::LongPoll,
                Transport::Poll,
                Transport::Tail,
                Transport::Grpc,
            ],
            payload: (100, 2_000),
            servers: vec![std::process::id()],
            ..small(cluster, 1)
        })
        .await?;
        clean(&outcome)?;
        let ways = |rates: &[bench::Rate]| -> Vec<String> {
            rates.iter().map(|rate| rate.way.clone()).collect()
        };
        let Outcome {
            published,
            delivered,
            ..
        } = &outcome;
        assert_eq!(ways(&published.by_way), ["grpc", "http", "ws"]);
        let all = ["ws", "sse", "longpoll", "poll", "tail", "grpc"];
        assert_eq!(ways(&delivered.by_way), all);
        ensure!(published.acked.count == published.sent, "{outcome}");
        // Two subscribers a topic.
        assert_eq!(delivered.all.count, published.acked.count * 2);
        for rate in published.by_way.iter().chain(&delivered.by_way) {
            ensure!(rate.latency.count > 0 && rate.latency.p50 > 0, "{outcome}");
            ensure!(rate.latency.p50 <= rate.latency.max, "{outcome}");
        }
        ensure!(outcome.servers[0].1.resident > 0, "{outcome}");
        Ok(())
    })
}

#[test]
fn subscribers_that_drop_and_resume_miss_nothing() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let outcome = run(Plan {
            topics_each: 3,
            transports: vec![
                Transport::Ws,
                Transport::Sse,
                Transport::LongPoll,
                Transport::Tail,
                Transport::Grpc,
            ],
            drop_every: Some(Duration::from_millis(600)),
            ..small(cluster, 3)
        })
        .await?;
        clean(&outcome)?;
        ensure!(outcome.delivered.drops > 0, "{outcome}");
        let Outcome { delivered, .. } = &outcome;
        ensure!(delivered.attached > 36, "{outcome}");
        ensure!(delivered.gaps.is_empty(), "{outcome}");
        assert_eq!(delivered.all.count, outcome.published.acked.count * 6);
        Ok(())
    })
}

#[test]
fn a_node_that_dies_under_the_load_loses_nothing() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let (interrupt, interrupts) = watch::channel(0);
        let (seen, mut phase) = watch::channel(Phase::Connecting);
        let plan = Plan {
            time: Duration::from_secs(6),
            transports: vec![Transport::Ws, Transport::Grpc],
            via: vec![Via::Grpc, Via::Ws],
            ..small(cluster, 3)
        };
        let running = bench::run(plan, Machine::real(), interrupts, move |progress| {
            seen.send_replace(progress.phase);
        });
        let killed = async {
            let begun = phase.wait_for(|phase| *phase == Phase::Measuring);
            wait::soon("the load", Duration::from_secs(60), begun).await??;
            cluster.kill(2).await
        };
        let (outcome, killed) = tokio::join!(running, killed);
        killed?;
        drop(interrupt);
        let outcome = outcome?;
        clean(&outcome)?;
        ensure!(!outcome.delivered.cuts.is_empty(), "{outcome}");
        Ok(())
    })
}

#[test]
fn a_closed_loop_has_so_many_under_way_and_topics_are_tidied_up() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let rules = RuleLayer {
            class: Some(Class::Ephemeral),
            ..RuleLayer::default()
        };
        let plan = Plan {
            pace: Pace::InFlight(4),
            time: Duration::from_secs(1),
            topics: 2,
            rules: Some(rules),
            prefix: "tidy".to_owned(),
            ..small(cluster, 1)
        };
        let kept = run(Plan {
            keep_topics: true,
            ..plan.clone()
        })
        .await?;
        clean(&kept)?;
        ensure!(kept.published.acked.count > 20, "{kept}");
        assert_eq!(kept.published.unsent, 0);
        assert_eq!(topics(cluster).await?, 2);
        clean(&run(plan).await?)?;
        assert_eq!(topics(cluster).await?, 2, "those that were kept");
        Ok(())
    })
}

/// Topics of runs that are there.
async fn topics(cluster: &Cluster) -> Result<usize> {
    let admin = fanfare_client::Admin::new(Machine::real(), &endpoints(cluster, 1));
    let pattern = "tidy.>".parse()?;
    Ok(admin.topics(Some(&pattern), "").await?.0.len())
}

#[test]
fn what_is_due_and_cannot_be_sent_is_told() -> Result<()> {
    Cluster::run(1, async |cluster| {
        // One request after the other takes no million a second.
        let outcome = run(Plan {
            via: vec![Via::Http],
            publishers: 1,
            subscribers: 0,
            pace: Pace::Rate(1_000_000.0),
            warmup: Duration::ZERO,
            time: Duration::from_secs(2),
            ..small(cluster, 1)
        })
        .await?;
        clean(&outcome)?;
        ensure!(outcome.published.unsent > 0, "{outcome}");
        // Latency counts from when it was due: at this rate all but the first are late.
        let acked = &outcome.published.acked;
        ensure!(acked.latency.count > 1, "{outcome}");
        ensure!(acked.latency.max > 500_000, "{outcome}");
        Ok(())
    })
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_run() -> Result<()> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let nobody = Endpoints::read(&[&url], &[&url])?;
    let Err(error) = run(Plan::new(nobody)).await else {
        panic!("there was a run")
    };
    ensure!(matches!(error, BenchError::Unreachable(_)), "{error}");
    Ok(())
}

#[test]
fn a_door_that_is_shut_is_left_out_and_named() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let mut plan = small(cluster, 1);
        let shut = format!("http://127.0.0.1:{}", free_port()?);
        let more = Endpoints::read(&[&shut], &[] as &[&String])?;
        plan.endpoints.edges.extend(more.edges);
        let outcome = run(plan).await?;
        clean(&outcome)?;
        assert_eq!(outcome.unreached, [shut]);
        Ok(())
    })
}
