//! All sessions of this edge: who may open one, who is told when the node leaves, and what they
//! share (relays, reading, the wheel that says when something is due).

mod roster;
mod supervisor;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::receipt::Refusal;
use fanfare_core::session::{Limits, Pulse, Session};
use ractor::{Actor, ActorRef, SpawnErr};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::auth::Bearer;
use crate::cut::Cut;
use crate::metrics::Metrics;
use crate::reading::Reading;
use crate::relay::{Relays, locked, supervise};
use crate::session::actor::{Args, Msg, SessionActor};
use crate::session::attach::{Attached, Wish};
use crate::session::delivery::Voice;
use crate::state::{Drain, EdgeState};

pub use roster::Roster;
use supervisor::SessionSupervisor;

/// Sessions are looked at once a second, a slot at a time.
const SLOTS: usize = 16;
const TURN: Duration = Duration::from_secs(1);

/// What a session's connection, its actor and the wheel share.
pub(crate) struct Vitals {
    /// True on a WebSocket: its client asks, and hears of topics that end.
    pub(crate) answers_requests: bool,
    /// `hello` came, or was not needed.
    pub(crate) open: AtomicBool,
    /// A cursor with every items frame (`hello.cursors`).
    pub(crate) cursors: AtomicBool,
    /// A tick is in the actor's mailbox.
    pub(crate) ticked: AtomicBool,
    /// The last word was said: the connection ends within a moment.
    pub(crate) ended: Notify,
    /// Topics that were resumed without a gap.
    pub(crate) resumed: AtomicU64,
    transport: &'static str,
    opened: Duration,
    /// Who it is, once that is known; `refresh` cannot change it.
    subject: OnceLock<Arc<str>>,
    heartbeat_ms: AtomicU64,
    /// ms of the clock when the client was last heard.
    heard_ms: AtomicU64,
    expires_ms: Option<u64>,
    cut: Option<Cut>,
}

impl Vitals {
    /// Ends the stream of a client that takes nothing, if there is one: its body is not looked at.
    pub(crate) fn cut(&self) {
        if let Some(cut) = &self.cut {
            cut.now();
        }
    }

    pub(crate) fn set_subject(&self, subject: Option<&Arc<str>>) {
        if let Some(subject) = subject {
            self.subject.get_or_init(|| subject.clone());
        }
    }

    fn subject(&self) -> Option<&str> {
        self.subject.get().map(|subject| &**subject)
    }

    pub(crate) fn set_heartbeat(&self, heartbeat: Duration) {
        self.heartbeat_ms
            .store(millis(heartbeat), Ordering::Relaxed);
    }

    /// Something came from the client.
    pub(crate) fn hear(&self, now: Duration) {
        self.heard_ms.store(millis(now), Ordering::Relaxed);
    }

    /// When the session last heard and said something.
    pub(crate) fn pulse(&self, voice: &dyn Voice) -> Pulse {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        Pulse {
            heard: self.answers_requests.then_some(heard),
            ..voice.pulse()
        }
    }

    /// True if the actor has to look: what is due exactly is for it to say.
    fn may_be_due(&self, now: Duration, wall_ms: u64, voice: &dyn Voice) -> bool {
        let pulse = self.pulse(voice);
        let heartbeat = Duration::from_millis(self.heartbeat_ms.load(Ordering::Relaxed));
        let late = |then: Duration| now.saturating_sub(then) >= heartbeat;
        late(pulse.sent)
            || pulse.stuck.is_some()
            || pulse.heard.is_some_and(late)
            || !self.open.load(Ordering::Relaxed)
            || self.expires_ms.is_some_and(|at| wall_ms >= at)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The readers' side of an edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) state: Arc<EdgeState>,
    shared: Arc<Shared>,
}

type Slots = [Mutex<BTreeMap<u64, Row>>; SLOTS];

struct Shared {
    relays: Arc<Relays>,
    reading: Arc<Reading>,
    slots: Arc<Slots>,
    next: AtomicU64,
    permits: Arc<Semaphore>,
    supervisor: ActorRef<()>,
}

#[derive(Clone)]
struct Row {
    actor: ActorRef<Msg>,
    voice: Arc<dyn Voice>,
    vitals: Arc<Vitals>,
}

/// What a session begins with.
pub(crate) struct Opening {
    pub(crate) transport: &'static str,
    pub(crate) bearer: Bearer,
    pub(crate) heartbeat: Duration,
    /// False: `hello` has to come first.
    pub(crate) open: bool,
    /// Of a WebSocket's URL: where topics go on that are subscribed later.
    pub(crate) cursor: Option<Cursor>,
    /// Of a session that is the answer to a request.
    pub(crate) cut: Option<Cut>,
    pub(crate) attached: Vec<Attached>,
    pub(crate) wishes: Vec<Wish>,
    /// By which the session's delivery tells its actor of lost topics.
    pub(crate) lost: Lost,
}

/// A place among the sessions of this node.
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

impl Seat {
    fn new(permit: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Self {
        metrics.sessions.inc();
        Self {
            _permit: permit,
            metrics,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.metrics.sessions.dec();
        self.metrics.ended.inc();
    }
}

impl Sessions {
    /// Starts the relays, the supervisors and the wheel, on the node's tracker.
    pub(crate) async fn start(state: Arc<EdgeState>) -> Result<Self, SpawnErr> {
        let reading = Reading::new(state.clone());
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let relays = Relays::new(state.clone(), reading.clone(), workers);
        let relay_supervisor = supervise(relays.clone()).await?;
        let slots: Arc<Slots> = Arc::new(std::array::from_fn(|_| Mutex::default()));
        let (supervisor, _) = Actor::spawn(None, SessionSupervisor, slots.clone()).await?;
        let shared = Shared {
            relays,
            reading,
            slots,
            next: AtomicU64::new(1),
            permits: Arc::new(Semaphore::new(state.config.sessions.sessions)),
            supervisor,
        };
        let sessions = Self {
            state,
            shared: Arc::new(shared),
        };
        let tracker = sessions.state.deps.tracker.clone();
        tracker.spawn(sessions.clone().turn(relay_supervisor));
        tracker.spawn(sessions.clone().leave());
        Ok(sessions)
    }

    pub(crate) fn relays(&self) -> &Arc<Relays> {
        &self.shared.relays
    }

    pub(crate) fn reading(&self) -> &Arc<Reading> {
        &self.shared.reading
    }

    /// Number of sessions.
    pub(crate) fn count(&self) -> usize {
        self.shared
            .slots
            .iter()
            .map(|slot| locked(slot).len())
            .sum()
    }

    /// A seat for one session, or `overloaded`, or `draining`.
    pub(crate) fn admit(&self) -> Result<Seat, Refusal> {
        if self.state.is_draining() {
            let refusal = Refusal::new(Code::Draining, "this node is leaving: try another one");
            return Err(refusal.retry_after(500));
        }
        let seat = self.shared.permits.clone().try_acquire_owned();
        let taken = |permit| Seat::new(permit, self.state.deps.metrics.clone());
        seat.map(taken).map_err(|_| {
            let detail = "this node has all the sessions it can have";
            Refusal::new(Code::Overloaded, detail).retry_after(2_000)
        })
    }

    /// The vitals of a session that is about to open.
    pub(crate) fn vitals(&self, opening: &Opening, answers_requests: bool) -> Arc<Vitals> {
        let now = self.state.deps.clock.now();
        let vitals = Vitals {
            answers_requests,
            open: AtomicBool::new(opening.open),
            cursors: AtomicBool::new(false),
            ticked: AtomicBool::new(false),
            ended: Notify::new(),
            resumed: AtomicU64::new(0),
            heartbeat_ms: AtomicU64::new(millis(opening.heartbeat)),
            heard_ms: AtomicU64::new(millis(now)),
            expires_ms: opening.bearer.expires_ms,
            cut: opening.cut.clone(),
            transport: opening.transport,
            opened: now,
            subject: OnceLock::new(),
        };
        vitals.set_subject(opening.bearer.subject.as_ref());
        Arc::new(vitals)
    }

    /// Opens a session: from here on it is on the list, until its guard is dropped.
    pub(crate) async fn open(
        &self,
        seat: Seat,
        opening: Opening,
        voice: Arc<dyn Voice>,
        vitals: Arc<Vitals>,
    ) -> Result<Guard, Refusal> {
        let config = &self.state.config.sessions;
        let limits = Limits {
            topics: config.topics,
            in_flight: config.ws_in_flight,
            hello: config.hello_timeout,
            stall: config.write_stall,
        };
        let now = self.state.deps.clock.now();
        let Opening {
            transport: _,
            bearer,
            heartbeat,
            open,
            cursor,
            cut: _,
            attached,
            wishes,
            lost,
        } = opening;
        let Bearer {
            grants,
            subject,
            expires_ms,
        } = bearer;
        let control = Session::new(now, limits, heartbeat, open, grants, subject);
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let args = Args {
            sessions: self.clone(),
            voice: voice.clone(),
            vitals: vitals.clone(),
            control,
            expires_ms,
            cursor,
            name: self.name(id),
            attached,
            wishes,
            lost,
        };
        let supervisor = self.shared.supervisor.get_cell();
        let spawned = Actor::spawn_linked(None, SessionActor, args, supervisor).await;
        let Ok((actor, _)) = spawned else {
            return Err(Refusal::new(
                Code::Internal,
                "a session could not be started",
            ));
        };
        let row = Row {
            actor,
            voice,
            vitals,
        };
        locked(&self.shared.slots[slot(id)]).insert(id, row.clone());
        Ok(Guard {
            sessions: self.clone(),
            id,
            row,
            _seat: seat,
        })
    }

    /// The wheel: each slot once a second. And what relays have to look at.
    async fn turn(self, relay_supervisor: ActorRef<()>) {
        let deps = self.state.deps.clone();
        let mut at = 0;
        loop {
            let step = deps.clock.sleep(TURN / SLOTS as u32);
            tokio::select! {
                biased;
                () = deps.stop.cancelled() => break,
                () = step => {}
            }
            let (now, wall_ms) = (deps.clock.now(), deps.clock.wall_ms());
            for row in locked(&self.shared.slots[at]).values() {
                let due = row.vitals.may_be_due(now, wall_ms, &*row.voice);
                if due && !row.vitals.ticked.swap(true, Ordering::AcqRel) {
                    // A session whose actor is gone is on its way out.
                    row.actor.cast(Msg::Tick).ok();
                }
            }
            at = (at + 1) % SLOTS;
            if at == 0 {
                self.shared.relays.sweep(now);
                self.shared.relays.house();
            }
        }
        relay_supervisor.stop_children(None);
        relay_supervisor.stop(None);
        self.shared.supervisor.stop_children(None);
        self.shared.supervisor.stop(None);
    }

    /// When the node leaves: every session is told, spread over the time there is.
    async fn leave(self) {
        let deps = self.state.deps.clone();
        let mut draining = self.state.draining.clone();
        let drain = tokio::select! {
            biased;
            () = deps.stop.cancelled() => None,
            drain = draining.wait_for(Option::is_some) => drain.ok().and_then(|drain| *drain),
        };
        let Some(Drain { spread }) = drain else {
            return;
        };
        let mut rows: Vec<(u64, Row)> = Vec::new();
        for slot in self.shared.slots.iter() {
            for row in locked(slot).values() {
                rows.push((deps.rng.below(1 << 32), row.clone()));
            }
        }
        rows.sort_by_key(|(chance, _)| *chance);
        let begin = deps.clock.now();
        for (chance, row) in rows {
            let share = chance as f64 / (1_u64 << 32) as f64;
            tokio::select! {
                biased;
                () = deps.stop.cancelled() => return,
                () = deps.clock.sleep_until(begin + spread.mul_f64(share)) => {}
            }
            let why = Refusal::new(Code::Draining, "this node is leaving: try another one");
            let retry = 100 + deps.rng.below(400);
            row.actor.cast(Msg::End(why.retry_after(retry))).ok();
        }
    }
}

fn slot(id: u64) -> usize {
    usize::try_from(id % SLOTS as u64).unwrap_or(0)
}

/// A session's place on the list. Dropping it ends the session, whatever it was doing.
pub(crate) struct Guard {
    sessions: Sessions,
    id: u64,
    row: Row,
    _seat: Seat,
}

impl Guard {
    /// The session's actor.
    pub(crate) fn actor(&self) -> &ActorRef<Msg> {
        &self.row.actor
    }
}

impl Guard {
    /// What its connection and its actor share.
    pub(crate) fn vitals(&self) -> &Arc<Vitals> {
        &self.row.vitals
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        locked(&self.sessions.shared.slots[slot(self.id)]).remove(&self.id);
        self.row.voice.close();
        self.row.actor.stop(None);
        let lived = self
            .sessions
            .state
            .deps
            .clock
            .now()
            .saturating_sub(self.row.vitals.opened);
        tracing::info!(
            target: "fanfare::session",
            session = self.id,
            transport = self.row.vitals.transport,
            code = self.row.voice.ended_by().map_or("client", Code::as_str),
            delivered = self.row.voice.delivered(),
            resumed = self.row.vitals.resumed.load(Ordering::Relaxed),
            lived_ms = millis(lived),
            "session ended"
        );
    }
}

/// Tells a session's actor of lost topics. The actor is there only after the delivery.
#[derive(Clone, Default)]
pub(crate) struct Lost(Arc<OnceLock<ActorRef<Msg>>>);

impl Lost {
    /// What a delivery calls.
    pub(crate) fn teller(&self) -> impl Fn(u64, &Refusal) + Send + Sync + 'static {
        let actor = self.0.clone();
        move |sub, why| {
            if let Some(actor) = actor.get() {
                // An actor that is gone has lost all its topics.
                actor.cast(Msg::Lost(sub, why.clone())).ok();
            }
        }
    }

    /// Names the actor, before it attaches anything.
    pub(crate) fn set(&self, actor: ActorRef<Msg>) {
        self.0.get_or_init(|| actor);
    }
}
