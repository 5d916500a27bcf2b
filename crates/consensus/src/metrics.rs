//! What the store of a node counts. Names and exposition are the server's.

use fanfare_host::{Counter, Gauge};

/// Counts of one store.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Snapshots written of this node's replicas.
    pub snapshots_written: Counter,
    /// Snapshots that arrived at another node.
    pub snapshots_sent: Counter,
    /// Snapshots of other nodes that took the place of a replica's state here.
    pub snapshots_installed: Counter,
    /// Snapshots that were not written, did not arrive or were not taken.
    pub snapshots_failed: Counter,
    /// Bytes of the log's segments, and of the records in them that a replica still needs.
    pub log_bytes: Gauge,
    pub log_live_bytes: Gauge,
}
