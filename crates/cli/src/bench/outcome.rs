//! What a run came to, as numbers and as JSON. Times in it are whole µs where they are latencies.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_checker::{Report, Watch};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::limits::Limits;

/// Quantiles of latencies, µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Latency {
    /// Of a histogram of µs.
    pub fn of(all: &Histogram<u64>) -> Self {
        if all.is_empty() {
            return Self::default();
        }
        Self {
            count: all.len(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p999: all.value_at_quantile(0.999),
            max: all.max(),
        }
    }

    fn json(&self) -> Value {
        let Self {
            count,
            p50,
            p90,
            p99,
            p999,
            max,
        } = self;
        json!({ "count": count, "p50_us": p50, "p90_us": p90, "p99_us": p99, "p999_us": p999, "max_us": max })
    }
}

/// Things of one way of a kind.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// `grpc`, `ws`, …
    pub way: String,
    /// Over the whole run.
    pub count: u64,
    /// A second, while it was measured.
    pub rate: f64,
    /// Of what was due while it was measured.
    pub latency: Latency,
}

impl Rate {
    fn json(&self) -> Value {
        json!({ "way": self.way, "count": self.count, "per_second": round(self.rate), "latency": self.latency.json() })
    }
}

/// What became of drafts.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Drafts handed over, over the whole run.
    pub sent: u64,
    /// Acked in all, and by way.
    pub acked: Rate,
    pub by_way: Vec<Rate>,
    /// Due in an open loop, and never handed over: somebody did not keep up.
    pub unsent: u64,
    /// Definite failures, by code.
    pub refused: BTreeMap<String, u64>,
    /// Outcomes that nobody knows, by why.
    pub unknown: BTreeMap<String, u64>,
}

/// What came to subscribers.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    pub all: Rate,
    pub by_way: Vec<Rate>,
    /// Gaps told, by reason.
    pub gaps: BTreeMap<String, Gaps>,
    /// Messages on the run's topics that are not of the run.
    pub foreign: u64,
    /// Answers to attaching a topic.
    pub attached: u64,
    /// Connections that the plan dropped, and sessions that ended otherwise, by why.
    pub drops: u64,
    pub cuts: BTreeMap<String, u64>,
    /// Subscribers that had not all that was acked when the run ended.
    pub behind: u64,
}

/// Gaps of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    pub told: u64,
    /// Messages left out, where the number is known.
    pub missed: u64,
}

/// What a process used while it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub cpu: Duration,
    /// The most resident memory that was seen, bytes.
    pub resident: u64,
}

/// Clients that gave up, by why.
pub type Failed = BTreeMap<String, u64>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// It was ended before its time.
    pub interrupted: bool,
    /// What was asked for, in words.
    pub setting: String,
    /// Addresses where nobody was reached; the run went on without them.
    pub unreached: Vec<String>,
    /// Time that was measured.
    pub measured: Duration,
    pub published: Published,
    pub delivered: Delivered,
    pub failed: Failed,
    pub report: Report,
    /// The nodes that were named, by process id.
    pub servers: Vec<(u32, Used)>,
    /// The load itself.
    pub own: Used,
    /// The machine's own, before and after.
    pub limits: Vec<Limits>,
}

impl Outcome {
    /// Promises found broken.
    pub fn verdicts(&self) -> u64 {
        self.report.verdicts.values().sum()
    }

    /// True if nothing is to be said against it: no verdict, and no client that gave up.
    pub fn is_clean(&self) -> bool {
        self.verdicts() == 0 && self.failed.is_empty()
    }

    /// CPU of the servers for one delivery; `None` if nothing was delivered or no process is known.
    pub fn cpu_of_a_delivery(&self) -> Option<Duration> {
        let used: Duration = self.servers.iter().map(|(_, used)| used.cpu).sum();
        let deliveries = self.delivered.all.rate * self.measured.as_secs_f64();
        let known = !self.servers.is_empty() && deliveries >= 1.0;
        known.then(|| used.div_f64(deliveries))
    }

    /// A machine's reading of it.
    pub fn json(&self) -> Value {
        let Self {
            interrupted,
            setting,
            unreached,
            measured,
            published,
            delivered,
            failed,
            report,
            servers,
            own,
            limits,
        } = self;
        let rates = |all: &[Rate]| all.iter().map(Rate::json).collect::<Vec<_>>();
        let gaps: BTreeMap<_, _> = delivered
            .gaps
            .iter()
            .map(|(reason, gaps)| {
                let row = json!({ "told": gaps.told, "missed": gaps.missed });
                (reason, row)
            })
            .collect();
        let verdicts: BTreeMap<_, _> = Watch::JUDGED
            .iter()
            .map(|verdict| (verdict.as_str(), report.count(*verdict)))
            .collect();
        let servers = servers
            .iter()
            .map(|(pid, used)| used_json(Some(*pid), used, *measured));
        json!({
            "clean": self.is_clean(),
            "interrupted": interrupted,
            "setting": setting,
            "unreached": unreached,
            "measured_seconds": round(measured.as_secs_f64()),
            "published": {
                "sent": published.sent,
                "acked": published.acked.json(),
                "by_way": rates(&published.by_way),
                "unsent": published.unsent,
                "refused": published.refused,
                "unknown": published.unknown,
            },
            "delivered": {
                "all": delivered.all.json(),
                "by_way": rates(&delivered.by_way),
                "gaps": gaps,
                "foreign": delivered.foreign,
                "attached": delivered.attached,
                "drops": delivered.drops,
                "cuts": delivered.cuts,
                "behind": delivered.behind,
            },
            "failed": failed,
            "verdicts": verdicts,
            "first": report.first,
            "servers": servers.collect::<Vec<_>>(),
            "own": used_json(None, own, *measured),
            "cpu_of_a_delivery_ns": self.cpu_of_a_delivery().map(nanos),
            "limits": limits.iter().map(limits_json).collect::<Vec<_>>(),
        })
    }
}

fn used_json(pid: Option<u32>, used: &Used, measured: Duration) -> Value {
    let mut row = json!({
        "cpu_ms": u64::try_from(used.cpu.as_millis()).unwrap_or(u64::MAX),
        "cores": round(share(used.cpu, measured)),
        "resident_bytes": used.resident,
    });
    if let Some(pid) = pid {
        row["pid"] = json!(pid);
    }
    row
}

fn limits_json(limits: &Limits) -> Value {
    let Limits {
        send_cpu,
        round,
        fdatasync,
        bytes,
    } = limits;
    json!({
        "send_bytes": bytes,
        "send_cpu_ns": nanos(*send_cpu),
        "round": round.json(),
        "fdatasync": fdatasync.json(),
    })
}

/// Cores that were busy.
pub(super) fn share(cpu: Duration, of: Duration) -> f64 {
    match of.is_zero() {
        true => 0.0,
        false => cpu.as_secs_f64() / of.as_secs_f64(),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
