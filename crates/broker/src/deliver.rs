//! Delivery links: what edges wish goes to the shards, what topics say goes to the edge as its
//! credit allows. A link that dies ends all its attachments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_core::attach::{LinkId, Outbox};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{Attach, AttachId, EdgeSays, Ended, LeaderSays};
use fanfare_core::name::TopicName;
use fanfare_host::Clock;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Live attachments of one link; more are refused.
const MAX_LIVE: usize = 1 << 20;
/// Wishes of one link on their way to shards, and answers that wait for the edge to read them.
const MAX_WISHES: usize = 4_096;
/// Time between two digests.
const DIGEST_EVERY: Duration = Duration::from_secs(1);

/// One edge's link: topics put into it, a task sends.
pub(crate) struct DeliveryLink {
    pub(crate) id: LinkId,
    edge: NodeId,
    outbox: Mutex<Outbox>,
    news: Notify,
    drained: Notify,
    closed: CancellationToken,
}

/// Where the wishes of edges go.
pub(crate) trait Shards: Send + Sync + 'static {
    /// Begins an attachment; it is answered in the link's outbox.
    fn attach(&self, link: &Arc<DeliveryLink>, wish: Wish);
    /// Ends attachments of one shard.
    fn detach(&self, link: LinkId, shard: ShardId, gone: Vec<(TopicName, AttachId)>);
}

/// A wish to attach, with the permit that bounds how many are on their way.
pub(crate) struct Wish {
    pub(crate) attach: Attach,
    pub(crate) slot: OwnedSemaphorePermit,
}

impl DeliveryLink {
    pub(crate) fn new(id: LinkId, edge: NodeId, closed: CancellationToken) -> Self {
        Self {
            id,
            edge,
            outbox: Mutex::new(Outbox::new()),
            news: Notify::new(),
            drained: Notify::new(),
            closed,
        }
    }

    /// Puts something into the outbox, then wakes the writer.
    pub(crate) fn put<R>(&self, put: impl FnOnce(&mut Outbox) -> R) -> R {
        let result = put(&mut self.outbox());
        self.news.notify_one();
        result
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the edge says until it ends or the link is dead; then ends its attachments.
    pub(crate) async fn read(
        self: Arc<Self>,
        mut says: mpsc::Receiver<EdgeSays>,
        shards: Arc<dyn Shards>,
    ) {
        let mut held = Held::default();
        let slots = Arc::new(Semaphore::new(MAX_WISHES));
        loop {
            let say = tokio::select! { biased;
                () = self.closed.cancelled() => None,
                say = says.recv() => say,
            };
            match say {
                None => break,
                Some(EdgeSays::Credit(bytes)) => self.put(|outbox| outbox.credit(bytes)),
                Some(EdgeSays::Detach(ids)) => self.detach(&mut held, &ids, &*shards),
                Some(EdgeSays::Attach(wishes)) => {
                    if !self.attach_all(&mut held, wishes, &slots, &shards).await {
                        break;
                    }
                }
            }
        }
        self.closed.cancel();
        tracing::debug!(link = self.id.0, edge = %self.edge, "a delivery link ended");
        for (shard, gone) in held.by_shard() {
            shards.detach(self.id, shard, gone);
        }
    }

    /// False if the edge does not keep to the protocol.
    async fn attach_all(
        self: &Arc<Self>,
        held: &mut Held,
        wishes: Vec<Attach>,
        slots: &Arc<Semaphore>,
        shards: &Arc<dyn Shards>,
    ) -> bool {
        for attach in wishes {
            if held.rows.contains_key(&attach.id) {
                tracing::warn!(edge = %self.edge, id = attach.id.0, "an attachment's number came twice");
                return false;
            }
            self.answers_read().await;
            self.forget_ended(held, slots).await;
            let Ok(slot) = Arc::clone(slots).acquire_owned().await else {
                return false;
            };
            self.attach(held, Wish { attach, slot }, shards);
        }
        true
    }

    /// Forgets attachments that have ended, once there are many and no wish is on its way.
    async fn forget_ended(&self, held: &mut Held, slots: &Semaphore) {
        if held.rows.len() <= 2 * (self.outbox().live() + MAX_WISHES) {
            return;
        }
        let all = u32::try_from(MAX_WISHES).unwrap_or(u32::MAX);
        if let Ok(all) = slots.acquire_many(all).await {
            let outbox = self.outbox();
            held.rows.retain(|id, _| outbox.is_live(*id));
            drop(all);
        }
    }

    fn attach(self: &Arc<Self>, held: &mut Held, wish: Wish, shards: &Arc<dyn Shards>) {
        let live = self.outbox().live();
        if live >= MAX_LIVE {
            return self.put(|outbox| outbox.end(wish.attach.id, Ended::Overloaded));
        }
        let row = (wish.attach.shard, wish.attach.topic.clone());
        held.rows.insert(wish.attach.id, row);
        shards.attach(self, wish);
    }

    fn detach(&self, held: &mut Held, ids: &[AttachId], shards: &dyn Shards) {
        let mut gone = Held::default();
        for id in ids {
            self.put(|outbox| outbox.detach(*id));
            if let Some(row) = held.rows.remove(id) {
                gone.rows.insert(*id, row);
            }
        }
        for (shard, gone) in gone.by_shard() {
            shards.detach(self.id, shard, gone);
        }
    }

    /// Waits until the edge has read most answers: an edge that only asks is not read either.
    async fn answers_read(&self) {
        loop {
            let drained = self.drained.notified();
            if self.outbox().answers_waiting() < MAX_WISHES || self.closed.is_cancelled() {
                return;
            }
            tokio::select! { biased;
                () = self.closed.cancelled() => return,
                () = drained => {}
            }
        }
    }

    /// Sends what waits, and a digest of each shard every second, until the edge is gone.
    pub(crate) async fn write(
        self: Arc<Self>,
        to_edge: mpsc::Sender<LeaderSays>,
        clock: Arc<dyn Clock>,
    ) {
        let mut digest_at = clock.now() + DIGEST_EVERY;
        loop {
            let now = clock.now();
            let says = match self.take(now >= digest_at) {
                Next::Say(say) => vec![say],
                Next::Digests(digests) => {
                    digest_at = now + DIGEST_EVERY;
                    digests
                }
                Next::Nothing => Vec::new(),
            };
            self.drained.notify_one();
            if says.is_empty() {
                tokio::select! { biased;
                    () = self.closed.cancelled() => return self.flush(&to_edge),
                    () = to_edge.closed() => break,
                    () = self.news.notified() => {}
                    () = clock.sleep_until(digest_at) => {}
                }
            }
            for say in says {
                let sent = tokio::select! { biased;
                    // First: what was taken out of the box must not be lost at the end.
                    sent = to_edge.send(say) => sent,
                    () = self.closed.cancelled() => return,
                };
                if sent.is_err() {
                    return self.closed.cancel();
                }
            }
        }
        self.closed.cancel();
    }

    /// At the end: what the edge has room for, so that it learns where to go.
    fn flush(&self, to_edge: &mpsc::Sender<LeaderSays>) {
        while let Next::Say(say) = self.take(false) {
            if to_edge.try_send(say).is_err() {
                return;
            }
        }
    }

    /// The next thing to send. Digests pass runs, so that load does not silence them, but no answer:
    /// they count what the edge knows of.
    fn take(&self, digests_due: bool) -> Next {
        let mut outbox = self.outbox();
        if digests_due && outbox.answers_waiting() == 0 {
            return Next::Digests(outbox.digests().collect());
        }
        outbox.next_say().map_or(Next::Nothing, Next::Say)
    }
}

enum Next {
    Say(LeaderSays),
    Digests(Vec<LeaderSays>),
    Nothing,
}

/// Which topic each attachment of a link is of.
#[derive(Default)]
struct Held {
    rows: BTreeMap<AttachId, (ShardId, TopicName)>,
}

impl Held {
    fn by_shard(self) -> BTreeMap<ShardId, Vec<(TopicName, AttachId)>> {
        let mut shards: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (id, (shard, topic)) in self.rows {
            shards.entry(shard).or_default().push((topic, id));
        }
        shards
    }
}
