//! The same story once with real processes: `kill -9` of the leader, and a leader stopped by
//! SIGSTOP that wakes up and must not ack for a reign that is over.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_tests::load::{Plan, Traffic, run};
use fanfare_tests::process::Processes;
use fanfare_tests::wire::session::Node;

const SOON: Duration = Duration::from_secs(120);
const STORY: Duration = Duration::from_secs(600);

fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.seconds = 15;
    plan.rate = 300;
    plan.topics = 12;
    plan.subscribers = 24;
    plan.streams = 3;
    plan
}

fn block_on(story: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::time::timeout(STORY, story).await })?
}

#[test]
fn a_process_killed_and_started_again_loses_nothing() -> Result<()> {
    block_on(async {
        let plan = Plan {
            kill_at: Some(4),
            start_at: Some(9),
            ..plan()
        };
        let outcome = run(&plan).await?;
        ensure!(outcome.is_clean(), "{outcome}");
        Ok(())
    })
}

#[test]
fn a_process_stopped_in_its_reign_acks_nothing_false_when_it_wakes() -> Result<()> {
    block_on(async {
        let dir = tempfile::tempdir()?;
        let cluster = Processes::start(3, dir.path(), 4).await?;
        let nodes: Vec<Node> = cluster.nodes.iter().map(|n| n.node.clone()).collect();
        let plan = Plan {
            seconds: Plan::story().seconds,
            ..plan()
        };
        let traffic = Traffic::start(&plan, &nodes).await?;
        traffic.acks(200, SOON).await?;
        let sleeper = cluster.nodes.first().context("no node")?;
        traffic.fault("stop", &sleeper.name);
        sleeper.signal("STOP")?;
        traffic.acks(300, SOON).await?;
        sleeper.signal("CONT")?;
        traffic.acks(200, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        Ok(())
    })
}

#[test]
fn sigterm_ends_a_process_cleanly() -> Result<()> {
    block_on(async {
        let dir = tempfile::tempdir()?;
        let mut cluster = Processes::single(dir.path()).await?;
        let node = &mut cluster.nodes[0];
        node.signal("TERM")?;
        let code = node.exited(SOON).await?;
        ensure!(code == Some(0), "exit code {code:?}\n{}", node.tail());
        Ok(())
    })
}

#[test]
fn a_wiped_disk_is_refused_and_says_so() -> Result<()> {
    block_on(async {
        let dir = tempfile::tempdir()?;
        let mut cluster = Processes::start(3, dir.path(), 4).await?;
        let node = &mut cluster.nodes[1];
        node.kill()?;
        std::fs::remove_dir_all(node.data())?;
        node.start()?;
        let code = node.exited(SOON).await?;
        ensure!(
            code.is_some_and(|code| code != 0),
            "exit code {code:?}\n{}",
            node.tail()
        );
        ensure!(node.tail().contains("lost its data"), "{}", node.tail());
        Ok(())
    })
}
