//! A judge that watches a run as it goes, in bounded memory: of each topic a window of its newest
//! slots and its highest ack. It gives LOST by what subscribers were delivered, not by dumps.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::observation::Position;
use crate::reading::{Finding, Reading};
use crate::verdict::{Report, Verdict};

/// Slots kept over all topics, and bounds of one topic's share.
const SLOTS: usize = 1 << 20;
const SHARE: std::ops::RangeInclusive<usize> = 16..=1 << 16;

/// The newest slots of a topic, and what was acked.
#[derive(Debug, Default)]
struct Topic {
    /// Digest of the payload by slot; older ones are let go.
    slots: BTreeMap<Position, u64>,
    /// The same, by digest: of drafts, which are all different.
    drafts: BTreeMap<u64, Position>,
    acked: Option<Position>,
}

/// See the module. Shared by all publishers and subscribers of a run.
#[derive(Debug)]
pub struct Watch {
    names: Vec<String>,
    topics: Vec<Mutex<Topic>>,
    share: usize,
    report: Mutex<Report>,
}

impl Watch {
    /// What this judge can say.
    pub const JUDGED: [Verdict; 10] = [
        Verdict::Lost,
        Verdict::Repeated,
        Verdict::Skip,
        Verdict::GapUnsignalled,
        Verdict::PublisherOrder,
        Verdict::Diverged,
        Verdict::Duplicated,
        Verdict::Phantom,
        Verdict::WrongTopic,
        Verdict::Downgraded,
    ];

    /// Watches these topics, by their place in the list.
    pub fn new(names: Vec<String>) -> Self {
        Self::with_slots(names, SLOTS)
    }

    /// The same, with so many slots kept over all topics.
    pub fn with_slots(names: Vec<String>, slots: usize) -> Self {
        let share = slots.checked_div(names.len()).unwrap_or(slots);
        Self {
            topics: names.iter().map(|_| Mutex::default()).collect(),
            names,
            share: share.clamp(*SHARE.start(), *SHARE.end()),
            report: Mutex::default(),
        }
    }

    /// A draft with this digest was acked at this position.
    pub fn acked(&self, topic: usize, at: Position, digest: u64) {
        self.note(|report| report.acked_durable += 1);
        self.placed(topic, at, digest);
        if let Some(state) = self.topics.get(topic) {
            let mut state = lock(state);
            state.acked = state.acked.max(Some(at));
        }
    }

    /// The highest acked position of a topic.
    pub fn highest(&self, topic: usize) -> Option<Position> {
        self.topics.get(topic).and_then(|state| lock(state).acked)
    }

    /// A session of a subscriber was answered.
    pub fn attached(
        &self,
        topic: usize,
        sub: &str,
        reading: &mut Reading,
        answer: &str,
        from: Option<Position>,
        head: Option<Position>,
    ) {
        let found = reading.attached(answer, from, head);
        self.note(|report| report.sessions += 1);
        self.find(topic, sub, found);
    }

    /// A message came to a subscriber; `digest` is of its payload, if it is one of this run.
    pub fn message(
        &self,
        topic: usize,
        sub: &str,
        reading: &mut Reading,
        at: Position,
        digest: Option<u64>,
    ) {
        let found = reading.message(at);
        if found.iter().any(Option::is_some) {
            self.find(topic, sub, found.into_iter().flatten());
        }
        if let Some(digest) = digest {
            self.placed(topic, at, digest);
        }
    }

    /// A gap was told to a subscriber.
    pub fn gap(&self, reading: &mut Reading, reason: &str, to: Position) {
        reading.gap(reason, to);
        self.note(|report| report.gaps += 1);
    }

    /// Gives a verdict that the run itself came to.
    pub fn give(&self, verdict: Verdict, topic: usize, proof: impl FnOnce() -> String) {
        let name = self.names.get(topic).map_or("", String::as_str);
        self.note(|report| report.give(verdict, name, proof));
    }

    /// The run is over and the subscriber had its time: what it still lacks of what was acked is
    /// lost to it. A subscriber that was never attached lacks nothing.
    pub fn finish(&self, topic: usize, sub: &str, reading: &Reading) {
        let Some(acked) = self.highest(topic) else {
            return;
        };
        if !reading.was_attached() || reading.at() >= Some(acked) {
            return;
        }
        let at = reading.at();
        self.give(Verdict::Lost, topic, || {
            let at = at.map_or("nothing".to_owned(), |at| at.to_string());
            format!("subscriber {sub} has {at} and no gap after it, {acked} was acked")
        });
    }

    /// Counts and verdicts so far.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Verdicts given so far.
    pub fn verdicts(&self) -> u64 {
        lock(&self.report).verdicts.values().sum()
    }

    fn find(&self, topic: usize, sub: &str, found: impl IntoIterator<Item = Finding>) {
        for finding in found {
            let proof = || format!("subscriber {sub} {finding}");
            self.give(finding.verdict(), topic, proof);
        }
    }

    /// Somebody saw this value in this slot: it has no other, and the draft has no other slot.
    fn placed(&self, topic: usize, at: Position, digest: u64) {
        let Some(state) = self.topics.get(topic) else {
            return;
        };
        let mut state = lock(state);
        let Topic { slots, drafts, .. } = &mut *state;
        if let Some(known) = slots.get(&at) {
            let known = *known;
            drop(state);
            if known != digest {
                let proof = || format!("slot {at} has payloads {known:016x} and {digest:016x}");
                self.give(Verdict::Diverged, topic, proof);
            }
            return;
        }
        let full = slots.len() >= self.share;
        if full && slots.keys().next().is_some_and(|oldest| at < *oldest) {
            return;
        }
        slots.insert(at, digest);
        let other = drafts.insert(digest, at);
        if full && let Some((_, old)) = slots.pop_first() {
            drafts.remove(&old);
        }
        drop(state);
        // Keys are forgotten with their epoch.
        if let Some(other) = other.filter(|other| other.epoch == at.epoch) {
            let proof = || format!("draft {digest:016x} is in slots {other} and {at}");
            self.give(Verdict::Duplicated, topic, proof);
        }
    }

    fn note(&self, change: impl FnOnce(&mut Report)) {
        change(&mut lock(&self.report));
    }
}

/// The order of one publish stream (C3): of two of its drafts for one topic, neither sent again,
/// the first has the lower position. Compares each ack with the newest draft's.
#[derive(Debug, Default)]
pub struct StreamOrder {
    newest: BTreeMap<usize, (u64, Position)>,
    /// Drafts below this number may have been sent again.
    from: u64,
}

impl StreamOrder {
    /// Something was sent again: drafts below `next` say nothing of order.
    pub fn on_sent_again(&mut self, next: u64) {
        self.newest.clear();
        self.from = next;
    }

    /// Draft `n` of the stream, for `topic`, is placed. The proof, if it is out of order.
    pub fn on_acked(&mut self, topic: usize, n: u64, at: Position) -> Option<String> {
        if n < self.from {
            return None;
        }
        let (newest, highest) = *self.newest.entry(topic).or_insert((n, at));
        let wrong = (n > newest && at <= highest) || (n < newest && at >= highest);
        if n > newest {
            self.newest.insert(topic, (n, at));
        }
        wrong.then(|| {
            format!("drafts {newest} and {n} of a stream are placed at {highest} and {at}")
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
