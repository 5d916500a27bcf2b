//! The book of a run: every observation with its time, and what was acked, for those who wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    enough: AtomicBool,
}

impl Book {
    /// An empty book; the run's time begins now.
    pub fn new() -> Self {
        Self {
            clock: RealClock::new(),
            lines: Mutex::default(),
            acked: Mutex::default(),
            drafts: Mutex::default(),
            next_op: AtomicU64::new(1),
            acks: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            enough: AtomicBool::new(false),
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
            t: u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX),
            wall: self.clock.wall_ms(),
            by: by.to_owned(),
            event,
        };
        lock(&self.lines).push(line);
    }

    /// Nothing new is published from now on.
    pub fn close(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    /// True once nothing new is published.
    pub fn is_closed(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
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

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
