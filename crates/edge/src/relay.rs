//! The edge's end of topics: one relay a topic, a row of one of the RelayActors (one a core, by
//! topic hash). It follows the topic at its leader, keeps its tail and writes to sessions at head.

mod actor;
mod attach;
mod link;
mod row;
mod run;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_core::gap::Page;
use fanfare_core::id::ShardId;
use fanfare_core::link::{AttachId, Attached, Ended, Run};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::LINGER;
use ractor::ActorRef;

use crate::reading::Reading;
use crate::state::EdgeState;

pub(crate) use actor::supervise;
pub(crate) use row::{Block, Lease, Outlet, Relay, not_found};
pub(crate) use run::EdgeRun;

use attach::Attacher;
use link::Link;

/// Locks; a thread that panicked while it held the lock left nothing half done that matters here.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All relays of this edge.
pub(crate) struct Relays {
    workers: Vec<Worker>,
    attacher: Attacher,
    reading: Arc<Reading>,
    state: Arc<EdgeState>,
    /// Bytes of all tails.
    bytes: AtomicU64,
}

/// One RelayActor's share. Rows and inbox outlive an actor that fails.
struct Worker {
    rows: Mutex<BTreeMap<TopicName, Arc<Relay>>>,
    inbox: Mutex<Vec<Work>>,
    /// A `Kick` is in the mailbox: the inbox will be looked at.
    kicked: AtomicBool,
    actor: Mutex<Option<ActorRef<actor::Msg>>>,
}

/// What a RelayActor has to do. Runs are bounded by the links' credit, all else by attachments.
enum Work {
    Attached(Arc<Link>, Arc<Relay>, Attached),
    Run(Arc<Link>, Arc<Relay>, AttachId, Run),
    Ended(Arc<Link>, Arc<Relay>, AttachId, Ended),
    /// The link is gone, or its digests were wrong.
    Lost(Arc<Link>, Arc<Relay>, AttachId),
    /// A page to fill a hole with; the number of pages before it.
    Page(Arc<Relay>, u32, Result<Page, Refusal>),
}

impl Relays {
    /// Most bytes of one topic's tail.
    pub(crate) const TAIL_BYTES: u64 = 1 << 20;

    /// Relays without actors yet; [`supervise`] starts them.
    pub(crate) fn new(state: Arc<EdgeState>, reading: Arc<Reading>, workers: usize) -> Arc<Self> {
        let worker = || Worker {
            rows: Mutex::default(),
            inbox: Mutex::default(),
            kicked: AtomicBool::new(false),
            actor: Mutex::default(),
        };
        Arc::new(Self {
            workers: (0..workers.max(1)).map(|_| worker()).collect(),
            attacher: Attacher::default(),
            reading,
            state,
            bytes: AtomicU64::new(0),
        })
    }

    /// The relay of a topic, begun if need be, for as long as the lease is held (and a while).
    pub(crate) fn lease(self: &Arc<Self>, topic: &TopicName) -> Lease {
        let hash = topic.hash64();
        let count = self.workers.len() as u64;
        let worker = usize::try_from(hash % count).unwrap_or(0);
        let mut rows = locked(&self.workers[worker].rows);
        if let Some(relay) = rows.get(topic).cloned() {
            let lease = Lease::new(relay.clone());
            drop(rows);
            if relay.revive() {
                self.want(&relay);
            }
            return lease;
        }
        let relay = Arc::new(Relay::new(topic.clone(), hash, worker));
        rows.insert(topic.clone(), relay.clone());
        let lease = Lease::new(relay.clone());
        drop(rows);
        self.want(&relay);
        lease
    }

    /// Number of relays.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| locked(&worker.rows).len())
            .sum()
    }

    /// Number of attachments on all links.
    #[cfg(test)]
    pub(crate) fn attachments(&self) -> usize {
        self.attacher.attachments()
    }

    /// Lets go of relays that nobody has used for [`LINGER`]; looks for links that fell silent.
    pub(crate) fn sweep(self: &Arc<Self>, now: Duration) {
        for worker in &self.workers {
            let mut rows = locked(&worker.rows);
            let mut gone = Vec::new();
            rows.retain(|_, relay| {
                let over = relay.is_idle(now, LINGER);
                if over {
                    gone.push(relay.clone());
                }
                !over
            });
            drop(rows);
            for relay in gone {
                relay.forget(&self.bytes);
            }
        }
        for link in self.attacher.links() {
            let silent = link.silent_shards(now);
            self.distrust(&link, silent);
            for (id, relay) in link.drop_late(now) {
                tracing::debug!(topic = %relay.topic(), leader = %link.node(), "no answer to an attachment: attaching again");
                self.push(&relay, Work::Lost(link.clone(), relay.clone(), id));
            }
        }
    }

    /// Hands work to the worker of a relay.
    fn push(&self, relay: &Relay, work: Work) {
        if matches!(work, Work::Lost(..) | Work::Ended(..)) {
            self.state.deps.metrics.reattached.inc();
        }
        let worker = &self.workers[relay.worker()];
        locked(&worker.inbox).push(work);
        worker.kick();
    }

    /// All attachments of these shards on the link are not to be trusted: they begin again.
    fn distrust(&self, link: &Arc<Link>, shards: impl IntoIterator<Item = ShardId>) {
        for shard in shards {
            self.state.deps.metrics.digest_mismatches.inc();
            tracing::warn!(%shard, leader = %link.node(), "a leader's digests fail or fell silent: attaching again");
            for (id, relay) in link.drop_shard(shard) {
                self.push(&relay, Work::Lost(link.clone(), relay.clone(), id));
            }
        }
    }
}

impl Worker {
    fn kick(&self) {
        if !self.kicked.swap(true, Ordering::AcqRel)
            && let Some(actor) = &*locked(&self.actor)
            && actor.cast(actor::Msg::Kick).is_err()
        {
            // The actor is gone; its successor begins with a kick of its own.
            self.kicked.store(false, Ordering::Release);
        }
    }
}
