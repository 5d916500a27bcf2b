//! From a request to its route: guards, credentials, query, and the headers of every answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::header::{LAST_EVENT_ID, last_event_id, prefers_html};
use fanfare_protocol::limit::Limits;
use fanfare_protocol::query::{BodyFormat, ReadQuery, ReadRoute};
use fanfare_protocol::secret::Secret;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};

use crate::auth::{Bearer, presented};
use crate::cors::{Origin, host_allowed};
use crate::cut::Cut;
use crate::problem::problem;
use crate::routes::{HOME, Route, explain};
use crate::sessions::Sessions;
use crate::state::EdgeState;
use crate::transport;
use crate::{batch, single};

const REQUEST_ID: HeaderName = HeaderName::from_static("fanfare-request-id");

/// What every route is called with.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) state: Arc<EdgeState>,
    pub(crate) sessions: Sessions,
}

/// Answers every request of the edge listener.
pub(crate) async fn serve(State(front): State<Front>, request: Request<Body>) -> Response {
    let id = format!("{:016x}", front.state.deps.rng.next_u64());
    front.state.deps.metrics.requests.inc();
    let origin = Origin::of(&request, &front.state.config.origins);
    let mut response = guarded(&front, request, &id, &origin).await;
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    origin.mark(headers);
    response
}

/// Asks what may be asked before a route knows of the request: host, method, origin.
async fn guarded(front: &Front, request: Request<Body>, id: &str, origin: &Origin) -> Response {
    let route = Route::of(request.uri().path());
    let posted = request.method() == Method::POST;
    let refuse = |code, why: &str| {
        front.state.deps.metrics.requests_refused.inc();
        let refusal = Refusal::new(code, why);
        problem(
            &if posted {
                refusal.as_publish()
            } else {
                refusal
            },
            id,
        )
    };
    if !host_allowed(&request, &front.state.config.hosts) {
        let why = "the request's Host is not in `edge.allowed_hosts`";
        return refuse(Code::OriginNotAllowed, why);
    }
    if request.method() == Method::OPTIONS {
        return origin.preflight(route.map_or("OPTIONS", Route::allow));
    }
    let Some(route) = route else {
        return refuse(Code::NoRoute, "there is nothing at this path");
    };
    if !route.takes(request.method()) {
        let mut response = refuse(
            Code::MethodNotAllowed,
            "the route does not take this method",
        );
        let allow = HeaderValue::from_static(route.allow());
        response.headers_mut().insert(header::ALLOW, allow);
        return response;
    }
    // A browser's page may send both without asking first; a stream would be held for a page that
    // cannot read it, as it can read no other answer.
    let streams = matches!(route, Route::Ws | Route::Sse | Route::Tail);
    if *origin == Origin::Refused && (posted || streams) {
        let why = "the page's Origin is not in `edge.allowed_origins`";
        return refuse(Code::OriginNotAllowed, why);
    }
    routed(front, route, request, id, origin).await
}

async fn routed(
    front: &Front,
    route: Route,
    request: Request<Body>,
    id: &str,
    origin: &Origin,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map(|from| from.0.ip());
    let cut = request.extensions().get::<Cut>().cloned();
    let call = Call {
        front,
        query: request.uri().query().unwrap_or("").to_owned(),
        method: request.method().clone(),
        headers: request.headers().clone(),
        trusted: origin.trusted(request.headers()),
    };
    let EdgeState { deps, limiter, .. } = &*front.state;
    if let Err(refusal) = limiter.admit(deps.clock.now(), peer, &call.headers) {
        deps.metrics.requests_refused.inc();
        return refused(&call, route, refusal, id);
    }
    let sessions = &front.sessions;
    let answer = match route {
        Route::Home => call
            .bearer(None)
            .map(|_| text("text/html; charset=utf-8", HOME)),
        Route::Error(code) => {
            let page = || text("text/plain; charset=utf-8", explain(code));
            call.bearer(None).map(|_| page())
        }
        Route::Publish => return single::publish(&call, request.into_body(), id).await,
        Route::Batch => return batch::publish(&call, request.into_body(), id),
        Route::Ws => {
            let opening = call.reader(ReadRoute::Ws);
            transport::ws::serve(sessions, request, opening)
        }
        Route::Sse => match call.reader(ReadRoute::Sse) {
            Ok((query, bearer)) => transport::sse::serve(sessions, query, bearer, cut).await,
            Err(refusal) => Err(refusal),
        },
        Route::Tail => match call.reader(ReadRoute::Tail) {
            Ok((query, bearer)) => transport::tail::serve(sessions, query, bearer, cut).await,
            Err(refusal) => Err(refusal),
        },
        Route::Poll => match call.reader(ReadRoute::Poll) {
            Ok((query, bearer)) => {
                let seen = call.text(&header::IF_NONE_MATCH);
                let head = call.method == Method::HEAD;
                transport::poll::serve(sessions, query, bearer, seen, head).await
            }
            Err(refusal) => Err(refusal),
        },
    };
    match answer {
        Ok(response) => response,
        Err(refusal) => refused(&call, route, refusal, id),
    }
}

/// A refusal as the route tells it: SSE keeps its browser trying, a poll may be HTML, a publish
/// says what became of it.
fn refused(call: &Call<'_>, route: Route, refusal: Refusal, id: &str) -> Response {
    let sessions = &call.front.sessions;
    match route {
        Route::Publish | Route::Batch => problem(&single::of_publish(refusal), id),
        Route::Sse => {
            transport::sse::refused(sessions, &refusal).unwrap_or_else(|| problem(&refusal, id))
        }
        Route::Poll => {
            let (accept, limits) = (call.text(&header::ACCEPT), call.limits());
            let query = ReadQuery::read(ReadRoute::Poll, &call.query, accept, &limits).ok();
            // A query that does not parse is answered in the format it seems to want.
            let seems = || {
                let named = call.query.split('&').any(|pair| pair == "format=html");
                named || accept.is_some_and(prefers_html)
            };
            if query
                .as_ref()
                .map_or_else(seems, |query| query.format == BodyFormat::Html)
            {
                let follows = call
                    .query
                    .split('&')
                    .any(|pair| pair.starts_with("follow="));
                transport::poll::refused(sessions, query.as_ref(), follows, &refusal)
            } else {
                problem(&refusal, id)
            }
        }
        Route::Home | Route::Error(_) | Route::Ws | Route::Tail => problem(&refusal, id),
    }
}

/// A request that passed the guards, without its body.
pub(crate) struct Call<'a> {
    pub(crate) front: &'a Front,
    pub(crate) query: String,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    trusted: bool,
}

impl Call<'_> {
    /// Who asks. `token` is the query's, where the route takes one.
    pub(crate) fn bearer(&self, token: Option<Secret>) -> Result<Bearer, Refusal> {
        let door = &self.front.state.door;
        let trusted = self.trusted && door.reads_cookies();
        let credential = presented(&self.method, &self.headers, token, trusted)?;
        door.bearer(credential.as_ref())
    }

    /// What may be sent, as the view and the settings say.
    pub(crate) fn limits(&self) -> Limits {
        self.front.state.limits()
    }

    /// A header that is given once; twice is as wrong as a bad one.
    pub(crate) fn once(&self, name: &'static str) -> Result<Option<&[u8]>, Refusal> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (_, Some(_)) => {
                let why = "this header is repeated";
                Err(Refusal::new(Code::InvalidArgument, why).field(name))
            }
            (first, None) => Ok(first.map(HeaderValue::as_bytes)),
        }
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What a reader wants, and who it is. `Last-Event-ID` wins over `cursor=`: a browser repeats
    /// the URL it was opened with.
    fn reader(&self, route: ReadRoute) -> Result<(ReadQuery, Bearer), Refusal> {
        let accept = self.text(&header::ACCEPT);
        let mut query = ReadQuery::read(route, &self.query, accept, &self.limits())?;
        if route == ReadRoute::Sse
            && let Some(raw) = self.once(LAST_EVENT_ID)?
            && let Some(newer) = last_event_id(raw)?
        {
            let cursor = query.cursor.get_or_insert_default();
            for (hash, position) in newer.rows() {
                cursor.set(*hash, *position);
            }
        }
        let bearer = self.bearer(query.token.take())?;
        Ok((query, bearer))
    }
}

fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'"),
    );
    response
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire;
