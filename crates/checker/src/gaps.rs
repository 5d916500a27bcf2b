//! Gaps that should not have been told: what a sample, a rule or a final dump says was still to be
//! had (C16). Judged when all is seen, since samples come after the gaps that they belie.

use std::collections::{BTreeMap, BTreeSet};

use crate::drafts::Drafts;
use crate::observation::Position;
use crate::run::Run;
use crate::slots::Slots;
use crate::verdict::{Report, Verdict};

/// How far a sample may be from a gap that it is held against, in ns.
const NEAR: u64 = 1_000_000_000;

/// A gap by retention, as it was told.
#[derive(Clone, Debug)]
struct Trimmed {
    t: u64,
    to: Position,
    by: Option<String>,
    session: String,
}

/// What a node said of the topic.
#[derive(Clone, Copy, Debug)]
struct Sample {
    t: u64,
    node: u32,
    start: Position,
}

/// Gaps and samples of one topic.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    trimmed: Vec<Trimmed>,
    samples: Vec<Sample>,
    /// Stretches that a change of epoch took, as told: end by beginning.
    taken: BTreeMap<Position, Position>,
}

impl Gaps {
    pub(crate) fn trimmed(&mut self, t: u64, to: Position, by: Option<&str>, session: &str) {
        self.trimmed.push(Trimmed {
            t,
            to,
            by: by.map(str::to_owned),
            session: session.to_owned(),
        });
    }

    /// A change of epoch took what lies between.
    pub(crate) fn taken(&mut self, from: Position, to: Position) {
        let end = self.taken.entry(from).or_insert(to);
        *end = (*end).max(to);
    }

    pub(crate) fn sample(&mut self, t: u64, node: u32, start: Position) {
        self.samples.push(Sample { t, node, start });
    }

    /// `heads`: the highest offset of each epoch in the final dumps.
    pub(crate) fn judge(
        &mut self,
        topic: &str,
        run: &Run,
        heads: &BTreeMap<u64, u64>,
        slots: &Slots,
        drafts: &Drafts,
        report: &mut Report,
    ) {
        self.samples.sort_by_key(|sample| sample.t);
        for gap in &self.trimmed {
            let why = self
                .sampled(gap, run.replicas)
                .or_else(|| early(gap, topic, run, heads, slots, drafts));
            if let Some(why) = why {
                report.give(Verdict::FalseGap, topic, || {
                    format!(
                        "session {}: trimmed up to {} at {}, and {why}",
                        gap.session, gap.to, gap.t
                    )
                });
            }
        }
        // The furthest end of all stretches that begin before a slot says whether one covers it.
        let mut stretches = self.taken.iter().peekable();
        let mut end = Position::ZERO;
        for (at, slot) in slots.iter() {
            while let Some((_, to)) = stretches.next_if(|(from, _)| **from < at) {
                end = end.max(*to);
            }
            let lost = slot.acked.is_some() && !slot.durable && !slot.delivered;
            report.declared_loss += u64::from(lost && at <= end);
        }
    }

    /// All replicas were asked within a second after the gap, and none had trimmed so far.
    fn sampled(&self, gap: &Trimmed, replicas: usize) -> Option<String> {
        let first = self.samples.partition_point(|sample| sample.t < gap.t);
        let soon = self.samples[first..]
            .iter()
            .take_while(|sample| sample.t <= gap.t.saturating_add(NEAR));
        let (mut nodes, mut start) = (BTreeSet::new(), Position::ZERO);
        for sample in soon {
            nodes.insert(sample.node);
            start = start.max(sample.start);
        }
        let told = nodes.len() >= replicas && start.epoch == gap.to.epoch;
        (told && start <= gap.to).then(|| format!("a second later all begin with {start} at most"))
    }
}

/// The topic's rule would have kept it.
fn early(
    gap: &Trimmed,
    topic: &str,
    run: &Run,
    heads: &BTreeMap<u64, u64>,
    slots: &Slots,
    drafts: &Drafts,
) -> Option<String> {
    let rule = run.rule(topic)?;
    match gap.by.as_deref() {
        Some("count") => {
            let head = heads.get(&gap.to.epoch)?;
            let kept = rule.retain_count?;
            let early = gap.to.offset.saturating_add(kept) > *head;
            early.then(|| format!("the rule keeps {kept} up to the last, {head}"))
        }
        Some("age") => {
            let draft = drafts.get(slots.get(gap.to)?.draft)?;
            let kept = rule.retain_age_ms?;
            let age = gap.t.saturating_sub(draft.first) / 1_000_000;
            (age < kept).then(|| format!("it was {age} ms old, the rule keeps {kept}"))
        }
        _ => None,
    }
}
