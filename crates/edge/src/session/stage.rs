//! A cluster in memory for tests of readers: core's shard and its leader's end of attachments,
//! without a log. All nodes see one state; who leads it, and what links lose, is a test's word.

mod pipe;
mod player;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use fanfare_core::attach::{LinkId, Listener, Listeners, Outbox, Scene, Told};
use fanfare_core::code::Code;
use fanfare_core::gap::{Page, Since, Standing};
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{
    Attach, EdgeSays, Ended, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest,
    Redirect, StandRequest, Verdict,
};
use fanfare_core::message::{Ack, Content, Draft, Meta};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, RuleTable};
use fanfare_core::shard::{At, Batch, Command, Effects, Entry, Fate, Outcome, Secret, Shard};
use fanfare_core::view::View;
use fanfare_host::{RealClock, SeededRng};
use fanfare_rpc::peer::{Peer, Peers};
use fanfare_rpc::topics::{TopicCommand, TopicInfo};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Edge;
use crate::config::{EdgeConfig, EdgeDeps};
use crate::sessions::Sessions;
use crate::testing::{NODES, view};

pub(crate) use pipe::pipe;
use player::Player;

/// What a test does with the cluster. Clones share it.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Mutex<Scenery>>);

struct Scenery {
    shards: BTreeMap<ShardId, Shard>,
    index: u64,
    lead: Redirect,
    listeners: BTreeMap<TopicName, Listeners>,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    /// Runs that are lost on their way.
    lose: usize,
    lost: usize,
    /// Attachments that were asked for, by topic.
    asked: Vec<(NodeId, TopicName, Option<Position>)>,
    stands: usize,
    pages: usize,
    /// Nodes that say nothing to readers.
    mute: Vec<NodeId>,
    /// Who answers for a topic's standing fails at it so many times more, a little later.
    crashes: usize,
    /// Topics whose attachments get no answer.
    parked: Vec<TopicName>,
    tracker: TaskTracker,
}

struct Link {
    node: NodeId,
    outbox: Outbox,
    news: Arc<Notify>,
    cut: CancellationToken,
}

/// An edge on a stage, and what it was built with.
pub(crate) struct Theatre {
    pub(crate) stage: Stage,
    pub(crate) edge: Edge,
    pub(crate) router: Router,
    pub(crate) deps: EdgeDeps,
    _view: watch::Sender<Arc<View>>,
}

impl Theatre {
    /// An edge of node 1 in a cluster led by node 1.
    pub(crate) async fn open(config: EdgeConfig) -> Self {
        let stage = Stage::new();
        let (view, receiver) = watch::channel(Arc::new(view()));
        let deps = EdgeDeps {
            clock: Arc::new(RealClock::new()),
            rng: Arc::new(SeededRng::new(7)),
            node: NODES[0],
            view: receiver,
            peers: Arc::new(stage.clone()),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            metrics: Arc::default(),
        };
        let edge = Edge::build(config, deps.clone()).await.unwrap();
        let router = edge.router();
        Self {
            stage,
            edge,
            router,
            deps,
            _view: view,
        }
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.edge.front.sessions
    }

    /// Waits for something, and says what it was if it does not come.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..15_000 {
            if holds() {
                return;
            }
            self.deps.clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("never came: {what}");
    }

    /// The end of a test: nothing may be left but what lingers on purpose.
    pub(crate) async fn close(self) {
        let sessions = self.sessions().clone();
        self.until("no session is left", || sessions.count() == 0)
            .await;
        self.until("no relay is left", || sessions.relays().count() == 0)
            .await;
        self.until("no attachment is left", || {
            sessions.relays().attachments() == 0 && self.stage.attachments() == 0
        })
        .await;
        self.deps.stop.cancel();
        self.deps.tracker.close();
        let ended = tokio::time::timeout(Duration::from_secs(60), self.deps.tracker.wait()).await;
        assert!(ended.is_ok(), "{} tasks are left", self.deps.tracker.len());
    }
}

impl Stage {
    fn new() -> Self {
        let mut scenery = Scenery {
            shards: (0..2).map(|id| (ShardId(id), Shard::new(2))).collect(),
            index: 0,
            lead: Redirect {
                leader: Some(NODES[0]),
                term: Term(1),
            },
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            lose: 0,
            lost: 0,
            asked: Vec::new(),
            stands: 0,
            pages: 0,
            mute: Vec::new(),
            crashes: 0,
            parked: Vec::new(),
            tracker: TaskTracker::new(),
        };
        for shard in [ShardId(0), ShardId(1)] {
            let begin = Command::Begin {
                epoch_counter: 100,
                secret: Secret([7; 32]),
                level: fanfare_core::level::KNOWN,
            };
            scenery.apply(shard, begin);
        }
        Self(Arc::new(Mutex::new(scenery)))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Scenery) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Places one message; returns its position.
    pub(crate) fn publish(&self, topic: &str, payload: &str) -> Position {
        self.publish_all(topic, &[payload])
    }

    /// Places messages as one batch; returns the last position.
    pub(crate) fn publish_all(&self, topic: &str, payloads: &[&str]) -> Position {
        self.publish_as(topic, "text/plain", payloads)
    }

    /// Places messages of a type as one batch; returns the last position.
    pub(crate) fn publish_as(&self, topic: &str, kind: &str, payloads: &[&str]) -> Position {
        let draft = |payload: &&str| Draft {
            topic: topic.parse().unwrap(),
            content: Content {
                payload: bytes::Bytes::copy_from_slice(payload.as_bytes()),
                meta: Arc::new(Meta {
                    content_type: kind.parse().unwrap(),
                    ..Meta::default()
                }),
            },
            key: None,
            key_age_ms: 0,
            ack: Ack::Committed,
            expect: None,
        };
        let drafts = payloads.iter().map(draft).collect();
        self.with(|scenery| scenery.place(drafts))
    }

    /// Applies a command to the shard of a topic.
    pub(crate) fn command(&self, topic: &str, command: Command) {
        let shard = topic.parse::<TopicName>().unwrap().shard(2);
        self.with(|scenery| scenery.apply(shard, command));
    }

    /// Deletes a topic.
    pub(crate) fn delete(&self, topic: &str) {
        let name = topic.parse().unwrap();
        self.command(
            topic,
            Command::Delete {
                topic: name,
                epoch: None,
            },
        );
    }

    /// Sets the rules of all topics.
    pub(crate) fn rules(&self, table: &RuleTable) {
        for shard in [ShardId(0), ShardId(1)] {
            self.with(|scenery| scenery.apply(shard, Command::SetRules(table.clone())));
        }
        // Edges learn of it when they attach again.
        self.with(|scenery| scenery.end_all(&Ended::StreamEnded));
    }

    /// Another node leads from now on; the old one sends its edges there. `None`: nobody.
    pub(crate) fn elect(&self, leader: Option<NodeId>) {
        self.with(|scenery| {
            scenery.lead = Redirect {
                leader,
                term: Term(scenery.lead.term.0 + 1),
            };
            scenery.end_all(&Ended::NotLeader(scenery.lead));
        });
    }

    /// Breaks all delivery links.
    pub(crate) fn cut(&self) {
        self.with(|scenery| scenery.links.values().for_each(|link| link.cut.cancel()));
    }

    /// So many runs get lost on their way.
    pub(crate) fn lose_runs(&self, count: usize) {
        self.with(|scenery| scenery.lose = count);
    }

    /// How many runs were lost.
    pub(crate) fn lost(&self) -> usize {
        self.with(|scenery| scenery.lost)
    }

    /// A node says nothing to readers any more.
    pub(crate) fn mute(&self, node: NodeId) {
        self.with(|scenery| scenery.mute.push(node));
    }

    /// The next question for a standing ends in a panic of whoever asks.
    pub(crate) fn crash(&self) {
        self.with(|scenery| scenery.crashes += 1);
    }

    /// Attachments of a topic get no answer any more.
    pub(crate) fn park(&self, topic: &str) {
        self.with(|scenery| scenery.parked.push(topic.parse().unwrap()));
    }

    pub(crate) fn attachments(&self) -> usize {
        self.with(|scenery| scenery.listeners.values().map(Listeners::len).sum())
    }

    /// Attachments that were asked for: where, and from which position.
    pub(crate) fn asked(&self) -> Vec<(NodeId, TopicName, Option<Position>)> {
        self.with(|scenery| scenery.asked.clone())
    }

    /// How many standings, and how many pages, were asked for.
    pub(crate) fn reads(&self) -> (usize, usize) {
        self.with(|scenery| (scenery.stands, scenery.pages))
    }
}

impl Scenery {
    fn apply(&mut self, shard: ShardId, command: Command) -> Outcome {
        self.index += 1;
        let at = At {
            term: self.lead.term,
            index: self.index,
        };
        let row = self.shards.get_mut(&shard).unwrap();
        let running_ms = row.running_ms();
        let (outcome, effects) = row.apply(
            at,
            &Entry {
                running_ms,
                command,
            },
        );
        self.pass_on(effects);
        outcome
    }

    fn pass_on(&mut self, effects: Effects) {
        let mut told = Vec::new();
        for (topic, messages) in effects.placed {
            if let Some(listeners) = self.listeners.get_mut(&topic) {
                told.extend(listeners.offer(&messages));
            }
        }
        for (topic, _) in effects.deleted {
            if let Some(listeners) = self.listeners.get_mut(&topic) {
                told.extend(listeners.end_all(&Ended::StreamEnded));
            }
        }
        self.tell(told);
    }

    fn place(&mut self, drafts: Vec<Draft>) -> Position {
        let shard = drafts[0].topic.shard(2);
        let batch = Batch {
            wall_ms: 1_772_360_130_123,
            drafts,
        };
        let Outcome::Placed(fates) = self.apply(shard, Command::Place(batch)) else {
            panic!("a batch ends in fates")
        };
        match fates.last() {
            Some(Fate::Placed { position, .. }) => *position,
            other => panic!("not placed: {other:?}"),
        }
    }

    /// Ends all attachments.
    fn end_all(&mut self, why: &Ended) {
        let all = self.listeners.values_mut();
        let told = all.flat_map(|listeners| listeners.end_all(why)).collect();
        self.tell(told);
    }

    fn tell(&mut self, told: Vec<Told>) {
        for one in told {
            let (Told::Run(who, _) | Told::Ended(who, _)) = &one;
            let who = *who;
            let Some(link) = self.links.get_mut(&who.link) else {
                continue;
            };
            match one {
                Told::Run(_, run) => {
                    let _over = link.outbox.run(who.id, run);
                }
                Told::Ended(_, why) => link.outbox.end(who.id, why),
            }
            link.news.notify_one();
        }
    }

    fn hear(&mut self, link: LinkId, says: EdgeSays) {
        let node = self.links[&link].node;
        match says {
            EdgeSays::Attach(wishes) => {
                for Attach {
                    id,
                    shard,
                    topic,
                    after,
                } in wishes
                {
                    self.asked.push((node, topic.clone(), after));
                    if self.parked.contains(&topic) {
                        continue;
                    }
                    let outbox_of =
                        |links: &mut BTreeMap<LinkId, Link>| links.remove(&link).unwrap();
                    let mut row = outbox_of(&mut self.links);
                    if self.lead.leader == Some(node) {
                        let state = &self.shards[&shard];
                        let now = state
                            .stand(&topic, Since::Latest, false, self.lead.term)
                            .unwrap();
                        let Standing {
                            start,
                            head,
                            exists,
                            policy,
                            term,
                            ..
                        } = now;
                        let scene = Scene {
                            term,
                            head,
                            start,
                            exists,
                            policy,
                        };
                        let (limit, bytes) = Listeners::CATCH_UP;
                        let page = after.map(|at| state.page(&topic, at, limit, bytes).unwrap());
                        let listeners = self.listeners.entry(topic.clone()).or_default();
                        let attached = listeners.attach(Listener { link, id }, after, &scene, page);
                        row.outbox.attached(shard, topic.hash64(), attached);
                    } else {
                        row.outbox.end(id, Ended::NotLeader(self.lead));
                    }
                    self.links.insert(link, row);
                }
            }
            EdgeSays::Detach(ids) => {
                for id in ids {
                    self.links.get_mut(&link).unwrap().outbox.detach(id);
                    for listeners in self.listeners.values_mut() {
                        listeners.detach(Listener { link, id });
                    }
                }
            }
            EdgeSays::Credit(bytes) => self.links.get_mut(&link).unwrap().outbox.credit(bytes),
        }
        self.links[&link].news.notify_one();
    }

    fn next_say(&mut self, link: LinkId) -> Option<LeaderSays> {
        loop {
            let say = self.links.get_mut(&link)?.outbox.next_say()?;
            if matches!(say, LeaderSays::Run(..)) && self.lose > 0 {
                self.lose -= 1;
                self.lost += 1;
                continue;
            }
            return Some(say);
        }
    }

    fn digests(&self, link: LinkId) -> Vec<LeaderSays> {
        self.links
            .get(&link)
            .map(|link| link.outbox.digests().collect())
            .unwrap_or_default()
    }

    fn reads(&self, node: NodeId, shard: ShardId) -> Result<&Shard, NoRead> {
        if self.lead.leader == Some(node) {
            Ok(&self.shards[&shard])
        } else {
            Err(NoRead::Reroute(self.lead))
        }
    }
}

fn unread(why: fanfare_core::shard::Unread) -> NoRead {
    let code = match why {
        fanfare_core::shard::Unread::TopicNotFound => Code::TopicNotFound,
        fanfare_core::shard::Unread::Ephemeral | fanfare_core::shard::Unread::NotBegun => {
            Code::NotReady
        }
    };
    NoRead::Refused(Refusal::new(code, why.to_string()))
}

impl Peers for Stage {
    fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>> {
        let player = Player {
            node,
            stage: self.clone(),
        };
        NODES
            .contains(&node)
            .then(|| Arc::new(player) as Arc<dyn Peer>)
    }
}
