//! Write pauses: how long drafts waited without an ack, by topic, and by shard in the window of
//! each operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use fanfare_checker::{Event, Line};
use serde_json::{Value, json};

use super::finals::shard_of;
use super::operation::Operation;

/// When an operation was under way: from its command until all was calm again.
#[derive(Clone, Debug)]
pub struct Window {
    /// None: nothing was done, for comparison.
    pub operation: Option<Operation>,
    /// The node or shard that it was about.
    pub subject: String,
    pub from: Duration,
    pub to: Duration,
    /// Shards whose leader or replicas it changed.
    pub touched: BTreeSet<u32>,
}

impl Window {
    fn name(&self) -> &'static str {
        self.operation.map_or("(none)", Operation::as_str)
    }
}

/// A wait under way: since the later of the last ack and the first unanswered draft.
#[derive(Debug, Default)]
pub(super) struct Wait {
    waiting: u64,
    since: Option<u64>,
}

impl Wait {
    /// A draft is sent for the first time.
    pub(super) fn sent(&mut self, t: u64) {
        self.waiting += 1;
        self.since.get_or_insert(t);
    }

    /// An ack comes: when the wait began that it ends.
    pub(super) fn acked(&mut self, t: u64) -> Option<u64> {
        self.waiting = self.waiting.saturating_sub(1);
        let began = self.since;
        self.since = (self.waiting > 0).then_some(t);
        began
    }
}

/// The pauses of one operation of the run.
#[derive(Clone, Debug)]
pub struct Pauses {
    pub window: Window,
    /// Longest pause of each shard that overlaps the window, in full.
    pub shards: BTreeMap<u32, Duration>,
}

impl Pauses {
    fn of(&self, touched: bool) -> impl Iterator<Item = Duration> {
        let of = move |shard: &u32| self.window.touched.contains(shard) == touched;
        let here = self.shards.iter().filter(move |(shard, _)| of(shard));
        here.map(|(_, pause)| *pause)
    }
}

/// Reads the pauses of each window from the lines of a run, which are in the order of time.
pub(super) fn pauses(lines: &[Line], windows: &[Window], shards: u32) -> Vec<Pauses> {
    let mut waits: BTreeMap<u32, Wait> = BTreeMap::new();
    let mut sent = BTreeSet::new();
    let mut spans: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for line in lines {
        match &line.event {
            Event::Publish { draft, topic, .. } if sent.insert(draft.as_str()) => {
                let wait = waits.entry(shard_of(topic, shards)).or_default();
                wait.sent(line.t);
            }
            Event::Acked { topic, .. } => {
                let shard = shard_of(topic, shards);
                if let Some(began) = waits.entry(shard).or_default().acked(line.t) {
                    spans.entry(shard).or_default().push((began, line.t));
                }
            }
            _ => {}
        }
    }
    let of = |window: &Window| {
        let (from, to) = (window.from.as_nanos(), window.to.as_nanos());
        let longest = |spans: &Vec<(u64, u64)>| {
            let within = spans.iter();
            let within = within.filter(|(a, b)| u128::from(*b) >= from && u128::from(*a) <= to);
            let longest = within.map(|(a, b)| b - a).max().unwrap_or(0);
            Duration::from_nanos(longest)
        };
        let shards = spans.iter().map(|(shard, spans)| (*shard, longest(spans)));
        Pauses {
            window: window.clone(),
            shards: shards.collect(),
        }
    };
    windows.iter().map(of).collect()
}

/// All windows of one kind, as a line of the table.
struct Row {
    name: &'static str,
    windows: usize,
    longest_window: Duration,
    touched: Vec<Duration>,
    others: Duration,
}

/// The table of a run, by kind of operation.
pub struct Table(Vec<Row>);

impl Table {
    /// One row a kind, in the order in which kinds first came.
    pub fn new(all: &[Pauses]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for pauses in all {
            let name = pauses.window.name();
            let at = rows.iter().position(|row| row.name == name);
            let at = at.unwrap_or_else(|| {
                rows.push(Row {
                    name,
                    windows: 0,
                    longest_window: Duration::ZERO,
                    touched: Vec::new(),
                    others: Duration::ZERO,
                });
                rows.len() - 1
            });
            let row = &mut rows[at];
            row.windows += 1;
            let took = pauses.window.to.saturating_sub(pauses.window.from);
            row.longest_window = row.longest_window.max(took);
            row.touched.extend(pauses.of(true));
            row.others = row.others.max(pauses.of(false).max().unwrap_or_default());
        }
        for row in &mut rows {
            row.touched.sort_unstable();
        }
        Self(rows)
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            let ms = |share| row.quantile(share).as_secs_f64() * 1_000.0;
            json!({
                "operation": row.name,
                "times": row.windows,
                "longest_ms": row.longest_window.as_millis(),
                "touched": row.touched.len(),
                "pause_ms": {"p50": ms(0.5), "p99": ms(0.99), "max": ms(1.0)},
                "others_max_ms": row.others.as_secs_f64() * 1_000.0,
            })
        };
        self.0.iter().map(row).collect()
    }
}

impl Row {
    /// The pause that this share of the touched shards stays under.
    fn quantile(&self, share: f64) -> Duration {
        let at = (self.touched.len() as f64 * share).ceil() as usize;
        let pause = self.touched.get(at.saturating_sub(1));
        pause.copied().unwrap_or_default()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "write pause of a shard that the operation touched (leader or replicas changed)"
        )?;
        writeln!(
            f,
            "{:<10} {:>5} {:>10} {:>8} {:>10} {:>10} {:>10} {:>14}",
            "operation", "times", "longest", "shards", "p50", "p99", "max", "others' max"
        )?;
        let ms = |d: Duration| format!("{:.1} ms", d.as_secs_f64() * 1_000.0);
        for row in &self.0 {
            writeln!(
                f,
                "{:<10} {:>5} {:>8.1} s {:>8} {:>10} {:>10} {:>10} {:>14}",
                row.name,
                row.windows,
                row.longest_window.as_secs_f64(),
                row.touched.len(),
                ms(row.quantile(0.5)),
                ms(row.quantile(0.99)),
                ms(row.quantile(1.0)),
                ms(row.others),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "pauses_tests.rs"]
mod tests;
