//! One delivery link: all topics that this edge follows at one leader. A reader hands what comes to
//! the relays' workers, a writer says what waits; neither waits for the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{Attach, AttachId, EdgeSays, LeaderSays, Live, digest_term};
use fanfare_core::position::Position;
use fanfare_core::relay::DigestWatch;
use fanfare_rpc::peer::Peer;
use tokio::sync::{Notify, mpsc};

use super::row::{Attachment, Relay};
use super::{Relays, Work, locked};

/// Credit is given back in pieces of so many bytes.
const CREDIT_STEP: u64 = 64 << 10;
/// Attachments of one message.
const BATCH: usize = 1_000;
/// An attachment is answered within this, or begun again.
const ANSWER: Duration = Duration::from_secs(5);

/// A delivery link to one leader.
pub(super) struct Link {
    node: NodeId,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    over: bool,
    next: u64,
    rows: BTreeMap<AttachId, Row>,
    shards: BTreeMap<ShardId, Shard>,
    attach: Vec<Attach>,
    detach: Vec<AttachId>,
    credit: u64,
}

struct Row {
    shard: ShardId,
    relay: Arc<Relay>,
    /// The last position that came, once live.
    at: Option<Position>,
    /// When it was asked for.
    asked: Duration,
}

/// What a shard's digest should be.
struct Shard {
    watch: DigestWatch,
    count: u64,
    sum: u64,
}

impl State {
    /// Changes the position of a row and with it the digest of its shard.
    fn place(&mut self, id: AttachId, at: Option<Position>, now: Duration) -> Option<Arc<Relay>> {
        let row = self.rows.get_mut(&id)?;
        let hash = row.relay.hash();
        let before = std::mem::replace(&mut row.at, at);
        let fresh = || Shard {
            watch: DigestWatch::new(now),
            count: 0,
            sum: 0,
        };
        let shard = self.shards.entry(row.shard).or_insert_with(fresh);
        if let Some(before) = before {
            shard.count -= 1;
            shard.sum = shard.sum.wrapping_sub(digest_term(hash, before));
        }
        if let Some(at) = at {
            shard.count += 1;
            shard.sum = shard.sum.wrapping_add(digest_term(hash, at));
        }
        let relay = row.relay.clone();
        if shard.count == 0 {
            let shard = row.shard;
            self.shards.remove(&shard);
        }
        Some(relay)
    }

    fn remove(&mut self, id: AttachId, now: Duration) -> Option<Arc<Relay>> {
        self.place(id, None, now);
        self.rows.remove(&id).map(|row| row.relay)
    }
}

impl Link {
    /// Opens a link, with its two tasks.
    pub(super) fn open(relays: &Arc<Relays>, node: NodeId, peer: &Arc<dyn Peer>) -> Arc<Self> {
        let deps = &relays.state.deps;
        let (tx, rx) = mpsc::channel(16);
        let from = peer.deliver(deps.node, rx);
        let link = Arc::new(Self {
            node,
            state: Mutex::default(),
            news: Notify::new(),
        });
        deps.tracker.spawn(link.clone().write(tx));
        deps.tracker.spawn(link.clone().read(relays.clone(), from));
        link
    }

    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// True once nothing comes over it any more.
    pub(super) fn is_over(&self) -> bool {
        locked(&self.state).over
    }

    #[cfg(test)]
    pub(super) fn attachments(&self) -> usize {
        locked(&self.state).rows.len()
    }

    /// Attaches relays of one shard at their last positions. False: the link is gone.
    pub(super) fn attach(
        self: &Arc<Self>,
        shard: ShardId,
        relays: &[Arc<Relay>],
        now: Duration,
    ) -> bool {
        let mut state = locked(&self.state);
        if state.over {
            return false;
        }
        for relay in relays {
            let id = AttachId(state.next);
            let mut attachment = locked(&relay.attachment);
            if matches!(*attachment, Attachment::Over) {
                continue;
            }
            state.next += 1;
            *attachment = Attachment::On(self.clone(), id);
            drop(attachment);
            let after = relay.last();
            state.rows.insert(
                id,
                Row {
                    shard,
                    relay: relay.clone(),
                    at: None,
                    asked: now,
                },
            );
            state.attach.push(Attach {
                id,
                shard,
                topic: relay.topic().clone(),
                after,
            });
        }
        drop(state);
        self.news.notify_one();
        true
    }

    /// Ends an attachment that nobody wants any more.
    pub(super) fn detach(&self, id: AttachId) {
        let mut state = locked(&self.state);
        if state.remove(id, Duration::ZERO).is_some() {
            state.detach.push(id);
        }
        drop(state);
        self.news.notify_one();
    }

    /// So many bytes of runs were taken.
    pub(super) fn credit(&self, bytes: u64) {
        let mut state = locked(&self.state);
        state.credit += bytes;
        let enough = state.credit >= CREDIT_STEP;
        drop(state);
        if enough {
            self.news.notify_one();
        }
    }

    /// Shards whose digests did not come for too long.
    pub(super) fn silent_shards(&self, now: Duration) -> BTreeSet<ShardId> {
        let state = locked(&self.state);
        let silent = state
            .shards
            .iter()
            .filter(|(_, shard)| shard.watch.is_silent(now));
        silent.map(|(id, _)| *id).collect()
    }

    /// Ends attachments that got no answer in time. It says nothing of others: a leader may have to
    /// wait for one topic's epoch.
    pub(super) fn drop_late(&self, now: Duration) -> Vec<(AttachId, Arc<Relay>)> {
        let late = |row: &Row| row.at.is_none() && now.saturating_sub(row.asked) > ANSWER;
        self.drop_rows(late, now)
    }

    /// Ends all attachments of a shard, here and there.
    pub(super) fn drop_shard(&self, shard: ShardId) -> Vec<(AttachId, Arc<Relay>)> {
        self.drop_rows(|row| row.shard == shard, Duration::ZERO)
    }

    fn drop_rows(
        &self,
        which: impl Fn(&Row) -> bool,
        now: Duration,
    ) -> Vec<(AttachId, Arc<Relay>)> {
        let mut state = locked(&self.state);
        let rows = state.rows.iter().filter(|(_, row)| which(row));
        let ids: Vec<_> = rows.map(|(id, _)| *id).collect();
        let mut gone = Vec::new();
        for id in ids {
            gone.extend(state.remove(id, now).map(|relay| (id, relay)));
            state.detach.push(id);
        }
        drop(state);
        self.news.notify_one();
        gone
    }

    fn next_say(&self) -> Option<EdgeSays> {
        let mut state = locked(&self.state);
        if !state.detach.is_empty() {
            return Some(EdgeSays::Detach(std::mem::take(&mut state.detach)));
        }
        if !state.attach.is_empty() {
            let batch = state.attach.len().min(BATCH);
            return Some(EdgeSays::Attach(state.attach.drain(..batch).collect()));
        }
        if state.credit >= CREDIT_STEP {
            return Some(EdgeSays::Credit(std::mem::take(&mut state.credit)));
        }
        None
    }

    async fn write(self: Arc<Self>, to: mpsc::Sender<EdgeSays>) {
        loop {
            while let Some(say) = self.next_say() {
                if to.send(say).await.is_err() {
                    return;
                }
            }
            if locked(&self.state).over {
                return;
            }
            self.news.notified().await;
        }
    }

    async fn read(self: Arc<Self>, relays: Arc<Relays>, mut from: mpsc::Receiver<LeaderSays>) {
        let deps = relays.state.deps.clone();
        loop {
            let said = tokio::select! {
                biased;
                () = deps.stop.cancelled() => None,
                said = from.recv() => said,
            };
            let Some(said) = said else { break };
            self.take(&relays, said, deps.clock.now());
        }
        let mut state = locked(&self.state);
        state.over = true;
        state.shards.clear();
        let rows = std::mem::take(&mut state.rows);
        drop(state);
        self.news.notify_one();
        for (id, row) in rows {
            relays.push(&row.relay.clone(), Work::Lost(self.clone(), row.relay, id));
        }
    }

    fn take(self: &Arc<Self>, relays: &Arc<Relays>, said: LeaderSays, now: Duration) {
        let mut state = locked(&self.state);
        match said {
            LeaderSays::Attached(attached) => {
                let relay = match &attached.live {
                    Live::Yes(run) => state.place(attached.id, Some(run.end()), now),
                    Live::No => state.remove(attached.id, now),
                };
                drop(state);
                if let Some(relay) = relay {
                    relays.push(
                        &relay.clone(),
                        Work::Attached(self.clone(), relay, attached),
                    );
                }
            }
            LeaderSays::Run(id, run) => {
                let relay = state.place(id, Some(run.end()), now);
                drop(state);
                match relay {
                    Some(relay) => {
                        relays.push(&relay.clone(), Work::Run(self.clone(), relay, id, run));
                    }
                    // On its way when the attachment was ended: nobody else gives its credit back.
                    None => self.credit(run.cost()),
                }
            }
            LeaderSays::Ended(id, why) => {
                let relay = state.remove(id, now);
                drop(state);
                if let Some(relay) = relay {
                    relays.push(&relay.clone(), Work::Ended(self.clone(), relay, id, why));
                }
            }
            LeaderSays::Digest { shard, count, sum } => {
                let wrong = state.shards.get_mut(&shard).is_some_and(|mine| {
                    mine.watch
                        .on_digest(now, (mine.count, mine.sum) == (count, sum))
                });
                drop(state);
                if wrong {
                    relays.distrust(self, [shard]);
                }
            }
        }
    }
}
