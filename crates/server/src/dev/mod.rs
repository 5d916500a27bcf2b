//! Whole nodes in one process, each with a runtime of its own, to be killed and started again: for
//! `fanfare dev` and for tests. No other mode has this.

mod host;
mod metadata;
mod page;
mod picture;
mod routes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
pub use fanfare_cluster::Times;
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_host::{Disk as _, Faults, Open, RealDisk};

use crate::config::Config;
use crate::node::{Look, Mode};
use host::Host;

/// Shards of a dev cluster.
pub const SHARDS: u32 = 16;
/// A directory with this file is one of `dev`, and may be emptied.
const MARK: &str = "fanfare-dev";

/// Where one node of a dev cluster listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub edge: SocketAddr,
    pub grpc: SocketAddr,
    pub peer: SocketAddr,
    pub ops: SocketAddr,
}

impl Addresses {
    /// The ports of the i-th node, from 1: edge 8079+i, grpc 9089+i, peer 7069+i, ops 9099+i, plus
    /// an offset. `None` if there is no such port.
    pub fn of(i: u16, offset: u16) -> Option<Self> {
        let local = |base: u16| {
            let port = base.checked_add(i)?.checked_add(offset)?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        };
        Some(Self {
            edge: local(8079)?,
            grpc: local(9089)?,
            peer: local(7069)?,
            ops: local(9099)?,
        })
    }
}

/// What a dev cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub nodes: Vec<Addresses>,
    /// How many of the nodes, the last ones, are no seeds: they join when they are started.
    pub spare: usize,
    pub dir: PathBuf,
    pub shards: u32,
    /// Worker threads of each node.
    pub workers: usize,
    /// How long a stop may take.
    pub grace: Duration,
    /// Bytes of history of each node; `None`: the default.
    pub history_budget: Option<u64>,
    /// `raft.election` of each node; `None`: the default.
    pub election: Option<Duration>,
    /// Sizes of each node's log; `None`: those of a laptop.
    pub logs: Option<Logs>,
    /// Times of membership; `None`: the usual ones.
    pub times: Option<Times>,
    /// Where tests stop a change of members, a node each; none by default.
    pub barriers: Vec<Barriers>,
    /// What the disk of each node is to fail, for tests; nothing by default.
    pub faults: Vec<Faults>,
}

/// When the log of a node gives way to snapshots, in bytes (`log.*` of the configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    pub segment: u64,
    pub snapshot_after: u64,
    pub budget: u64,
}

/// Nodes in this process. Dropping it kills them.
pub struct Cluster {
    nodes: Vec<Slot>,
}

/// A place for a node, and what can be seen of it while something is done to it.
struct Slot {
    edge: SocketAddr,
    host: Mutex<Host>,
    seen: Mutex<Seen>,
}

#[derive(Clone)]
struct Seen {
    phase: Phase,
    /// `None` while the node does not run, or is told to do something else.
    look: Option<Look>,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Up,
    Paused,
    /// Draining, or being killed.
    Stopping,
    Down,
}

/// What can be done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// As if the power went: what was not synced is forgotten.
    Kill,
    Start,
    /// Drains first.
    Stop,
    /// Its threads stand still, its connections stay.
    Pause,
    Resume,
}

impl Cluster {
    /// Starts all nodes and waits until they are ready. Blocks: not for async code.
    pub fn start(plan: &Plan) -> Result<Arc<Self>> {
        let founders = plan.nodes.len().saturating_sub(plan.spare);
        let seeds = plan.nodes.iter().take(founders);
        let seeds: Vec<String> = seeds.map(|n| n.peer.to_string()).collect();
        let edges: Vec<SocketAddr> = plan.nodes.iter().map(|n| n.edge).collect();
        let cluster = Arc::new_cyclic(|weak: &Weak<Self>| {
            let host = |(at, addresses): (usize, &Addresses)| {
                let config = config(at + 1, addresses, &seeds, plan);
                let init = (at == 0).then_some(plan.shards);
                let host = Host::new(
                    config,
                    Mode {
                        routes: Some(routes::router(weak.clone())),
                        page: Some(page::router(&edges)),
                        loopback_origins: true,
                        init,
                        times: plan.times,
                        barriers: plan.barriers.get(at).cloned().unwrap_or_default(),
                    },
                    plan.workers,
                    plan.faults.get(at).cloned(),
                );
                Slot {
                    edge: addresses.edge,
                    host: Mutex::new(host),
                    seen: Mutex::new(Seen {
                        phase: Phase::Down,
                        look: None,
                    }),
                }
            };
            Self {
                nodes: plan.nodes.iter().enumerate().map(host).collect(),
            }
        });
        for slot in cluster.nodes.iter().take(founders) {
            slot.shows(Phase::Starting);
            lock(&slot.host).start()?;
        }
        for slot in cluster.nodes.iter().take(founders) {
            let host = lock(&slot.host);
            host.ready()?;
            slot.shows_as_is(&host);
        }
        Ok(cluster)
    }

    /// Does something to the i-th node, from 0. Blocks until it is done; a start, until the node
    /// is ready.
    pub fn act(&self, at: usize, act: Act) -> Result<()> {
        let slot = self.slot(at)?;
        let mut host = lock(&slot.host);
        if let Some(phase) = act.shown_as(host.phase()) {
            slot.shows(phase);
        }
        let done = match act {
            Act::Kill => host.kill(),
            Act::Start => host.start().and_then(|()| host.ready()),
            Act::Stop => host.stop(),
            Act::Pause => host.pause(),
            Act::Resume => host.resume(),
        };
        slot.shows_as_is(&host);
        done
    }

    /// Hands a shard from the i-th node, from 0, to the node with this id; false if it cannot be
    /// begun.
    pub fn transfer(&self, at: usize, shard: ShardId, to: NodeId) -> Result<bool> {
        lock(&self.slot(at)?.host).transfer(shard, to)
    }

    /// Stops all nodes, draining them at the same time.
    pub fn stop(&self) {
        std::thread::scope(|scope| {
            for slot in &self.nodes {
                scope.spawn(|| {
                    slot.shows(Phase::Stopping);
                    if let Err(why) = lock(&slot.host).stop() {
                        tracing::debug!(%why, "not stopped");
                    }
                });
            }
        });
    }

    /// Why a node ended by itself, if one has.
    pub fn ended(&self) -> Option<String> {
        let mut hosts = self.nodes.iter().map(|slot| &slot.host);
        hosts.find_map(|host| lock(host).ended())
    }

    fn slot(&self, at: usize) -> Result<&Slot> {
        let count = self.nodes.len();
        let slot = self.nodes.get(at);
        slot.with_context(|| format!("nodes are numbered 1 to {count}"))
    }
}

impl Slot {
    /// Shows what the node is going to be; whoever looked lets go of what it was.
    fn shows(&self, phase: Phase) {
        *lock(&self.seen) = Seen { phase, look: None };
    }

    fn shows_as_is(&self, host: &Host) {
        *lock(&self.seen) = Seen {
            phase: host.phase(),
            look: host.look(),
        };
    }
}

impl Act {
    /// What is seen of a node in `phase` while this is done to it; `None`: nothing new.
    fn shown_as(self, phase: Phase) -> Option<Phase> {
        match self {
            Self::Kill | Self::Stop => (phase != Phase::Down).then_some(Phase::Stopping),
            Self::Start => (phase == Phase::Down).then_some(Phase::Starting),
            Self::Pause | Self::Resume => None,
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn config(number: usize, addresses: &Addresses, seeds: &[String], plan: &Plan) -> Config {
    let mut config = Config {
        cluster: "dev".to_owned(),
        name: format!("n{number}"),
        data: plan.dir.join(format!("n{number}")),
        seeds: seeds.to_vec(),
        insecure_open: true,
        ..Config::default()
    };
    config.edge.listen = addresses.edge;
    config.grpc.listen = addresses.grpc;
    config.peer.listen = addresses.peer;
    config.ops.listen = addresses.ops;
    // Small segments: three logs of a laptop's dev cluster should not take half a gigabyte.
    config.log.segment = 8 << 20;
    if let Some(logs) = plan.logs {
        config.log.segment = logs.segment;
        config.log.snapshot_after = logs.snapshot_after;
        config.log.budget = logs.budget;
    }
    config.shutdown.grace = plan.grace;
    if let Some(election) = plan.election {
        config.raft.election = election;
    }
    if let Some(budget) = plan.history_budget {
        config.history.budget = budget;
    }
    config
}

/// Makes the directory of a dev cluster, or checks that it is one; `fresh` empties it first.
pub fn prepare(dir: &Path, fresh: bool) -> Result<()> {
    let disk = RealDisk;
    let shown = dir.display();
    let mark = dir.join(MARK);
    let empty = match disk.list(dir) {
        Ok(entries) => entries.is_empty(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(e).with_context(|| format!("cannot read {shown}")),
    };
    let marked = disk.open(&mark, Open::Read).is_ok();
    if !empty && !marked {
        bail!("{shown} is no directory of `fanfare dev`: name another with --dir");
    }
    if fresh && !empty {
        empty_out(&disk, dir).with_context(|| format!("cannot empty {shown}"))?;
    }
    disk.create_dir_all(dir)
        .with_context(|| format!("cannot make {shown}"))?;
    if disk.open(&mark, Open::Read).is_err() {
        let file = disk.open(&mark, Open::Create)?;
        file.write_all_at(b"data of fanfare dev; --fresh deletes it\n", 0)?;
        file.sync()?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}

fn empty_out(disk: &RealDisk, dir: &Path) -> std::io::Result<()> {
    for path in disk.list(dir)? {
        match disk.list(&path) {
            Ok(_) => {
                empty_out(disk, &path)?;
                disk.remove_dir(&path)?;
            }
            Err(_) => disk.remove(&path)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_manual() {
        let first = Addresses::of(1, 0).unwrap();
        assert_eq!((first.edge.port(), first.grpc.port()), (8080, 9090));
        assert_eq!((first.peer.port(), first.ops.port()), (7070, 9100));
        assert_eq!(Addresses::of(3, 100).unwrap().edge.port(), 8182);
        assert!(Addresses::of(9, 60_000).is_none());
    }

    #[test]
    fn only_a_directory_of_dev_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let strange = dir.path().join("photos");
        RealDisk.create_dir_all(&strange.join("2026")).unwrap();
        assert!(prepare(&strange, true).is_err());
        assert_eq!(RealDisk.list(&strange).unwrap().len(), 1);

        let own = dir.path().join("dev");
        prepare(&own, false).unwrap();
        RealDisk.create_dir_all(&own.join("n1")).unwrap();
        prepare(&own, false).unwrap();
        assert_eq!(RealDisk.list(&own).unwrap().len(), 2, "kept");
        prepare(&own, true).unwrap();
        assert_eq!(RealDisk.list(&own).unwrap().len(), 1, "only the mark");
    }
}
