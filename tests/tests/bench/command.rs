//! The command: through pipes, through a terminal, interrupted.

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::port::free_port;
use fanfare_tests::process::binary;
use serde_json::Value;

use crate::pty;

const SOON: Duration = Duration::from_secs(60);

/// `fanfare bench` with these flags, against a node.
fn bench(edge: &str, grpc: &str, flags: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("bench").args(flags);
    command.args([
        format!("--url=http://{edge}"),
        format!("--grpc=http://{grpc}"),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

fn of(cluster: &Cluster, flags: &[&str]) -> Result<Command> {
    let node = cluster.node(0);
    bench(&node.edge, &node.grpc, flags)
}

/// A command that ends with the story.
struct Running(Option<Child>);

impl Running {
    async fn output(mut self) -> Result<Output> {
        let child = self.0.take().context("ended")?;
        Ok(tokio::task::spawn_blocking(|| child.wait_with_output()).await??)
    }

    fn interrupt(&self) -> Result<()> {
        let child = self.0.as_ref().context("ended")?;
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &pid]).status()?;
        ensure!(sent.success(), "kill -s INT {pid} failed");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn start(command: &mut Command) -> Result<Running> {
    Ok(Running(Some(command.spawn()?)))
}

fn json(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

const SHORT: [&str; 6] = [
    "--seconds=1",
    "--warmup=0",
    "--rate=50",
    "--topics=5",
    "--subscribers=5",
    "--settle=60s",
];

#[test]
fn through_a_pipe_there_is_one_json_object_and_no_progress() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let pid = std::process::id().to_string();
        let dir = tempfile::tempdir()?;
        let mut flags = SHORT.to_vec();
        let (pid, dir) = (
            format!("--server-pid={pid}"),
            format!("--limits-dir={}", dir.path().display()),
        );
        flags.extend(["--json", "--limits", &dir, &pid]);
        let mut command = of(cluster, &flags)?;
        let output = start(command.stderr(Stdio::piped()))?.output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(0), "{output:?}");
        ensure!(errors.is_empty(), "{errors}");
        let told = json(&output)?;
        ensure!(told["clean"] == true, "{told}");
        ensure!(told["verdicts"]["LOST"] == 0, "{told}");
        ensure!(
            told["published"]["acked"]["count"].as_u64() > Some(0),
            "{told}"
        );
        ensure!(
            told["delivered"]["all"]["latency"]["p99_us"].as_u64() > Some(0),
            "{told}"
        );
        ensure!(
            told["limits"].as_array().is_some_and(|all| all.len() == 2),
            "{told}"
        );
        ensure!(
            told["limits"][0]["fdatasync"]["p50_us"].as_u64() > Some(0),
            "{told}"
        );
        ensure!(
            told["servers"][0]["resident_bytes"].as_u64() > Some(0),
            "{told}"
        );
        Ok(())
    })
}

#[test]
fn on_a_terminal_progress_is_shown_and_the_table_follows() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let (terminal, theirs) = pty::open()?;
        let mut command = of(cluster, &SHORT)?;
        let running = start(command.stderr(Stdio::from(theirs)))?;
        // It holds the other side of the terminal.
        drop(command);
        let output = running.output().await?;
        ensure!(output.status.code() == Some(0), "{output:?}");
        let shown = tokio::task::spawn_blocking(|| terminal.all()).await?;
        ensure!(
            shown.contains("acks/s") && shown.contains("verdicts"),
            "{shown}"
        );
        let table = String::from_utf8(output.stdout)?;
        ensure!(table.contains("publish to ack"), "{table}");
        ensure!(table.contains("0 lost, 0 repeated"), "{table}");
        ensure!(
            !table.contains("acks/s") && !table.contains('\r'),
            "{table}"
        );
        Ok(())
    })
}

#[test]
fn an_interrupt_ends_it_with_the_report_of_what_was_done() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let (mut terminal, theirs) = pty::open()?;
        let flags = ["--seconds=600", "--warmup=0", "--rate=50", "--json"];
        let mut command = of(cluster, &flags)?;
        let running = start(command.stderr(Stdio::from(theirs)))?;
        drop(command);
        let shown = move || terminal.wait_for("measuring", SOON);
        tokio::task::spawn_blocking(shown).await??;
        running.interrupt()?;
        let output = running.output().await?;
        ensure!(output.status.code() == Some(130), "{output:?}");
        let told = json(&output)?;
        ensure!(told["interrupted"] == true, "{told}");
        ensure!(told["verdicts"]["LOST"] == 0, "{told}");
        Ok(())
    })
}

#[tokio::test]
async fn where_nobody_listens_it_ends_with_3() -> Result<()> {
    let shut = format!("127.0.0.1:{}", free_port()?);
    let mut command = bench(&shut, &shut, &["--json"])?;
    let output = start(command.stderr(Stdio::piped()))?.output().await?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        errors.contains("cannot reach a node") && errors.contains(&shut),
        "{errors}"
    );
    ensure!(output.stdout.is_empty(), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_usage_ends_it_with_2() -> Result<()> {
    for flags in [
        &["--payload=8"][..],
        &["--rate=0"],
        &["--transport=pigeon"],
        &["--prefix=a b"],
    ] {
        let mut command = bench("127.0.0.1:1", "127.0.0.1:1", flags)?;
        let output = start(command.stderr(Stdio::piped()))?.output().await?;
        ensure!(output.status.code() == Some(2), "{flags:?}: {output:?}");
    }
    Ok(())
}
