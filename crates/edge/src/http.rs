//! From a request to its route: guards, credentials, query, and the headers of every answer.

use std::sync::Arc;

use http::HeaderMap;

use crate::sessions::Sessions;
use crate::state::EdgeState;
use crate::transport::Bearer;

/// What every route is called with.
#[derive(Clone)]
pub(crate) struct Front {
    pub(crate) state: Arc<EdgeState>,
    pub(crate) sessions: Sessions,
}

/// A request that passed the guards: method, host, origin (of WebSockets and POSTs), credentials.
pub(crate) struct Arrival {
    pub(crate) front: Front,
    /// For problems; the router sets the header.
    pub(crate) request_id: String,
    /// On `/v1/ws` a bad credential is told after the upgrade, hence a result.
    pub(crate) bearer: Result<Bearer, fanfare_core::receipt::Refusal>,
    pub(crate) headers: HeaderMap,
    /// The raw query, for canonical `next` links.
    pub(crate) query: String,
}
