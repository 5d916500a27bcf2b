//! The publishers' side of the judge: sendings, what they ended with, and the drafts and keys that
//! took more than one slot (C3, C5, C9, C10, C11).

use super::Judge;
use crate::drafts::{DraftId, Sending, number};
use crate::keys::Misuse;
use crate::observation::{AckLevel, Event, Line, Position, Reached};
use crate::verdict::Verdict;

/// Codes of a node that is not in a state to take what could be taken.
const UNABLE: [&str; 6] = [
    "overloaded",
    "storage_full",
    "no_quorum",
    "deadline_exceeded",
    "not_ready",
    "draining",
];

impl Judge {
    pub(super) fn publish(&mut self, line: &Line) {
        let Event::Publish {
            op,
            draft,
            topic,
            stream,
            key,
            ack,
            hash,
            ..
        } = &line.event
        else {
            return;
        };
        self.report.sendings += 1;
        let id = self.id(topic);
        let sending = Sending {
            draft: DraftId::of(draft),
            topic: id,
            hash: number(hash),
            key: key.as_deref().map(number),
            ack: *ack,
            t: line.t,
        };
        let stream = format!("{}/{stream}", line.by);
        self.split(id).0.order.sent(stream, sending.draft);
        self.drafts.sent(&line.by, *op, draft, sending);
    }

    pub(super) fn acked(&mut self, line: &Line) {
        let Event::Acked {
            op,
            topic: name,
            epoch,
            offset,
            class,
            reached,
            ..
        } = &line.event
        else {
            return;
        };
        let Some(sending) = self.drafts.ended(&line.by, *op) else {
            return;
        };
        let at = Position {
            epoch: *epoch,
            offset: *offset,
        };
        let durable = class.eq_ignore_ascii_case("durable");
        let asked = match (sending.ack, durable) {
            (AckLevel::None, _) => Reached::None,
            (AckLevel::Committed, true) => Reached::Durable,
            (AckLevel::Committed, false) => Reached::Ephemeral,
        };
        let id = self.id(name);
        let draft = self.drafts.name(sending.draft);
        let window = self.run.dedup();
        let (topic, report) = self.split(id);
        topic.durable.get_or_insert(durable);
        topic.served = topic.served.max(Some(sending.t));
        if *reached < asked {
            report.give(Verdict::Downgraded, name, || {
                format!("draft {draft}, of a {class} topic, is acked at {at} as {reached:?}")
            });
        }
        if *reached == Reached::None {
            return;
        }
        if let (Some(key), Some(window)) = (sending.key, window) {
            match topic.keys.acked(key, &sending, at, line.t, window) {
                Some(Misuse::OtherPayload(first)) => {
                    return report.give(Verdict::KeyMismatch, name, || {
                        format!(
                            "draft {draft} is acked at {at}, its key has another payload in {first}"
                        )
                    });
                }
                Some(Misuse::Second(first)) => report.give(Verdict::Duplicated, name, || {
                    format!("draft {draft} is acked at {at}, its key is in {first}")
                }),
                None => {}
            }
        }
        if *reached == Reached::Durable {
            report.acked_durable += 1;
            topic.acked = topic.acked.max(Some(at));
        }
        topic.slots.sighted(at.epoch, line.t);
        match topic.slots.seen(at, sending.hash, sending.draft) {
            Ok(slot) => {
                slot.acked.get_or_insert(line.t);
                slot.durable |= *reached == Reached::Durable;
            }
            Err(other) => self.diverged(id, at, other, &draft),
        }
        self.drafts.acked(sending.draft, at);
        self.drafts.placed(sending.draft, id, at);
    }

    pub(super) fn refused(&mut self, line: &Line, op: u64, code: &str, outcome: &str) {
        self.report.refused += 1;
        let Some(sending) = self.drafts.ended(&line.by, op) else {
            return;
        };
        if outcome != "unknown" {
            self.drafts.refused(sending.draft);
        }
        if UNABLE.contains(&code) {
            self.failed(&sending, code);
        }
    }

    pub(super) fn unknown(&mut self, line: &Line, op: u64) {
        self.report.unknown += 1;
        if let Some(sending) = self.drafts.ended(&line.by, op) {
            self.failed(&sending, "an unknown outcome");
        }
    }

    fn failed(&mut self, sending: &Sending, why: &str) {
        let topic = self.split(sending.topic).0;
        if topic.failed.as_ref().is_none_or(|(t, _)| *t < sending.t) {
            topic.failed = Some((sending.t, why.to_owned()));
        }
    }

    /// Drafts in two slots, though sent once, or within the window of their key (C10).
    pub(super) fn doubles(&mut self) {
        for double in self.drafts.doubles().to_vec() {
            let Some(draft) = self.drafts.get(double.draft).cloned() else {
                continue;
            };
            let within = |window| draft.last - draft.first < window;
            let keyed = draft.keyed && self.run.dedup().is_some_and(within);
            let same = double.first.epoch == double.second.epoch;
            // What is left of a key's window ends with the epoch.
            let once = draft.sendings == 1 && (same || !draft.keyed);
            if once || (keyed && same) {
                let (topic, report) = self.split(double.topic);
                report.give(Verdict::Duplicated, &topic.name, || {
                    format!(
                        "draft {}, sent {} times, is in {} and {}",
                        draft.name, draft.sendings, double.first, double.second
                    )
                });
            }
        }
    }
}
