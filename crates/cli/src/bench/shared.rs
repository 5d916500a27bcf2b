//! What all tasks of a run share: the plan, the judge, counts, latencies, and which phase it is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fanfare_checker::Watch;
use fanfare_client::{Endpoints, Machine, Transport, Via};
use fanfare_core::name::TopicName;
use fanfare_host::{Counter, Gauge};
use hdrhistogram::{CreationError, Histogram};

use super::outcome::Gaps;
use super::plan::Plan;

/// Longest latency that is told apart, µs.
const LONGEST: u64 = 600_000_000;
/// Reasons of one kind that are told apart; the rest is counted as "other".
const REASONS: usize = 16;

pub(super) const VIAS: [(Via, &str); 3] =
    [(Via::Grpc, "grpc"), (Via::Http, "http"), (Via::Ws, "ws")];
pub(super) const TRANSPORTS: [Transport; 6] = [
    Transport::Ws,
    Transport::Sse,
    Transport::LongPoll,
    Transport::Poll,
    Transport::Tail,
    Transport::Grpc,
];

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Subscribers are being attached.
    Connecting,
    /// Load that is not measured yet.
    Warmup,
    /// Load that is measured.
    Measuring,
    /// Nothing new is published; acks of what is under way are waited for.
    Settling,
    /// Subscribers read up to the last ack.
    Reading,
    /// Whoever still waits for something goes home.
    Over,
}

/// How a run stands, for people who watch it.
#[derive(Clone, Debug)]
pub struct Progress {
    pub phase: Phase,
    /// Time of load so far, and in all.
    pub at: Duration,
    pub of: Duration,
    /// Subscribers that are attached, of so many.
    pub attached: u64,
    pub subscribers: u64,
    /// Since the last progress, a second.
    pub acks: f64,
    pub deliveries: f64,
    /// 99th percentiles so far, µs; `None` before there is one.
    pub ack_p99: Option<u64>,
    pub delivery_p99: Option<u64>,
    pub verdicts: u64,
}

/// Counts of one way, with its latencies.
#[derive(Debug)]
pub(super) struct Way {
    /// Everything, and what came while it was measured.
    pub(super) all: Counter,
    pub(super) measured: Counter,
    latency: Mutex<Histogram<u64>>,
}

impl Way {
    fn new() -> Result<Self, CreationError> {
        Ok(Self {
            all: Counter::default(),
            measured: Counter::default(),
            latency: Mutex::new(Histogram::new_with_bounds(1, LONGEST, 3)?),
        })
    }

    pub(super) fn latency(&self) -> Histogram<u64> {
        lock(&self.latency).clone()
    }

    fn p99(&self, most: &mut Option<u64>) {
        let latency = lock(&self.latency);
        if !latency.is_empty() {
            *most = (*most).max(Some(latency.value_at_quantile(0.99)));
        }
    }
}

/// Reasons, each with its count.
#[derive(Debug, Default)]
pub(super) struct Reasons(Mutex<BTreeMap<String, u64>>);

impl Reasons {
    pub(super) fn add(&self, reason: impl Into<String>) {
        let mut all = lock(&self.0);
        let reason = reason.into();
        let known = all.len() < REASONS || all.contains_key(&reason);
        let reason = if known { reason } else { "other".to_owned() };
        *all.entry(reason).or_default() += 1;
    }

    pub(super) fn all(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }
}

/// See the module.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) mark: u32,
    pub(super) topics: Vec<TopicName>,
    pub(super) watch: Watch,
    /// Drafts that each lane has handed over.
    pub(super) submitted: Vec<AtomicU64>,
    pub(super) published: Vec<Way>,
    pub(super) delivered: Vec<Way>,
    pub(super) unsent: Counter,
    pub(super) refused: Reasons,
    pub(super) unknown: Reasons,
    pub(super) attached: Gauge,
    pub(super) sessions: Counter,
    pub(super) drops: Counter,
    pub(super) cuts: Reasons,
    pub(super) failed: Reasons,
    pub(super) foreign: Counter,
    gaps: Mutex<BTreeMap<String, Gaps>>,
    /// What is measured, on the run's clock; set when the load begins.
    window: OnceLock<(Duration, Duration)>,
}

impl Shared {
    pub(super) fn new(
        plan: Plan,
        machine: Machine,
        mark: u32,
        topics: Vec<TopicName>,
    ) -> Result<Self, CreationError> {
        let names = topics
            .iter()
            .map(|topic| topic.as_str().to_owned())
            .collect();
        Ok(Self {
            watch: Watch::new(names),
            submitted: (0..plan.lanes()).map(|_| AtomicU64::new(0)).collect(),
            published: VIAS.iter().map(|_| Way::new()).collect::<Result<_, _>>()?,
            delivered: TRANSPORTS
                .iter()
                .map(|_| Way::new())
                .collect::<Result<_, _>>()?,
            unsent: Counter::default(),
            refused: Reasons::default(),
            unknown: Reasons::default(),
            attached: Gauge::default(),
            sessions: Counter::default(),
            drops: Counter::default(),
            cuts: Reasons::default(),
            failed: Reasons::default(),
            foreign: Counter::default(),
            gaps: Mutex::default(),
            window: OnceLock::new(),
            plan,
            machine,
            mark,
            topics,
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.machine.clock.now()
    }

    /// What is measured from now on is due, or comes, in this time.
    pub(super) fn measure(&self, from: Duration, to: Duration) {
        self.window.get_or_init(|| (from, to));
    }

    /// The time that is measured; empty before the load.
    pub(super) fn window(&self) -> (Duration, Duration) {
        self.window.get().copied().unwrap_or_default()
    }

    /// Counts something that came now and was due then.
    pub(super) fn came(&self, way: Option<&Way>, due: Duration) {
        let Some(way) = way else {
            return;
        };
        let now = self.now();
        way.all.inc();
        let (from, to) = self.window();
        if (from..to).contains(&now) {
            way.measured.inc();
        }
        if (from..to).contains(&due) {
            let took = u64::try_from(now.saturating_sub(due).as_micros()).unwrap_or(u64::MAX);
            lock(&way.latency).saturating_record(took.max(1));
        }
    }

    pub(super) fn publish_way(&self, via: Via) -> Option<&Way> {
        let at = VIAS.iter().position(|row| row.0 == via)?;
        self.published.get(at)
    }

    pub(super) fn delivery_way(&self, transport: Transport) -> Option<&Way> {
        let at = TRANSPORTS.iter().position(|row| *row == transport)?;
        self.delivered.get(at)
    }

    pub(super) fn gap(&self, reason: String, missed: Option<u64>) {
        let mut gaps = lock(&self.gaps);
        let known = gaps.len() < REASONS || gaps.contains_key(&reason);
        let reason = if known { reason } else { "other".to_owned() };
        let row = gaps.entry(reason).or_default();
        row.told += 1;
        row.missed += missed.unwrap_or(0);
    }

    pub(super) fn gaps(&self) -> BTreeMap<String, Gaps> {
        lock(&self.gaps).clone()
    }

    /// True if a lane has handed over its draft `n`.
    pub(super) fn was_submitted(&self, lane: usize, n: u64) -> bool {
        let count = self.submitted.get(lane);
        count.is_some_and(|count| n < count.load(Ordering::Acquire))
    }

    /// The doors as the `n`-th client sees them: each begins with another.
    pub(super) fn endpoints(&self, n: usize) -> Endpoints {
        let mut endpoints = self.plan.endpoints.clone();
        for list in [&mut endpoints.edges, &mut endpoints.grpc] {
            let by = n.checked_rem(list.len()).unwrap_or(0);
            list.rotate_left(by);
        }
        endpoints
    }

    pub(super) fn acks(&self) -> u64 {
        self.published.iter().map(|way| way.all.get()).sum()
    }

    pub(super) fn deliveries(&self) -> u64 {
        self.delivered.iter().map(|way| way.all.get()).sum()
    }

    /// The worst 99th percentile of acks, and of deliveries.
    pub(super) fn p99s(&self) -> (Option<u64>, Option<u64>) {
        let worst = |ways: &[Way]| {
            let mut most = None;
            ways.iter().for_each(|way| way.p99(&mut most));
            most
        };
        (worst(&self.published), worst(&self.delivered))
    }
}

/// A position as the judge has it.
pub(super) fn judged(at: fanfare_core::position::Position) -> fanfare_checker::Position {
    fanfare_checker::Position {
        epoch: at.epoch.0,
        offset: at.offset.0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
