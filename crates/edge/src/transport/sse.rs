//! Server-sent events: the stream is a session whose pump is the response body.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;

use crate::auth::Bearer;
use crate::sessions::Sessions;

use fanfare_protocol::query::ReadQuery;

/// Opens a stream of events; `Err` has a status of its own. `bearer` has not been asked for the topics yet.
pub(crate) async fn serve(
    _sessions: &Sessions,
    _query: ReadQuery,
    _bearer: Bearer,
) -> Result<Response, Refusal> {
    let _body = Body::empty();
    Err(Refusal::new(Code::NotReady, "not built yet"))
}

/// The answer for a refusal met before `serve`: an EventSource gives up for ever on any status but
/// 200, so what may be tried again is a short stream. `None`: answer with the status.
pub(crate) fn refused(_sessions: &Sessions, _refusal: &Refusal) -> Option<Response> {
    None
}
