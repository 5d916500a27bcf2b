//! A publisher: drafts in, one outcome each, in order on one publish stream, over as many
//! connections as it takes. Its task runs until it is dropped and all drafts have their outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::message::{Draft, Key};
use fanfare_protocol::json::ack::Acked;
use fanfare_rpc::client::{Answers, ClientSettings, PublicClient};
use fanfare_rpc::heard::CallError;
use fanfare_rpc::public::StreamDraft;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot};

use crate::course::{Course, Next};
use crate::endpoint::{Address, Endpoints};
use crate::http::Http;
use crate::machine::Machine;
use crate::outbox::{Outbox, Patience, PublishError, Report, Sent};
use crate::told::{Ending, Status, Told, strange};
use crate::{sending, socket};

/// How drafts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// One publish stream, many drafts in flight.
    Grpc,
    /// One request after the other.
    Http,
    /// A WebSocket, with at most 64 drafts in flight (protocol section 4).
    Ws,
}

/// What is wanted of a publisher.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    pub via: Via,
    /// Most drafts without an outcome, 1–1024; then taking stops. Default: 256.
    pub in_flight: usize,
    pub patience: Patience,
    /// A drawn key for each draft that has none, so that it can be sent again. Default: true.
    pub keys: bool,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            via: Via::Grpc,
            in_flight: 256,
            patience: Patience::default(),
            keys: true,
        }
    }
}

struct Job {
    draft: Draft,
    outcome: oneshot::Sender<Report>,
}

/// Takes drafts. Dropping it lets what was taken come to its end.
pub struct Publisher {
    jobs: mpsc::Sender<Job>,
    machine: Machine,
    keys: bool,
    sent_again: Arc<AtomicU64>,
}

/// A draft that was taken.
pub struct Pending(oneshot::Receiver<Report>);

impl Pending {
    /// What became of it; to be asked until it is told, and not again. Safe to cancel.
    pub async fn outcome(&mut self) -> Result<Acked, PublishError> {
        (&mut self.0).await.unwrap_or(Err(PublishError::Ended))
    }
}

impl Publisher {
    /// Starts a publisher on the machine's tasks.
    pub fn start(machine: Machine, endpoints: Endpoints, options: PublishOptions) -> Self {
        let (jobs, rx) = mpsc::channel(1);
        let keys = options.keys;
        let sent_again = Arc::new(AtomicU64::new(0));
        let most = match options.via {
            Via::Ws => socket::WINDOW,
            Via::Grpc | Via::Http => 1_024,
        };
        let lane = Lane {
            sent_again: sent_again.clone(),
            outbox: Outbox::new(options.patience),
            window: options.in_flight.clamp(1, most),
            options,
            endpoints,
            machine: machine.clone(),
            waiters: BTreeMap::new(),
            course: Course::default(),
            line: Line::Down {
                at: machine.clock.now(),
            },
            node: 0,
            renew: false,
        };
        machine.tasks.spawn(lane.run(rx));
        Self {
            jobs,
            machine,
            keys,
            sent_again,
        }
    }

    /// Sendings after the first one of a draft. It grows before such a sending leaves, so a draft
    /// whose whole life saw one number was sent once.
    pub fn sent_again(&self) -> u64 {
        self.sent_again.load(Ordering::Acquire)
    }

    /// Hands a draft over, in order. Waits only while too many have no outcome.
    pub async fn submit(&self, mut draft: Draft) -> Result<Pending, PublishError> {
        if draft.key.is_none() && self.keys {
            draft.key = Key::new(Bytes::from(self.draw_key())).ok();
        }
        let (outcome, pending) = oneshot::channel();
        let job = Job { draft, outcome };
        self.jobs.send(job).await.map_err(|_| PublishError::Ended)?;
        Ok(Pending(pending))
    }

    /// Publishes a draft and waits for its outcome.
    pub async fn publish(&self, draft: Draft) -> Result<Acked, PublishError> {
        self.submit(draft).await?.outcome().await
    }

    /// A random UUID (RFC 9562, version 4).
    fn draw_key(&self) -> String {
        let bits = self.machine.chance.next_u128();
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let hex = format!("{bits:032x}");
        let parts = [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ];
        parts.join("-")
    }
}

/// The way to a node.
enum Line {
    Down {
        /// When to connect.
        at: Duration,
    },
    Stream {
        /// `None`: half-closed, on the way to another node.
        drafts: Option<mpsc::Sender<StreamDraft>>,
        answers: Heard,
    },
    Http {
        /// `None` while it is at work.
        http: Option<Http>,
        work: Option<BoxFuture<'static, (u64, Sent, Http)>>,
    },
}

/// Where a stream's answers come from.
enum Heard {
    Grpc(Box<Answers>),
    Ws(Box<socket::Answers>),
}

impl Heard {
    /// Safe to cancel.
    async fn news(&mut self) -> News {
        match self {
            Self::Grpc(answers) => match answers.next().await {
                Ok(Some((id, result))) => News::Sent(id, Box::new(sent_of(result.map(Into::into)))),
                Ok(None) => News::Over(Ending::Cut("the publish stream ended".to_owned())),
                Err(error) => News::Over(error.into()),
            },
            Self::Ws(answers) => match answers.next().await {
                Ok((id, sent)) => News::Sent(id, Box::new(sent)),
                Err(ending) => News::Over(ending),
            },
        }
    }
}

/// What a line brings.
enum News {
    Sent(u64, Box<Sent>),
    Over(Ending),
}

impl Line {
    /// Safe to cancel.
    async fn news(&mut self) -> News {
        match self {
            Self::Stream { answers, .. } => answers.news().await,
            Self::Http { http, work } => {
                let Some(running) = work.as_mut() else {
                    return std::future::pending().await;
                };
                let (id, sent, idle) = running.await;
                *work = None;
                *http = Some(idle);
                News::Sent(id, Box::new(sent))
            }
            Self::Down { .. } => std::future::pending().await,
        }
    }
}

fn sent_of(result: Result<Acked, CallError>) -> Sent {
    match result {
        Ok(acked) => Sent::Acked(acked),
        Err(CallError::Refused(refusal)) => Sent::Refused(Told::new(refusal.into(), Status::None)),
        Err(CallError::Other(other)) => Sent::Refused(Told::new(strange(other), Status::None)),
        Err(CallError::NotSent(why)) => Sent::NeverLeft(why),
        Err(CallError::NoAnswer(why)) => Sent::NoAnswer(why),
    }
}

struct Lane {
    machine: Machine,
    endpoints: Endpoints,
    options: PublishOptions,
    window: usize,
    outbox: Outbox,
    waiters: BTreeMap<u64, oneshot::Sender<Report>>,
    course: Course,
    line: Line,
    node: usize,
    renew: bool,
    sent_again: Arc<AtomicU64>,
}

impl Lane {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut open = true;
        loop {
            let now = self.machine.clock.now();
            let expired = self.outbox.expire(now);
            self.report(expired);
            if !open && self.outbox.is_empty() {
                return;
            }
            self.step(now).await;
            let wake = self.wake_at();
            let clock = self.machine.clock.clone();
            let room = open && self.outbox.len() < self.window;
            tokio::select! { biased;
                news = self.line.news() => match news {
                    News::Sent(id, sent) => self.on_sent(id, *sent),
                    News::Over(ending) => self.on_over(&ending),
                },
                job = jobs.recv(), if room => match job {
                    Some(Job { draft, outcome }) => {
                        let id = self.outbox.push(draft, self.machine.clock.now());
                        self.waiters.insert(id, outcome);
                    }
                    None => open = false,
                },
                () = sleep(&*clock, wake) => {}
            }
        }
    }

    /// Connects if that is due, and sends what is due.
    async fn step(&mut self, now: Duration) {
        if self.outbox.is_overdue(now) {
            self.on_over(&Ending::Cut("an answer is overdue".to_owned()));
        }
        if let Line::Down { at } = self.line
            && at <= now
            && self.outbox.has_waiting()
        {
            match self.connect().await {
                Ok(line) => self.line = line,
                Err(ending) => self.on_over(&ending),
            }
        }
        let now = self.machine.clock.now();
        match &mut self.line {
            Line::Down { .. } | Line::Stream { drafts: None, .. } => {}
            Line::Stream {
                drafts: Some(drafts),
                ..
            } => {
                // The channel has room for all that may be in flight.
                while let Ok(room) = drafts.try_reserve()
                    && let Some((seq, draft)) = self.outbox.next_due(now)
                {
                    self.sent_again
                        .store(self.outbox.sent_again(), Ordering::Release);
                    let within = self.options.patience.sending;
                    room.send(StreamDraft { seq, draft, within });
                }
            }
            Line::Http { http, work } => {
                if work.is_none()
                    && let Some(mut idle) = http.take()
                {
                    let Some((id, draft)) = self.outbox.next_due(now) else {
                        *http = Some(idle);
                        return;
                    };
                    self.sent_again
                        .store(self.outbox.sent_again(), Ordering::Release);
                    let (machine, patience) = (self.machine.clone(), self.options.patience);
                    let renew = std::mem::take(&mut self.renew);
                    *work = Some(
                        async move {
                            let sent =
                                sending::send(&machine, &mut idle, &draft, &patience, renew).await;
                            (id, sent, idle)
                        }
                        .boxed(),
                    );
                }
            }
        }
    }

    fn wake_at(&self) -> Option<Duration> {
        let next = match &self.line {
            Line::Down { at } => self.outbox.has_waiting().then_some(*at),
            Line::Stream { .. } => self.outbox.due_at(),
            Line::Http { work, .. } => self.outbox.due_at().filter(|_| work.is_none()),
        };
        next.into_iter().chain(self.outbox.wake_at()).min()
    }

    fn addresses(&self) -> &[Address] {
        match self.options.via {
            Via::Grpc => &self.endpoints.grpc,
            Via::Http | Via::Ws => &self.endpoints.edges,
        }
    }

    async fn connect(&mut self) -> Result<Line, Ending> {
        let list = self.addresses();
        let at = self.node.checked_rem(list.len()).unwrap_or(0);
        let no_address = || Ending::NotConnected("no address is given".to_owned());
        let address = &list.get(at).ok_or_else(no_address)?.clone();
        if self.options.via == Via::Http {
            let http = Some(Http::new(self.machine.clone(), address.clone()));
            return Ok(Line::Http { http, work: None });
        }
        if self.options.via == Via::Ws {
            let token = self.machine.authorization(self.renew).await;
            let (drafts, rx) = mpsc::channel(self.window);
            let answers = socket::open(&self.machine, address, token, rx).await?;
            self.course.on_good(self.machine.clock.now());
            self.renew = false;
            return Ok(Line::Stream {
                drafts: Some(drafts),
                answers: Heard::Ws(Box::new(answers)),
            });
        }
        let Machine {
            connector, tasks, ..
        } = &self.machine;
        let client = PublicClient::connect(
            address.as_str(),
            connector.clone(),
            tasks.clone(),
            ClientSettings::default(),
        );
        let mut client = client.ok_or_else(no_address)?;
        if let Some(text) = self.machine.authorization(self.renew).await {
            let bad = || Ending::NotConnected("the token is no header's value".to_owned());
            client = client.authorized(&text).ok_or_else(bad)?;
        }
        let (drafts, rx) = mpsc::channel(self.window);
        let answers = client.publish_stream(rx).await?;
        self.course.on_good(self.machine.clock.now());
        self.renew = false;
        Ok(Line::Stream {
            drafts: Some(drafts),
            answers: Heard::Grpc(Box::new(answers)),
        })
    }

    fn on_sent(&mut self, id: u64, sent: Sent) {
        use fanfare_core::code::Advice;
        let now = self.machine.clock.now();
        let chance = self.machine.chance.next_u64();
        let advice = match &sent {
            Sent::Refused(told) => Some(told.advice()),
            Sent::Acked(_) | Sent::NeverLeft(_) | Sent::NoAnswer(_) => None,
        };
        let lost = matches!(sent, Sent::NeverLeft(_) | Sent::NoAnswer(_));
        if matches!(sent, Sent::Acked(_)) {
            self.course.on_good(now);
        }
        if let Some(report) = self.outbox.on_sent(id, sent, now, chance) {
            self.report([(id, report)]);
        }
        let several = self.addresses().len() > 1;
        match &mut self.line {
            // The rest is still answered here; what is refused goes to another node.
            Line::Stream { drafts, .. } if advice == Some(Advice::Reroute) && several => {
                *drafts = None;
                if !self.outbox.has_in_flight() {
                    self.move_on(now);
                }
            }
            Line::Stream { drafts: None, .. } if !self.outbox.has_in_flight() => self.move_on(now),
            Line::Http { .. } if lost || advice == Some(Advice::Reroute) => self.move_on(now),
            Line::Http { .. } | Line::Stream { .. } | Line::Down { .. } => {}
        }
    }

    /// To the next address, at once: each draft has its own back-off.
    fn move_on(&mut self, now: Duration) {
        self.node = self.node.wrapping_add(1);
        self.line = Line::Down { at: now };
    }

    /// The line is gone, or there was none to be had.
    fn on_over(&mut self, ending: &Ending) {
        let now = self.machine.clock.now();
        self.line = Line::Down { at: now };
        let reports = self.outbox.on_broken(&ending.to_string(), now);
        self.report(reports);
        let sent = match ending {
            Ending::NotConnected(why) | Ending::Cut(why) => Sent::NeverLeft(why.clone()),
            Ending::Told(told) => Sent::Refused((**told).clone()),
        };
        let chance = self.machine.chance.next_u64();
        match self.course.on_end(ending, now, chance) {
            Next::Again {
                after,
                elsewhere,
                renew,
            } => {
                self.outbox.on_unreachable(&sent);
                self.node = self.node.wrapping_add(usize::from(elsewhere));
                self.renew |= renew;
                self.line = Line::Down {
                    at: now.saturating_add(after),
                };
            }
            Next::GiveUp => {
                let reports = self.outbox.give_up(&sent);
                self.report(reports);
            }
        }
    }

    fn report(&mut self, reports: impl IntoIterator<Item = (u64, Report)>) {
        for (id, report) in reports {
            if let Some(waiter) = self.waiters.remove(&id)
                && waiter.send(report).is_err()
            {
                tracing::trace!(id, "nobody waits for this draft's outcome");
            }
        }
    }
}

/// Until `at`, or for ever.
async fn sleep(clock: &dyn fanfare_host::Clock, at: Option<Duration>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "publisher_tests.rs"]
mod tests;
