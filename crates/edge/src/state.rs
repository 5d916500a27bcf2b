//! What all doors of an edge share, sessions apart: settings, the node's loans, directory,
//! publisher, and whether the node is leaving.

use std::sync::Arc;

use fanfare_protocol::limit::Limits;
use tokio::sync::watch;

use crate::auth::Door;
use crate::config::{EdgeConfig, EdgeDeps};
use crate::directory::Directory;
use crate::limits::Limiter;
use crate::publish::Publisher;

/// Shared by all requests and sessions of an edge.
pub(crate) struct EdgeState {
    pub(crate) config: EdgeConfig,
    pub(crate) deps: EdgeDeps,
    pub(crate) directory: Arc<Directory>,
    pub(crate) publisher: Publisher,
    /// Tells credentials apart.
    pub(crate) door: Door,
    /// Counts requests by address.
    pub(crate) limiter: Limiter,
    /// Becomes `Some` once, when the node begins to leave.
    pub(crate) draining: watch::Receiver<Option<Drain>>,
}

/// How a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// Sessions are told within this, spread over it.
    pub(crate) spread: std::time::Duration,
}

impl EdgeState {
    /// True once the node takes no new sessions or publishes.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.borrow().is_some()
    }

    /// What clients may send, as the view and the settings say.
    pub(crate) fn limits(&self) -> Limits {
        let EdgeConfig {
            publish, sessions, ..
        } = &self.config;
        let payload = self.publisher.payload_limit();
        Limits {
            payload: usize::try_from(payload).unwrap_or(usize::MAX),
            topics: sessions.topics,
            frame: sessions.ws_frame,
            in_flight: sessions.ws_in_flight,
            batch_lines: publish.batch_lines,
            batch_bytes: publish.batch_bytes,
        }
    }

    /// This node's name, as the view has it; its number if the view does not know it (yet).
    pub(crate) fn node_name(&self) -> String {
        let view = self.deps.view.borrow();
        view.nodes
            .get(&self.deps.node)
            .map_or_else(|| self.deps.node.to_string(), |node| node.name.clone())
    }
}
