//! What an operator may set of a broker.

use std::time::Duration;

/// Sizes and times of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerOptions {
    /// Bytes of drafts that may be in flight for one shard; more are refused as overloaded.
    /// Default: 8 MiB.
    pub shard_bytes: usize,
    /// Bytes of history this node may hold over all its shards. Default: 1 GiB.
    pub history_budget: u64,
    /// How long a topic's actor stays that nobody attends and that holds nothing. Default: 1 min.
    pub linger: Duration,
    /// Time between heartbeats of a shard's leader. Default: 150 ms.
    pub heartbeat: Duration,
    /// An election begins between this and `election_max` after the last heartbeat. Default: 500 ms.
    pub election_min: Duration,
    /// Also the leader's lease. Default: 1 s.
    pub election_max: Duration,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            shard_bytes: 8 << 20,
            history_budget: 1 << 30,
            linger: Duration::from_secs(60),
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(500),
            election_max: Duration::from_millis(1_000),
        }
    }
}
