//! This node's own sessions and counts: who asks, asks every node.

use std::time::Duration;

use fanfare_rpc::roster::NodeCounts;

use super::Admin;

impl Admin {
    /// Everything that `/metrics` shows of this node, by name.
    pub(super) fn own_counts(&self, at: Duration) -> NodeCounts {
        let values = self.metrics.numbers();
        NodeCounts {
            node: self.handle.identity().node,
            at,
            values: values
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }
}
