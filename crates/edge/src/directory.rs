//! Who leads a shard and who can read it, as far as this node knows: the view, what leaders and
//! replicas said since, and a way to ask when that was wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::Redirect;
use fanfare_core::name::TopicName;
use fanfare_core::view::{NodeState, ShardRow, View};
use fanfare_host::Clock;
use fanfare_rpc::peer::{Peer, Peers};
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{broadcast, watch};

use crate::config::EdgeDeps;

/// How long a search for a leader waits for answers.
const SEEK_TIME: Duration = Duration::from_secs(1);
/// How long a search waits for a better answer after it has a leader.
const SETTLE_TIME: Duration = Duration::from_millis(20);
/// News a listener may be behind before it misses some; a missed one is learnt from a redirect.
const NEWS: usize = 256;

type Search = Shared<BoxFuture<'static, Option<Redirect>>>;

/// Topic to shard, shard to leader and readers. Bounded by the number of shards.
pub struct Directory {
    node: NodeId,
    clock: Arc<dyn Clock>,
    view: watch::Receiver<Arc<View>>,
    peers: Arc<dyn Peers>,
    learnt: Mutex<BTreeMap<ShardId, Redirect>>,
    searches: Mutex<BTreeMap<ShardId, Search>>,
    news: broadcast::Sender<(ShardId, Redirect)>,
}

impl Directory {
    /// The directory of a node, which knows what the view says.
    pub fn new(deps: &EdgeDeps) -> Self {
        Self {
            node: deps.node,
            clock: deps.clock.clone(),
            view: deps.view.clone(),
            peers: deps.peers.clone(),
            learnt: Mutex::default(),
            searches: Mutex::default(),
            news: broadcast::Sender::new(NEWS),
        }
    }

    /// The shard of a topic; `None` while the view has no shards.
    pub fn shard_of(&self, topic: &TopicName) -> Option<ShardId> {
        self.view.borrow().shard_of(topic)
    }

    /// All shards of the view.
    pub fn shards(&self) -> Vec<ShardId> {
        let view = self.view.borrow();
        view.shards.iter().map(|row| row.id).collect()
    }

    /// The leader, as far as known: the last that was learnt, else the view's preferred replica,
    /// else any of its replicas.
    pub fn leader(&self, shard: ShardId) -> Option<NodeId> {
        self.belief(shard).leader
    }

    /// As [`leader`](Self::leader), with the term in which it was said to lead (0: a guess).
    pub fn belief(&self, shard: ShardId) -> Redirect {
        let learnt = lock(&self.learnt).get(&shard).copied().unwrap_or_default();
        let view = self.view.borrow();
        let known = learnt.leader.filter(|node| is_there(&view, *node));
        let guess = || {
            let row = view.shard(shard)?;
            let preferred = row.preferred.filter(|node| is_there(&view, *node));
            preferred.or_else(|| replicas(&view, row).next())
        };
        Redirect {
            leader: known.or_else(guess),
            term: if known.is_some() {
                learnt.term
            } else {
                Term(0)
            },
        }
    }

    /// Takes note of what a node said; false if it is no news: an older term, or no more than is
    /// known of this one.
    pub fn learn(&self, shard: ShardId, redirect: Redirect) -> bool {
        let mut learnt = lock(&self.learnt);
        let known = learnt.get(&shard).copied().unwrap_or_default();
        let named = redirect.leader.is_some() && known.leader.is_none();
        let news = redirect.term > known.term || (redirect.term == known.term && named);
        if news {
            learnt.insert(shard, redirect);
            drop(learnt);
            // An error means that nobody listens now.
            self.news.send((shard, redirect)).ok();
        }
        news
    }

    /// What is learnt from now on, for those who wait for a leader.
    pub fn news(&self) -> broadcast::Receiver<(ShardId, Redirect)> {
        self.news.subscribe()
    }

    /// Asks the shard's replicas, this node's first, whom they follow; learns and returns the
    /// newest answer that names a leader, `None` if there is none within a second. Callers at the
    /// same time share one round.
    pub async fn seek(self: &Arc<Self>, shard: ShardId) -> Option<Redirect> {
        let search = {
            let mut searches = lock(&self.searches);
            let running = searches
                .get(&shard)
                .filter(|search| search.peek().is_none());
            let search = running.cloned().unwrap_or_else(|| {
                let directory = self.clone();
                async move { directory.search(shard).await }
                    .boxed()
                    .shared()
            });
            searches.insert(shard, search.clone());
            search
        };
        search.await
    }

    async fn search(&self, shard: ShardId) -> Option<Redirect> {
        let mut answers: FuturesUnordered<_> = self
            .readers(shard)
            .into_iter()
            .filter_map(|node| self.peers.peer(node))
            .map(|peer| async move { peer.leader(shard).await })
            .collect();
        let mut best: Option<Redirect> = None;
        let mut end = self.clock.sleep(SEEK_TIME);
        loop {
            let answer = tokio::select! {
                biased;
                answer = answers.next() => answer,
                () = &mut end => None,
            };
            let Some(answer) = answer else { break };
            if answer.leader.is_none() || best.is_some_and(|best| best.term >= answer.term) {
                continue;
            }
            if best.is_none() {
                end = self.clock.sleep(SETTLE_TIME);
            }
            best = Some(answer);
        }
        if let Some(best) = best {
            self.learn(shard, best);
        }
        best
    }

    /// Nodes with a replica of the shard, this node first, then the leader, then the others.
    pub fn readers(&self, shard: ShardId) -> Vec<NodeId> {
        let leader = self.leader(shard);
        let view = self.view.borrow();
        let Some(row) = view.shard(shard) else {
            return Vec::new();
        };
        let mut nodes: Vec<NodeId> = replicas(&view, row).collect();
        nodes.sort_by_key(|node| (*node != self.node, Some(*node) != leader, *node));
        nodes
    }

    /// The peer of a node, if the view has it.
    pub fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>> {
        self.peers.peer(node)
    }
}

fn is_there(view: &View, node: NodeId) -> bool {
    view.nodes
        .get(&node)
        .is_some_and(|node| node.state != NodeState::Gone)
}

fn replicas<'a>(view: &'a View, row: &'a ShardRow) -> impl Iterator<Item = NodeId> + 'a {
    // One that is being moved away may lead until it has handed over.
    let nodes = row.present().map(|replica| replica.node);
    nodes.filter(|node| is_there(view, *node))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
