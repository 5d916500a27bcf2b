//! Brokers in one process: stores on a temporary disk, raft over an in-memory wire that can be cut,
//! a view that tests change.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_broker::{Broker, BrokerDeps, BrokerOptions, Metrics};
use fanfare_consensus::{
    Call, Codec, Door, GroupDeps, Kind, Malformed, Pace, Reserve, Route, Store, StoreOptions, Wire,
    WireError,
};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{ClusterId, NodeId, ReplicaId, ShardId};
use fanfare_core::rule::{Class, RuleLayer, RuleTable};
use fanfare_core::shard::{Block, Entry};
use fanfare_core::view::{Replica, ShardRow, View};
use fanfare_host::{Clock, RealClock, RealDisk, Rng, SeededRng};
use fanfare_rpc::convert::stored;
use fanfare_rpc::peer::Peer;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

pub(crate) const SHARD: ShardId = ShardId(0);

/// Waits for a condition; fails after half a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let met = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time(what, met).await;
}

/// Fails if it takes half a minute.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(30), work).await;
    done.unwrap_or_else(|_| panic!("not in time: {what}"))
}

struct Entries;

impl Codec<Entry> for Entries {
    fn encode(&self, entry: &Entry) -> Bytes {
        stored::encode_entry(entry)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Entry, Malformed> {
        stored::decode_entry(bytes).map_err(|bad| Malformed {
            what: bad.to_string(),
        })
    }
}

struct Blocks;

impl Codec<Block> for Blocks {
    fn encode(&self, block: &Block) -> Bytes {
        stored::encode_block(block)
    }

    fn decode(&self, bytes: &Bytes) -> Result<Block, Malformed> {
        stored::decode_block(bytes).map_err(|bad| Malformed {
            what: bad.to_string(),
        })
    }
}

/// The wire between all nodes.
#[derive(Default)]
pub(crate) struct Net {
    doors: Mutex<BTreeMap<NodeId, Door>>,
    cut: Mutex<BTreeSet<NodeId>>,
}

impl Net {
    /// Nothing reaches or leaves the node any more.
    pub(crate) fn cut(&self, node: NodeId) {
        self.cut.lock().unwrap().insert(node);
    }

    pub(crate) fn heal(&self, node: NodeId) {
        self.cut.lock().unwrap().remove(&node);
    }

    fn door(&self, route: &Route) -> Result<Door, WireError> {
        let (from, to) = (node_of(route.from), node_of(route.to));
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to) {
            return Err(WireError::Unreachable("cut".into()));
        }
        let door = self.doors.lock().unwrap().get(&to).cloned();
        door.ok_or(WireError::NoAddress(route.to))
    }
}

struct Wires {
    net: Arc<Net>,
    tasks: TaskTracker,
}

impl Wire for Wires {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let door = self.net.door(&call.route);
        Box::pin(async move { door?.serve(call).await })
    }

    fn snapshot(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, out) = mpsc::channel(8);
        let door = self.net.door(&route);
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
        let (answers, out) = mpsc::channel(8);
        let net = Arc::clone(&self.net);
        self.tasks.spawn(async move {
            while let Some(body) = bodies.recv().await {
                let answer = match net.door(&route) {
                    Ok(door) => {
                        door.serve(Call {
                            route,
                            kind: Kind::Append,
                            body,
                        })
                        .await
                    }
                    Err(error) => Err(error),
                };
                let ended = answer.is_err();
                if answers.send(answer).await.is_err() || ended {
                    return;
                }
            }
        });
        out
    }
}

/// Replica ids tell their node: 100 × shard + node.
fn node_of(replica: ReplicaId) -> NodeId {
    NodeId(replica.0 % 100)
}

fn row(shard: u32, nodes: u64) -> ShardRow {
    let replica = |node| Replica {
        id: ReplicaId(100 * u64::from(shard) + node),
        node: NodeId(node),
    };
    ShardRow {
        id: ShardId(shard),
        replicas: (1..=nodes).map(replica).collect(),
        leaving: Vec::new(),
        repaired: None,
        preferred: None,
        begun: false,
    }
}

/// A view with one shard on so many nodes; topics `live.*` are ephemeral.
fn view(nodes: u64) -> View {
    let mut rules = RuleTable::default();
    rules.version = 1;
    let ephemeral = RuleLayer {
        class: Some(Class::Ephemeral),
        ..RuleLayer::default()
    };
    assert!(rules.put("live.*".parse().unwrap(), ephemeral));
    View {
        version: 1,
        cluster: ClusterId(7),
        level: fanfare_core::level::KNOWN,
        nodes: BTreeMap::new(),
        departing: BTreeMap::new(),
        meta: Vec::new(),
        shards: vec![row(0, nodes)],
        rules,
        payload_limit: 65_536,
        next_node: 10,
        next_replica: 1_000,
    }
}

pub(crate) struct Node {
    pub(crate) broker: Broker,
    pub(crate) peer: Arc<dyn Peer>,
    store: Store,
    tasks: TaskTracker,
}

/// Brokers of one cluster.
pub(crate) struct World {
    pub(crate) net: Arc<Net>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) options: BrokerOptions,
    /// Free space the log wants, in bytes.
    pub(crate) reserve: u64,
    /// Bytes of a shard's log after which a snapshot takes its place, from a node's next start.
    pub(crate) snapshot_after: u64,
    dir: TempDir,
    starts: u64,
}

impl World {
    /// A cluster of so many nodes whose shard has a leader.
    pub(crate) async fn new(nodes: u64) -> Self {
        Self::with(nodes, BrokerOptions::default()).await
    }

    pub(crate) async fn with(nodes: u64, options: BrokerOptions) -> Self {
        let mut world = Self::unplaced(nodes, options).await;
        world.place(nodes);
        world.leader().await;
        world
    }

    /// A cluster whose shard is placed nowhere yet.
    pub(crate) async fn unplaced(nodes: u64, options: BrokerOptions) -> Self {
        let mut empty = view(nodes);
        empty.shards[0].replicas.clear();
        let (view, _) = watch::channel(Arc::new(empty));
        let dir = tempfile::tempdir().unwrap();
        let (net, nodes_by_id) = (Arc::new(Net::default()), BTreeMap::new());
        let mut world = Self {
            net,
            view,
            nodes: nodes_by_id,
            options,
            dir,
            starts: 0,
            reserve: 0,
            snapshot_after: 64 << 20,
        };
        for node in 1..=nodes {
            world.start(NodeId(node)).await;
        }
        world
    }

    /// Places the shard on the first so many nodes.
    pub(crate) fn place(&mut self, nodes: u64) {
        self.change(|view| view.shards = vec![row(0, nodes)]);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|shared| {
            let mut view = View::clone(shared);
            change(&mut view);
            view.version += 1;
            *shared = Arc::new(view);
        });
    }

    /// Starts a node on whatever its disk holds.
    pub(crate) async fn start(&mut self, node: NodeId) {
        self.starts += 1;
        let tasks = TaskTracker::new();
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new());
        let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(self.starts));
        let options = StoreOptions {
            segment_bytes: 4 << 20,
            snapshot_after: self.snapshot_after,
            reserve: Reserve {
                bytes: self.reserve,
                percent: 0,
            },
            ..StoreOptions::new(Arc::clone(&clock), Arc::clone(&rng))
        };
        let dir = self.dir.path().join(node.to_string());
        let open = move || {
            let poisoned =
                Arc::new(|error: &std::io::Error| panic!("the log is poisoned: {error}"));
            Store::open(Arc::new(RealDisk), dir, options, poisoned)
        };
        let store = tokio::task::spawn_blocking(open).await.unwrap().unwrap();
        let door = Door::new();
        self.net.doors.lock().unwrap().insert(node, door.clone());
        let wire = Arc::new(Wires {
            net: Arc::clone(&self.net),
            tasks: tasks.clone(),
        });
        let groups = GroupDeps {
            store: store.clone(),
            door,
            wire,
            clock,
            tasks: tasks.clone(),
            pace: Pace::default(),
        };
        let marks = self.view.clone();
        let mark_begun = move |shard: ShardId| {
            marks.send_modify(|shared| {
                let mut view = View::clone(shared);
                view.shards[shard.0 as usize].begun = true;
                *shared = Arc::new(view);
            });
        };
        let deps = BrokerDeps {
            node,
            groups,
            rng,
            view: self.view.subscribe(),
            entries: Arc::new(Entries),
            blocks: Arc::new(Blocks),
            mark_begun: Arc::new(mark_begun),
            mark_left: Arc::new(|_, _| {}),
            mark_lost: Arc::new(|_, _| {}),
            full: tokio::sync::watch::channel(BTreeSet::new()).1,
            barriers: Barriers::default(),
            metrics: Arc::new(Metrics::default()),
        };
        let broker = Broker::build(deps, self.options).await.unwrap();
        let peer = broker.peer();
        self.nodes.insert(
            node,
            Node {
                broker,
                peer,
                store,
                tasks,
            },
        );
    }

    /// Stops a node; its disk stays.
    pub(crate) async fn stop(&mut self, node: NodeId) {
        let gone = self.nodes.remove(&node).unwrap();
        self.net.doors.lock().unwrap().remove(&node);
        in_time("shutdown", gone.broker.shutdown()).await;
        gone.tasks.close();
        in_time("the node's tasks", gone.tasks.wait()).await;
        gone.store.close().await;
    }

    /// The node whose broker serves the shard, once one does.
    pub(crate) async fn leader(&self) -> NodeId {
        self.leader_among(&self.nodes.keys().copied().collect::<Vec<_>>())
            .await
    }

    pub(crate) async fn leader_among(&self, nodes: &[NodeId]) -> NodeId {
        let mut found = None;
        eventually("a leader serves", || {
            let serves = |node: &&NodeId| {
                let status = self.nodes[*node].broker.status();
                let serves = |s: &fanfare_broker::ShardStatus| s.begun && s.group.role.serves;
                !self.nodes[*node].broker.leads_nothing() && status.iter().any(serves)
            };
            found = nodes.iter().find(serves).copied();
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    pub(crate) fn node(&self, node: u64) -> &Node {
        &self.nodes[&NodeId(node)]
    }

    pub(crate) fn metrics(&self, node: NodeId) -> Arc<Metrics> {
        self.nodes[&node].broker.metrics()
    }
}
