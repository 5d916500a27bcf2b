//! What constant load does to a node: bytes of its data directory and memory over time, and how
//! long it takes to start again with all that it keeps.

use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::plan::Plan;
use super::sight;
use super::traffic::Traffic;
use crate::measure::resident;
use crate::process::{Process, Processes};
use crate::wait;
use crate::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use crate::wire::grpc::{self, pb};

const MIB: f64 = (1 << 20) as f64;

/// All nodes at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: Duration,
    /// Bytes that one copy of what all topics retain takes, by the nodes' own count.
    pub retained: u64,
    /// Of each node: bytes its data directory takes on disk, and its resident memory.
    pub nodes: Vec<(u64, u64)>,
}

/// A node stopped in order and started again under the load.
#[derive(Clone, Debug)]
pub struct Restart {
    pub node: String,
    /// Bytes of its data directory when it was stopped.
    pub data: u64,
    pub retained: u64,
    /// From SIGTERM to its end.
    pub stop: Duration,
    /// From its start to a `/readyz` that says so.
    pub ready: Duration,
    /// From its start until no replica lags.
    pub caught_up: Duration,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct DataReport {
    pub names: Vec<String>,
    pub samples: Vec<Sample>,
    pub restart: Restart,
    /// Most bytes that a data directory may take.
    pub most: Option<u64>,
}

impl DataReport {
    /// The largest data directory of any sample, in bytes.
    pub fn largest(&self) -> u64 {
        let all = self.samples.iter().flat_map(|sample| &sample.nodes);
        all.map(|(data, _)| *data).max().unwrap_or(0)
    }

    /// True unless a directory was ever larger than it may be.
    pub fn is_within(&self) -> bool {
        self.most.is_none_or(|most| self.largest() <= most)
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let sample = |sample: &Sample| {
            let nodes = sample.nodes.iter();
            let nodes: Vec<Value> = nodes
                .map(|(data, memory)| json!({"data": data, "memory": memory}))
                .collect();
            json!({"s": sample.at.as_secs(), "retained": sample.retained, "nodes": nodes})
        };
        let Restart {
            node,
            data,
            retained,
            stop,
            ready,
            caught_up,
        } = &self.restart;
        json!({
            "nodes": self.names,
            "samples": self.samples.iter().map(sample).collect::<Vec<_>>(),
            "largest": self.largest(),
            "restart": {
                "node": node, "data": data, "retained": retained,
                "stop_ms": stop.as_millis(), "ready_ms": ready.as_millis(),
                "caught_up_ms": caught_up.as_millis(),
            },
        })
    }
}

impl fmt::Display for DataReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / MIB;
        writeln!(
            f,
            "data directory and memory of {} in MiB",
            self.names.join(", ")
        )?;
        for sample in &self.samples {
            writeln!(f, "{sample}")?;
        }
        let Restart {
            node,
            data,
            retained,
            stop,
            ready,
            caught_up,
        } = &self.restart;
        writeln!(f, "largest data directory: {:.1} MiB", mib(self.largest()))?;
        writeln!(
            f,
            "restart of {node} with {:.1} MiB on disk, {:.1} MiB retained, under load: stopped in {:.2} s, ready {:.2} s after its start, caught up after {:.2} s",
            mib(*data),
            mib(*retained),
            stop.as_secs_f64(),
            ready.as_secs_f64(),
            caught_up.as_secs_f64()
        )
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / MIB;
        write!(
            f,
            "{:>6} s   retained {:>8.1}",
            self.at.as_secs(),
            mib(self.retained)
        )?;
        for (data, memory) in &self.nodes {
            write!(
                f,
                "   data {:>8.1} memory {:>7.1}",
                mib(*data),
                mib(*memory)
            )?;
        }
        Ok(())
    }
}

/// Watches the load for the plan's minutes, then starts the last node again under it.
pub(super) async fn watch(
    plan: &Plan,
    cluster: &mut Processes,
    traffic: &Traffic,
) -> Result<DataReport> {
    let length = Duration::from_secs(plan.minutes * 60);
    let mut tick = tokio::time::interval(Duration::from_secs(plan.every));
    let begun = traffic.book().now();
    let mut samples = Vec::new();
    loop {
        tick.tick().await;
        let at = traffic.book().now().saturating_sub(begun);
        let sample = sample(cluster, at).await?;
        // Progress is a courtesy: a closed stderr stops nothing.
        drop(writeln!(std::io::stderr(), "{sample}"));
        samples.push(sample);
        if at >= length {
            break;
        }
    }
    let restart = restart(plan, cluster).await?;
    Ok(DataReport {
        names: cluster.nodes.iter().map(|node| node.name.clone()).collect(),
        samples,
        restart,
        most: plan.most_data,
    })
}

async fn sample(cluster: &Processes, at: Duration) -> Result<Sample> {
    let one = |process: &Process| {
        let pid = process.pid().context("a node does not run")?;
        Ok::<_, anyhow::Error>((on_disk(&process.data())?, resident(pid)?))
    };
    Ok(Sample {
        at,
        retained: retained(cluster).await?,
        nodes: cluster.nodes.iter().map(one).collect::<Result<_>>()?,
    })
}

async fn restart(plan: &Plan, cluster: &mut Processes) -> Result<Restart> {
    let retained = retained(cluster).await?;
    let limit = Duration::from_secs(plan.patience);
    let node = cluster.nodes.last_mut().context("no node")?;
    let data = on_disk(&node.data())?;
    let begun = Instant::now();
    node.signal("TERM")?;
    let code = node.exited(limit).await?;
    let stop = begun.elapsed();
    ensure!(
        code == Some(0),
        "{} ended with {code:?}:\n{}",
        node.name,
        node.tail()
    );
    let begun = Instant::now();
    node.start()?;
    node.ready().await?;
    let ready = begun.elapsed();
    let name = node.name.clone();
    let doors = sight::doors(cluster);
    let look = Duration::from_millis(50);
    wait::until_every("no replica to lag", limit, look, || async {
        sight::look(&doors).await?.calm()
    })
    .await?;
    Ok(Restart {
        node: name,
        data,
        retained,
        stop,
        ready,
        caught_up: begun.elapsed(),
    })
}

/// Bytes retained of all topics, by what the first node says. On a busy machine a leader may not
/// hear its majority for a moment: then it is asked again.
async fn retained(cluster: &Processes) -> Result<u64> {
    let limit = Duration::from_secs(60);
    let often = Duration::from_millis(500);
    wait::until_every("a list of all topics", limit, often, || listed(cluster)).await
}

async fn listed(cluster: &Processes) -> Result<u64> {
    let door = &cluster.nodes.first().context("no node")?.node.grpc;
    let mut admin = TopicAdminClient::new(grpc::channel(door).await?);
    let (mut bytes, mut token) = (0, String::new());
    loop {
        let request = pb::ListTopicsRequest {
            pattern: String::new(),
            page_size: 1_000,
            page_token: token,
        };
        let page = admin.list(request).await?.into_inner();
        bytes += page.topics.iter().map(|topic| topic.bytes).sum::<u64>();
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(bytes);
        }
    }
}

/// Bytes that a directory takes on disk. What vanishes meanwhile counts nothing.
fn on_disk(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        match entry.metadata() {
            Ok(about) if about.is_dir() => bytes += on_disk(&entry.path()).unwrap_or(0),
            Ok(about) => bytes += about.blocks() * 512,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_takes_what_its_files_take_not_what_they_claim() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        std::fs::write(dir.path().join("deep/full"), vec![7; 100_000]).unwrap();
        let hollow = std::fs::File::create(dir.path().join("hollow")).unwrap();
        hollow.set_len(1 << 30).unwrap();
        let bytes = on_disk(dir.path()).unwrap();
        assert!((100_000..1 << 20).contains(&bytes), "{bytes}");
    }
}
