//! The public gRPC services for readers: a session whose items are encoded by `rpc`, and pages.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Gap, Item, Page, Since};
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::Span;
use fanfare_rpc::items;
use fanfare_rpc::public::{
    Caller, Disconnect, Event, History, HistoryPage, HistoryRequest, Items, Start,
    SubscribeRequest, Subscribed, Subscriber,
};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::poll::{gather, short};
use super::{may_read, may_subscribe};
use crate::auth::Bearer;
use crate::grpc_publish::bearer;
use crate::relay::EdgeRun;
use crate::session::attach::{Wish, attach, attach_all};
use crate::session::delivery::{Delivery, Pumped};
use crate::session::fetch::Fetch;
use crate::session::wire::{Flush, Place, Said, Wire};
use crate::sessions::{Guard, Lost, Opening, Sessions};

/// Events that may wait for the call; what comes on top is not an item.
const ROOM: usize = 4;
/// Events in the channel to the call.
const CHANNEL: usize = 4;
/// Heartbeat of a request that names none.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long the last word may take.
const PARTING: Duration = Duration::from_secs(2);

/// `fanfare.v1.Subscriber` and `fanfare.v1.History` of this edge.
pub(crate) struct GrpcReader {
    pub(crate) sessions: Sessions,
}

/// Events on their way to one call.
struct GrpcWire {
    cursors: bool,
    events: VecDeque<Event>,
    taken: bool,
}

impl GrpcWire {
    fn items(&mut self, place: &Place<'_>, encoded: Bytes, at: Position) {
        let told = place.solo || self.cursors;
        let cursor = told.then(|| Arc::from(place.cursor_at(at)));
        self.events
            .push_back(Event::Items(Items { encoded, cursor }));
    }

    fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        self.taken |= event.is_some();
        event
    }
}

impl Wire for GrpcWire {
    fn waiting(&self) -> usize {
        let events = self.events.iter();
        let items = events.map(|event| match event {
            Event::Items(items) => items.encoded.len(),
            Event::Subscribed(_) | Event::Heartbeat | Event::Disconnect(_) => 0,
        });
        items.sum()
    }

    fn run(&mut self, place: &Place<'_>, span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32 {
        if self.events.len() >= ROOM {
            return 0;
        }
        let count = span.count - skip;
        let encoded = run.grpc().cut(skip as usize, count as usize);
        self.items(place, encoded, span.end());
        count
    }

    fn gap(&mut self, place: &Place<'_>, gap: &Gap) -> bool {
        if self.events.len() >= ROOM {
            return false;
        }
        self.items(place, items::encode_gap(place.topic, gap), gap.to);
        true
    }

    fn say(&mut self, said: &Said) {
        match said {
            Said::Subscribed {
                topic,
                standing,
                cursor,
                ..
            } => {
                self.events.push_back(Event::Subscribed(Subscribed {
                    topic: topic.clone(),
                    class: standing.policy.class,
                    answer: standing.answer,
                    head: standing.head,
                    cursor: cursor.clone(),
                }));
            }
            Said::Heartbeat => self.events.push_back(Event::Heartbeat),
            Said::Disconnect { why, cursor } => {
                self.events.push_back(Event::Disconnect(Disconnect {
                    code: why.code,
                    advice: why.code.advice(why.outcome),
                    retry_after_ms: why.retry_after_ms,
                    cursor: cursor.clone(),
                    detail: why.detail.clone(),
                }));
            }
            // Nobody asks for anything here: these are answers of a WebSocket.
            Said::Welcome(_)
            | Said::Unsubscribed { .. }
            | Said::Ack { .. }
            | Said::Error { .. }
            | Said::Refreshed { .. }
            | Said::Pong { .. } => {}
        }
    }

    fn flush(&mut self) -> (bool, Flush) {
        let moved = std::mem::take(&mut self.taken);
        (
            moved,
            if self.events.is_empty() {
                Flush::Clear
            } else {
                Flush::Waits
            },
        )
    }
}

impl Subscriber for GrpcReader {
    fn subscribe(
        &self,
        caller: Caller,
        request: SubscribeRequest,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<Event>, Refusal>> {
        let sessions = self.sessions.clone();
        async move {
            let bearer = bearer(&sessions.state, &caller)?;
            subscribe(sessions, bearer, request).await
        }
        .boxed()
    }
}

async fn subscribe(
    sessions: Sessions,
    bearer: Bearer,
    request: SubscribeRequest,
) -> Result<mpsc::Receiver<Event>, Refusal> {
    let seat = sessions.admit()?;
    let most = sessions.state.config.sessions.topics;
    if request.topics.len() > most {
        let detail = format!("a session has at most {most} topics");
        return Err(Refusal::new(fanfare_core::code::Code::LimitExceeded, detail).field("topics"));
    }
    let mut cursor = Cursor::default();
    let mut wishes = Vec::new();
    for Start {
        topic,
        since,
        min_position,
    } in request.topics
    {
        may_subscribe(&bearer, &topic)?;
        let presented = request
            .cursor
            .as_ref()
            .and_then(|cursor| cursor.get(&topic));
        if let Some(at) = presented {
            cursor.set(topic.hash64(), at);
        }
        let since = since
            .or(presented.map(Since::After))
            .unwrap_or(Since::Latest);
        wishes.push(Wish::stream(topic, since, min_position));
    }
    let attached = attach_all(&sessions, wishes).await?;
    let lost = Lost::default();
    let teller = lost.teller();
    let opening = Opening {
        transport: "grpc",
        bearer,
        heartbeat: request.heartbeat.unwrap_or(HEARTBEAT),
        open: true,
        cursor: None,
        cut: None,
        attached,
        wishes: Vec::new(),
        lost,
    };
    let vitals = sessions.vitals(&opening, false);
    let clock = sessions.state.deps.clock.clone();
    let wire = GrpcWire {
        cursors: request.cursors,
        events: VecDeque::new(),
        taken: false,
    };
    let delivery = Delivery::new(wire, cursor, &sessions.state.deps, teller);
    let guard = sessions
        .open(seat, opening, delivery.clone(), vitals)
        .await?;
    let fetch = Fetch::new(sessions.reading().clone(), clock);
    let (events, receiver) = mpsc::channel(CHANNEL);
    let call = Call {
        sessions: sessions.clone(),
        delivery,
        fetch,
        guard,
        events,
    };
    sessions.state.deps.tracker.spawn(call.serve());
    Ok(receiver)
}

struct Call {
    sessions: Sessions,
    delivery: Arc<Delivery<GrpcWire>>,
    fetch: Fetch,
    guard: Guard,
    events: mpsc::Sender<Event>,
}

impl Call {
    async fn serve(self) {
        let Self {
            sessions,
            delivery,
            mut fetch,
            guard,
            events,
        } = self;
        let deps = sessions.state.deps.clone();
        let vitals = guard.vitals().clone();
        let pumped = async {
            while let Some(event) = next(&delivery, &mut fetch).await {
                if events.send(event).await.is_err() {
                    return;
                }
            }
        };
        let parted = async {
            vitals.ended.notified().await;
            deps.clock.sleep(PARTING).await;
        };
        tokio::select! {
            biased;
            () = deps.stop.cancelled() => {}
            () = events.closed() => {}
            () = pumped => {}
            () = parted => {}
        }
        drop(guard);
    }
}

/// The next event of a session; `None` once all is said.
async fn next(delivery: &Delivery<GrpcWire>, fetch: &mut Fetch) -> Option<Event> {
    poll_fn(|cx| {
        let pumped = delivery.poll_pump(cx, fetch);
        match (delivery.take_from(GrpcWire::pop), pumped) {
            (Some(event), _) => Poll::Ready(Some(event)),
            (None, Pumped::Over | Pumped::Broken) => Poll::Ready(None),
            (None, Pumped::Idle | Pumped::Waits) => Poll::Pending,
        }
    })
    .await
}

impl History for GrpcReader {
    fn page(
        &self,
        caller: Caller,
        request: HistoryRequest,
    ) -> BoxFuture<'static, Result<HistoryPage, Refusal>> {
        let sessions = self.sessions.clone();
        async move {
            let bearer = bearer(&sessions.state, &caller)?;
            may_read(&bearer, &request.topic)?;
            history(&sessions, request).await
        }
        .boxed()
    }
}

/// A poll of one topic.
async fn history(sessions: &Sessions, request: HistoryRequest) -> Result<HistoryPage, Refusal> {
    let HistoryRequest {
        topic,
        after,
        limit,
        min_position,
        wait,
    } = request;
    let since = after.map_or(Since::Earliest, Since::After);
    let wish = Wish {
        topic,
        since,
        min_position,
        wait,
        poll: true,
    };
    let long = !wait.is_zero();
    let seat = long.then(|| sessions.admit()).transpose()?;
    let until = long.then(|| sessions.state.deps.clock.now() + wait);
    let attached = if long {
        attach(sessions, wish).await?
    } else {
        short(sessions, wish).await?
    };
    let (start, begin) = (attached.standing.start, attached.standing.begin());
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = gather(sessions, vec![attached], limit, until).await?;
    drop(seat);
    let head = found
        .attached
        .first()
        .map_or(begin, |topic| topic.standing.head);
    let mut page = Page {
        gap: None,
        messages: Vec::new(),
        head,
        start,
    };
    let (mut next, mut more) = (begin, found.more);
    for (item, _) in found.items {
        match item {
            Item::Message(_, message) => {
                next = message.position;
                page.messages.push(message);
            }
            Item::Gap(_, gap) if page.gap.is_none() && page.messages.is_empty() => {
                next = gap.to;
                page.gap = Some(gap);
            }
            // A page has its gap at the beginning: the next one begins with this.
            Item::Gap(..) => {
                more = true;
                break;
            }
        }
    }
    if page.gap.is_none() && page.messages.is_empty() {
        // Of a topic that does not exist, the counter moves on.
        let stands: Option<Cursor> = found.cursor.parse().ok();
        let at = found
            .attached
            .first()
            .and_then(|one| stands?.get(&one.topic));
        next = at.unwrap_or(next);
    }
    Ok(HistoryPage { page, next, more })
}
