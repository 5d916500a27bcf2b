//! NDJSON tail: a line for each item.

use axum::response::Response;
use fanfare_core::receipt::Refusal;
use fanfare_protocol::ndjson;
use fanfare_protocol::query::{ReadQuery, ReadRoute};
use fanfare_protocol::run::Carrier;

use super::sse::{Route, stream, streamed};
use crate::auth::Bearer;
use crate::cut::Cut;
use crate::sessions::Sessions;

/// Opens a stream of lines; `Err` has a status of its own. `bearer` has not been asked for the
/// topics yet.
pub(crate) async fn serve(
    sessions: &Sessions,
    query: ReadQuery,
    bearer: Bearer,
    cut: Option<Cut>,
) -> Result<Response, Refusal> {
    let route = Route {
        route: ReadRoute::Tail,
        carrier: Carrier::Tail,
        first: Vec::new(),
        name: "tail",
    };
    let body = stream(sessions, query, bearer, cut, route).await?;
    Ok(streamed(body, ndjson::CONTENT_TYPE))
}
