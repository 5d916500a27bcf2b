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
    /// 1 while the free space is below the reserve (R15).
    pub log_full: Gauge,
    /// Free bytes of the data directory's volume when it was last looked at, and the reserve.
    pub free_bytes: Gauge,
    pub reserve_bytes: Gauge,
    /// Replicas here whose data is lost, until each is removed (R6).
    pub replicas_lost: Gauge,
    /// Segments, snapshots and unknown replicas that were set aside since the start.
    pub set_aside: Counter,
}
