//! The book of a run: every observation with its time, and what was acked, for those who wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_checker::{Event, Line};
use fanfare_core::position::Position;
use fanfare_host::{Clock, RealClock};

/// All that was seen, by all clients of the run.
pub struct Book {
    clock: RealClock,
    lines: Mutex<Vec<Line>>,
    /// Highest position acked durable, by topic.
    acked: Mutex<BTreeMap<String, Position>>,
    /// Draft of each payload's hash.
    drafts: Mutex<BTreeMap<String, String>>,
    next_op: AtomicU64,
    acks: AtomicU64,
    messages: AtomicU64,
    /// When nothing new is published any more, in nanoseconds of the run.
    end: AtomicU64,
    settle: Duration,
}

impl Book {
    /// An empty book; the run's time begins now. Publishing ends after `length`, and whoever has
    /// not read everything `settle` later never will.
    pub fn new(length: Duration, settle: Duration) -> Self {
        let clock = RealClock::new();
        let end = AtomicU64::new(nanos(clock.now() + length));
        Self {
            clock,
            lines: Mutex::default(),
            acked: Mutex::default(),
            drafts: Mutex::default(),
            next_op: AtomicU64::new(1),
            acks: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            end,
            settle,
        }
    }

    /// Time of the run.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Notes an observation.
    pub fn note(&self, by: &str, event: Event) {
        match &event {
            Event::Acked {
                topic,
                epoch,
                offset,
                ..
            } => {
                self.acks.fetch_add(1, Ordering::Relaxed);
                let at = Position::new(*epoch, *offset);
                let mut acked = lock(&self.acked);
                let highest = acked.entry(topic.clone()).or_insert(at);
                *highest = (*highest).max(at);
            }
            Event::Message { .. } => {
                self.messages.fetch_add(1, Ordering::Relaxed);
            }
            Event::Publish { draft, hash, .. } => {
                lock(&self.drafts).insert(hash.clone(), draft.clone());
            }
            _ => {}
        }
        let line = Line {
            t: nanos(self.now()),
            wall: self.clock.wall_ms(),
            by: by.to_owned(),
            event,
        };
        lock(&self.lines).push(line);
    }

    /// Nothing new is published from now on.
    pub fn close(&self) {
        self.end.fetch_min(nanos(self.now()), Ordering::Relaxed);
    }

    /// When nothing new is published any more.
    pub fn end(&self) -> Duration {
        Duration::from_nanos(self.end.load(Ordering::Relaxed))
    }

    /// When what is still missing is counted as missing.
    pub fn give_up(&self) -> Duration {
        self.end() + self.settle
    }

    /// A number no other sending of the run has.
    pub fn op(&self) -> u64 {
        self.next_op.fetch_add(1, Ordering::Relaxed)
    }

    /// Acks and messages so far.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.acks.load(Ordering::Relaxed),
            self.messages.load(Ordering::Relaxed),
        )
    }

    /// The highest acked position of a topic.
    pub fn acked(&self, topic: &str) -> Option<Position> {
        lock(&self.acked).get(topic).copied()
    }

    /// The draft with this payload hash; empty if nobody published it.
    pub fn draft(&self, hash: &str) -> String {
        lock(&self.drafts).get(hash).cloned().unwrap_or_default()
    }

    /// All lines by time; the book is empty afterwards.
    pub fn take(&self) -> Vec<Line> {
        let mut lines = std::mem::take(&mut *lock(&self.lines));
        lines.sort_by_key(|line| line.t);
        lines
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
