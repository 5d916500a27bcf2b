//! What waits on one delivery link, as a value: answers first, runs as credit allows, and for each
//! shard the digest of what the edge has been sent. Bounded; who sends it is not in here.

use std::collections::{BTreeMap, VecDeque};

use crate::id::ShardId;
use crate::link::{AttachId, Attached, Ended, LeaderSays, Live, Run, digest_term};
use crate::position::Position;

/// Everything on its way to one edge. Answers and endings go before runs and need no credit: what
/// an edge must know to go on never waits behind what it has no room for.
#[derive(Debug)]
pub struct Outbox {
    answers: VecDeque<LeaderSays>,
    runs: VecDeque<(AttachId, Run)>,
    /// Bytes of `runs`.
    waiting: u64,
    /// Bytes that may still be sent; the last run may overdraw it.
    credit: i64,
    live: BTreeMap<AttachId, LiveRow>,
    digests: BTreeMap<ShardId, Digest>,
}

/// A live attachment as the edge knows it, once `told`.
#[derive(Clone, Copy, Debug)]
struct LiveRow {
    shard: ShardId,
    topic: u64,
    /// The last position sent.
    sent: Position,
    /// The last position queued.
    queued: Position,
    told: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Digest {
    count: u64,
    sum: u64,
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It is on its way.
    Queued,
    /// The attachment is over: detached meanwhile, or ended now because too much waits.
    Over,
}

impl Outbox {
    /// Bytes of runs a link may have on the way before the edge has taken them: the credit a link
    /// begins with, and never more than this.
    pub const WINDOW: u64 = 4 << 20;
    /// Bytes of runs that may wait beyond the credit; then attachments end as lagging.
    pub const MAX_WAITING: u64 = 4 << 20;

    /// An outbox with a full window.
    pub fn new() -> Self {
        Self {
            answers: VecDeque::new(),
            runs: VecDeque::new(),
            waiting: 0,
            credit: Self::WINDOW as i64,
            live: BTreeMap::new(),
            digests: BTreeMap::new(),
        }
    }

    /// Queues the answer to an attach. `topic` is the hash of its name.
    pub fn attached(&mut self, shard: ShardId, topic: u64, attached: Attached) {
        self.forget(attached.id);
        if let Live::Yes(run) = &attached.live {
            let end = run.end();
            let row = LiveRow {
                shard,
                topic,
                sent: end,
                queued: end,
                told: false,
            };
            self.live.insert(attached.id, row);
        }
        self.answers.push_back(LeaderSays::Attached(attached));
    }

    /// Queues a run of a live attachment.
    pub fn run(&mut self, id: AttachId, run: Run) -> Pushed {
        let Some(row) = self.live.get_mut(&id) else {
            return Pushed::Over;
        };
        if row.queued != run.after || self.waiting > Self::MAX_WAITING {
            self.end(id, Ended::Lagging);
            return Pushed::Over;
        }
        row.queued = run.end();
        self.waiting += run.cost();
        self.runs.push_back((id, run));
        Pushed::Queued
    }

    /// Ends an attachment, live or only wished for; its runs that wait are dropped.
    pub fn end(&mut self, id: AttachId, why: Ended) {
        self.forget(id);
        self.answers.push_back(LeaderSays::Ended(id, why));
    }

    /// The edge wants no more of it.
    pub fn detach(&mut self, id: AttachId) {
        self.forget(id);
    }

    /// The edge has taken so many bytes.
    pub fn credit(&mut self, bytes: u64) {
        let more = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(more).min(Self::WINDOW as i64);
    }

    /// The next thing to send; `None` if nothing waits or the credit is used up.
    pub fn next_say(&mut self) -> Option<LeaderSays> {
        if let Some(say) = self.answers.pop_front() {
            if let LeaderSays::Attached(attached) = &say {
                self.told(attached.id);
            }
            return Some(say);
        }
        while self.credit > 0 {
            let (id, run) = self.runs.pop_front()?;
            self.waiting = self.waiting.saturating_sub(run.cost());
            let Some(row) = self.live.get_mut(&id) else {
                continue;
            };
            let digest = self.digests.entry(row.shard).or_default();
            digest.remove(row);
            row.sent = run.end();
            digest.add(row);
            self.credit = self.credit.saturating_sub_unsigned(run.cost());
            return Some(LeaderSays::Run(id, run));
        }
        None
    }

    /// The digests of all shards with live attachments, of what has been taken by `next_say`.
    /// Ask only while no answer waits.
    pub fn digests(&self) -> impl Iterator<Item = LeaderSays> {
        self.digests
            .iter()
            .map(|(shard, digest)| LeaderSays::Digest {
                shard: *shard,
                count: digest.count,
                sum: digest.sum,
            })
    }

    /// Answers and endings that wait. Whoever takes wishes from the edge waits while it is high.
    pub fn answers_waiting(&self) -> usize {
        self.answers.len()
    }

    /// Live attachments.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// True if this attachment is live.
    pub fn is_live(&self, id: AttachId) -> bool {
        self.live.contains_key(&id)
    }

    fn told(&mut self, id: AttachId) {
        if let Some(row) = self.live.get_mut(&id) {
            row.told = true;
            self.digests.entry(row.shard).or_default().add(row);
        }
    }

    fn forget(&mut self, id: AttachId) {
        let Some(row) = self.live.remove(&id).filter(|row| row.told) else {
            return;
        };
        if let Some(digest) = self.digests.get_mut(&row.shard) {
            digest.remove(&row);
            if digest.count == 0 {
                self.digests.remove(&row.shard);
            }
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Digest {
    fn add(&mut self, row: &LiveRow) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(digest_term(row.topic, row.sent));
    }

    fn remove(&mut self, row: &LiveRow) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(digest_term(row.topic, row.sent));
    }
}
