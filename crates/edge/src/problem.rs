//! Refusals as HTTP answers: problem+json, with status and headers.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::receipt::Refusal;

/// The answer for a refusal. `request_id` is the one of the header `Fanfare-Request-Id`, which the
/// router sets on every answer.
pub(crate) fn problem(_refusal: &Refusal, _request_id: &str) -> Response {
    Response::new(Body::empty())
}
