//! The desk: one task that steps [`Publishing`] with what came in and moves its requests to the
//! publish links, one link for each leading node.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_core::code::Outcome;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{PublishAnswer, PublishRequest, Redirect, Verdict};
use fanfare_core::message::Draft;
use fanfare_core::publishing::{Effect, Publishing, StreamId, Ticket};
use fanfare_core::receipt::{Receipt, Refusal};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot};

use crate::config::EdgeDeps;
use crate::directory::Directory;

/// Requests that wait in a link; then drafts wait in their lanes.
const LINK_DEPTH: usize = 256;

/// Who waits for the end of a draft.
pub(super) type Reply = oneshot::Sender<Result<Receipt, Refusal>>;

/// What the desk is told.
pub(super) enum Input {
    Submit {
        stream: StreamId,
        shard: ShardId,
        draft: Draft,
        deadline: Duration,
        room: OwnedSemaphorePermit,
        reply: Option<Reply>,
    },
    Close(StreamId),
    Verdicts(Vec<PublishAnswer>),
    LinkLost {
        node: NodeId,
        link: u64,
    },
    Found {
        shard: ShardId,
        leader: Option<Redirect>,
    },
}

/// What waits for the desk. Bounded without a count of its own: a draft holds its room, a verdict
/// or a lost link answers a request, a closed stream was a request of some client.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Default)]
struct Waiting {
    inputs: Vec<Input>,
    /// The desk has gone: what comes is dropped, which tells those who wait.
    over: bool,
}

impl Inbox {
    pub(super) fn put(&self, input: Input) {
        let mut waiting = self.lock();
        if !waiting.over {
            waiting.inputs.push(input);
            drop(waiting);
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the node stops; then everything in flight is answered.
pub(super) async fn run(deps: EdgeDeps, directory: Arc<Directory>, inbox: Arc<Inbox>) {
    let stop = deps.stop.clone();
    let mut news = directory.news();
    let mut desk = Desk {
        deps,
        directory,
        inbox: inbox.clone(),
        publishing: Publishing::default(),
        replies: HashMap::default(),
        links: BTreeMap::new(),
        links_opened: 0,
        congested: FuturesUnordered::new(),
    };
    let mut timer: Option<(Duration, BoxFuture<'static, ()>)> = None;
    loop {
        let inputs = std::mem::take(&mut inbox.lock().inputs);
        for input in inputs {
            desk.take(input);
        }
        desk.publishing.tick(desk.deps.clock.now());
        desk.perform();
        let wake = desk.publishing.next_wake();
        match (wake, &timer) {
            (Some(at), Some((set, _))) if *set <= at => {}
            (Some(at), _) => timer = Some((at, desk.deps.clock.sleep_until(at))),
            (None, _) => timer = None,
        }
        let alarm = async {
            match &mut timer {
                Some((_, sleep)) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = inbox.wake.notified() => {}
            Some(node) = desk.congested.next() => desk.relieve(node),
            heard = news.recv() => match heard {
                Ok((shard, redirect)) => {
                    let now = desk.deps.clock.now();
                    desk.publishing.leader(now, shard, Some(redirect));
                }
                // What was missed is learnt from redirects.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break,
            },
            () = alarm => timer = None,
        }
    }
    desk.end();
}

struct Desk {
    deps: EdgeDeps,
    directory: Arc<Directory>,
    inbox: Arc<Inbox>,
    publishing: Publishing,
    replies: HashMap<Ticket, (OwnedSemaphorePermit, Option<Reply>)>,
    links: BTreeMap<NodeId, Link>,
    links_opened: u64,
    /// Nodes whose links are full; each completes once there is room.
    congested: FuturesUnordered<BoxFuture<'static, NodeId>>,
}

struct Link {
    id: u64,
    drafts: mpsc::Sender<PublishRequest>,
    full: bool,
}

impl Desk {
    fn take(&mut self, input: Input) {
        let now = self.deps.clock.now();
        match input {
            Input::Submit {
                stream,
                shard,
                draft,
                deadline,
                room,
                reply,
            } => {
                let ticket = self.publishing.submit(now, stream, shard, draft, deadline);
                self.deps.metrics.drafts.inc();
                self.replies.insert(ticket, (room, reply));
            }
            Input::Close(stream) => self.publishing.close(stream),
            Input::Verdicts(answers) => {
                for answer in answers {
                    if let Verdict::Reroute(redirect) = &answer.verdict
                        && let Some(shard) = self.publishing.shard_of(answer.seq)
                    {
                        self.directory.learn(shard, *redirect);
                    }
                    self.publishing.verdict(now, answer);
                }
            }
            Input::LinkLost { node, link } => {
                if self.links.get(&node).is_some_and(|open| open.id == link) {
                    self.lose(node);
                }
            }
            Input::Found { shard, leader } => self.publishing.leader(now, shard, leader),
        }
    }

    /// Does what the value asks for until it asks for nothing more.
    fn perform(&mut self) {
        loop {
            let effects: Vec<Effect> = self.publishing.effects().collect();
            let nodes: Vec<NodeId> = self.publishing.nodes().collect();
            let mut moved = !effects.is_empty();
            for effect in effects {
                match effect {
                    Effect::Answer(ticket, result) => self.answer(ticket, result),
                    Effect::Seek { shard, ask } => self.seek(shard, ask),
                }
            }
            for node in nodes {
                moved |= self.fill(node);
            }
            if !moved {
                return;
            }
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<Receipt, Refusal>) {
        let metrics = &self.deps.metrics;
        metrics.drafts.dec();
        match result.as_ref().map_err(|refusal| refusal.outcome) {
            Ok(_) => metrics.acked.inc(),
            Err(Outcome::Unknown) => metrics.unknown.inc(),
            Err(Outcome::NotPlaced | Outcome::None) => metrics.refused.inc(),
        }
        match self.replies.remove(&ticket) {
            // Whoever does not wait any more does not want to know.
            Some((_, Some(reply))) => drop(reply.send(result)),
            Some((_, None)) | None => {
                if let Err(refusal) = result {
                    tracing::debug!(code = %refusal.code, "a draft with ack none was not placed");
                }
            }
        }
    }

    fn seek(&mut self, shard: ShardId, ask: bool) {
        let belief = self.directory.belief(shard);
        if !ask && belief.leader.is_some() {
            let now = self.deps.clock.now();
            self.publishing.leader(now, shard, Some(belief));
            return;
        }
        self.deps.metrics.leader_searches.inc();
        let (directory, inbox) = (self.directory.clone(), self.inbox.clone());
        self.deps.tracker.spawn(async move {
            let leader = directory.seek(shard).await;
            inbox.put(Input::Found { shard, leader });
        });
    }

    /// Moves requests into a node's link while there is room; true if something changed.
    fn fill(&mut self, node: NodeId) -> bool {
        let now = self.deps.clock.now();
        if !self.links.contains_key(&node) && !self.open(node) {
            self.publishing.link_lost(now, node);
            return true;
        }
        let Some(link) = self.links.get_mut(&node).filter(|link| !link.full) else {
            return false;
        };
        let mut moved = false;
        let lost = loop {
            match link.drafts.try_reserve() {
                Ok(room) => match self.publishing.take(now, node) {
                    Some(request) => {
                        room.send(request);
                        moved = true;
                    }
                    None => break false,
                },
                Err(TrySendError::Full(())) => {
                    link.full = true;
                    let drafts = link.drafts.clone();
                    self.congested.push(Box::pin(async move {
                        // Free or closed: either way it is tried again.
                        drafts.reserve().await.map(drop).ok();
                        node
                    }));
                    break false;
                }
                Err(TrySendError::Closed(())) => break true,
            }
        };
        if lost {
            self.lose(node);
        }
        moved || lost
    }

    fn relieve(&mut self, node: NodeId) {
        if let Some(link) = self.links.get_mut(&node) {
            link.full = false;
        }
    }

    /// Opens the link to a node; false if the view has no such node.
    fn open(&mut self, node: NodeId) -> bool {
        let Some(peer) = self.directory.peer(node) else {
            return false;
        };
        let (drafts, requests) = mpsc::channel(LINK_DEPTH);
        let mut verdicts = peer.publish(requests);
        self.links_opened += 1;
        let link = self.links_opened;
        let inbox = self.inbox.clone();
        self.deps.tracker.spawn(async move {
            let mut batch = Vec::new();
            while verdicts.recv_many(&mut batch, LINK_DEPTH).await > 0 {
                inbox.put(Input::Verdicts(std::mem::take(&mut batch)));
            }
            inbox.put(Input::LinkLost { node, link });
        });
        let full = false;
        self.links.insert(
            node,
            Link {
                id: link,
                drafts,
                full,
            },
        );
        true
    }

    fn lose(&mut self, node: NodeId) {
        self.links.remove(&node);
        self.deps.metrics.publish_links_lost.inc();
        tracing::debug!(%node, "a publish link ended");
        self.publishing.link_lost(self.deps.clock.now(), node);
    }

    /// Answers everything, what came last too.
    fn end(mut self) {
        let inputs = {
            let mut waiting = self.inbox.lock();
            waiting.over = true;
            std::mem::take(&mut waiting.inputs)
        };
        for input in inputs {
            self.take(input);
        }
        self.publishing.end();
        let effects: Vec<Effect> = self.publishing.effects().collect();
        for effect in effects {
            if let Effect::Answer(ticket, result) = effect {
                self.answer(ticket, result);
            }
        }
    }
}
