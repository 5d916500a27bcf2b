//! NDJSON tail: a line for each item.

use axum::body::Body;
use axum::response::Response;
use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;

use crate::auth::Bearer;
use crate::sessions::Sessions;

use fanfare_protocol::query::ReadQuery;

/// Opens a stream of lines; `Err` has a status of its own. `bearer` has not been asked for the topics yet.
pub(crate) async fn serve(
    _sessions: &Sessions,
    _query: ReadQuery,
    _bearer: Bearer,
) -> Result<Response, Refusal> {
    let _body = Body::empty();
    Err(Refusal::new(Code::NotReady, "not built yet"))
}
