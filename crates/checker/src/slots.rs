//! The slots of one topic, compact, and what they say of each other when all is seen: one value
//! each, published so, in real-time order, in one epoch (C1, C4, C8, C9, C19, C20).

use std::collections::BTreeMap;

use crate::drafts::{DraftId, Drafts, TopicId};
use crate::observation::Position;
use crate::verdict::{Report, Verdict};

/// What is known of a slot.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) hash: u128,
    pub(crate) draft: DraftId,
    /// When it was first acked.
    pub(crate) acked: Option<u64>,
    pub(crate) durable: bool,
    /// A subscriber was given it.
    pub(crate) delivered: bool,
    /// Final dumps that hold it, a bit each.
    pub(crate) holders: u64,
}

/// The slots of one topic.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: BTreeMap<Position, Slot>,
    /// When an epoch was first seen, by an ack or a message.
    sights: BTreeMap<u64, u64>,
}

impl Slots {
    /// Somebody saw this value in this slot.
    pub(crate) fn seen(
        &mut self,
        at: Position,
        hash: u128,
        draft: DraftId,
    ) -> Result<&mut Slot, DraftId> {
        let slot = self.slots.entry(at).or_insert_with(|| Slot {
            hash,
            draft,
            acked: None,
            durable: false,
            delivered: false,
            holders: 0,
        });
        if slot.hash == hash && slot.draft == draft {
            Ok(slot)
        } else {
            Err(slot.draft)
        }
    }

    /// A client saw the epoch, by an ack or a message.
    pub(crate) fn sighted(&mut self, epoch: u64, t: u64) {
        let first = self.sights.entry(epoch).or_insert(t);
        *first = (*first).min(t);
    }

    pub(crate) fn get(&self, at: Position) -> Option<&Slot> {
        self.slots.get(&at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Position, &Slot)> {
        self.slots.iter().map(|(at, slot)| (*at, slot))
    }

    /// Those above a position, in order.
    pub(crate) fn after(&self, at: Option<Position>) -> impl Iterator<Item = (Position, &Slot)> {
        let from = at.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let slots = self.slots.range((from, std::ops::Bound::Unbounded));
        slots.map(|(at, slot)| (*at, slot))
    }

    /// All was seen. `durable`: the topic is; `broken`: it was deleted, or a loss of it accepted.
    pub(crate) fn judge(
        &self,
        topic: (TopicId, &str),
        durable: bool,
        broken: bool,
        drafts: &Drafts,
        report: &mut Report,
    ) {
        let (id, name) = topic;
        let mut newest: Option<(u64, Position)> = None;
        let mut epoch: Option<u64> = None;
        for (at, slot) in self.iter() {
            let draft = drafts.get(slot.draft);
            let shown = slot.delivered || slot.holders > 0;
            match draft {
                None if shown => report.give(Verdict::Phantom, name, || {
                    format!(
                        "slot {at} has draft {}, which nobody published",
                        drafts.name(slot.draft)
                    )
                }),
                Some(draft) if shown && draft.is_refused() => {
                    report.give(Verdict::AbortedRead, name, || {
                        format!("slot {at} has draft {}, refused for good", draft.name)
                    });
                }
                Some(draft) if draft.topic != id => report.give(Verdict::WrongTopic, name, || {
                    format!("slot {at} has draft {} of another topic", draft.name)
                }),
                _ => {}
            }
            if !durable {
                continue;
            }
            // Epochs that only an ack tells of are C19's too.
            if let Some(before) = epoch.filter(|before| *before != at.epoch && !broken) {
                report.give(Verdict::EpochBroken, name, || {
                    format!("slot {at} comes after epoch {before}, and nobody deleted the topic or accepted a loss")
                });
            }
            epoch = Some(at.epoch);
            let Some(draft) = draft else {
                continue;
            };
            if let (Some(acked), Some((sent, lower))) = (slot.acked, newest)
                && acked < sent
            {
                report.give(Verdict::RealtimeOrder, name, || {
                    format!("slot {at} was acked at {acked}, and what is in {lower} first sent at {sent}")
                });
            }
            if slot.acked.is_some() {
                let newer = self.sights.range(at.epoch + 1..);
                if let Some((seen, when)) = newer.min_by_key(|(_, when)| **when)
                    && *when < draft.first
                {
                    report.give(Verdict::FenceBroken, name, || {
                        format!(
                            "slot {at} was acked, draft {} first sent at {}, epoch {seen} seen at {when}",
                            draft.name, draft.first
                        )
                    });
                }
            }
            if newest.is_none_or(|(sent, _)| draft.first > sent) {
                newest = Some((draft.first, at));
            }
        }
    }
}
