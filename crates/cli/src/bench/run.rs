//! A run: reach the nodes, attach, load, settle, judge, and tidy up. Interrupts shorten it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fanfare_client::{Address, Admin, AdminError, Endpoints, Machine, Stopped, Told};
use fanfare_core::name::TopicName;
use fanfare_core::rule::RuleLayer;
use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, iter};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};

use super::limits::Limits;
use super::outcome::Outcome;
use super::payload::SMALLEST;
use super::plan::Plan;
use super::publishing::Lane;
use super::shared::{Phase, Progress, Shared};
use super::subscribing::{ReadOut, Reader};
use super::usage::Usage;

/// How long a door may take to be reached.
const REACH: Duration = Duration::from_secs(5);
/// Subscribers that attach at one time, and topics that are made or deleted at one time.
const AT_ONCE: usize = 64;
/// Between two looks at how the run stands.
const TICK: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(50);
/// What an interrupted run may take to come to its end.
const HURRY: Duration = Duration::from_secs(5);
/// How long tidying up may take.
const TIDY: Duration = Duration::from_secs(20);
/// What a frame has around a payload, about.
const FRAME: usize = 120;

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plan cannot be carried out: change it.
    #[error("{0}")]
    Plan(String),
    /// No node was reached at any address that is needed.
    #[error("no node was reached: {0}")]
    Unreachable(String),
    /// A node refused what everything else needs: act by the code.
    #[error("{0}")]
    Refused(Box<Told>),
    /// This machine does not do what is needed.
    #[error("this machine: {0}")]
    Machine(String),
}

/// Carries the plan out. `interrupts` grows: at the first one nothing new is published and what is
/// under way has 5 s, at the second one the run is over. `told` hears each second how it stands.
pub async fn run(
    mut plan: Plan,
    machine: Machine,
    interrupts: watch::Receiver<u32>,
    told: impl FnMut(&Progress),
) -> Result<Outcome, BenchError> {
    check(&plan)?;
    let mark = u32::try_from(machine.chance.below(1 << 32)).unwrap_or(0);
    let topics: Option<Vec<TopicName>> = (0..plan.topics).map(|n| plan.topic(mark, n)).collect();
    let bad = || BenchError::Plan(format!("--prefix: `{}` begins no topic name", plan.prefix));
    let topics = topics.ok_or_else(bad)?;
    let unreached = reach(&mut plan, &machine).await?;
    let mut limits = Vec::new();
    limits.extend(measured_limits(&plan).await?);
    if let Some(rules) = &plan.rules {
        make_topics(&plan, &machine, &topics, rules).await?;
    }
    let shared = Shared::new(plan, machine, mark, topics);
    let shared = Arc::new(shared.map_err(|e| BenchError::Machine(e.to_string()))?);
    let mut outcome = Stage::new(shared.clone(), interrupts, told).run().await?;
    if !outcome.interrupted {
        limits.extend(measured_limits(&shared.plan).await?);
    }
    tidy(&shared).await;
    outcome.limits = limits;
    outcome.unreached = unreached;
    Ok(outcome)
}

fn check(plan: &Plan) -> Result<(), BenchError> {
    let wrong = |why: &str| Err(BenchError::Plan(why.to_owned()));
    if plan.topics == 0 || plan.via.is_empty() {
        return wrong("a run has a topic and a way to publish");
    }
    if plan.subscribers > 0 && (plan.transports.is_empty() || plan.topics_each == 0) {
        return wrong("subscribers have a transport and a topic");
    }
    if plan.payload.0 < SMALLEST || plan.payload.1 < plan.payload.0 {
        return Err(BenchError::Plan(format!(
            "a payload has at least {SMALLEST} bytes, and at most not less than at least"
        )));
    }
    Ok(())
}

/// Leaves out the doors that nobody answers at; gives them. An error if none of a kind is left.
async fn reach(plan: &mut Plan, machine: &Machine) -> Result<Vec<String>, BenchError> {
    let (edges, grpc) = plan.doors();
    let mut unreached = Vec::new();
    let Endpoints {
        edges: edge_list,
        grpc: grpc_list,
    } = &mut plan.endpoints;
    for (needed, list, flag) in [(edges, edge_list, "--url"), (grpc, grpc_list, "--grpc")] {
        let mut reached = Vec::new();
        let mut why = "no address is given".to_owned();
        for address in list.drain(..).filter(|_| needed) {
            match answers(machine, &address).await {
                Ok(()) => reached.push(address),
                Err(error) => {
                    why = format!("{flag} http://{address}: {error}");
                    unreached.push(format!("http://{address}"));
                }
            }
        }
        if needed && reached.is_empty() {
            return Err(BenchError::Unreachable(why));
        }
        *list = reached;
    }
    Ok(unreached)
}

async fn answers(machine: &Machine, address: &Address) -> Result<(), String> {
    tokio::select! { biased;
        connected = machine.connector.connect(address.as_str()) => {
            connected.map(drop).map_err(|error| error.to_string())
        }
        () = machine.clock.sleep(REACH) => Err("no answer in time".to_owned()),
    }
}

async fn measured_limits(plan: &Plan) -> Result<Option<Limits>, BenchError> {
    let Some(dir) = plan.limits.clone() else {
        return Ok(None);
    };
    let bytes = plan.payload.1.saturating_add(FRAME);
    let measured = tokio::task::spawn_blocking(move || Limits::measure(Path::new(&dir), bytes));
    let failed = |why: String| BenchError::Machine(format!("its limits: {why}"));
    let limits = measured.await.map_err(|e| failed(e.to_string()))?;
    limits.map(Some).map_err(|e| failed(e.to_string()))
}

async fn make_topics(
    plan: &Plan,
    machine: &Machine,
    topics: &[TopicName],
    rules: &RuleLayer,
) -> Result<(), BenchError> {
    let admin = Admin::new(machine.clone(), &plan.endpoints);
    let mut made = iter(topics)
        .map(|topic| admin.create(topic, rules))
        .buffer_unordered(AT_ONCE);
    while let Some(made) = made.next().await {
        made.map_err(|error| match error {
            AdminError::Refused(told) => BenchError::Refused(told),
            AdminError::Unreachable(why) | AdminError::NoAnswer(why) => {
                BenchError::Unreachable(format!("--grpc, to make topics: {why}"))
            }
        })?;
    }
    Ok(())
}

/// Deletes the run's topics, as far as there is time; they are gone by their age anyway.
async fn tidy(shared: &Shared) {
    if shared.plan.keep_topics || shared.plan.endpoints.grpc.is_empty() {
        return;
    }
    let admin = Admin::new(shared.machine.clone(), &shared.plan.endpoints);
    let deleting = iter(&shared.topics)
        .map(|topic| admin.delete(topic, None))
        .buffer_unordered(AT_ONCE)
        .for_each(|deleted| {
            if let Err(error) = deleted {
                tracing::debug!(%error, "a topic of the run is left");
            }
            std::future::ready(())
        });
    tokio::select! { biased;
        () = deleting => {}
        () = shared.machine.clock.sleep(TIDY) => {}
    }
}

/// The tasks of a run, and what is watched while they are at work.
struct Stage<F> {
    shared: Arc<Shared>,
    interrupts: watch::Receiver<u32>,
    told: F,
    phase: watch::Sender<Phase>,
    readers: FuturesUnordered<JoinHandle<ReadOut>>,
    lanes: FuturesUnordered<JoinHandle<()>>,
    done: Vec<ReadOut>,
    /// When the next progress is told, and what was counted at the last one, and when.
    tick: Duration,
    last: (Duration, u64, u64),
    began: Duration,
    usage: Option<Usage>,
    own: Option<Usage>,
}

impl<F: FnMut(&Progress)> Stage<F> {
    fn new(shared: Arc<Shared>, interrupts: watch::Receiver<u32>, told: F) -> Self {
        let now = shared.now();
        Self {
            shared,
            interrupts,
            told,
            phase: watch::Sender::new(Phase::Connecting),
            readers: FuturesUnordered::new(),
            lanes: FuturesUnordered::new(),
            done: Vec::new(),
            tick: now,
            last: (now, 0, 0),
            began: now,
            usage: None,
            own: None,
        }
    }

    async fn run(mut self) -> Result<Outcome, BenchError> {
        self.attach().await?;
        self.load().await?;
        let patient = self.settle().await;
        self.phase.send_replace(Phase::Over);
        while let Some(read) = self.readers.next().await {
            self.on_read(read);
        }
        while let Some(ended) = self.lanes.next().await {
            on_ended(ended);
        }
        let shared = &self.shared;
        if patient {
            self.done.iter().for_each(|read| read.judge(shared));
        }
        let behind = self.done.iter().filter(|read| read.is_behind(shared));
        let behind = u64::try_from(behind.count()).unwrap_or(u64::MAX);
        let mut outcome = Outcome::of(shared, shared.now());
        outcome.interrupted = self.interrupted() > 0;
        outcome.delivered.behind = behind;
        outcome.servers = self.usage.map(|usage| usage.used()).unwrap_or_default();
        let own = self.own.and_then(|usage| usage.used().first().copied());
        outcome.own = own.map(|(_, used)| used).unwrap_or_default();
        Ok(outcome)
    }

    fn interrupted(&self) -> u32 {
        *self.interrupts.borrow()
    }

    /// Waits for all subscribers to be attached, or to have given up.
    async fn attach(&mut self) -> Result<(), BenchError> {
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        for n in 0..self.shared.plan.subscribers {
            let reader = Reader::new(self.shared.clone(), n);
            let reading = reader.run(gate.clone(), self.phase.subscribe());
            self.readers.push(self.shared.machine.tasks.spawn(reading));
        }
        let all = self.readers.len();
        let here = |stage: &Self| {
            let attached = usize::try_from(stage.shared.attached.get()).unwrap_or(usize::MAX);
            attached.saturating_add(stage.done.len()) >= all
        };
        while self.interrupted() == 0 && !here(self) {
            self.look(LOOK).await;
        }
        let mut stopped = self.done.iter().filter_map(|read| read.stopped.as_ref());
        match stopped.next() {
            Some(why) if self.done.len() == all => Err(match why {
                Stopped::Told(told) => BenchError::Refused(told.clone()),
                Stopped::NoTopics | Stopped::NoAddress(_) | Stopped::Unreachable(_) => {
                    BenchError::Unreachable(why.to_string())
                }
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Publishes: first what is not measured, then what is.
    async fn load(&mut self) -> Result<(), BenchError> {
        let Plan { warmup, time, .. } = self.shared.plan;
        let begin = self.shared.now();
        self.began = begin;
        self.last = (begin, self.shared.acks(), self.shared.deliveries());
        let (from, to) = (begin + warmup, begin + warmup + time);
        self.shared.measure(from, to);
        if self.interrupted() > 0 {
            return Ok(());
        }
        for lane in 0..self.shared.plan.lanes() {
            let lane = Lane::start(self.shared.clone(), lane);
            let publishing = lane.run(begin, self.phase.subscribe());
            self.lanes.push(self.shared.machine.tasks.spawn(publishing));
        }
        self.phase.send_replace(Phase::Warmup);
        self.until(from).await;
        let failed = |e: std::io::Error| BenchError::Machine(format!("--server-pid: {e}"));
        self.usage = Some(Usage::begin(&self.shared.plan.servers).map_err(failed)?);
        self.own = Usage::begin(&[std::process::id()]).ok();
        self.phase.send_replace(Phase::Measuring);
        self.until(to).await;
        for usage in self.usage.iter_mut().chain(&mut self.own) {
            usage.look();
        }
        Ok(())
    }

    async fn until(&mut self, at: Duration) {
        while self.interrupted() == 0 && self.shared.now() < at {
            let left = at.saturating_sub(self.shared.now());
            self.look(left).await;
        }
    }

    /// Lets what is under way end. True if everybody had the time for it.
    async fn settle(&mut self) -> bool {
        self.phase.send_replace(Phase::Settling);
        let settle = self.shared.plan.settle;
        let mut heard = (self.shared.deliveries(), self.shared.acks());
        let begin = self.shared.now();
        let mut since = begin;
        loop {
            if self.lanes.is_empty() {
                self.phase.send_if_modified(|phase| {
                    let changes = *phase == Phase::Settling;
                    *phase = Phase::Reading;
                    changes
                });
                if self.readers.is_empty() {
                    return true;
                }
            }
            self.look(LOOK).await;
            let now = self.shared.now();
            let counts = (self.shared.deliveries(), self.shared.acks());
            if std::mem::replace(&mut heard, counts) != counts {
                since = now;
            }
            let interrupted = self.interrupted();
            let hurried = interrupted == 1 && now >= begin.saturating_add(HURRY);
            if interrupted > 1 || hurried {
                return false;
            }
            // Publishers end by their own patience.
            if self.lanes.is_empty() && now >= since.saturating_add(settle) {
                return interrupted == 0;
            }
        }
    }

    /// Waits at most so long, and tells how the run stands if it is time.
    async fn look(&mut self, most: Duration) {
        let now = self.shared.now();
        let at = now.saturating_add(most).min(self.tick.max(now));
        let clock = self.shared.machine.clock.clone();
        tokio::select! { biased;
            Some(read) = self.readers.next(), if !self.readers.is_empty() => self.on_read(read),
            Some(ended) = self.lanes.next(), if !self.lanes.is_empty() => on_ended(ended),
            Ok(()) = self.interrupts.changed() => {}
            () = clock.sleep_until(at) => {}
        }
        if self.shared.now() >= self.tick {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let shared = &self.shared;
        let now = shared.now();
        self.tick = now.saturating_add(TICK);
        for usage in self
            .usage
            .iter_mut()
            .filter(|_| *self.phase.borrow() == Phase::Measuring)
        {
            usage.look();
        }
        let (acks, deliveries) = (shared.acks(), shared.deliveries());
        let (last, acks_then, deliveries_then) =
            std::mem::replace(&mut self.last, (now, acks, deliveries));
        let span = now.saturating_sub(last).as_secs_f64().max(0.001);
        let (ack_p99, delivery_p99) = shared.p99s();
        let phase = *self.phase.borrow();
        let loaded = !matches!(phase, Phase::Connecting);
        let progress = Progress {
            phase,
            at: if loaded {
                now.saturating_sub(self.began)
            } else {
                Duration::ZERO
            },
            of: shared.plan.warmup.saturating_add(shared.plan.time),
            attached: shared.attached.get(),
            subscribers: u64::try_from(shared.plan.subscribers).unwrap_or(u64::MAX),
            acks: acks.saturating_sub(acks_then) as f64 / span,
            deliveries: deliveries.saturating_sub(deliveries_then) as f64 / span,
            ack_p99,
            delivery_p99,
            verdicts: shared.watch.verdicts(),
        };
        (self.told)(&progress);
    }

    fn on_read(&mut self, read: Result<ReadOut, JoinError>) {
        match read {
            Ok(read) => self.done.push(read),
            Err(error) => tracing::error!(%error, "a subscriber of the run broke"),
        }
    }
}

fn on_ended(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a publisher of the run broke");
    }
}
