//! The RelayActor: takes what came for its topics into their tails and gives it to the sessions at
//! head. It does not wait for any of them. And the supervisor that starts it again if it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fanfare_core::gap::{Page, Policy};
use fanfare_core::id::ShardId;
use fanfare_core::link::{AttachId, Attached, Ended, Live, PageRequest, Run};
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::{Misfit, Span};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};

use super::link::Link;
use super::row::{Attachment, Block, Relay};
use super::run::EdgeRun;
use super::{Relays, Work, locked};

/// Sessions written to before others get the processor.
const YIELD_AFTER: usize = 64;
/// Pages that may fill one hole; beyond, the tail begins anew at the head.
const FILL_PAGES: u32 = 16;

/// What a RelayActor hears.
#[derive(Debug)]
pub(crate) enum Msg {
    /// The inbox has news.
    Kick,
}

struct RelayActor;

struct Args {
    relays: Arc<Relays>,
    worker: usize,
    /// The one before it failed: nothing is known of what it had in hand.
    again: bool,
}

struct State {
    relays: Arc<Relays>,
    worker: usize,
}

impl Actor for RelayActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        Args {
            relays,
            worker,
            again,
        }: Args,
    ) -> Result<State, ActorProcessingErr> {
        let mine = &relays.workers[worker];
        *locked(&mine.actor) = Some(myself);
        if again {
            for relay in locked(&mine.rows).values() {
                relay.set_live(false);
                let was = std::mem::take(&mut *locked(&relay.attachment));
                if let Attachment::On(link, id) = was {
                    link.detach(id);
                }
                relays.want(relay);
            }
        }
        mine.kicked.store(false, Ordering::Release);
        mine.kick();
        Ok(State { relays, worker })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Msg>,
        Msg::Kick: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let worker = &state.relays.workers[state.worker];
        // Cleared before looking: what comes after this kicks again.
        worker.kicked.store(false, Ordering::Release);
        let work = std::mem::take(&mut *locked(&worker.inbox));
        let _given_back_at_the_end = Credit::of(&work);
        let mut batch = Batch::default();
        for piece in work {
            state.relays.take(piece, &mut batch);
        }
        for (relay, news) in batch.news.into_values() {
            give(&relay, &news).await;
        }
        Ok(())
    }
}

/// What one look into the inbox brought.
#[derive(Default)]
struct Batch {
    /// By topic hash and address.
    news: BTreeMap<(u64, usize), (Arc<Relay>, News)>,
}

/// Credit of the runs in hand. It is given back once sessions have them, so that no more follows
/// before; and should that end by a panic too, or the link would be narrower for good.
struct Credit(Vec<(Arc<Link>, u64)>);

impl Credit {
    fn of(work: &[Work]) -> Self {
        let cost = |piece: &Work| match piece {
            Work::Run(link, _, _, run) => Some((link.clone(), run.cost())),
            Work::Attached(..) | Work::Ended(..) | Work::Lost(..) | Work::Page(..) => None,
        };
        Self(work.iter().filter_map(cost).collect())
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        for (link, bytes) in self.0.drain(..) {
            link.credit(bytes);
        }
    }
}

/// What sessions of one topic are told.
#[derive(Default)]
struct News {
    /// The topic's rules, before all else.
    policy: Option<Policy>,
    /// In order.
    blocks: Vec<Block>,
    /// After that the tail changed in another way: nobody is at head before having looked again.
    moved: bool,
}

impl Batch {
    fn of(&mut self, relay: &Arc<Relay>) -> &mut News {
        let key = (relay.hash(), Arc::as_ptr(relay).addr());
        &mut self
            .news
            .entry(key)
            .or_insert_with(|| (relay.clone(), News::default()))
            .1
    }
}

/// Tells all sessions of a topic.
async fn give(relay: &Relay, news: &News) {
    let members = relay.members();
    for some in members.chunks(YIELD_AFTER) {
        for member in some {
            if let Some((sub, outlet)) = member.reach() {
                if let Some(policy) = news.policy {
                    outlet.rule(sub, policy);
                }
                outlet.offer(sub, &news.blocks, news.moved);
            }
        }
        // On a busy processor publishers are read meanwhile, so that the next run is larger.
        tokio::task::yield_now().await;
    }
}

impl Relays {
    fn take(self: &Arc<Self>, work: Work, batch: &mut Batch) {
        match work {
            Work::Attached(link, relay, attached) => self.attached(&link, &relay, attached, batch),
            Work::Run(link, relay, id, run) => {
                if is_on(&relay, &link, id) && !self.push_run(&relay, run, batch) {
                    // Something between is missing: begin again at the last position.
                    link.detach(id);
                    self.lost(&relay);
                }
            }
            Work::Ended(link, relay, id, why) => {
                if is_on(&relay, &link, id) {
                    self.ended(&relay, &why);
                }
            }
            Work::Lost(link, relay, id) => {
                if is_on(&relay, &link, id) {
                    self.attacher_failed(&relay);
                    self.lost(&relay);
                }
            }
            Work::Page(relay, pages, result) => self.page(&relay, pages, result, batch),
        }
    }

    fn attached(
        self: &Arc<Self>,
        link: &Arc<Link>,
        relay: &Arc<Relay>,
        attached: Attached,
        batch: &mut Batch,
    ) {
        let Attached {
            id,
            term,
            head,
            start,
            exists,
            policy,
            live,
        } = attached;
        if !is_on(relay, link, id) {
            return;
        }
        relay.learn(policy, exists, start, term);
        batch.of(relay).policy = Some(policy);
        if let Some(shard) = self.state.directory.shard_of(relay.topic()) {
            self.attacher.succeeded(shard);
        }
        match live {
            Live::Yes(run) => {
                if relay.last().is_none() {
                    relay.reset(run.after, &self.bytes);
                }
                if !run.messages.is_empty() && !self.push_run(relay, run, batch) {
                    link.detach(id);
                    return self.lost(relay);
                }
                relay.set_live(true);
                // Sessions may have waited for the tail to know where it stands.
                batch.of(relay).moved = true;
            }
            Live::No => {
                *locked(&relay.attachment) = Attachment::Nowhere;
                match relay.last() {
                    Some(_) => self.fill(relay, 0),
                    None => self.begin_at(relay, head, batch),
                }
            }
        }
    }

    fn ended(self: &Arc<Self>, relay: &Arc<Relay>, why: &Ended) {
        match why {
            &Ended::NotLeader(redirect) => {
                if let Some(shard) = self.state.directory.shard_of(relay.topic()) {
                    let news = self.state.directory.learn(shard, redirect);
                    if !news || redirect.leader.is_none() {
                        self.attacher.failed(shard);
                    }
                }
                self.lost(relay);
            }
            Ended::Overloaded => {
                self.attacher_failed(relay);
                self.lost(relay);
            }
            Ended::Lagging => {
                relay.set_live(false);
                *locked(&relay.attachment) = Attachment::Nowhere;
                self.fill(relay, 0);
            }
            Ended::StreamEnded => self.lost(relay),
            Ended::TopicNotFound => {
                relay.set_live(false);
                *locked(&relay.attachment) = Attachment::Refused;
                relay.lose_members();
            }
        }
    }

    fn attacher_failed(&self, relay: &Relay) {
        if let Some(shard) = self.state.directory.shard_of(relay.topic()) {
            self.attacher.failed(shard);
        }
    }

    /// The attachment is over: another one, at the last position.
    fn lost(self: &Arc<Self>, relay: &Arc<Relay>) {
        relay.set_live(false);
        let mut attachment = locked(&relay.attachment);
        if !matches!(*attachment, Attachment::Over) {
            *attachment = Attachment::Nowhere;
            drop(attachment);
            self.want(relay);
        }
    }

    /// Gives up what lies between the tail and the head: sessions read it as pages.
    fn begin_at(self: &Arc<Self>, relay: &Arc<Relay>, head: Position, batch: &mut Batch) {
        relay.reset(head, &self.bytes);
        batch.of(relay).moved = true;
        self.want(relay);
    }

    /// Brings the tail to head by a page, once for all sessions.
    fn fill(self: &Arc<Self>, relay: &Arc<Relay>, pages: u32) {
        let (relays, relay) = (self.clone(), relay.clone());
        let Some(after) = relay.last() else {
            return self.want(&relay);
        };
        self.state.deps.tracker.spawn(async move {
            let reading = relays.reading.clone();
            let topic = relay.topic().clone();
            let (limit, bytes) = (Run::MAX_MESSAGES as u32, Run::MAX_BYTES);
            let request = PageRequest {
                shard: ShardId(0),
                topic: topic.clone(),
                after,
                limit,
                bytes,
                leader: true,
            };
            let result = reading.page(&topic, request).await;
            relays.push(&relay, Work::Page(relay.clone(), pages, result));
        });
    }

    fn page(
        self: &Arc<Self>,
        relay: &Arc<Relay>,
        pages: u32,
        result: Result<Page, Refusal>,
        batch: &mut Batch,
    ) {
        if !matches!(*locked(&relay.attachment), Attachment::Nowhere) {
            return;
        }
        let page = match result {
            Ok(page) => page,
            Err(refusal) => {
                tracing::debug!(topic = %relay.topic(), code = %refusal.code, "no page to fill a hole with");
                self.attacher_failed(relay);
                return self.want(relay);
            }
        };
        let head = page.head;
        if let Some(gap) = page.gap {
            relay.push_gap(gap, &self.bytes);
            batch.of(relay).blocks.push(Block::Gap(gap));
        }
        let after = relay.last().unwrap_or(head);
        let run = Run {
            after,
            messages: page.messages,
        };
        let run_end = run.end();
        let reached = run_end >= head || run.messages.is_empty();
        if !run.messages.is_empty() && !self.push_run(relay, run, batch) {
            return self.begin_at(relay, head, batch);
        }
        if reached {
            if run_end != head {
                // Nothing new, and yet not at head: the next try comes a little later.
                self.attacher_failed(relay);
            }
            self.want(relay);
        } else if pages + 1 >= FILL_PAGES {
            self.begin_at(relay, head, batch);
        } else {
            self.fill(relay, pages + 1);
        }
    }

    /// Takes a run into the tail; false if something before it is missing.
    fn push_run(&self, relay: &Arc<Relay>, run: Run, batch: &mut Batch) -> bool {
        let Some(span) = Span::of(&run) else {
            return true;
        };
        let run = Arc::new(EdgeRun::new(relay.topic().clone(), span, run));
        let limit = self.state.config.sessions.tail_bytes;
        match relay.push(run.clone(), &self.bytes, limit) {
            Ok(()) => {
                batch.of(relay).blocks.push(Block::Run(span, run));
                true
            }
            Err(Misfit::Known) => true,
            Err(Misfit::Hole) => false,
        }
    }
}

fn is_on(relay: &Relay, link: &Arc<Link>, id: AttachId) -> bool {
    match &*locked(&relay.attachment) {
        Attachment::On(on, have) => Arc::ptr_eq(on, link) && *have == id,
        Attachment::Nowhere | Attachment::Refused | Attachment::Over => false,
    }
}

struct RelaySupervisor;

struct Workers {
    relays: Arc<Relays>,
    actors: Vec<ActorCell>,
}

/// Starts the RelayActors under a supervisor that starts one again if it fails.
pub(crate) async fn supervise(relays: Arc<Relays>) -> Result<ActorRef<()>, SpawnErr> {
    Actor::spawn(None, RelaySupervisor, relays)
        .await
        .map(|(supervisor, _)| supervisor)
}

impl RelaySupervisor {
    async fn start(
        myself: &ActorRef<()>,
        relays: &Arc<Relays>,
        worker: usize,
        again: bool,
    ) -> Result<ActorCell, SpawnErr> {
        let args = Args {
            relays: relays.clone(),
            worker,
            again,
        };
        let spawned = Actor::spawn_linked(None, RelayActor, args, myself.get_cell()).await;
        spawned.map(|(actor, _)| actor.get_cell())
    }
}

impl Actor for RelaySupervisor {
    type Msg = ();
    type State = Workers;
    type Arguments = Arc<Relays>;

    async fn pre_start(
        &self,
        myself: ActorRef<()>,
        relays: Arc<Relays>,
    ) -> Result<Workers, ActorProcessingErr> {
        let mut actors = Vec::new();
        for worker in 0..relays.workers.len() {
            actors.push(Self::start(&myself, &relays, worker, false).await?);
        }
        Ok(Workers { relays, actors })
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        state: &mut Workers,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(failed, why) = event
            && let Some(worker) = state
                .actors
                .iter()
                .position(|actor| actor.get_id() == failed.get_id())
        {
            tracing::error!(worker, error = %why, "a relay actor failed: its topics attach again");
            state.actors[worker] = Self::start(&myself, &state.relays, worker, true).await?;
        }
        Ok(())
    }
}
