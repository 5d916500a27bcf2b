//! A real process on a disk that says that it could not sync: the whole node ends, whatever it led
//! goes on elsewhere, and its next start finds what it had promised (R5).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::process::Processes;
use fanfare_tests::wire::session::Node;

const SOON: Duration = Duration::from_secs(120);

/// What is preloaded into a node, built in `dir`; `None` where it cannot be.
fn shim(dir: &Path) -> Result<Option<PathBuf>> {
    let (source, built) = (dir.join("failing_sync.c"), dir.join("failing_sync.so"));
    std::fs::write(&source, include_str!("failing_sync.c"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    compiler.arg(&built).arg(&source).arg("-ldl");
    let made = cfg!(target_os = "linux") && compiler.status().is_ok_and(|status| status.success());
    Ok(made.then_some(built))
}

#[test]
fn a_node_whose_disk_fails_to_sync_ends_and_the_others_go_on() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let story = async {
        let dir = tempfile::tempdir()?;
        let Some(shim) = shim(dir.path())? else {
            writeln!(
                std::io::stderr(),
                "NOT RUN: a disk that fails to sync needs Linux and a C compiler"
            )?;
            return Ok(());
        };
        let mut cluster = Processes::start(3, dir.path(), 4).await?;
        let fails = dir.path().join("fails");
        let node = &mut cluster.nodes[0];
        node.kill()?;
        node.env("LD_PRELOAD", &shim);
        node.env("FAILING_SYNC", &fails);
        node.start()?;
        node.ready().await?;

        let nodes: Vec<Node> = cluster.nodes.iter().map(|n| n.node.clone()).collect();
        let mut plan = Plan::story();
        (plan.rate, plan.topics, plan.subscribers, plan.streams) = (100, 12, 12, 3);
        let traffic = Traffic::start(&plan, &nodes).await?;
        traffic.acks(100, SOON).await?;
        let node = &mut cluster.nodes[0];
        traffic.fault("fsync fails", &node.name);
        std::fs::write(&fails, "")?;
        let code = node.exited(SOON).await?;
        ensure!(code.is_some_and(|code| code != 0), "exit code {code:?}");
        let told = node.tail();
        ensure!(told.contains("the node ends"), "{told}");
        ensure!(told.contains("fanfare cluster replace"), "{told}");
        traffic.acks(100, SOON).await?;
        // While it cannot sync it does not come back, and says so again.
        node.start()?;
        let again = node.exited(SOON).await?;
        ensure!(again.is_some_and(|code| code != 0), "exit code {again:?}");
        std::fs::remove_file(&fails)?;
        node.start()?;
        node.ready().await?;
        traffic.acks(100, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        Ok(())
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(500), story).await })?
}
