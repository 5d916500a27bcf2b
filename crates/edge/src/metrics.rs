//! What an edge counts. Names and exposition are the server's.

use fanfare_host::{Counter, Gauge};

/// Counts of one edge.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests of the edge listener, and those of them that a guard or limit refused.
    pub requests: Counter,
    pub requests_refused: Counter,
    /// Drafts on their way, and how drafts ended: acked, definitely refused, unknown.
    pub drafts: Gauge,
    pub acked: Counter,
    pub refused: Counter,
    pub unknown: Counter,
    /// Publishes refused for want of room on this node.
    pub overloaded: Counter,
    /// Publish links that broke, and searches for leaders.
    pub publish_links_lost: Counter,
    pub leader_searches: Counter,
    /// Sessions that are open, waiting polls included, and those that ended.
    pub sessions: Gauge,
    pub ended: Counter,
    /// Messages handed to sessions' transports, and the writes that carried them.
    pub delivered: Counter,
    pub writes: Counter,
    /// Gaps told to subscribers.
    pub gaps: Counter,
    /// Subscriptions that presented a position.
    pub resumes: Counter,
    /// Topics attached again after a lost leader, link or digest.
    pub reattached: Counter,
    /// Shards of a leader attached again because its digests did not match twice in a row, or fell
    /// silent.
    pub digest_mismatches: Counter,
    /// Pages of history read for sessions and polls.
    pub pages: Counter,
}
