//! One subscriber of a run: attaches, judges what comes, drops its connection now and then and
//! resumes, and at the end reads until it has everything that was acked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_checker::{Reading, Verdict};
use fanfare_client::{
    Attached, Ending, Event, Progress, Reason, ReceivedGap, ReceivedMessage, Spelled as _, Stopped,
    SubscribeOptions, Subscriber, Transport,
};
use fanfare_core::name::TopicName;
use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::payload::{Label, Read};
use super::shared::{Phase, Shared, judged};

/// How long the first contact may take.
const FIRST: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Reader {
    shared: Arc<Shared>,
    name: String,
    readings: BTreeMap<TopicName, (usize, Reading)>,
    /// Which door and transport are next, counted on from its number.
    turn: usize,
    /// True once it was attached to all its topics.
    here: bool,
    permit: Option<OwnedSemaphorePermit>,
}

/// How a subscriber ended.
pub(super) struct ReadOut {
    name: String,
    readings: BTreeMap<TopicName, (usize, Reading)>,
    /// Why it has given up.
    pub(super) stopped: Option<Stopped>,
}

impl Reader {
    /// Subscriber `n`, from 0.
    pub(super) fn new(shared: Arc<Shared>, n: usize) -> Self {
        let topics = shared.topics.len();
        let each = shared.plan.topics_each.min(topics);
        let at = |k: usize| (n * each + k).checked_rem(topics).unwrap_or(0);
        let readings = (0..each).map(at).filter_map(|topic| {
            let name = shared.topics.get(topic)?.clone();
            Some((name, (topic, Reading::default())))
        });
        Self {
            name: n.to_string(),
            readings: readings.collect(),
            turn: n,
            here: false,
            permit: None,
            shared,
        }
    }

    /// Reads until the run is over or it has all. A permit of `gate` is held while it attaches.
    pub(super) async fn run(
        mut self,
        gate: Arc<Semaphore>,
        mut phase: watch::Receiver<Phase>,
    ) -> ReadOut {
        self.permit = gate.acquire_owned().await.ok();
        let mut subscriber = self.subscriber(Progress::default());
        let mut dropping = self.next_drop();
        let mut stopped = None;
        let mut now = *phase.borrow_and_update();
        while now != Phase::Over && !(now == Phase::Reading && self.has_all()) {
            tokio::select! { biased;
                changed = phase.changed() => now = match changed {
                    Ok(()) => *phase.borrow_and_update(),
                    Err(_) => Phase::Over,
                },
                () = &mut dropping => {
                    dropping = self.next_drop();
                    if matches!(now, Phase::Warmup | Phase::Measuring) && self.here {
                        self.shared.drops.inc();
                        subscriber = self.resume(subscriber);
                    }
                }
                event = subscriber.next() => match event {
                    Ok(event) => self.on_event(event),
                    Err(why) => {
                        self.shared.failed.add(reason_of(&why));
                        stopped = Some(why);
                        break;
                    }
                },
            }
        }
        if self.here {
            self.shared.attached.dec();
        }
        ReadOut {
            name: self.name,
            readings: self.readings,
            stopped,
        }
    }

    fn subscriber(&self, progress: Progress) -> Subscriber {
        let plan = &self.shared.plan;
        let mut transports = plan.transports.clone();
        let by = self.turn.checked_rem(transports.len()).unwrap_or(0);
        transports.rotate_left(by);
        let options = SubscribeOptions {
            progress,
            transports,
            poll_every: plan.poll_every,
            first_contact: Some(FIRST),
            repeats: true,
            ..SubscribeOptions::new(self.readings.keys().cloned().collect())
        };
        let endpoints = self.shared.endpoints(self.turn);
        Subscriber::new(self.shared.machine.clone(), endpoints, options)
    }

    /// Goes on elsewhere, on the next transport, from what was processed.
    fn resume(&mut self, mut old: Subscriber) -> Subscriber {
        old.processed();
        let progress = old.progress().clone();
        self.closed();
        self.subscriber(progress)
    }

    fn closed(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        for (_, reading) in self.readings.values_mut() {
            reading.closed();
        }
    }

    /// After half to one and a half of the time between drops.
    fn next_drop(&self) -> BoxFuture<'static, ()> {
        let Shared { machine, plan, .. } = &*self.shared;
        match plan.drop_every {
            Some(every) => {
                let spread = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
                let more = Duration::from_millis(machine.chance.below(spread));
                machine.clock.sleep((every / 2).saturating_add(more))
            }
            None => Box::pin(std::future::pending()),
        }
    }

    fn transport(&self) -> Option<Transport> {
        let transports = &self.shared.plan.transports;
        let at = self.turn.checked_rem(transports.len())?;
        transports.get(at).copied()
    }

    fn has_all(&self) -> bool {
        let mut readings = self.readings.values();
        readings.all(|(topic, reading)| reading.at() >= self.shared.watch.highest(*topic))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Attached(attached) => self.on_attached(&attached),
            Event::Message(message) => self.on_message(&message),
            Event::Gap(gap) => self.on_gap(&gap),
            Event::TopicEnded(end) => {
                let code = end.code.map_or(String::new(), |code| format!(": {code}"));
                self.shared.failed.add(format!("a topic ended{code}"));
            }
            Event::Resuming { why, .. } => {
                self.shared.cuts.add(match why {
                    Ending::Told(told) => told.problem.code.as_str().to_owned(),
                    Ending::NotConnected(_) => "not connected".to_owned(),
                    Ending::Cut(why) => why,
                });
                self.closed();
            }
        }
    }

    fn on_attached(&mut self, attached: &Attached) {
        let Attached {
            topic,
            answer,
            from,
            head,
        } = attached;
        let watch = &self.shared.watch;
        if let Some((at, reading)) = self.readings.get_mut(topic) {
            let (from, head) = (from.map(judged), Some(judged(*head)));
            watch.attached(*at, &self.name, reading, answer.as_str(), from, head);
        }
        self.shared.sessions.inc();
        let mut readings = self.readings.values();
        if !self.here && readings.all(|(_, reading)| reading.was_attached()) {
            self.here = true;
            self.permit = None;
            self.shared.attached.inc();
        }
    }

    fn on_message(&mut self, received: &ReceivedMessage) {
        let way = self.transport();
        let ReceivedMessage { topic, message } = received;
        let Some((topic, reading)) = self.readings.get_mut(topic) else {
            return;
        };
        let (shared, name) = (&self.shared, &self.name);
        let at = judged(message.position);
        let payload = &message.content.payload;
        let digest = match Label::read(payload, shared.mark) {
            Read::Whole(label, digest) => {
                if label.topic != *topic {
                    let of = label.topic;
                    let proof = || format!("subscriber {name} got a draft for topic {of} at {at}");
                    shared.watch.give(Verdict::WrongTopic, *topic, proof);
                } else if !shared.was_submitted(label.lane, label.n) {
                    let (lane, n) = (label.lane, label.n);
                    let proof = || format!("publisher {lane} sent no draft {n}, which is at {at}");
                    shared.watch.give(Verdict::Phantom, *topic, proof);
                }
                // What comes again after a resume is no delivery.
                if Some(at) > reading.at() {
                    let way = way.and_then(|transport| shared.delivery_way(transport));
                    shared.came(way, label.due);
                }
                Some(digest)
            }
            Read::Spoilt => {
                let proof = || format!("subscriber {name} got a spoilt payload at {at}");
                shared.watch.give(Verdict::Phantom, *topic, proof);
                None
            }
            Read::Foreign => {
                shared.foreign.inc();
                None
            }
        };
        shared.watch.message(*topic, name, reading, at, digest);
    }

    fn on_gap(&mut self, gap: &ReceivedGap) {
        let reason = match &gap.reason {
            Reason::Trimmed(Some(by)) => format!("trimmed by {}", by.spelling()),
            reason @ (Reason::Trimmed(None)
            | Reason::DataLoss
            | Reason::EpochChanged
            | Reason::PositionAhead
            | Reason::Conflated
            | Reason::Other(_)) => reason.to_string(),
        };
        self.shared.gap(reason, gap.missed);
        if let Some((_, reading)) = self.readings.get_mut(&gap.topic) {
            let word = gap.reason.to_string();
            self.shared.watch.gap(reading, &word, judged(gap.to));
        }
    }
}

impl ReadOut {
    /// True if something that was acked has not come.
    pub(super) fn is_behind(&self, shared: &Shared) -> bool {
        let behind = |(topic, reading): &(usize, Reading)| {
            reading.was_attached() && reading.at() < shared.watch.highest(*topic)
        };
        self.readings.values().any(behind)
    }

    /// It had its time: what has not come is lost.
    pub(super) fn judge(&self, shared: &Shared) {
        for (topic, reading) in self.readings.values() {
            shared.watch.finish(*topic, &self.name, reading);
        }
    }
}

fn reason_of(stopped: &Stopped) -> String {
    match stopped {
        Stopped::Told(told) => told.problem.code.as_str().to_owned(),
        Stopped::NoTopics | Stopped::NoAddress(_) | Stopped::Unreachable(_) => stopped.to_string(),
    }
}
