//! Nodes in one process: real groups on real disks, calls passed from hand to hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_consensus::{
    Call, Door, GroupConfig, GroupDeps, GroupId, Pace, Reserve, Route, Store, StoreOptions, Wire,
    WireError,
};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::repair::Copy;
use fanfare_core::view::{Addresses, Command, Outcome, View};
use fanfare_host::{Clock, RealClock, RealDisk, Rng, SeededRng};
use fanfare_rpc::members::{
    Adopt, AdoptError, Beat, CallError, Card, Dial, Envelope, JoinError, Members, ProposeError,
    ReplicaStatus,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stored::Stored;
use crate::{
    Admission, Cluster, ClusterHandle, Config, Deps, InitError, Routes, StartError, Times,
};

/// Nothing in a test takes longer, unless it hangs.
pub(super) const SOON: Duration = Duration::from_secs(30);

/// Who can be reached at which address.
#[derive(Clone, Default)]
pub(super) struct Net(Arc<Mutex<NetState>>);

#[derive(Default)]
struct NetState {
    up: BTreeMap<String, (Arc<dyn Members>, Door)>,
    /// Addresses that refuse to be adopted, as if the call were lost.
    no_adoption: BTreeSet<String>,
    /// Addresses whose answers to proposals are lost.
    no_answers: BTreeSet<String>,
    /// How often a node has asked somebody who it is, by its name.
    asked: BTreeMap<String, usize>,
}

impl Net {
    pub(super) fn lose_adoptions(&self, name: &str, lose: bool) {
        let mut net = self.0.lock().unwrap();
        match lose {
            true => net.no_adoption.insert(address(name)),
            false => net.no_adoption.remove(&address(name)),
        };
    }

    pub(super) fn lose_answers(&self, name: &str) {
        self.0.lock().unwrap().no_answers.insert(address(name));
    }

    /// Waits until a node has asked again, at least once after now, who it is.
    pub(super) async fn asks_again(&self, name: &str) {
        let asked = || self.0.lock().unwrap().asked.get(name).copied().unwrap_or(0);
        let before = asked();
        // The first may be answered already; the second comes after what it said.
        reached(|| asked() > before + 2).await;
    }

    fn members(&self, address: &str) -> Result<Arc<dyn Members>, CallError> {
        let net = self.0.lock().unwrap();
        let up = net.up.get(address).map(|(members, _)| Arc::clone(members));
        up.ok_or_else(|| CallError::Unreachable(address.to_owned()))
    }

    fn door(&self, address: &str) -> Result<Door, WireError> {
        let net = self.0.lock().unwrap();
        let up = net.up.get(address).map(|(_, door)| door.clone());
        up.ok_or_else(|| WireError::Unreachable(address.to_owned()))
    }
}

struct Remote {
    net: Net,
    address: String,
}

impl Dial for Net {
    fn members(&self, address: &str) -> Arc<dyn Members> {
        Arc::new(Remote {
            net: self.clone(),
            address: address.to_owned(),
        })
    }
}

impl Members for Remote {
    fn identify(&self, name: String) -> BoxFuture<'static, Result<Card, CallError>> {
        let up = self.net.members(&self.address);
        *self
            .net
            .0
            .lock()
            .unwrap()
            .asked
            .entry(name.clone())
            .or_default() += 1;
        async move { up?.identify(name).await }.boxed()
    }

    fn adopt(&self, adopt: Adopt) -> BoxFuture<'static, Result<(), AdoptError>> {
        let lost = self
            .net
            .0
            .lock()
            .unwrap()
            .no_adoption
            .contains(&self.address);
        let up = self.net.members(&self.address);
        async move {
            match up {
                Ok(members) if !lost => members.adopt(adopt).await,
                Ok(_) => Err(AdoptError::Call(CallError::NoAnswer)),
                Err(error) => Err(AdoptError::Call(error)),
            }
        }
        .boxed()
    }

    fn join(&self, card: Card) -> BoxFuture<'static, Result<NodeId, JoinError>> {
        let up = self.net.members(&self.address);
        async move { up.map_err(JoinError::Call)?.join(card).await }.boxed()
    }

    fn propose(
        &self,
        envelope: Envelope,
        command: Command,
        within: Duration,
    ) -> BoxFuture<'static, Result<Outcome, ProposeError>> {
        let lost = self
            .net
            .0
            .lock()
            .unwrap()
            .no_answers
            .contains(&self.address);
        let up = self.net.members(&self.address);
        async move {
            let members = up.map_err(|error| ProposeError::Unreachable(error.to_string()))?;
            let answer = members.propose(envelope, command, within).await;
            if lost {
                Err(ProposeError::Unknown)
            } else {
                answer
            }
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        envelope: Envelope,
        beat: Beat,
    ) -> BoxFuture<'static, Result<Beat, CallError>> {
        let up = self.net.members(&self.address);
        async move { up?.heartbeat(envelope, beat).await }.boxed()
    }

    fn copies(&self, envelope: Envelope) -> BoxFuture<'static, Result<Vec<Copy>, CallError>> {
        let up = self.net.members(&self.address);
        async move { up?.copies(envelope).await }.boxed()
    }

    fn view(&self, envelope: Envelope) -> BoxFuture<'static, Result<Arc<View>, CallError>> {
        let up = self.net.members(&self.address);
        async move { up?.view(envelope).await }.boxed()
    }
}

/// The wire of one node, over its address book.
struct Link {
    net: Net,
    routes: Routes,
    tasks: TaskTracker,
}

impl Link {
    fn door(&self, to: ReplicaId) -> Result<Door, WireError> {
        let target = self.routes.replica(to).ok_or(WireError::NoAddress(to))?;
        self.net.door(&target.address)
    }
}

impl Wire for Link {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let door = self.door(call.route.to);
        async move { door?.serve(call).await }.boxed()
    }

    fn snapshot(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, out) = mpsc::channel(16);
        let door = self.door(route.to);
        self.tasks.spawn(async move {
            match door {
                Ok(door) => door.serve_snapshot(route, bodies, answers).await,
                Err(error) => drop(answers.send(Err(error)).await),
            }
        });
        out
    }

    fn appends(
        &self,
        route: Route,
        mut bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, out) = mpsc::channel(16);
        let link = Self {
            net: self.net.clone(),
            routes: self.routes.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(async move {
            while let Some(body) = bodies.recv().await {
                let kind = fanfare_consensus::Kind::Append;
                let answer = link.call(Call { route, kind, body }).await;
                let ended = answer.is_err();
                if answers.send(answer).await.is_err() || ended {
                    return;
                }
            }
        });
        out
    }
}

/// Machines, cables and disks.
pub(super) struct World {
    pub(super) net: Net,
    names: Vec<&'static str>,
    disks: tempfile::TempDir,
    rng: Arc<dyn Rng>,
    /// Bytes of the metadata's log after which a snapshot takes its place.
    pub(super) snapshot_after: u64,
    /// Of nodes that are switched on from now on.
    pub(super) level: u32,
    pub(super) history_budget: u64,
    admission: Admission,
}

/// One run of a node.
pub(super) struct Node {
    pub(super) name: String,
    address: String,
    pub(super) cluster: Cluster,
    pub(super) replicas: watch::Sender<Vec<ReplicaStatus>>,
    net: Net,
    stop: CancellationToken,
    tasks: TaskTracker,
    store: Store,
}

pub(super) fn address(name: &str) -> String {
    format!("{name}:7070")
}

impl World {
    pub(super) fn of(names: &[&'static str], seed: u64) -> Self {
        Self {
            net: Net::default(),
            names: names.to_vec(),
            disks: tempfile::tempdir().unwrap(),
            rng: Arc::new(SeededRng::new(seed)),
            snapshot_after: 64 << 20,
            level: fanfare_core::level::KNOWN,
            history_budget: 0,
            admission: Admission::Closed,
        }
    }

    /// The same, whose nodes let others in or not.
    pub(super) fn admitting(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// The data directory of a node.
    pub(super) fn dir(&self, name: &str) -> PathBuf {
        self.disks.path().join(name)
    }

    /// Switches a node on, with its own disk.
    pub(super) fn boot(&self, name: &str) -> Node {
        self.boot_on(name, name)
    }

    /// Switches a node on, with the disk of `disk`.
    pub(super) fn boot_on(&self, name: &str, disk: &str) -> Node {
        self.boot_at(name, disk, &address(name))
    }

    /// Switches on another machine under the name of a node.
    pub(super) fn twin_of(&self, name: &str) -> Node {
        self.boot_at(name, "twin", "elsewhere:7070")
    }

    fn boot_at(&self, name: &str, disk: &str, address: &str) -> Node {
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let dir = self.dir(disk);
        let options = StoreOptions {
            segment_bytes: 1 << 20,
            snapshot_after: self.snapshot_after,
            reserve: Reserve {
                bytes: 0,
                percent: 0,
            },
            ..StoreOptions::new(Arc::clone(&clock), Arc::clone(&self.rng))
        };
        let poison = Arc::new(|error: &std::io::Error| panic!("poisoned: {error}"));
        let store = Store::open(Arc::new(RealDisk), dir.join("store"), options, poison).unwrap();
        let (tasks, stop, routes) = (TaskTracker::new(), CancellationToken::new(), Routes::new());
        let wire = Link {
            net: self.net.clone(),
            routes: routes.clone(),
            tasks: tasks.clone(),
        };
        let door = Door::new();
        let (replicas, reported) = watch::channel(Vec::new());
        let deps = Deps {
            groups: GroupDeps {
                store: store.clone(),
                door: door.clone(),
                wire: Arc::new(wire),
                clock,
                tasks: tasks.clone(),
                pace: Pace::default(),
            },
            disk: Arc::new(RealDisk),
            dir,
            dial: Arc::new(self.net.clone()),
            commands: Arc::new(Stored),
            views: Arc::new(Stored),
            rng: Arc::clone(&self.rng),
            routes,
            replicas: reported,
            copies: watch::channel(Vec::new()).1,
            barriers: Barriers::default(),
            stop: stop.clone(),
        };
        let millis = Duration::from_millis;
        let config = Config {
            group: GroupConfig {
                heartbeat: millis(50),
                election_min: millis(150),
                election_max: millis(300),
                quorum_loss_probe: millis(600),
                append_timeout: millis(1_000),
                ..GroupConfig::new(GroupId::Meta, ReplicaId(0))
            },
            times: Times {
                beat: millis(50),
                suspect: millis(500),
                away: millis(60_000),
                calm: millis(100),
                round: millis(50),
                call: millis(1_000),
                retry: millis(20),
                propose: millis(5_000),
                init: millis(20_000),
            },
            admission: self.admission,
            history_budget: self.history_budget,
            ..Config::new(
                name.to_owned(),
                Addresses {
                    peer: address.to_owned(),
                    ..Addresses::default()
                },
                self.names.iter().map(|name| self::address(name)).collect(),
                self.level,
            )
        };
        let cluster = Cluster::new(config, deps);
        let up = (cluster.members(), door);
        self.net.0.lock().unwrap().up.insert(address.to_owned(), up);
        Node {
            name: name.to_owned(),
            address: address.to_owned(),
            cluster,
            replicas,
            net: self.net.clone(),
            stop,
            tasks,
            store,
        }
    }

    /// Switches all seeds on and makes a cluster of them, on the first.
    pub(super) async fn found(&self, shards: u32) -> Vec<(Node, ClusterHandle)> {
        let nodes: Vec<Node> = self.names.iter().map(|name| self.boot(name)).collect();
        let starting = futures_util::future::join_all(nodes.iter().map(Node::start));
        let (handles, cluster) = tokio::join!(starting, nodes[0].init(shards));
        cluster.unwrap();
        let handles: Vec<ClusterHandle> = handles.into_iter().map(Result::unwrap).collect();
        for handle in &handles {
            ready(handle).await.unwrap();
        }
        nodes.into_iter().zip(handles).collect()
    }

    /// Empties a node's disk.
    pub(super) fn wipe(&self, name: &str) {
        std::fs::remove_dir_all(self.dir(name)).unwrap();
    }
}

impl Node {
    pub(super) async fn start(&self) -> Result<ClusterHandle, StartError> {
        let started = tokio::time::timeout(SOON, Box::pin(self.cluster.start())).await;
        started.unwrap_or_else(|_| panic!("{} does not start", self.name))
    }

    pub(super) async fn init(&self, shards: u32) -> Result<fanfare_core::id::ClusterId, InitError> {
        let made = tokio::time::timeout(SOON, Box::pin(self.cluster.init(shards))).await;
        made.unwrap_or_else(|_| panic!("{} does not init", self.name))
    }

    /// Starts and waits until the cluster has let the node in.
    pub(super) async fn join(&self) -> ClusterHandle {
        let handle = self.start().await.unwrap();
        ready(&handle).await.unwrap();
        handle
    }

    /// Ends what waits.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Nobody reaches the node any more, and its replica stops.
    pub(super) async fn kill(self, handle: Option<ClusterHandle>) {
        self.net.0.lock().unwrap().up.remove(&self.address);
        self.stop.cancel();
        if let Some(handle) = handle {
            handle.stop().await;
        }
        self.tasks.close();
        let ended = tokio::time::timeout(SOON, self.tasks.wait()).await;
        ended.unwrap_or_else(|_| panic!("{} leaves tasks behind", self.name));
        self.store.close().await;
    }
}

/// Waits until the cluster has let the node in.
pub(super) async fn ready(handle: &ClusterHandle) -> Result<Arc<View>, StartError> {
    let ready = tokio::time::timeout(SOON, handle.ready()).await;
    ready.unwrap_or_else(|_| panic!("node {} is not let in", handle.identity().node))
}

/// Waits until the node has applied a view like that.
pub(super) async fn until(
    handle: &ClusterHandle,
    like: impl FnMut(&Arc<View>) -> bool,
) -> Arc<View> {
    let mut views = handle.view();
    let seen = tokio::time::timeout(SOON, views.wait_for(like)).await;
    let node: NodeId = handle.identity().node;
    Arc::clone(
        &seen
            .unwrap_or_else(|_| panic!("node {node} never saw the view"))
            .unwrap(),
    )
}

/// Waits until something holds that nothing tells of.
pub(super) async fn reached(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap();
}
