//! How a poll's answer is written: JSON or HTML, with the headers that let caches help.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use fanfare_core::gap::Item;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::html;
use fanfare_protocol::json::problem;
use fanfare_protocol::poll::{PolledTopic, etag, etag_matches, link, next_url, put_body};
use fanfare_protocol::query::{BodyFormat, ReadQuery};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, LINK, RETRY_AFTER, VARY,
};
use http::{HeaderValue, StatusCode};

use super::Found;
use crate::sessions::Sessions;

/// The answer to a poll.
pub(super) fn respond(
    sessions: &Sessions,
    query: &ReadQuery,
    found: &Found,
    seen: Option<&str>,
    head: bool,
) -> Response {
    let base = &sessions.state.config.base_path;
    let next = next_url(base, query, Some(&found.cursor));
    let tag = etag(query.format, &found.cursor);
    let html = query.format == BodyFormat::Html;
    let unchanged =
        html && query.cursor.is_some() && query.wait.is_zero() && found.items.is_empty();
    let mut response = Response::new(Body::empty());
    if unchanged {
        // htmx swaps nothing and polls on.
        *response.status_mut() = StatusCode::NO_CONTENT;
    } else if seen.is_some_and(|seen| etag_matches(seen, &tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        let (content_type, body) = if html {
            (html::CONTENT_TYPE, page(query, found, &next))
        } else {
            json(found)
        };
        put(&mut response, CONTENT_TYPE, content_type);
        if !head {
            *response.body_mut() = Body::from(body);
        }
    }
    if html {
        put(
            &mut response,
            CONTENT_SECURITY_POLICY,
            html::SECURITY_POLICY,
        );
    }
    put(&mut response, ETAG, &tag);
    put(&mut response, LINK, &link(&next));
    let (cache, vary) = caching(sessions, query, found);
    put(&mut response, CACHE_CONTROL, &cache);
    put(&mut response, VARY, vary);
    response
}

fn json(found: &Found) -> (&'static str, Vec<u8>) {
    let rows = found.attached.iter();
    let topics: Vec<_> = rows
        .map(|row| PolledTopic::new(row.topic.clone(), &row.standing))
        .collect();
    let items: Vec<Item> = found.items.iter().map(|(item, _)| item.clone()).collect();
    let mut out = Vec::new();
    put_body(&mut out, &topics, &items, found.more, &found.cursor);
    out.push(b'\n');
    ("application/json", out)
}

fn page(query: &ReadQuery, found: &Found, next: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (item, rule) in &found.items {
        html::put_item(&mut out, item, *rule);
    }
    if let Some(follow) = query.follow {
        html::put_poller(&mut out, next, follow, query.wait);
    }
    out
}

/// `Cache-Control` and `Vary`. Public or not depends on the topics alone, never on who asks.
fn caching(sessions: &Sessions, query: &ReadQuery, found: &Found) -> (String, &'static str) {
    const PRIVATE: &str = "Accept, Origin, Authorization, Cookie";
    if query.min_position.is_some() {
        return ("no-store".to_owned(), PRIVATE);
    }
    let state = &sessions.state;
    let anonymous = state.door.bearer(None);
    let all = |bearer: &crate::auth::Bearer| {
        query
            .topics
            .iter()
            .all(|topic| bearer.grants.may_read(topic))
    };
    match state.config.public_polls {
        Some(seconds) if anonymous.is_ok_and(|bearer| all(&bearer)) => {
            if found.items.is_empty() && !query.wait.is_zero() {
                // Cached, it would spin clients.
                return ("no-store".to_owned(), "Accept, Origin");
            }
            (format!("public, max-age={seconds}"), "Accept, Origin")
        }
        Some(_) | None => ("private, no-cache".to_owned(), PRIVATE),
    }
}

/// A refusal as HTML. `query` is there if it could be parsed: under `follow` the poller may go on.
/// `follows` is true if the request asked for `follow`, well or badly.
pub(crate) fn refused(
    sessions: &Sessions,
    query: Option<&ReadQuery>,
    follows: bool,
    refusal: &Refusal,
) -> Response {
    let follow = query.and_then(|query| query.follow.map(|follow| (query, follow)));
    let status = StatusCode::from_u16(problem::status(refusal));
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut out = Vec::new();
    let status = match follow {
        Some((query, follow)) if html::polls_on_after(refusal) => {
            let cursor = query.cursor.as_ref().map(ToString::to_string);
            let url = next_url(&sessions.state.config.base_path, query, cursor.as_deref());
            // Not at once, as after the end of a long poll: that would be a storm.
            html::put_poller(&mut out, &url, follow, Duration::ZERO);
            match cursor {
                Some(_) => status,
                // The page's own element asks only once, and htmx 2 swaps only 2xx.
                None => StatusCode::OK,
            }
        }
        // htmx 2 swaps only 2xx: without a poller in place of the old one, polling ends.
        _ if follows => {
            html::put_error(&mut out, refusal);
            StatusCode::OK
        }
        _ => {
            html::put_error(&mut out, refusal);
            status
        }
    };
    let mut response = Response::new(Body::from(out));
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, html::CONTENT_TYPE);
    put(
        &mut response,
        CONTENT_SECURITY_POLICY,
        html::SECURITY_POLICY,
    );
    put(&mut response, CACHE_CONTROL, "no-store");
    if let Some(ms) = refusal.retry_after_ms {
        put(&mut response, RETRY_AFTER, &ms.div_ceil(1_000).to_string());
    }
    response
}

/// Sets a header. What cannot stand in one is left out: all that is put here is ASCII.
fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}
