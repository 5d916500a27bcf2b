//! Refusals as HTTP answers: problem+json, with status and headers.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::json::problem;
use http::{HeaderValue, StatusCode, header};

/// The answer for a refusal. `request_id` is the one of the header `Fanfare-Request-Id`, which the
/// router sets on every answer.
pub(crate) fn problem(refusal: &Refusal, request_id: &str) -> Response {
    let status = StatusCode::from_u16(problem::status(refusal));
    with_status(
        refusal,
        status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        request_id,
    )
}

/// The same under another status: 415 has no code of its own.
pub(crate) fn with_status(refusal: &Refusal, status: StatusCode, request_id: &str) -> Response {
    let mut body = Vec::with_capacity(256);
    problem::put_problem(&mut body, refusal, status.as_u16(), Some(request_id));
    body.push(b'\n');
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(problem::CONTENT_TYPE),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(ms) = refusal.retry_after_ms {
        headers.insert(header::RETRY_AFTER, ms.div_ceil(1_000).into());
    }
    if matches!(refusal.code, Code::Unauthenticated | Code::TokenExpired) {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// An answer without a body: the bare statuses of the HTTP layer.
pub(crate) fn bare(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
