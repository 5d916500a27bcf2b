//! A cluster in memory for tests of this crate: shards whose leaders place drafts, move, fall
//! silent and lose their links at a test's word.

mod door;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use fanfare_core::code::Code;
use fanfare_core::gap::{Page, Standing};
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::link::{
    EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest, Redirect,
    StandRequest, Verdict,
};
use fanfare_core::message::Key;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, RuleLayer, Rules};
use fanfare_core::view::{Addresses, Node, NodeState, Replica, ShardRow, StoreState, View};
use fanfare_host::{RealClock, SeededRng};
use fanfare_rpc::peer::{Peer, Peers};
use fanfare_rpc::topics::{TopicCommand, TopicInfo};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Edge;
use crate::config::{EdgeConfig, EdgeDeps};

pub(crate) use door::{Answer, Door, door};

pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// How leaders treat drafts.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood {
    #[default]
    Serve,
    /// Places them and never says so.
    PlaceInSilence,
    /// Neither places nor answers.
    Swallow,
    Refuse(Refusal),
}

/// The cluster. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<Cluster>>);

#[derive(Default)]
struct Cluster {
    leaders: BTreeMap<ShardId, Redirect>,
    mood: Mood,
    /// Payloads by topic, in the order of placing; the offset is the index from 1.
    placed: BTreeMap<TopicName, Vec<String>>,
    keys: BTreeMap<(TopicName, Key), (u64, u64)>,
    /// Nodes that do not answer when asked for a leader.
    mute: BTreeSet<NodeId>,
    links: Vec<(NodeId, CancellationToken)>,
    /// Drafts that reached a node.
    reached: usize,
    topics: BTreeMap<TopicName, RuleLayer>,
    tracker: TaskTracker,
}

impl World {
    fn with<R>(&self, act: impl FnOnce(&mut Cluster) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    /// Makes a node the leader of all shards, in a new term.
    pub(crate) fn elect(&self, leader: Option<NodeId>) {
        self.with(|cluster| {
            for shard in 0..2 {
                let row = cluster.leaders.entry(ShardId(shard)).or_default();
                *row = Redirect {
                    leader,
                    term: Term(row.term.0 + 1),
                };
            }
        });
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.with(|cluster| cluster.mood = mood);
    }

    pub(crate) fn mute(&self, node: NodeId) {
        self.with(|cluster| cluster.mute.insert(node));
    }

    /// Breaks all publish links to a node.
    pub(crate) fn cut(&self, node: NodeId) {
        self.with(|cluster| {
            let cut = cluster.links.iter().filter(|(of, _)| *of == node);
            cut.for_each(|(_, link)| link.cancel());
        });
    }

    /// The payloads of a topic, in order.
    pub(crate) fn placed(&self, topic: &str) -> Vec<String> {
        let topic: TopicName = topic.parse().unwrap();
        self.with(|cluster| cluster.placed.get(&topic).cloned().unwrap_or_default())
    }

    pub(crate) fn reached(&self) -> usize {
        self.with(|cluster| cluster.reached)
    }

    /// An edge of node 1 and its view, led by node 1.
    pub(crate) async fn edge(
        &self,
        config: EdgeConfig,
    ) -> (Edge, EdgeDeps, watch::Sender<Arc<View>>) {
        self.elect(Some(NODES[0]));
        let (view, receiver) = watch::channel(Arc::new(view()));
        let deps = EdgeDeps {
            clock: Arc::new(RealClock::new()),
            rng: Arc::new(SeededRng::new(7)),
            node: NODES[0],
            view: receiver,
            peers: Arc::new(self.clone()),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics: Arc::default(),
        };
        let edge = Edge::build(config, deps.clone()).await.unwrap();
        (edge, deps, view)
    }

    fn judge(
        &self,
        node: NodeId,
        runs: &mut Runs,
        request: PublishRequest,
    ) -> Option<PublishAnswer> {
        let seq = request.seq;
        let verdict = self.with(|cluster| {
            cluster.reached += 1;
            let lead = cluster
                .leaders
                .get(&request.shard)
                .copied()
                .unwrap_or_default();
            let run = runs
                .entry((request.stream, request.shard))
                .or_insert((request.run, false));
            assert!(request.run >= run.0, "runs only grow");
            if request.run > run.0 {
                *run = (request.run, false);
            }
            run.1 |= lead.leader != Some(node);
            if run.1 {
                return Some(Verdict::Reroute(lead));
            }
            match cluster.mood.clone() {
                Mood::Serve => Some(cluster.place(request)),
                Mood::PlaceInSilence => {
                    cluster.place(request);
                    None
                }
                Mood::Swallow => None,
                Mood::Refuse(refusal) => Some(Verdict::Refused(refusal)),
            }
        });
        verdict.map(|verdict| PublishAnswer { seq, verdict })
    }
}

type Runs = BTreeMap<(u64, ShardId), (u32, bool)>;

impl Cluster {
    fn place(&mut self, request: PublishRequest) -> Verdict {
        let draft = request.draft;
        let rows = self.placed.entry(draft.topic.clone()).or_default();
        let head = rows.len() as u64;
        let hash = draft.content.hash64();
        let key = draft.key.map(|key| (draft.topic.clone(), key));
        let (offset, duplicate) = match key.as_ref().and_then(|key| self.keys.get(key)) {
            Some((_, known)) if *known != hash => {
                let refusal = Refusal::of_publish(Code::IdempotencyMismatch, "another content");
                return Verdict::Refused(refusal);
            }
            Some((offset, _)) => (*offset, true),
            None if draft.expect.is_some_and(|want| want.offset.0 != head) => {
                let mut refusal = Refusal::of_publish(Code::ExpectationFailed, "another head");
                refusal.head = Some(Position::new(1, head));
                return Verdict::Refused(refusal);
            }
            None => {
                rows.push(String::from_utf8_lossy(&draft.content.payload).into_owned());
                (head + 1, false)
            }
        };
        let remaining = key.is_some().then_some(120_000);
        if let Some(key) = key {
            self.keys.insert(key, (offset, hash));
        }
        Verdict::Placed(Receipt {
            topic: draft.topic,
            position: Some(Position::new(1, offset)),
            class: Class::Durable,
            reached: Reached::Durable,
            duplicate,
            dedup_remaining_ms: remaining,
        })
    }
}

/// Three nodes, two shards with a replica on each, no rules.
pub(crate) fn view() -> View {
    let node = |id: NodeId| Node {
        id,
        name: format!("n{id}"),
        generation: Generation(1),
        level: fanfare_core::level::KNOWN,
        disk: DiskId(u128::from(id.0)),
        store: StoreState::ReadWrite,
        state: NodeState::Active,
        addresses: Addresses::default(),
        history_budget: 0,
    };
    let replicas = |base: u64| {
        NODES.iter().map(move |id| Replica {
            id: ReplicaId(base + id.0),
            node: *id,
        })
    };
    let shard = |id: u32| ShardRow {
        id: ShardId(id),
        replicas: replicas(u64::from(id) * 10).collect(),
        leaving: Vec::new(),
        repaired: None,
        preferred: Some(NODES[0]),
        begun: true,
    };
    View {
        version: 1,
        cluster: ClusterId(1),
        level: fanfare_core::level::KNOWN,
        nodes: NODES.iter().map(|id| (*id, node(*id))).collect(),
        shards: vec![shard(0), shard(1)],
        payload_limit: 64 << 10,
        ..View::empty()
    }
}

impl Peers for World {
    fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>> {
        NODES.contains(&node).then(|| -> Arc<dyn Peer> {
            Arc::new(Member {
                node,
                world: self.clone(),
            })
        })
    }
}

/// One node, as edges see it.
struct Member {
    node: NodeId,
    world: World,
}

impl Peer for Member {
    fn publish(&self, mut drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        let (answers, receiver) = mpsc::channel(1_024);
        let (node, world, cut) = (self.node, self.world.clone(), CancellationToken::new());
        let tracker = self.world.with(|cluster| {
            cluster.links.push((node, cut.clone()));
            cluster.tracker.clone()
        });
        tracker.spawn(async move {
            let mut runs = Runs::new();
            loop {
                let request = tokio::select! {
                    biased;
                    () = cut.cancelled() => return,
                    request = drafts.recv() => request,
                };
                let Some(request) = request else { return };
                if let Some(answer) = world.judge(node, &mut runs, request) {
                    answers.send(answer).await.ok();
                }
            }
        });
        receiver
    }

    fn deliver(
        &self,
        _edge: NodeId,
        _says: mpsc::Receiver<EdgeSays>,
    ) -> mpsc::Receiver<LeaderSays> {
        mpsc::channel(1).1
    }

    fn stand(
        &self,
        _shard: ShardId,
        requests: Vec<StandRequest>,
        _wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        let refusal = NoRead::Refused(Refusal::new(
            Code::NotReady,
            "this cluster is for publishers",
        ));
        std::future::ready(vec![Err(refusal); requests.len()]).boxed()
    }

    fn page(&self, _request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        let refusal = Refusal::new(Code::NotReady, "this cluster is for publishers");
        std::future::ready(Err(NoRead::Refused(refusal))).boxed()
    }

    fn leader(&self, shard: ShardId) -> BoxFuture<'static, Redirect> {
        let (mute, lead) = self.world.with(|cluster| {
            let lead = cluster.leaders.get(&shard).copied().unwrap_or_default();
            (cluster.mute.contains(&self.node), lead)
        });
        if mute {
            std::future::pending().boxed()
        } else {
            std::future::ready(lead).boxed()
        }
    }

    fn topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        let node = self.node;
        let result = self.world.with(|cluster| {
            let lead = cluster.leaders.get(&shard).copied().unwrap_or_default();
            if lead.leader != Some(node) {
                return Err(NoRead::Reroute(lead));
            }
            let info = |(name, rules): (&TopicName, &RuleLayer)| TopicInfo {
                name: name.clone(),
                class: Class::Durable,
                epoch: fanfare_core::position::Epoch(1),
                start: Position::new(1, 1),
                head: Position::new(1, 0),
                bytes: 0,
                rules: rules.over(&Rules::default()),
            };
            Ok(match command {
                TopicCommand::Create { name, rules } => {
                    let have = cluster
                        .topics
                        .entry(name.clone())
                        .or_insert_with(|| rules.clone());
                    if *have != rules {
                        let refusal = Refusal::new(Code::TopicExists, "with other rules");
                        return Err(NoRead::Refused(refusal));
                    }
                    vec![info((&name, &rules))]
                }
                TopicCommand::Delete { name, .. } => {
                    cluster.topics.remove(&name);
                    Vec::new()
                }
                TopicCommand::Get { name } => cluster
                    .topics
                    .get_key_value(&name)
                    .map(info)
                    .into_iter()
                    .collect(),
                TopicCommand::List { after, limit, .. } => {
                    let here = cluster
                        .topics
                        .iter()
                        .filter(|(name, _)| name.shard(2) == shard);
                    let here =
                        here.filter(|(name, _)| after.as_ref().is_none_or(|after| *name > after));
                    here.take(limit as usize).map(info).collect()
                }
            })
        });
        std::future::ready(result).boxed()
    }
}
