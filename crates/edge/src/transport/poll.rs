//! Polls: an attach that ends. Short ones answer at once, long ones at the first item.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;

use crate::auth::Bearer;
use crate::sessions::Sessions;

use fanfare_protocol::query::ReadQuery;

/// Answers a poll; `Err` is told as [`refused`] says if it wants HTML, else as a problem.
/// `seen` is `If-None-Match`; `head` is true for HEAD.
pub(crate) async fn serve(
    _sessions: &Sessions,
    _query: ReadQuery,
    _bearer: Bearer,
    _seen: Option<&str>,
    _head: bool,
) -> Result<Response, Refusal> {
    let _body = Body::empty();
    Err(Refusal::new(Code::NotReady, "not built yet"))
}

/// A refusal as HTML. `query` is there if it could be parsed: under `follow` the poller may go on.
pub(crate) fn refused(_sessions: &Sessions, _query: Option<&ReadQuery>, _refusal: &Refusal) -> Response {
    Response::new(Body::empty())
}
