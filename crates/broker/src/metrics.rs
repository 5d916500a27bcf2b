//! What a broker counts. Names and exposition are the server's.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; stays at 0.
    pub fn dec(&self) {
        let less = |n: u64| Some(n.saturating_sub(1));
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

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
    /// Actors that failed and were replaced.
    pub restarts: Counter,
}
