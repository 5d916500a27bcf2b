//! `POST /v1/publish`: one draft, whose payload is the body.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use fanfare_core::code::{Code, Outcome};
use fanfare_core::message::{Ack, Content, ContentType, Draft, Meta};
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_protocol::header::{KEY, KEY_AGE};
use fanfare_protocol::json::ack::put_receipt;
use fanfare_protocol::json::draft::{self, DraftHeaders};
use fanfare_protocol::query::PublishQuery;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::http::Call;
use crate::problem::{bare, problem, with_status};
use crate::publish::{PublishStream, Room};

/// Why there is no receipt.
enum Ended {
    Refused(Refusal),
    /// 415: the body is compressed.
    Encoded(Refusal),
    /// The body did not come (408), or was cut (400).
    NoBody(StatusCode),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Publishes and answers with the receipt or a problem.
pub(crate) async fn publish(call: &Call<'_>, body: Body, id: &str) -> Response {
    match attempt(call, body).await {
        Ok(receipt) => acked(&receipt),
        Err(Ended::Refused(refusal)) => problem(&of_publish(refusal), id),
        Err(Ended::Encoded(refusal)) => {
            with_status(&refusal, StatusCode::UNSUPPORTED_MEDIA_TYPE, id)
        }
        Err(Ended::NoBody(status)) => bare(status),
    }
}

async fn attempt(call: &Call<'_>, body: Body) -> Result<Receipt, Ended> {
    let state = &call.front.state;
    let arrived = state.deps.clock.now();
    let bearer = call.bearer(None)?;
    let query = PublishQuery::read(&call.query)?;
    let deadline = arrived.saturating_add(query.timeout);
    if let Some(refusal) = encoded(&call.headers) {
        return Err(Ended::Encoded(refusal));
    }
    let headers = DraftHeaders {
        content_type: call.once("Content-Type")?,
        key: call.once(KEY)?,
        key_age: call.once(KEY_AGE)?,
    };
    let limits = call.limits();
    if length(&call.headers).is_some_and(|size| size > limits.payload as u64) {
        return Err(too_large(limits.payload).into());
    }
    let stream = state.publisher.stream();
    let mut room = stream.room(head_cost(&query)).await?;
    let timeout = state.config.publish.body_timeout;
    let payload = tokio::select! {
        biased;
        payload = collect(body, limits.payload, &stream, &mut room) => payload?,
        () = state.deps.clock.sleep(timeout) => {
            return Err(Ended::NoBody(StatusCode::REQUEST_TIMEOUT));
        }
    };
    let draft = draft::of_request(query, headers, payload, &limits)?;
    let left = deadline.saturating_sub(state.deps.clock.now());
    Ok(stream.submit(&bearer.grants, room, draft, left).await?)
}

/// What a draft takes beside its payload, at most.
fn head_cost(query: &PublishQuery) -> u64 {
    const KEY_AND_TYPE: u64 = 256;
    let empty = Draft {
        topic: query.topic.clone(),
        content: Content {
            payload: Bytes::new(),
            meta: Arc::new(Meta {
                content_type: ContentType::default(),
                event: query.event.clone(),
                tags: query.tags.clone(),
            }),
        },
        key: None,
        key_age_ms: 0,
        ack: Ack::None,
        expect: None,
    };
    empty.cost() + KEY_AND_TYPE
}

/// The whole body. Room is taken for what has come, not for what was announced: who sends nothing
/// keeps no room from others.
async fn collect(
    body: Body,
    limit: usize,
    stream: &PublishStream,
    room: &mut Room,
) -> Result<Bytes, Ended> {
    let mut body = Limited::new(body, limit);
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(why) if why.is::<LengthLimitError>() => return Err(too_large(limit).into()),
            Err(_) => return Err(Ended::NoBody(StatusCode::BAD_REQUEST)),
        };
        // Trailers say nothing here.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        stream.more(room, piece.len() as u64).await?;
        if whole.is_empty() {
            whole = piece;
        } else {
            // Without a copy if nobody else holds what came so far.
            let mut longer = BytesMut::from(whole);
            longer.extend_from_slice(&piece);
            whole = longer.freeze();
        }
    }
    Ok(whole)
}

fn too_large(limit: usize) -> Refusal {
    let why = format!("a payload has at most {limit} bytes");
    Refusal::of_publish(Code::PayloadTooLarge, why).field("body")
}

/// 200 with the position, or 202 for ack `none`.
fn acked(receipt: &Receipt) -> Response {
    let mut body = Vec::with_capacity(160);
    put_receipt(&mut body, receipt);
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = match receipt.position {
        Some(_) => StatusCode::OK,
        None => StatusCode::ACCEPTED,
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal of a publish says what became of it; those that were none before say it now.
pub(crate) fn of_publish(refusal: Refusal) -> Refusal {
    match refusal.outcome {
        Outcome::None => refusal.as_publish(),
        Outcome::NotPlaced | Outcome::Unknown => refusal,
    }
}

/// The refusal of a compressed body: nothing is decompressed here.
pub(crate) fn encoded(headers: &HeaderMap) -> Option<Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING)?;
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return None;
    }
    let why = "bodies are taken without Content-Encoding";
    Some(Refusal::of_publish(Code::InvalidArgument, why).field("Content-Encoding"))
}

/// `Content-Length`, if there is one.
pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
