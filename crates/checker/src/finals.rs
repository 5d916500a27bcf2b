//! What the nodes hold when all is over: acked durable messages are on a majority (C7), and running
//! hashes are equal at equal offsets (C1).

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use crate::drafts::Drafts;
use crate::observation::Position;
use crate::slots::Slots;
use crate::verdict::{Report, Verdict};

/// One node's state of a topic at the end.
#[derive(Clone, Debug)]
pub(crate) struct Dump {
    pub(crate) node: String,
    pub(crate) epoch: u64,
    pub(crate) start: u64,
    pub(crate) head: u64,
    /// Running hash up to before the start.
    pub(crate) chain: u128,
    /// The lowest and highest offset it holds.
    pub(crate) rows: Option<(u64, u64)>,
}

/// The dumps of one topic; a dump's place is its bit in [`crate::slots::Slot::holders`].
#[derive(Debug, Default)]
pub(crate) struct Finals {
    pub(crate) dumps: Vec<Dump>,
}

/// The running hash after an offset: xxh3-128 of the one before, the offset and the payload's hash,
/// each big endian; 0 before offset 1.
pub(crate) fn chain_step(before: u128, offset: u64, payload: u128) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&before.to_be_bytes());
    hash.update(&offset.to_be_bytes());
    hash.update(&payload.to_be_bytes());
    hash.digest128()
}

impl Finals {
    /// The highest offset of each epoch.
    pub(crate) fn heads(&self) -> BTreeMap<u64, u64> {
        let mut heads = BTreeMap::new();
        for dump in &self.dumps {
            let head = heads.entry(dump.epoch).or_insert(dump.head);
            *head = (*head).max(dump.head);
        }
        heads
    }

    /// All was seen. `broken`: the topic was deleted, or a loss of it accepted.
    pub(crate) fn judge(
        &self,
        topic: &str,
        majority: usize,
        broken: bool,
        slots: &Slots,
        drafts: &Drafts,
        report: &mut Report,
    ) {
        if self.dumps.is_empty() && broken {
            return;
        }
        for (at, slot) in slots.iter().filter(|(_, slot)| slot.durable) {
            let trimmed = |dump: &&Dump| {
                let over = broken && dump.epoch > at.epoch;
                over || (dump.epoch == at.epoch && at.offset < dump.start)
            };
            let trimmed = self.dumps.iter().filter(trimmed).count();
            let held = slot.holders.count_ones() as usize;
            if held + trimmed < majority {
                report.give(Verdict::Lost, topic, || {
                    let name = drafts.name(slot.draft);
                    let missing = self.missing(at, slot.holders);
                    format!("slot {at} (draft {name}) was acked durable and is on {held} replicas, a majority is {majority}; {missing}")
                });
            }
        }
        self.chains(topic, slots, report);
    }

    /// Who lacks a slot, and where in what it holds.
    fn missing(&self, at: Position, holders: u64) -> String {
        let lacks = |(index, dump): (usize, &Dump)| {
            if holders & bit(index) != 0 {
                return None;
            }
            let place = match dump.rows {
                Some(_) if dump.epoch != at.epoch => "another epoch",
                Some((lowest, _)) if at.offset < lowest => "prefix",
                Some((_, highest)) if at.offset > highest => "postfix",
                Some(_) => "middle",
                None => "all",
            };
            Some(format!("{} lacks it ({place})", dump.node))
        };
        let texts: Vec<String> = self.dumps.iter().enumerate().filter_map(lacks).collect();
        texts.join(", ")
    }

    /// Running hashes: equal at equal offsets, and what the known slots give.
    fn chains(&self, topic: &str, slots: &Slots, report: &mut Report) {
        let mut dumps: Vec<&Dump> = self.dumps.iter().filter(|dump| dump.start > 0).collect();
        dumps.sort_by_key(|dump| (dump.epoch, dump.start));
        for same in dumps.chunk_by(|a, b| a.epoch == b.epoch) {
            let Some(base) = same.first() else {
                continue;
            };
            let at = |offset| Position {
                epoch: base.epoch,
                offset,
            };
            // From the beginning of the stream, if all of it is known.
            let mut chain = Some(0);
            let mut acked = false;
            for offset in 1..base.start {
                let slot = slots.get(at(offset));
                acked |= slot.is_some_and(|slot| slot.durable);
                chain = chain
                    .zip(slot)
                    .map(|(chain, slot)| chain_step(chain, offset, slot.hash));
            }
            if let Some(known) = chain.filter(|known| acked && *known != base.chain) {
                report.give(Verdict::Lost, topic, || {
                    format!(
                        "up to {} {} has running hash {:032x}, what was acked and seen gives {known:032x}",
                        at(base.start - 1), base.node, base.chain
                    )
                });
            }
            let (mut chain, mut next) = (Some(base.chain), base.start);
            for other in &same[1..] {
                while next < other.start {
                    let slot = slots.get(at(next));
                    chain = chain
                        .zip(slot)
                        .map(|(chain, slot)| chain_step(chain, next, slot.hash));
                    next += 1;
                }
                if let Some(known) = chain.filter(|known| *known != other.chain) {
                    report.give(Verdict::ReplicaDiverged, topic, || {
                        format!(
                            "up to {} {} has running hash {:032x} and {} {known:032x}",
                            at(next.saturating_sub(1)),
                            other.node,
                            other.chain,
                            base.node
                        )
                    });
                }
            }
        }
    }
}

/// The bit of a dump.
pub(crate) fn bit(index: usize) -> u64 {
    1 << index.min(63)
}
