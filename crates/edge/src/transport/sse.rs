//! Server-sent events: the stream is a session whose pump is the response body.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::code::Advice;
use fanfare_core::cursor::Cursor;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::json::server_frame::Disconnect;
use fanfare_protocol::query::{BodyFormat, ReadQuery, ReadRoute};
use fanfare_protocol::run::Carrier;
use fanfare_protocol::sse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};

use super::since;
use crate::auth::Bearer;
use crate::cut::Cut;
use crate::session::attach::{Wish, attach_all};
use crate::session::body::{BodyWire, SessionBody};
use crate::session::delivery::Delivery;
use crate::session::fetch::Fetch;
use crate::sessions::{Lost, Opening, Sessions};

/// Opens a stream of events; `Err` has a status of its own. `bearer` has not been asked for the
/// topics yet.
pub(crate) async fn serve(
    sessions: &Sessions,
    query: ReadQuery,
    bearer: Bearer,
    cut: Option<Cut>,
) -> Result<Response, Refusal> {
    let carrier = match query.format {
        BodyFormat::Json => Carrier::Sse,
        BodyFormat::Html => Carrier::Html,
    };
    let mut first = Vec::new();
    sse::put_retry(&mut first, 1_000 + sessions.state.deps.rng.below(2_001));
    let route = Route {
        route: ReadRoute::Sse,
        carrier,
        first,
        name: "sse",
    };
    match stream(sessions, query, bearer, cut, route).await {
        Ok(body) => Ok(answer(body)),
        Err(refusal) => refused(sessions, &refusal).ok_or(refusal),
    }
}

/// The answer for a refusal met before `serve`: an EventSource gives up for ever on any status but
/// 200, so what may be tried again is a short stream. `None`: answer with the status.
pub(crate) fn refused(sessions: &Sessions, refusal: &Refusal) -> Option<Response> {
    match refusal.code.advice(refusal.outcome) {
        Advice::GiveUp | Advice::Reauthenticate => return None,
        Advice::RetryLater | Advice::RetrySameKey | Advice::Reroute => {}
    }
    let delay = refusal.retry_after_ms.unwrap_or(1_000) + sessions.state.deps.rng.below(1_000);
    let refusal = refusal.clone().retry_after(delay);
    let mut out = Vec::new();
    Carrier::Sse.put_disconnect(&mut out, &Disconnect::new(&refusal, None));
    Some(answer(Body::from(out)))
}

fn answer(body: Body) -> Response {
    streamed(body, sse::CONTENT_TYPE)
}

/// The head of an answer that goes on: nobody on the way may keep, change or hold back its bytes.
pub(super) fn streamed(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-store, no-transform"),
    );
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// What tells one kind of stream from another.
pub(super) struct Route {
    pub(super) route: ReadRoute,
    pub(super) carrier: Carrier,
    pub(super) first: Vec<u8>,
    pub(super) name: &'static str,
}

/// Opens a session that is a response body.
pub(super) async fn stream(
    sessions: &Sessions,
    query: ReadQuery,
    bearer: Bearer,
    cut: Option<Cut>,
    route: Route,
) -> Result<Body, Refusal> {
    let seat = sessions.admit()?;
    let mut cursor = Cursor::default();
    let mut wishes = Vec::new();
    for topic in &query.topics {
        super::may_subscribe(&bearer, topic)?;
        if let Some(at) = query
            .cursor
            .as_ref()
            .and_then(|presented| presented.get(topic))
        {
            cursor.set(topic.hash64(), at);
        }
        let since = since(&query, route.route, topic);
        wishes.push(Wish::stream(topic.clone(), since, query.min_position));
    }
    let attached = attach_all(sessions, wishes).await?;
    let lost = Lost::default();
    let teller = lost.teller();
    let opening = Opening {
        transport: route.name,
        bearer,
        heartbeat: query.heartbeat,
        open: true,
        cursor: None,
        cut,
        attached,
        wishes: Vec::new(),
        lost,
    };
    let vitals = sessions.vitals(&opening, false);
    let clock = sessions.state.deps.clock.clone();
    let wire = BodyWire::new(route.carrier, route.first);
    let delivery = Delivery::new(wire, cursor, &sessions.state.deps, teller);
    let guard = sessions
        .open(seat, opening, delivery.clone(), vitals)
        .await?;
    let fetch = Fetch::new(sessions.reading().clone(), clock);
    Ok(Body::new(SessionBody::new(delivery, fetch, guard)))
}
