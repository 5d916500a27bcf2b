//! Nodes as processes on loopback: the binary is built once, or named by `FANFARE_BIN`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::port::free_port;
use crate::wait;
use crate::wire::http;
use crate::wire::session::Node;

const SOON: Duration = Duration::from_secs(120);

/// The `fanfare` binary: `FANFARE_BIN`, or built now, in the profile of the tests.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Ok(path) = std::env::var("FANFARE_BIN") {
        return Ok(path.into());
    }
    let built = BUILT.get_or_init(|| build().map_err(|e| format!("{e:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(manifest)
        // Of the workspace: what the tests were built with is not built again with other features.
        .args(["build", "--quiet", "--workspace", "--bin", "fanfare"]);
    if profile == "release" {
        cargo.arg("--release");
    }
    ensure!(cargo.status()?.success(), "the binary does not build");
    // The tests' own executable lies in TARGET/PROFILE/deps.
    let own = std::env::current_exe()?;
    let target = own
        .ancestors()
        .find(|dir| dir.ends_with(profile))
        .context("no target dir")?;
    Ok(target.join("fanfare"))
}

/// How long a leader may be silent in tests, other than the default: a debug build on a busy machine
/// falls silent for longer than a node of a real cluster that lives.
pub fn election() -> Option<Duration> {
    cfg!(debug_assertions).then_some(Duration::from_secs(2))
}

/// One node's process, its directory and its addresses, which it keeps over restarts.
pub struct Process {
    pub name: String,
    pub node: Node,
    pub peer: String,
    pub ops: String,
    dir: PathBuf,
    args: Vec<String>,
    /// What it runs; `None`: [`binary`].
    runs: Option<PathBuf>,
    env: Vec<(String, PathBuf)>,
    child: Option<Child>,
}

impl Process {
    fn new(name: &str, dir: &Path, seeds: &[String], peer: String, extra: &[&str]) -> Result<Self> {
        let local = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", free_port()?));
        let (edge, grpc, ops) = (local()?, local()?, local()?);
        let data = dir.join(name);
        let mut args = vec![
            "serve".to_owned(),
            "--insecure-open".to_owned(),
            format!("--name={name}"),
            format!("--data={}", data.display()),
            format!("--edge={edge}"),
            format!("--grpc={grpc}"),
            format!("--peer={peer}"),
            format!("--ops={ops}"),
        ];
        if !seeds.is_empty() {
            args.push(format!("--seeds={}", seeds.join(",")));
        }
        args.extend(extra.iter().map(|s| (*s).to_owned()));
        Ok(Self {
            name: name.to_owned(),
            node: Node { edge, grpc },
            peer,
            ops,
            dir: dir.to_owned(),
            args,
            runs: None,
            env: Vec::new(),
            child: None,
        })
    }

    /// From its next start on it runs this binary; `None`: the present one.
    pub fn runs(&mut self, binary: Option<PathBuf>) {
        self.runs = binary;
    }

    /// From its next start on it has this in its environment.
    pub fn env(&mut self, name: &str, value: &Path) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Starts the process; its log is appended to `NAME.log` beside its data.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        fs::create_dir_all(&self.dir)?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log())?;
        let runs = self.runs.clone().map_or_else(binary, Ok)?;
        let mut command = Command::new(runs);
        command.args(&self.args).env("FANFARE_CLUSTER", "tests");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // Older binaries know no such setting.
        if let Some(election) = election().filter(|_| self.runs.is_none()) {
            command.env("FANFARE_RAFT__ELECTION", format!("{}s", election.as_secs()));
        }
        self.child = Some(command.spawn().context("starting the binary")?);
        Ok(())
    }

    /// Where the process writes its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// Where the process keeps its data.
    pub fn data(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// The process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal by name (`TERM`, `STOP`, `CONT`).
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().context("not running")?.to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status()?;
        ensure!(sent.success(), "kill -s {name} {pid} failed");
        Ok(())
    }

    /// Waits for the process to end by itself; its exit code.
    pub async fn exited(&mut self, limit: Duration) -> Result<Option<i32>> {
        let child = self.child.as_mut().context("not running")?;
        let status = wait::until("the process to end", limit, || {
            let status = child.try_wait();
            async move { status.map_err(anyhow::Error::from)?.context("it runs") }
        })
        .await?;
        self.child = None;
        Ok(status.code())
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(&self) -> Result<()> {
        let ready = wait::until("readiness", SOON, || async {
            let answer = http::get(&self.ops, "/readyz").await?;
            ensure!(
                answer.status.is_success(),
                "{} {}",
                answer.status,
                answer.text()
            );
            Ok(())
        });
        ready
            .await
            .with_context(|| format!("{}:\n{}", self.name, self.tail()))
    }

    /// The last lines of the log, for messages.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.kill());
    }
}

/// Processes that are one cluster, their data in a directory.
pub struct Processes {
    pub nodes: Vec<Process>,
}

impl Processes {
    /// Starts `count` nodes in `dir` and makes a cluster of them.
    pub async fn start(count: usize, dir: &Path, shards: u32) -> Result<Self> {
        Self::start_with(count, dir, shards, None).await
    }

    /// The same, with another binary than the present one.
    pub async fn start_with(
        count: usize,
        dir: &Path,
        shards: u32,
        binary: Option<PathBuf>,
    ) -> Result<Self> {
        let seeds: Vec<String> = (0..count)
            .map(|_| Ok(format!("127.0.0.1:{}", free_port()?)))
            .collect::<Result<_>>()?;
        let mut nodes = Vec::new();
        for (i, seed) in seeds.iter().enumerate() {
            let name = format!("n{}", i + 1);
            nodes.push(Process::new(&name, dir, &seeds, seed.clone(), &[])?);
        }
        let mut cluster = Self { nodes };
        for node in &mut cluster.nodes {
            node.runs(binary.clone());
            node.start()?;
        }
        cluster.init(shards).await?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Starts another node with an empty disk, whose seeds are the nodes that are there.
    pub fn add(&mut self, name: &str) -> Result<usize> {
        let first = self.nodes.first().context("no node")?;
        let seeds: Vec<String> = self.nodes.iter().map(|node| node.peer.clone()).collect();
        let peer = format!("127.0.0.1:{}", free_port()?);
        let mut node = Process::new(name, &first.dir, &seeds, peer, &[])?;
        node.start()?;
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    /// One node that is a cluster of itself.
    pub async fn single(dir: &Path) -> Result<Self> {
        let peer = format!("127.0.0.1:{}", free_port()?);
        let mut node = Process::new("n1", dir, &[], peer, &["--single-node"])?;
        node.start()?;
        node.ready().await?;
        Ok(Self { nodes: vec![node] })
    }

    /// `kill -9` of all at once: every signal is sent before any end is waited for.
    pub fn kill_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                child.kill()?;
            }
        }
        self.nodes.iter_mut().try_for_each(Process::kill)
    }

    async fn init(&self, shards: u32) -> Result<()> {
        let ops = &self.nodes[0].ops;
        let path = format!("/cluster/init?shards={shards}");
        // Refused while a seed still starts; asking again is safe.
        let made = wait::until("the cluster to be made", SOON, || async {
            let made = http::post(ops, &path, "text/plain", "").await?;
            let before = made.text().contains("this node is a member of cluster");
            ensure!(
                made.status.is_success() || before,
                "cluster init: {} {}",
                made.status,
                made.text()
            );
            Ok(())
        });
        let made = made.await;
        made.with_context(|| self.nodes[0].tail())
    }

    /// Waits until every running node is ready.
    pub async fn ready(&self) -> Result<()> {
        for node in self.nodes.iter().filter(|n| n.child.is_some()) {
            node.ready().await?;
        }
        Ok(())
    }
}
