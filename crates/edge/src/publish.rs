//! Publishing as every door uses it: streams of drafts go in, each ends in an ack or a refusal.
//! What is checked before a draft goes its way is here; the way itself is the desk's.

mod desk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::grant::Grants;
use fanfare_core::id::ShardId;
use fanfare_core::message::{Ack, Draft};
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::RuleLayer;
use fanfare_core::view::View;
use fanfare_host::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::config::{EdgeDeps, PublishLimits};
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::state::Drain;
use desk::{Inbox, Input};

/// Where drafts go. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    view: watch::Receiver<Arc<View>>,
    directory: Arc<Directory>,
    draining: watch::Receiver<Option<Drain>>,
    limits: PublishLimits,
    room: Arc<Semaphore>,
    inbox: Arc<Inbox>,
    streams: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Starts the desk on the node's tracker.
    pub(crate) fn start(
        deps: &EdgeDeps,
        limits: PublishLimits,
        directory: Arc<Directory>,
        draining: watch::Receiver<Option<Drain>>,
    ) -> Self {
        let inbox = Arc::new(Inbox::default());
        let desk = desk::run(deps.clone(), directory.clone(), inbox.clone());
        deps.tracker.spawn(desk);
        let room = Arc::new(Semaphore::new(limits.bytes as usize));
        let shared = Shared {
            clock: deps.clock.clone(),
            view: deps.view.clone(),
            directory,
            draining,
            limits,
            room,
            inbox,
            streams: AtomicU64::new(1),
            metrics: deps.metrics.clone(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Opens a publish stream (C3): one HTTP request, one WebSocket, one gRPC call.
    pub fn stream(&self) -> PublishStream {
        PublishStream {
            id: self.shared.streams.fetch_add(1, Ordering::Relaxed),
            shared: self.shared.clone(),
            used: AtomicBool::new(false),
        }
    }

    /// Largest payload the cluster takes, in bytes; the default while this node has no view.
    pub fn payload_limit(&self) -> u64 {
        self.shared.payload_limit()
    }

    /// Bytes of drafts that are in flight here.
    pub fn bytes_in_flight(&self) -> usize {
        let most = self.shared.limits.bytes as usize;
        most.saturating_sub(self.shared.room.available_permits())
    }

    /// Completes once nothing is in flight. Meant for a node that takes nothing any more.
    pub(crate) async fn idle(&self) {
        // The semaphore is never closed, so an error cannot be.
        self.shared
            .room
            .acquire_many(self.shared.limits.bytes)
            .await
            .ok();
    }
}

impl Shared {
    fn payload_limit(&self) -> u64 {
        const DEFAULT: u64 = 64 << 10;
        let view = self.view.borrow();
        if view.is_bootstrapped() {
            view.payload_limit
        } else {
            DEFAULT
        }
    }
}

/// One publish stream. Dropping it leaves what was submitted to its end.
pub struct PublishStream {
    id: u64,
    shared: Arc<Shared>,
    /// The desk has heard of it.
    used: AtomicBool,
}

impl PublishStream {
    /// Waits for room for a draft that takes so many bytes ([`Draft::cost`]): at most
    /// `room_wait`, then `overloaded`. Await one before the next, so that the order is yours.
    pub async fn room(&self, cost: u64) -> Result<Room, Refusal> {
        self.permit(cost).await.map(Room)
    }

    /// Waits, as long, for more room for the same draft.
    pub async fn more(&self, room: &mut Room, bytes: u64) -> Result<(), Refusal> {
        room.0.merge(self.permit(bytes).await?);
        Ok(())
    }

    async fn permit(&self, cost: u64) -> Result<OwnedSemaphorePermit, Refusal> {
        let most = self.shared.limits.bytes;
        let bytes = u32::try_from(cost).map_or(most, |cost| cost.min(most));
        let room = self.shared.room.clone();
        if let Ok(permit) = room.clone().try_acquire_many_owned(bytes) {
            return Ok(permit);
        }
        let permit = tokio::select! {
            biased;
            permit = room.acquire_many_owned(bytes) => permit.ok(),
            () = self.shared.clock.sleep(self.shared.limits.room_wait) => None,
        };
        permit.ok_or_else(|| {
            self.shared.metrics.overloaded.inc();
            let why = "too many bytes of publishes are in flight on this node";
            Refusal::of_publish(Code::Overloaded, why).retry_after(1_000)
        })
    }

    /// Takes the draft; the order of these calls is the order of placing (C3), whether or not the
    /// answers are awaited. Checks the grant, the topic and the payload's size. A draft with ack
    /// `none` is answered at once. `timeout` is the publisher's deadline from now on.
    pub fn submit(
        &self,
        grants: &Grants,
        room: Room,
        draft: Draft,
        timeout: Duration,
    ) -> Published {
        let shard = match self.check(grants, &draft) {
            Ok(shard) => shard,
            Err(refusal) => return Published::refused(refusal),
        };
        let (reply, published) = match draft.ack {
            Ack::Committed => {
                let (reply, answer) = oneshot::channel();
                (Some(reply), State::Waiting(answer))
            }
            Ack::None => (None, State::Ready(Some(Ok(self.taken(&draft))))),
        };
        self.used.store(true, Ordering::Relaxed);
        self.shared.inbox.put(Input::Submit {
            stream: self.id,
            shard,
            draft,
            deadline: self.shared.clock.now().saturating_add(timeout),
            room: room.0,
            reply,
        });
        Published(published)
    }

    /// Waits for room, submits, and waits for the end.
    pub async fn publish(
        &self,
        grants: &Grants,
        draft: Draft,
        timeout: Duration,
    ) -> Result<Receipt, Refusal> {
        let room = self.room(draft.cost()).await?;
        self.submit(grants, room, draft, timeout).await
    }

    fn check(&self, grants: &Grants, draft: &Draft) -> Result<ShardId, Refusal> {
        let topic = &draft.topic;
        let refuse = |code, why: &str| Refusal::of_publish(code, why).topic(topic.clone());
        if topic.is_system() {
            let why = "topics that begin with `$` are the system's";
            return Err(refuse(Code::InvalidTopic, why).field("topic"));
        }
        if !grants.may_publish(topic) {
            return Err(refuse(Code::Forbidden, "no grant to publish to this topic"));
        }
        let limit = self.shared.payload_limit();
        if draft.content.payload.len() as u64 > limit {
            let why = format!("a payload has at most {limit} bytes");
            return Err(refuse(Code::PayloadTooLarge, &why));
        }
        if self.shared.draining.borrow().is_some() {
            return Err(refuse(Code::Draining, "this node is leaving"));
        }
        self.shared.directory.shard_of(topic).ok_or_else(|| {
            refuse(
                Code::NotReady,
                "this node does not know the cluster's shards yet",
            )
        })
    }

    /// The answer for ack `none`: the class is what the rules say, which no leader was asked for.
    fn taken(&self, draft: &Draft) -> Receipt {
        let view = self.shared.view.borrow();
        let rules = view.rules.resolve(&draft.topic, &RuleLayer::default());
        Receipt {
            topic: draft.topic.clone(),
            position: None,
            class: rules.class,
            reached: Reached::None,
            duplicate: false,
            dedup_remaining_ms: None,
        }
    }
}

impl Drop for PublishStream {
    fn drop(&mut self) {
        if *self.used.get_mut() {
            self.shared.inbox.put(Input::Close(self.id));
        }
    }
}

/// Room for one draft among those in flight.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

/// The end of one draft. Dropping it does not take the draft back.
#[must_use = "the draft goes its way, but nobody learns its end"]
pub struct Published(State);

enum State {
    Ready(Option<Result<Receipt, Refusal>>),
    Waiting(oneshot::Receiver<Result<Receipt, Refusal>>),
}

impl Published {
    /// An end that was refused before it began.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self(State::Ready(Some(Err(refusal))))
    }
}

impl Future for Published {
    type Output = Result<Receipt, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = || Refusal::of_publish(Code::OutcomeUnknown, "the node stopped");
        Poll::Ready(match &mut self.0 {
            State::Ready(result) => result.take().unwrap_or_else(|| Err(lost())),
            State::Waiting(answer) => match ready!(Pin::new(answer).poll(cx)) {
                Ok(result) => result,
                // The desk answers all it has taken before it ends.
                Err(_) => Err(lost()),
            },
        })
    }
}

#[cfg(test)]
mod tests;
