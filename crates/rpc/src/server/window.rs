//! What of a publish stream is unanswered: the bound on it, and the order of answers within each
//! topic, also of drafts that are refused at the door (C3).

use std::collections::{BTreeMap, VecDeque};

use fanfare_core::name::TopicName;
use fanfare_core::receipt::{Receipt, Refusal};

use crate::public::{STREAM_BYTES, STREAM_DRAFTS};

/// One answer, with the client's id.
pub(super) type Answer = (u64, Result<Receipt, Refusal>);

/// The unanswered drafts of one stream.
#[derive(Default)]
pub(super) struct Window {
    next: u64,
    pending: BTreeMap<u64, Pending>,
    /// Of each topic, in the order of arrival.
    order: BTreeMap<TopicName, VecDeque<Slot>>,
    parked: usize,
    bytes: u64,
}

struct Pending {
    id: u64,
    topic: TopicName,
    cost: u64,
}

enum Slot {
    Waits(u64),
    /// Refused at the door; told when what came before it is answered.
    Refused(u64, Box<Refusal>),
}

impl Window {
    /// False: read nothing more until something is answered.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() + self.parked < STREAM_DRAFTS && self.bytes < STREAM_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.parked == 0
    }

    /// Takes in a draft; its number in the stream.
    pub(super) fn admit(&mut self, id: u64, topic: TopicName, cost: u64) -> u64 {
        let seq = self.next;
        self.next += 1;
        self.bytes += cost;
        self.order
            .entry(topic.clone())
            .or_default()
            .push_back(Slot::Waits(seq));
        self.pending.insert(seq, Pending { id, topic, cost });
        seq
    }

    /// A draft refused at the door: its answer, unless drafts of its topic came before it.
    pub(super) fn refuse(
        &mut self,
        id: u64,
        topic: Option<&TopicName>,
        refusal: Refusal,
    ) -> Option<Answer> {
        match topic.and_then(|topic| self.order.get_mut(topic)) {
            Some(before) => {
                before.push_back(Slot::Refused(id, Box::new(refusal)));
                self.parked += 1;
                None
            }
            None => Some((id, Err(refusal))),
        }
    }

    /// The answers that may go out now that draft `seq` is answered. None if it was already.
    pub(super) fn answer(&mut self, seq: u64, result: Result<Receipt, Refusal>) -> Vec<Answer> {
        let Some(Pending { id, topic, cost }) = self.pending.remove(&seq) else {
            return Vec::new();
        };
        self.bytes -= cost;
        let mut out = vec![(id, result)];
        if let Some(order) = self.order.get_mut(&topic) {
            order.retain(|slot| !matches!(slot, Slot::Waits(other) if *other == seq));
            while let Some(Slot::Refused(..)) = order.front() {
                if let Some(Slot::Refused(id, refusal)) = order.pop_front() {
                    self.parked -= 1;
                    out.push((id, Err(*refusal)));
                }
            }
            if order.is_empty() {
                self.order.remove(&topic);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::code::Code;

    use super::*;

    fn topic(name: &str) -> TopicName {
        name.parse().unwrap()
    }

    fn refusal(detail: &str) -> Refusal {
        Refusal::of_publish(Code::InvalidArgument, detail)
    }

    fn ids(answers: &[Answer]) -> Vec<u64> {
        answers.iter().map(|answer| answer.0).collect()
    }

    #[test]
    fn a_draft_refused_at_the_door_is_answered_after_those_before_it() {
        let (news, chat) = (topic("news"), topic("chat"));
        let mut window = Window::default();
        let first = window.admit(10, news.clone(), 1);
        assert_eq!(window.refuse(11, Some(&news), refusal("bad tags")), None);
        let third = window.admit(12, news.clone(), 1);
        assert_eq!(
            window.refuse(13, Some(&chat), refusal("bad")).unwrap().0,
            13
        );
        assert_eq!(window.refuse(14, None, refusal("no topic")).unwrap().0, 14);
        assert_eq!(ids(&window.answer(first, Err(refusal("")))), [10, 11]);
        assert_eq!(ids(&window.answer(third, Err(refusal("")))), [12]);
        assert!(window.is_empty());
    }

    #[test]
    fn reading_stops_at_a_thousand_drafts_or_eight_mebibytes() {
        let mut window = Window::default();
        for id in 0..STREAM_DRAFTS as u64 {
            assert!(window.has_room(), "{id}");
            window.admit(id, topic("news"), 1);
        }
        assert!(!window.has_room());
        window.answer(0, Err(refusal("")));
        assert!(window.has_room());
        window.admit(7, topic("chat"), STREAM_BYTES);
        assert!(!window.has_room());
    }

    #[test]
    fn ids_are_the_clients_own_and_may_be_used_twice() {
        let mut window = Window::default();
        let first = window.admit(5, topic("a"), 1);
        let second = window.admit(5, topic("a"), 1);
        assert_eq!(ids(&window.answer(first, Err(refusal("")))), [5]);
        assert_eq!(ids(&window.answer(second, Err(refusal("")))), [5]);
        assert!(window.answer(second, Err(refusal(""))).is_empty());
    }
}
