//! One publisher of a run: when each draft is due, handing it over, and what became of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_checker::{StreamOrder, Verdict};
use fanfare_client::{Acked, Pending, PublishError, PublishOptions, Publisher, Spelled as _, Via};
use fanfare_core::message::{Ack, Content, Draft, Meta};
use fanfare_core::rule::Class;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::payload::Label;
use super::plan::Pace;
use super::shared::{Phase, Shared, judged};

/// A draft that was handed over.
struct Sent {
    n: u64,
    topic: usize,
    due: Duration,
    digest: u64,
    /// Sendings again of the publisher when it was handed over.
    again: u64,
}

type Taken = (Sent, Result<Pending, PublishError>);
type Told = (Sent, Result<Acked, PublishError>);

/// See the module.
pub(super) struct Lane {
    shared: Arc<Shared>,
    lane: usize,
    via: Via,
    publisher: Arc<Publisher>,
    meta: Arc<Meta>,
    order: StreamOrder,
    again: u64,
    next: u64,
}

impl Lane {
    /// Starts publisher `lane`, from 0; it publishes nothing yet.
    pub(super) fn start(shared: Arc<Shared>, lane: usize) -> Self {
        let plan = &shared.plan;
        let via = plan.via.get(lane.checked_rem(plan.via.len()).unwrap_or(0));
        let via = via.copied().unwrap_or(Via::Grpc);
        let options = PublishOptions {
            via,
            in_flight: plan.window(lane),
            ..PublishOptions::default()
        };
        let machine = shared.machine.clone();
        let publisher = Publisher::start(machine, shared.endpoints(lane), options);
        let meta = Meta {
            content_type: "text/plain".parse().unwrap_or_default(),
            ..Meta::default()
        };
        Self {
            lane,
            via,
            publisher: Arc::new(publisher),
            meta: Arc::new(meta),
            order: StreamOrder::default(),
            again: 0,
            next: 0,
            shared,
        }
    }

    /// Publishes from `begin` on until the run settles, and then hears what is still under way.
    pub(super) async fn run(mut self, begin: Duration, mut phase: watch::Receiver<Phase>) {
        let shared = self.shared.clone();
        let clock = shared.machine.clock.clone();
        let (every, window) = self.pace();
        let mut due = begin.saturating_add(self.offset(every));
        let mut open = true;
        let mut taking: Option<BoxFuture<'static, Taken>> = None;
        let mut told: FuturesUnordered<BoxFuture<'static, Told>> = FuturesUnordered::new();
        loop {
            if !open && taking.is_none() && told.is_empty() {
                break;
            }
            let room = taking.is_none() && told.len() < window;
            tokio::select! { biased;
                changed = phase.changed() => match changed.map(|()| *phase.borrow_and_update()) {
                    Ok(Phase::Over) | Err(_) => {
                        let left = told.len() + usize::from(taking.is_some());
                        (0..left).for_each(|_| shared.unknown.add("the run was over"));
                        return;
                    }
                    Ok(Phase::Settling) if open => {
                        open = false;
                        self.count_unsent(due, every);
                    }
                    Ok(_) => {}
                },
                Some((sent, outcome)) = told.next(), if !told.is_empty() => {
                    self.on_told(&sent, outcome);
                }
                (sent, taken) = taken(&mut taking), if taking.is_some() => {
                    taking = None;
                    match taken {
                        Ok(pending) => told.push(Box::pin(hear(sent, pending))),
                        Err(error) => self.on_told(&sent, Err(error)),
                    }
                }
                () = clock.sleep_until(due), if open && room => {
                    let planned = match every {
                        Some(every) => {
                            let planned = due;
                            due = due.saturating_add(every);
                            planned
                        }
                        None => shared.now(),
                    };
                    taking = Some(self.submit(planned));
                }
            }
        }
    }

    /// Time between two drafts, and most drafts under way. In an open loop the publisher's own
    /// bound holds, and what waits for it is late.
    fn pace(&self) -> (Option<Duration>, usize) {
        let plan = &self.shared.plan;
        match plan.pace {
            Pace::Rate(rate) => {
                let each = rate / plan.lanes() as f64;
                let every = Duration::try_from_secs_f64(1.0 / each).unwrap_or(Duration::MAX);
                (Some(every), usize::MAX)
            }
            Pace::InFlight(_) => (None, plan.window(self.lane)),
        }
    }

    /// Lanes take turns.
    fn offset(&self, every: Option<Duration>) -> Duration {
        let lanes = u32::try_from(self.shared.plan.lanes())
            .unwrap_or(u32::MAX)
            .max(1);
        let lane = u32::try_from(self.lane).unwrap_or(0);
        let every = every.filter(|every| *every < Duration::MAX);
        every.map_or(Duration::ZERO, |every| every / lanes * lane)
    }

    fn submit(&mut self, planned: Duration) -> BoxFuture<'static, Taken> {
        let plan = &self.shared.plan;
        let n = self.next;
        self.next += 1;
        let due = Duration::from_micros(u64::try_from(planned.as_micros()).unwrap_or(u64::MAX));
        let lanes = u64::try_from(plan.lanes()).unwrap_or(1);
        let lane = u64::try_from(self.lane).unwrap_or(0);
        let topics = u64::try_from(self.shared.topics.len().max(1)).unwrap_or(1);
        let topic = usize::try_from((n * lanes + lane) % topics).unwrap_or(0);
        let label = Label {
            mark: self.shared.mark,
            lane: self.lane,
            topic,
            n,
            due,
        };
        let (least, most) = plan.payload;
        let spread = u64::try_from(most.saturating_sub(least)).unwrap_or(0);
        let more = self.shared.machine.chance.below(spread.saturating_add(1));
        let size = least.saturating_add(usize::try_from(more).unwrap_or(0));
        let (payload, digest) = label.payload(size);
        let sent = Sent {
            n,
            topic,
            due,
            digest,
            again: self.publisher.sent_again(),
        };
        if let Some(count) = self.shared.submitted.get(self.lane) {
            count.store(n + 1, Ordering::Release);
        }
        let draft = self.shared.topics.get(topic).map(|topic| Draft {
            topic: topic.clone(),
            content: Content {
                payload,
                meta: self.meta.clone(),
            },
            key: None,
            key_age_ms: 0,
            ack: Ack::Committed,
            expect: None,
        });
        let publisher = self.publisher.clone();
        Box::pin(async move {
            let taken = match draft {
                Some(draft) => publisher.submit(draft).await,
                None => Err(PublishError::Ended),
            };
            (sent, taken)
        })
    }

    fn on_told(&mut self, sent: &Sent, outcome: Result<Acked, PublishError>) {
        let shared = &self.shared;
        let again = self.publisher.sent_again();
        if again != self.again {
            self.again = again;
            self.order.on_sent_again(self.next);
        }
        let acked = match outcome {
            Ok(acked) => acked,
            Err(PublishError::Refused(told)) => {
                return shared.refused.add(told.problem.code.as_str());
            }
            Err(PublishError::Unreachable(_)) => return shared.refused.add("no node was reached"),
            Err(error @ (PublishError::Unknown(_) | PublishError::Ended)) => {
                return shared.unknown.add(error.to_string());
            }
        };
        shared.came(shared.publish_way(self.via), sent.due);
        let Some(position) = acked.position else {
            return;
        };
        let at = judged(position);
        shared.watch.acked(sent.topic, at, sent.digest);
        let durable = Class::Durable.spelling();
        let downgraded = acked
            .class
            .as_ref()
            .is_some_and(|class| class.as_str() == durable)
            && acked.reached.as_str() != durable;
        if downgraded {
            shared.watch.give(Verdict::Downgraded, sent.topic, || {
                format!("{at} of a durable topic reached `{}`", acked.reached)
            });
        }
        if sent.again == again
            && !acked.duplicate
            && let Some(proof) = self.order.on_acked(sent.topic, sent.n, at)
        {
            shared
                .watch
                .give(Verdict::PublisherOrder, sent.topic, || proof);
        }
    }

    /// What was due in an open loop and is still here will not be sent.
    fn count_unsent(&self, due: Duration, every: Option<Duration>) {
        let late = self.shared.now().saturating_sub(due).as_nanos();
        let every = every.map_or(0, |every| every.as_nanos());
        let unsent = late.checked_div(every).unwrap_or(0);
        self.shared
            .unsent
            .add(u64::try_from(unsent).unwrap_or(u64::MAX));
    }
}

async fn taken(taking: &mut Option<BoxFuture<'static, Taken>>) -> Taken {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}

async fn hear(sent: Sent, mut pending: Pending) -> Told {
    let outcome = pending.outcome().await;
    (sent, outcome)
}
