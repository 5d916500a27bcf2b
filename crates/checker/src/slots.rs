//! Slots: one value each (DIVERGED), and what was acked durable is on a majority at the end (LOST).

use std::collections::BTreeMap;

use crate::observation::{Position, Row};
use crate::verdict::{Report, Verdict};

/// What is known of a slot.
#[derive(Clone, Debug)]
struct Slot {
    hash: String,
    draft: String,
    acked_durable: bool,
    /// Final dumps that hold it.
    held_by: usize,
}

/// One node's state of a topic at the end.
#[derive(Clone, Debug)]
struct Dump {
    epoch: u64,
    start: u64,
}

/// The slots of one topic.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: BTreeMap<Position, Slot>,
    dumps: Vec<Dump>,
}

impl Slots {
    /// Somebody saw this value in this slot.
    pub(crate) fn seen(
        &mut self,
        topic: &str,
        at: Position,
        hash: &str,
        draft: &str,
        report: &mut Report,
    ) {
        let slot = self.slots.entry(at).or_insert_with(|| Slot {
            hash: hash.to_owned(),
            draft: draft.to_owned(),
            acked_durable: false,
            held_by: 0,
        });
        if slot.hash != hash || slot.draft != draft {
            report.give(Verdict::Diverged, topic, || {
                format!("slot {at} is draft {} and draft {draft}", slot.draft)
            });
        }
    }

    /// The slot was acked as durable.
    pub(crate) fn acked_durable(&mut self, at: Position) {
        if let Some(slot) = self.slots.get_mut(&at) {
            slot.acked_durable = true;
        }
    }

    /// A node's final dump.
    pub(crate) fn dumped(
        &mut self,
        topic: &str,
        epoch: u64,
        start: u64,
        rows: &[Row],
        report: &mut Report,
    ) {
        self.dumps.push(Dump { epoch, start });
        for row in rows {
            let at = Position {
                epoch,
                offset: row.offset,
            };
            self.seen(topic, at, &row.hash, &row.draft, report);
            if let Some(slot) = self.slots.get_mut(&at) {
                slot.held_by += 1;
            }
        }
    }

    /// The end of the run: every slot acked durable is in a majority of the dumps, or was trimmed
    /// there. `replicas` is how many hold the topic; without any dump nothing can be said.
    pub(crate) fn judge(&self, topic: &str, replicas: usize, report: &mut Report) {
        if self.dumps.is_empty() {
            return;
        }
        let majority = replicas.max(self.dumps.len()) / 2 + 1;
        for (at, slot) in self.slots.iter().filter(|(_, slot)| slot.acked_durable) {
            let trimmed = self
                .dumps
                .iter()
                .filter(|d| d.epoch > at.epoch || (d.epoch == at.epoch && at.offset < d.start))
                .count();
            if slot.held_by + trimmed < majority {
                report.give(Verdict::Lost, topic, || {
                    format!(
                        "slot {at} (draft {}) was acked durable and is on {} of {replicas} replicas",
                        slot.draft, slot.held_by
                    )
                });
            }
        }
    }
}
