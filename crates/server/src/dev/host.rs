//! One node on a runtime of its own, over a disk that forgets what was not synced.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_cluster::ClusterHandle;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::view::{Command, Outcome};
use fanfare_host::VolatileDisk;
use fanfare_host::{Disk, Faults, FaultyDisk, RealClock, RealDisk, SystemRng, TcpConnector};
use tokio::runtime::Runtime;

use super::Phase;
use crate::config::Config;
use crate::node::{Deps, Doors, Look, Mode, Node, Removed};

/// How long a node may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// How long dropping a runtime waits for what blocks in it.
const DROP: Duration = Duration::from_secs(2);

/// A place for a node: running, paused or not.
pub(super) struct Host {
    config: Config,
    mode: Mode,
    workers: usize,
    faults: Option<Faults>,
    running: Option<Running>,
}

struct Running {
    runtime: Runtime,
    node: Node,
    disk: VolatileDisk,
    paused: Option<Arc<Gate>>,
}

/// Where the threads of a paused node wait.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // The guard says nothing.
        drop(
            self.moved
                .wait_while(open, |open| !*open)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.moved.notify_all();
    }
}

impl Host {
    pub(super) fn new(config: Config, mode: Mode, workers: usize, faults: Option<Faults>) -> Self {
        Self {
            config,
            mode,
            workers,
            faults,
            running: None,
        }
    }

    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "{} runs already", self.config.name);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.workers)
            .thread_name(&self.config.name)
            .enable_all()
            .build()?;
        let disk = VolatileDisk::new(Arc::new(RealDisk));
        let mode = self.mode.clone();
        let config = self.config.clone();
        let below: Arc<dyn Disk> = match &self.faults {
            Some(faults) => Arc::new(FaultyDisk::new(Arc::new(disk.clone()), faults.clone())),
            None => Arc::new(disk.clone()),
        };
        let node = runtime.block_on(async move {
            let deps = Deps {
                clock: Arc::new(RealClock::new()),
                rng: Arc::new(SystemRng),
                disk: below,
                connector: Arc::new(TcpConnector),
                doors: Doors::bind(&config).await?,
            };
            Node::start(config, deps, mode).await
        })?;
        self.running = Some(Running {
            runtime,
            node,
            disk,
            paused: None,
        });
        Ok(())
    }

    pub(super) fn ready(&self) -> Result<()> {
        let running = self.running()?;
        let ready = running
            .runtime
            .block_on(async { tokio::time::timeout(READY, running.node.ready()).await });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(fatal)) => bail!("{} ended: {:#}", self.config.name, fatal.0),
            Err(_) => bail!("{} is not ready after {READY:?}", self.config.name),
        }
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        let running = self.running.take().context("the node does not run")?;
        running.disk.kill();
        end(running);
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.resume().ok();
        let running = self.running.take().context("the node does not run")?;
        let Running { runtime, node, .. } = running;
        runtime.block_on(node.shutdown(self.config.shutdown.grace));
        runtime.shutdown_timeout(DROP);
        Ok(())
    }

    pub(super) fn transfer(&self, shard: ShardId, to: NodeId) -> Result<bool> {
        Ok(self.running()?.node.transfer(shard, to))
    }

    /// The metadata as the node has it; an error until it is a member.
    pub(super) fn metadata(&self) -> Result<ClusterHandle> {
        let handle = self.running()?.node.metadata();
        handle.with_context(|| format!("{} is no member yet", self.config.name))
    }

    pub(super) fn propose(&self, command: &Command) -> Result<Outcome> {
        let handle = self.metadata()?;
        let proposed = self.running()?.runtime.block_on(handle.propose(command));
        Ok(proposed?)
    }

    /// Parks every worker of the runtime in a task that waits for the gate.
    pub(super) fn pause(&mut self) -> Result<()> {
        let workers = self.workers;
        let running = self.running.as_mut().context("the node does not run")?;
        ensure!(running.paused.is_none(), "the node is paused already");
        let gate = Arc::new(Gate::default());
        for _ in 0..workers {
            let gate = Arc::clone(&gate);
            running.runtime.spawn(async move { gate.wait() });
        }
        running.paused = Some(gate);
        Ok(())
    }

    pub(super) fn resume(&mut self) -> Result<()> {
        let running = self.running.as_mut().context("the node does not run")?;
        running
            .paused
            .take()
            .context("the node is not paused")?
            .open();
        Ok(())
    }

    /// What the node is doing, once nothing is being done to it.
    pub(super) fn phase(&self) -> Phase {
        match &self.running {
            None => Phase::Down,
            Some(running) if running.paused.is_some() => Phase::Paused,
            Some(_) => Phase::Up,
        }
    }

    /// Its eye on the cluster, unless its threads stand still.
    pub(super) fn look(&self) -> Option<Look> {
        let running = self.running.as_ref()?;
        running.paused.is_none().then(|| running.node.look())
    }

    /// Why the node ended by itself, if it has and was not removed from its cluster.
    pub(super) fn ended(&self) -> Option<String> {
        use futures_util::FutureExt as _;
        let running = self.running.as_ref()?;
        let fatal = running.node.ended().now_or_never()?;
        if fatal.0.is::<Removed>() {
            return None;
        }
        Some(format!("{} ended: {:#}", self.config.name, fatal.0))
    }

    fn running(&self) -> Result<&Running> {
        self.running
            .as_ref()
            .with_context(|| format!("{} does not run", self.config.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.disk.kill();
            end(running);
        }
    }
}

/// Drops a node with its runtime, as it is.
fn end(running: Running) {
    let Running {
        runtime,
        node,
        paused,
        ..
    } = running;
    if let Some(gate) = paused {
        gate.open();
    }
    drop(node);
    runtime.shutdown_timeout(DROP);
}
