//! Polls: an attach that ends. Short ones answer at once, long ones at the first item. How an
//! answer is written and cached is in `answer`.

mod answer;
mod wire;

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Standing};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_host::Clock;
use fanfare_protocol::query::{ReadQuery, ReadRoute};
use tokio::sync::Notify;

use super::{may_read, since};
use crate::auth::Bearer;
use crate::reading::READY_WITHIN;
use crate::session::attach::{Attached, Wish, attach_all, stand};
use crate::session::delivery::{Delivery, Voice as _};
use crate::session::fetch::Fetch;
use crate::session::pour::Tape;
use crate::sessions::Sessions;
use wire::{PollWire, Shown};

pub(crate) use answer::refused;

/// What is there already may be read for so long, though the wait be over.
const LEAST: Duration = Duration::from_secs(1);

/// What a poll found.
pub(super) struct Found {
    pub(super) attached: Vec<Topic>,
    pub(super) items: Vec<Shown>,
    /// Cut by a limit.
    pub(super) more: bool,
    pub(super) cursor: String,
}

/// A topic of the answer.
pub(super) struct Topic {
    pub(super) topic: TopicName,
    pub(super) standing: Standing,
}

/// Answers a poll; `Err` is told as [`refused`] says if it wants HTML, else as a problem.
/// `seen` is `If-None-Match`; `head` is true for HEAD.
pub(crate) async fn serve(
    sessions: &Sessions,
    mut query: ReadQuery,
    bearer: Bearer,
    seen: Option<&str>,
    head: bool,
) -> Result<Response, Refusal> {
    for topic in &query.topics {
        may_read(&bearer, topic)?;
    }
    let asked = query.clone();
    if head {
        query.wait = Duration::ZERO;
    }
    let long = !query.wait.is_zero();
    let seat = long.then(|| sessions.admit()).transpose()?;
    // Spent once: what the answers of the topics took is not waited for again.
    let until = long.then(|| sessions.state.deps.clock.now() + patience(sessions, &query, &bearer));
    let attached = if long {
        let wishes = wishes(&query);
        attach_all(sessions, wishes).await?
    } else {
        let stands = wishes(&query).into_iter().map(|wish| short(sessions, wish));
        futures_util::future::try_join_all(stands).await?
    };
    let found = gather(sessions, attached, query.limit, until).await?;
    drop(seat);
    Ok(answer::respond(sessions, &asked, &found, seen, head))
}

fn wishes(query: &ReadQuery) -> Vec<Wish> {
    let wish = |topic: &TopicName| Wish {
        topic: topic.clone(),
        since: since(query, ReadRoute::Poll, topic),
        min_position: query.min_position,
        wait: query.wait,
        poll: true,
    };
    query.topics.iter().map(wish).collect()
}

/// Nothing is attached: the leader says where the topic stands, pages bring it there.
pub(super) async fn short(sessions: &Sessions, wish: Wish) -> Result<Attached, Refusal> {
    let standing = stand(sessions, &wish).await?;
    Ok(Attached {
        topic: wish.topic,
        tape: Tape::UpTo(standing.head),
        standing,
    })
}

/// How long a long poll waits: up to a tenth less than asked, so that those which began together
/// do not end together; never beyond the credentials' end.
fn patience(sessions: &Sessions, query: &ReadQuery, bearer: &Bearer) -> Duration {
    let deps = &sessions.state.deps;
    let wait = u64::try_from(query.wait.as_millis()).unwrap_or(u64::MAX);
    let wait = wait - deps.rng.below(wait / 10 + 1);
    let left = bearer
        .expires_ms
        .map_or(u64::MAX, |at| at.saturating_sub(deps.clock.wall_ms()));
    Duration::from_millis(wait.min(left))
}

/// What the wheel does for sessions: who waits for the relay in vain is looked at.
async fn beat(clock: &dyn Clock, delivery: &Delivery<PollWire>) -> Infallible {
    loop {
        clock.sleep(LEAST).await;
        let _pulse = delivery.pulse();
    }
}

/// Brings what there is, at most `limit` items; with `until` waits so long for the first.
pub(super) async fn gather(
    sessions: &Sessions,
    attached: Vec<Attached>,
    limit: usize,
    until: Option<Duration>,
) -> Result<Found, Refusal> {
    let deps = &sessions.state.deps;
    let lost = Arc::new((OnceLock::new(), Notify::new()));
    let teller = lost.clone();
    let on_lost = move |_: u64, why: &Refusal| {
        teller.0.get_or_init(|| why.clone());
        teller.1.notify_one();
    };
    let wire = PollWire::new(limit);
    let delivery = Delivery::new(wire, Cursor::default(), deps, on_lost);
    let mut topics = Vec::new();
    for Attached {
        topic,
        tape,
        standing,
    } in attached
    {
        delivery.clone().begin(None, &topic, tape, &standing);
        topics.push(Topic { topic, standing });
    }
    let mut fetch = Fetch::new(sessions.reading().clone(), deps.clock.clone());
    let long = until.is_some();
    let done = poll_fn(|cx| {
        delivery.poll_pump(cx, &mut fetch);
        let (any, full) = delivery.take_from(|wire| (wire.any(), wire.is_full()));
        let enough = full || (delivery.is_at_head() && (any || !long));
        if enough {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let mut draining = sessions.state.draining.clone();
    let now = deps.clock.now();
    let deadline = until.map_or(now + READY_WITHIN, |until| until.max(now + LEAST));
    let in_time = tokio::select! {
        biased;
        () = done => true,
        () = lost.1.notified() => true,
        () = deps.clock.sleep_until(deadline) => long,
        never = beat(&*deps.clock, &delivery) => match never {},
        () = deps.stop.cancelled() => long,
        _ = draining.wait_for(Option::is_some), if long => true,
    };
    if let Some(why) = lost.0.get() {
        return Err(why.clone());
    }
    let cursor = delivery.cursor().unwrap_or_default();
    for topic in &mut topics {
        let at = delivery
            .position(&topic.topic)
            .unwrap_or(topic.standing.head);
        // `latest` is told with the head after which its items follow.
        if topic.standing.answer != Answer::Latest {
            topic.standing.head = topic.standing.head.max(at);
        }
    }
    let at_head = delivery.is_at_head();
    let (items, full) = delivery.take_from(PollWire::take);
    if !in_time && items.is_empty() {
        let detail = "the topic's history could not be read in time: try another node";
        return Err(Refusal::new(Code::NotReady, detail).retry_after(500));
    }
    Ok(Found {
        attached: topics,
        items,
        more: full || !at_head,
        cursor,
    })
}
