//! The outcome of a run: counts, verdicts, how long topics went without an ack, latencies.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fanfare_checker::{Event, Line, Report};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::data::DataReport;
use super::pauses::{Pauses, Table, Wait};

/// What a run showed.
#[derive(Debug)]
pub struct Outcome {
    pub report: Report,
    /// Longest time without an ack while a draft waited, one figure a topic.
    pub outages: Vec<Duration>,
    /// From the first sending of a draft to its ack.
    pub ack: Histogram<u64>,
    /// From the ack's sending to a subscriber's message.
    pub delivery: Histogram<u64>,
    /// Subscribers that never reached the head, with what they lack.
    pub behind: Vec<String>,
    /// Write pauses by operation; empty without operations.
    pub pauses: Vec<Pauses>,
    /// What became of disk and memory, if that was watched.
    pub data: Option<DataReport>,
}

impl Outcome {
    /// Reads figures from the lines of a run, by time.
    pub(super) fn new(lines: &[Line], report: Report, behind: Vec<String>) -> Self {
        let micros = || Histogram::new_with_bounds(1, 600_000_000, 3);
        let (ack, delivery) = (micros(), micros());
        let (Ok(mut ack), Ok(mut delivery)) = (ack, delivery) else {
            unreachable!("the bounds are constants")
        };
        let mut first_sent: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        let mut drafts: BTreeMap<u64, &str> = BTreeMap::new();
        let mut outages: BTreeMap<&str, (Wait, u64)> = BTreeMap::new();
        for line in lines {
            match &line.event {
                Event::Publish {
                    op, draft, topic, ..
                } => {
                    drafts.insert(*op, draft);
                    let new = !first_sent.contains_key(draft.as_str());
                    first_sent.entry(draft).or_insert((line.t, topic));
                    if new {
                        outages.entry(topic).or_default().0.sent(line.t);
                    }
                }
                Event::Acked { op, topic, .. } => {
                    let draft = drafts.get(op).copied().unwrap_or_default();
                    if let Some((sent, _)) = first_sent.get(draft) {
                        ack.saturating_record(line.t.saturating_sub(*sent) / 1_000);
                    }
                    let (wait, longest) = outages.entry(topic).or_default();
                    if let Some(began) = wait.acked(line.t) {
                        *longest = (*longest).max(line.t.saturating_sub(began));
                    }
                }
                Event::Message { draft, .. } => {
                    if let Some((sent, _)) = first_sent.get(draft.as_str()) {
                        delivery.saturating_record(line.t.saturating_sub(*sent) / 1_000);
                    }
                }
                _ => {}
            }
        }
        let mut outages: Vec<_> = outages
            .values()
            .map(|(_, longest)| Duration::from_nanos(*longest))
            .collect();
        outages.sort();
        Self {
            report,
            outages,
            ack,
            delivery,
            behind,
            pauses: Vec::new(),
            data: None,
        }
    }

    /// The outage that this share of the topics stays under.
    pub fn outage(&self, share: f64) -> Duration {
        let at = (self.outages.len() as f64 * share).ceil() as usize;
        self.outages
            .get(at.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// True if nothing was lost, repeated, out of order or left behind; after operations, only if
    /// no gap was told either; and if data stayed within what it may take.
    pub fn is_clean(&self) -> bool {
        let gaps = !self.pauses.is_empty() && self.report.gaps > 0;
        let data = self.data.as_ref().is_none_or(DataReport::is_within);
        self.report.is_clean() && self.behind.is_empty() && !gaps && data
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let latency = |h: &Histogram<u64>| json!({"p50_us": h.value_at_quantile(0.5), "p99_us": h.value_at_quantile(0.99), "max_us": h.max(), "count": h.len()});
        json!({
            "clean": self.is_clean(),
            "checker": self.report,
            "outage_ms": {"p50": self.outage(0.5).as_millis(), "p99": self.outage(0.99).as_millis(), "max": self.outage(1.0).as_millis()},
            "ack": latency(&self.ack),
            "delivery": latency(&self.delivery),
            "behind": self.behind,
            "operations": Table::new(&self.pauses).json(),
            "data": self.data.as_ref().map(DataReport::json),
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report)?;
        let ms = |us: u64| us as f64 / 1_000.0;
        for (name, h) in [("ack", &self.ack), ("delivery", &self.delivery)] {
            writeln!(
                f,
                "{name:<9} p50 {:8.2} ms   p99 {:8.2} ms   max {:8.2} ms   ({} of them)",
                ms(h.value_at_quantile(0.5)),
                ms(h.value_at_quantile(0.99)),
                ms(h.max()),
                h.len()
            )?;
        }
        writeln!(
            f,
            "longest time without an ack while a draft waited, over {} topics: p50 {:?}  p99 {:?}  max {:?}",
            self.outages.len(),
            self.outage(0.5),
            self.outage(0.99),
            self.outage(1.0)
        )?;
        for lack in self.behind.iter().take(10) {
            writeln!(f, "never reached the head: {lack}")?;
        }
        if !self.pauses.is_empty() {
            write!(f, "{}", Table::new(&self.pauses))?;
        }
        if let Some(data) = &self.data {
            write!(f, "{data}")?;
        }
        let word = if self.is_clean() {
            "CLEAN"
        } else {
            "NOT CLEAN"
        };
        write!(
            f,
            "{word} ({} subscribers never reached the head)",
            self.behind.len()
        )
    }
}
