//! What was placed and ended, as the replica that came first in the committed sequence (or the
//! leader of an ephemeral stream) did it: what everybody else must agree with.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_core::gap::{Gap, GapReason};
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Offset, Position};

use crate::oracle::Oracle;

/// Slots of one key: where, when, and the window promised.
type Placings = Vec<(Position, u64, u64)>;

/// One topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) slots: BTreeMap<Position, Slot>,
    /// Slots by epoch and key, with the time at which they were placed and the window promised.
    keys: BTreeMap<(Epoch, String), Placings>,
    /// Lowest retained offset of each stream, as far as any replica trimmed it.
    starts: BTreeMap<Epoch, Offset>,
    /// The epoch of the newest stream, and all of ephemeral ones.
    pub(crate) epoch: Epoch,
    ephemeral: BTreeSet<Epoch>,
    /// The highest epoch that any subscriber was told.
    pub(crate) told: Epoch,
    /// The counter of the last deletion.
    ended: Epoch,
    /// Streams that no row remembers existed, or the shard forgot tombstones.
    forgot: bool,
    /// Highest slot that a publisher knows to be durable.
    pub(crate) acked: Position,
    /// Highest epoch of a durable slot that any client saw.
    pub(crate) seen_epoch: Epoch,
    /// Some rules told slow sessions to skip.
    pub(crate) conflated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) draft: u64,
    pub(crate) durable: bool,
}

/// How late a request may come: the age of a key does not count the way to the leader.
const TRANSIT_MS: u64 = 15_000;

impl Oracle {
    /// A topic was made.
    pub(crate) fn made(&mut self, topic: &TopicName, epoch: Epoch) {
        let truth = self.truth(topic);
        let before = truth.epoch.max(truth.told);
        truth.epoch = truth.epoch.max(epoch);
        self.grows(topic, epoch, before);
    }

    /// A leader began an ephemeral stream. It may not have applied yet what another replica has;
    /// one that was deposed and does not know may be late, yet its epochs are its own.
    pub(crate) fn begun(&mut self, topic: &TopicName, epoch: Epoch, leads: bool) {
        let truth = self.truth(topic);
        let before = truth
            .ephemeral
            .iter()
            .next_back()
            .copied()
            .unwrap_or_default();
        let before = before.max(truth.told);
        let own = truth.ephemeral.insert(epoch);
        truth.epoch = truth.epoch.max(epoch);
        truth.forgot = true;
        self.inside(own, "EPOCH_BROKEN", || {
            format!("{topic}: two streams of epoch {}", epoch.0)
        });
        if leads {
            self.grows(topic, epoch, before);
        }
    }

    fn grows(&mut self, topic: &TopicName, epoch: Epoch, before: Epoch) {
        self.inside(epoch > before, "EPOCH_BROKEN", || {
            format!(
                "{topic}: a stream of epoch {} after one of {}",
                epoch.0, before.0
            )
        });
    }

    /// A topic was deleted.
    pub(crate) fn deleted(&mut self, topic: &TopicName, counter: Epoch) {
        let before = self.truth(topic).epoch;
        self.inside(counter > before, "EPOCH_BROKEN", || {
            format!("{topic}: its end is {}, its epoch {}", counter.0, before.0)
        });
        self.truth(topic).ended = counter;
    }

    /// Tombstones may be gone: nobody can be sure of what was before.
    pub(crate) fn forget(&mut self) {
        for truth in self.truths.values_mut() {
            truth.forgot = true;
        }
    }

    /// A replica keeps nothing of a stream below `start`.
    pub(crate) fn trimmed(&mut self, topic: &TopicName, start: Position) {
        let starts = &mut self.truth(topic).starts;
        let known = starts.entry(start.epoch).or_default();
        *known = start.offset.max(*known);
    }

    /// A message was placed: C1, and C10 by its key. `window_ms` is what its publisher is promised.
    pub(crate) fn placed(
        &mut self,
        topic: &TopicName,
        message: &Message,
        durable: bool,
        now_ms: u64,
        window_ms: Option<u64>,
    ) {
        let at = message.position;
        let Some(draft) = Self::draft_of(message) else {
            return self.fail("PHANTOM", format!("{topic} {at}: not a draft"));
        };
        let truth = self.truth(topic);
        let dense = at.offset == Offset(1) || truth.slots.contains_key(&at.before());
        let was = truth.slots.insert(at, Slot { draft, durable });
        self.inside(dense, "HOLE", || {
            format!("{topic}: {at} is placed after a hole")
        });
        if let Some(was) = was {
            let proof = format!("{topic} {at} is draft {} and draft {draft}", was.draft);
            return self.inside(false, "DIVERGED", || proof.clone());
        }
        let Some(row) = self.draft_row(draft) else {
            return self.fail(
                "PHANTOM",
                format!("{topic} {at}: nobody sent draft {draft}"),
            );
        };
        let (aged, key) = (row.aged, row.key.clone());
        let (Some(key), Some(window_ms)) = (key, window_ms) else {
            return;
        };
        let slots = self.truth(topic).keys.entry((at.epoch, key)).or_default();
        let twice = slots.iter().find(|(_, then, window)| {
            let since = now_ms.saturating_sub(*then);
            since < *window || (aged && since > window + TRANSIT_MS)
        });
        let twice = twice.copied();
        slots.push((at, now_ms, window_ms));
        if let Some((first, then, window)) = twice {
            let after = now_ms.saturating_sub(then);
            let proof = format!(
                "{topic}: draft {draft} is at {first} and, {after} ms later, at {at}; its window is {window} ms"
            );
            self.fail("DUPLICATED", proof);
        }
    }

    /// Why a gap that a client was told is not true (C15, C16, C17).
    pub(crate) fn lie(&mut self, topic: &TopicName, gap: &Gap) -> Option<(&'static str, String)> {
        let truth = self.truth(topic);
        let Gap {
            reason,
            from,
            to,
            missed,
        } = *gap;
        let told = format!("{topic}: {reason:?} from {from} to {to}, missed {missed:?}");
        let same = from.epoch == to.epoch;
        let counted = to.offset.0.checked_sub(from.offset.0);
        let backwards = to < from || (same && counted == Some(0));
        if backwards && reason != GapReason::PositionAhead {
            return Some(("FALSE_GAP", format!("{told}: it leads nowhere")));
        }
        if same && missed.is_some_and(|missed| Some(missed) != counted) {
            return Some(("FALSE_GAP", format!("{told}: it is {counted:?}")));
        }
        match reason {
            GapReason::PositionAhead => {
                Some(("AHEAD", format!("{told}, and nothing was ever lost")))
            }
            GapReason::DataLoss => Some(("FALSE_GAP", format!("{told}, and nothing was lost"))),
            GapReason::Trimmed(_) => {
                let start = truth.starts.get(&to.epoch).copied().unwrap_or_default();
                let kept = to.offset.next() > start;
                kept.then(|| ("FALSE_GAP", format!("{told}: retained from {} on", start.0)))
            }
            GapReason::EpochChanged => {
                let waited = from.offset == Offset(0) && !truth.forgot && truth.ended <= from.epoch;
                (same || waited).then(|| ("FALSE_GAP", format!("{told}: nothing ended since")))
            }
            GapReason::Conflated => {
                (!truth.conflated).then(|| ("FALSE_GAP", format!("{told}, and no rule allows it")))
            }
        }
    }
}
