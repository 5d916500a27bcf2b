//! Names of all metrics of a node, and nowhere else: crates own the fields, this file names them.
//! `docs/metrics.md` is the operator's page of them.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What a node counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) broker: Arc<fanfare_broker::Metrics>,
    pub(crate) edge: Arc<fanfare_edge::Metrics>,
    pub(crate) store: Arc<fanfare_consensus::Metrics>,
}

/// One number of a scrape.
struct Row {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    Counter(u64),
    Gauge(u64),
}

impl Metrics {
    fn rows(&self) -> Vec<Row> {
        let counter = |name, help, value: u64| Row {
            name,
            help,
            value: Value::Counter(value),
        };
        let gauge = |name, help, value: u64| Row {
            name,
            help,
            value: Value::Gauge(value),
        };
        let (b, e, s) = (&self.broker, &self.edge, &self.store);
        vec![
            counter(
                "published",
                "Drafts acked by this node's shards, repeats of a key included",
                b.placed.get(),
            ),
            counter(
                "published_ephemeral",
                "Of these, messages of ephemeral topics",
                b.ephemeral.get(),
            ),
            counter(
                "publish_duplicates",
                "Acked repeats of a key",
                b.duplicates.get(),
            ),
            counter(
                "publish_refused",
                "Drafts with a definite failure at this node's shards",
                b.refused.get(),
            ),
            counter(
                "publish_unknown",
                "Drafts whose result this node's shards did not learn",
                b.unknown.get(),
            ),
            counter(
                "publish_overloaded",
                "Drafts refused for want of room",
                b.overloaded.get(),
            ),
            counter(
                "publish_rerouted",
                "Drafts sent back to find the leader",
                b.rerouted.get(),
            ),
            counter(
                "batches",
                "Entries proposed by this node's shards",
                b.batches.get(),
            ),
            counter(
                "batched_drafts",
                "Drafts in these entries",
                b.batched_drafts.get(),
            ),
            counter("runs", "Runs queued for edges", b.runs.get()),
            counter(
                "run_messages",
                "Messages in these runs",
                b.run_messages.get(),
            ),
            counter(
                "attachments",
                "Attachments of edges begun live",
                b.attached.get(),
            ),
            counter(
                "attachments_lagging",
                "Attachments ended because the edge was too slow",
                b.lagging.get(),
            ),
            counter(
                "budget_trims",
                "Trims because the node's budget of history was used up",
                b.budget_trims.get(),
            ),
            counter(
                "budget_trimmed",
                "Messages dropped by them, earlier than their rules say",
                b.budget_trimmed.get(),
            ),
            gauge(
                "topic_actors",
                "Topics of this node that have an actor",
                b.topics.get(),
            ),
            gauge(
                "delivery_links",
                "Open delivery links to this node's shards",
                b.delivery_links.get(),
            ),
            gauge(
                "publish_links",
                "Open publish links to this node's shards",
                b.publish_links.get(),
            ),
            counter(
                "confirmations",
                "Rounds in which a leader asked a majority",
                b.confirmations.get(),
            ),
            counter(
                "confirmed_reads",
                "Reads that these rounds confirmed",
                b.confirmed_reads.get(),
            ),
            counter(
                "positions_ahead",
                "Positions above the head, confirmed: each means that data was lost",
                b.positions_ahead.get(),
            ),
            counter(
                "reigns",
                "Times a replica of this node began to lead",
                b.reigns.get(),
            ),
            counter(
                "abdications",
                "Times a replica of this node ended to lead",
                b.abdications.get(),
            ),
            counter(
                "actor_restarts",
                "Actors that failed and were replaced",
                b.restarts.get(),
            ),
            gauge(
                "sessions",
                "Open sessions of this node, waiting polls included",
                e.sessions.get(),
            ),
            counter("sessions_ended", "Sessions that ended", e.ended.get()),
            counter(
                "delivered",
                "Messages handed to sessions' transports",
                e.delivered.get(),
            ),
            counter(
                "delivery_writes",
                "Writes to sockets and bodies that carried them",
                e.writes.get(),
            ),
            counter("gaps", "Gaps told to subscribers", e.gaps.get()),
            counter(
                "resumes",
                "Subscriptions that presented a position",
                e.resumes.get(),
            ),
            counter(
                "reattached",
                "Topics attached again after a lost leader, link or digest",
                e.reattached.get(),
            ),
            counter(
                "digest_mismatches",
                "Digests of a leader that did not match twice in a row",
                e.digest_mismatches.get(),
            ),
            counter(
                "pages",
                "Pages of history read for sessions and polls",
                e.pages.get(),
            ),
            gauge(
                "log_bytes",
                "Bytes of the segments of the write-ahead log",
                s.log_bytes.get(),
            ),
            gauge(
                "log_live_bytes",
                "Of these, bytes that a replica still needs",
                s.log_live_bytes.get(),
            ),
            counter(
                "snapshots_written",
                "Snapshots written of this node's replicas",
                s.snapshots_written.get(),
            ),
            counter(
                "snapshots_sent",
                "Snapshots that arrived at another node",
                s.snapshots_sent.get(),
            ),
            counter(
                "snapshots_installed",
                "Snapshots of other nodes that took the place of a replica's state here",
                s.snapshots_installed.get(),
            ),
            counter(
                "snapshots_failed",
                "Snapshots that were not written, did not arrive or were not taken",
                s.snapshots_failed.get(),
            ),
        ]
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for Row { name, help, value } in self.rows() {
            match value {
                Value::Counter(value) => {
                    let metric = ConstCounter::new(value);
                    let kind = prometheus_client::metrics::MetricType::Counter;
                    metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
                }
                Value::Gauge(value) => {
                    let metric = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
                    let kind = prometheus_client::metrics::MetricType::Gauge;
                    metric.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
                }
            }
        }
        Ok(())
    }
}

/// The text that Prometheus scrapes.
pub(crate) struct Exposition {
    registry: Registry,
}

impl Exposition {
    /// All metrics under the prefix `fanfare`.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let mut registry = Registry::with_prefix("fanfare");
        registry.register_collector(Box::new(metrics));
        Self { registry }
    }

    /// The numbers of now, in the OpenMetrics text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing into a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_on_the_operators_page() {
        let page = include_str!("../../../docs/metrics.md");
        for row in Metrics::default().rows() {
            let name = match row.value {
                Value::Counter(_) => format!("| `fanfare_{}_total` |", row.name),
                Value::Gauge(_) => format!("| `fanfare_{}` |", row.name),
            };
            assert!(page.contains(&name), "docs/metrics.md lacks {name}");
        }
    }

    #[test]
    fn a_scrape_shows_the_numbers_of_now() {
        let metrics = Arc::new(Metrics::default());
        let exposition = Exposition::new(Arc::clone(&metrics));
        assert!(exposition.text().contains("fanfare_published_total 0\n"));
        metrics.broker.placed.add(3);
        metrics.edge.sessions.inc();
        let text = exposition.text();
        assert!(text.contains("fanfare_published_total 3\n"), "{text}");
        assert!(text.contains("fanfare_sessions 1\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
