//! Names of all metrics of a node, and nowhere else: crates own the fields, this file names them.
//! `docs/metrics.md` is the operator's page of them.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::standing::Standing;

/// What a node counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) broker: Arc<fanfare_broker::Metrics>,
    pub(crate) edge: Arc<fanfare_edge::Metrics>,
    pub(crate) store: Arc<fanfare_consensus::Metrics>,
    pub(crate) standing: Standing,
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
    /// Names without the prefix, and what is counted.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.rows().into_iter().map(|row| match row.value {
            Value::Counter(number) | Value::Gauge(number) => (row.name, number),
        })
    }

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
        // Every field by its name: one that is counted and not shown does not compile.
        let fanfare_broker::Metrics {
            drafts: broker_drafts,
            placed,
            duplicates,
            refused: broker_refused,
            unknown: broker_unknown,
            rerouted,
            overloaded: broker_overloaded,
            batches,
            batched_drafts,
            ephemeral,
            runs,
            run_messages,
            attached,
            lagging,
            topics,
            delivery_links,
            publish_links,
            confirmations,
            confirmed_reads,
            positions_ahead,
            reigns,
            abdications,
            budget_trims,
            budget_trimmed,
            restarts,
            storage_full,
        } = &*self.broker;
        let fanfare_edge::Metrics {
            requests,
            requests_refused,
            drafts: edge_drafts,
            acked,
            refused: edge_refused,
            unknown: edge_unknown,
            overloaded: edge_overloaded,
            publish_links_lost,
            leader_searches,
            sessions,
            ended,
            delivered,
            writes,
            gaps,
            resumes,
            reattached,
            digest_mismatches,
            pages,
        } = &*self.edge;
        let fanfare_consensus::Metrics {
            snapshots_written,
            snapshots_sent,
            snapshots_installed,
            snapshots_failed,
            log_bytes,
            log_live_bytes,
            log_full,
            replicas_lost,
            set_aside,
            free_bytes,
            reserve_bytes,
        } = &*self.store;
        let Standing {
            ready,
            sessions_limit,
            shards,
            replicas,
            shards_led,
            replica_lag,
        } = &self.standing;
        vec![
            gauge(
                "ready",
                "1 while clients should be sent to this node",
                ready.get(),
            ),
            gauge("shards", "Shards of the cluster", shards.get()),
            gauge(
                "replicas",
                "Replicas of shards on this node",
                replicas.get(),
            ),
            gauge(
                "shards_led",
                "Of these, those that lead and hear a majority",
                shards_led.get(),
            ),
            gauge(
                "replica_lag_entries",
                "Most entries that a replica lacks of a shard led here",
                replica_lag.get(),
            ),
            counter(
                "published",
                "Drafts acked by this node's shards, repeats of a key included",
                placed.get(),
            ),
            counter(
                "published_ephemeral",
                "Of these, messages of ephemeral topics",
                ephemeral.get(),
            ),
            counter(
                "publish_duplicates",
                "Acked repeats of a key",
                duplicates.get(),
            ),
            counter(
                "publish_refused",
                "Drafts with a definite failure at this node's shards",
                broker_refused.get(),
            ),
            counter(
                "publish_unknown",
                "Drafts whose result this node's shards did not learn",
                broker_unknown.get(),
            ),
            counter(
                "publish_overloaded",
                "Drafts refused for want of room at this node's shards",
                broker_overloaded.get(),
            ),
            counter(
                "publish_storage_full",
                "Drafts refused because a disk is full",
                storage_full.get(),
            ),
            counter(
                "publish_rerouted",
                "Drafts sent back to find the leader",
                rerouted.get(),
            ),
            counter(
                "publish_drafts",
                "Drafts that edges brought to this node's shards",
                broker_drafts.get(),
            ),
            counter(
                "batches",
                "Entries proposed by this node's shards",
                batches.get(),
            ),
            counter(
                "batched_drafts",
                "Drafts in these entries",
                batched_drafts.get(),
            ),
            counter("runs", "Runs queued for edges", runs.get()),
            counter("run_messages", "Messages in these runs", run_messages.get()),
            counter(
                "attachments",
                "Attachments of edges begun live",
                attached.get(),
            ),
            counter(
                "attachments_lagging",
                "Attachments ended because the edge was too slow",
                lagging.get(),
            ),
            counter(
                "budget_trims",
                "Trims because the node's budget of history was used up",
                budget_trims.get(),
            ),
            counter(
                "budget_trimmed",
                "Messages dropped by them, earlier than their rules say",
                budget_trimmed.get(),
            ),
            gauge(
                "topic_actors",
                "Topics of this node that have an actor",
                topics.get(),
            ),
            gauge(
                "delivery_links",
                "Open delivery links to this node's shards",
                delivery_links.get(),
            ),
            gauge(
                "publish_links",
                "Open publish links to this node's shards",
                publish_links.get(),
            ),
            counter(
                "confirmations",
                "Rounds in which a leader asked a majority",
                confirmations.get(),
            ),
            counter(
                "confirmed_reads",
                "Reads that these rounds confirmed",
                confirmed_reads.get(),
            ),
            counter(
                "positions_ahead",
                "Positions above the head, confirmed: each means that data was lost",
                positions_ahead.get(),
            ),
            counter(
                "reigns",
                "Times a replica of this node began to lead",
                reigns.get(),
            ),
            counter(
                "abdications",
                "Times a replica of this node ended to lead",
                abdications.get(),
            ),
            counter(
                "actor_restarts",
                "Actors that failed and were replaced",
                restarts.get(),
            ),
            counter(
                "requests",
                "Requests of clients to this node's edge over HTTP",
                requests.get(),
            ),
            counter(
                "requests_refused",
                "Of these, requests refused by route, method, host, origin or rate",
                requests_refused.get(),
            ),
            gauge(
                "edge_drafts",
                "Drafts of this node's clients that are on their way",
                edge_drafts.get(),
            ),
            counter(
                "edge_acked",
                "Drafts of this node's clients that were acked",
                acked.get(),
            ),
            counter(
                "edge_refused",
                "Drafts of this node's clients with a definite failure on their way",
                edge_refused.get(),
            ),
            counter(
                "edge_unknown",
                "Drafts of this node's clients whose result was not learned",
                edge_unknown.get(),
            ),
            counter(
                "edge_overloaded",
                "Drafts of this node's clients refused for want of room before they went their way",
                edge_overloaded.get(),
            ),
            counter(
                "publish_links_lost",
                "Publish links of this node's edge to leaders that broke",
                publish_links_lost.get(),
            ),
            counter(
                "leader_searches",
                "Times this node's edge asked a shard's replicas who leads",
                leader_searches.get(),
            ),
            gauge(
                "sessions",
                "Open sessions of this node, waiting polls included",
                sessions.get(),
            ),
            gauge(
                "sessions_limit",
                "Most sessions of this node",
                sessions_limit.get(),
            ),
            counter("sessions_ended", "Sessions that ended", ended.get()),
            counter(
                "delivered",
                "Messages handed to sessions' transports",
                delivered.get(),
            ),
            counter(
                "delivery_writes",
                "Writes to sockets and bodies that carried them",
                writes.get(),
            ),
            counter("gaps", "Gaps told to subscribers", gaps.get()),
            counter(
                "resumes",
                "Subscriptions that presented a position",
                resumes.get(),
            ),
            counter(
                "reattached",
                "Topics attached again after a lost leader, link or digest",
                reattached.get(),
            ),
            counter(
                "digest_mismatches",
                "Shards of a leader attached again because its digests did not match, or fell silent",
                digest_mismatches.get(),
            ),
            counter(
                "pages",
                "Pages of history read for sessions and polls",
                pages.get(),
            ),
            gauge(
                "log_bytes",
                "Bytes of the segments of the write-ahead log",
                log_bytes.get(),
            ),
            gauge(
                "log_live_bytes",
                "Of these, bytes that a replica still needs",
                log_live_bytes.get(),
            ),
            gauge(
                "log_full",
                "1 while the free space is below the reserve: messages are refused",
                log_full.get(),
            ),
            gauge(
                "log_free_bytes",
                "Free bytes of the volume of the data directory",
                free_bytes.get(),
            ),
            gauge(
                "log_reserve_bytes",
                "Free bytes below which messages are refused",
                reserve_bytes.get(),
            ),
            gauge(
                "replicas_lost",
                "Replicas here whose data is bad and that are made anew",
                replicas_lost.get(),
            ),
            counter(
                "set_aside",
                "Bad segments and snapshots, and unknown replicas, set aside",
                set_aside.get(),
            ),
            counter(
                "snapshots_written",
                "Snapshots written of this node's replicas",
                snapshots_written.get(),
            ),
            counter(
                "snapshots_sent",
                "Snapshots that arrived at another node",
                snapshots_sent.get(),
            ),
            counter(
                "snapshots_installed",
                "Snapshots of other nodes that took the place of a replica's state here",
                snapshots_installed.get(),
            ),
            counter(
                "snapshots_failed",
                "Snapshots that were not written, did not arrive or were not taken",
                snapshots_failed.get(),
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
#[path = "metrics_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "metrics_deploy_tests.rs"]
mod deploy;
