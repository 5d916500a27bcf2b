//! What a broker counts. Names and exposition are the server's.

use fanfare_host::{Counter, Gauge};

/// Counts of one broker.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Drafts that came in on publish links.
    pub drafts: Counter,
    /// Drafts acked, repeats included.
    pub placed: Counter,
    /// Of these, repeats of a key.
    pub duplicates: Counter,
    /// Drafts with a definite failure.
    pub refused: Counter,
    /// Drafts whose result was not learned.
    pub unknown: Counter,
    /// Drafts sent back to find the leader.
    pub rerouted: Counter,
    /// Of the refused: for want of byte permits.
    pub overloaded: Counter,
    /// Of the refused: because a disk is full.
    pub storage_full: Counter,
    /// Entries proposed, and the drafts in them.
    pub batches: Counter,
    pub batched_drafts: Counter,
    /// Messages placed by ephemeral topics.
    pub ephemeral: Counter,
    /// Runs queued for edges, and the messages in them.
    pub runs: Counter,
    pub run_messages: Counter,
    /// Attachments begun live, and those ended as lagging.
    pub attached: Counter,
    pub lagging: Counter,
    /// Topics with an actor.
    pub topics: Gauge,
    /// Delivery and publish links that are open.
    pub delivery_links: Gauge,
    pub publish_links: Gauge,
    /// Rounds of asking a majority, and the reads they confirmed.
    pub confirmations: Counter,
    pub confirmed_reads: Counter,
    /// Positions above the head, confirmed by a majority (C17). Each means that data was lost.
    pub positions_ahead: Counter,
    /// Reigns of this node's replicas: begun and ended.
    pub reigns: Counter,
    pub abdications: Counter,
    /// Trims for the node's budget, and the messages they dropped before their rules said so (C16).
    pub budget_trims: Counter,
    pub budget_trimmed: Counter,
    /// Actors that failed and were replaced.
    pub restarts: Counter,
}
