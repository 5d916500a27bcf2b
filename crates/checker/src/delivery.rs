//! What sessions and subscribers got: contiguous within a session (SKIP, REPEATED), and over
//! sessions nothing missed that no gap told (GAP_UNSIGNALLED).

use std::collections::BTreeMap;

use crate::observation::Position;
use crate::verdict::{Report, Verdict};

/// One subscription of one session.
#[derive(Debug, Default)]
struct Subscription {
    sub: String,
    /// Last position delivered or passed over; `None` before the answer.
    at: Option<Position>,
    /// True once something of it was judged against the subscriber's processed position.
    begun: bool,
}

/// Sessions and subscribers of one topic.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    sessions: BTreeMap<String, Subscription>,
    /// Highest position each subscriber has processed, over all sessions.
    processed: BTreeMap<String, Position>,
}

impl Delivery {
    pub(crate) fn subscribed(&mut self, session: &str, sub: &str) {
        let subscription = Subscription {
            sub: sub.to_owned(),
            at: None,
            begun: false,
        };
        self.sessions.insert(session.to_owned(), subscription);
    }

    /// The answer says after which position delivery begins: after `from`, or for `latest` after
    /// the head. A gap follows as an item.
    pub(crate) fn attached(
        &mut self,
        topic: &str,
        session: &str,
        answer: &str,
        from: Option<Position>,
        head: Option<Position>,
        report: &mut Report,
    ) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        let begin = match answer {
            "latest" => head,
            "recovered" | "gap" => from,
            _ => return,
        };
        subscription.at = begin;
        let (Some(begin), Some(done)) = (begin, self.processed.get(&subscription.sub)) else {
            return;
        };
        // While there is no topic the cursor follows the shard's counter (C27): nothing lies between.
        let unborn = begin.offset == 0 && done.offset == 0;
        if begin > *done && answer == "recovered" && !unborn {
            let sub = &subscription.sub;
            report.give(Verdict::GapUnsignalled, topic, || {
                format!(
                    "subscriber {sub} had processed {done}, session {session} begins after {begin}"
                )
            });
        }
    }

    pub(crate) fn message(
        &mut self,
        topic: &str,
        session: &str,
        at: Position,
        report: &mut Report,
    ) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        if let Some(last) = subscription.at {
            let next = Position {
                epoch: last.epoch,
                offset: last.offset + 1,
            };
            // A topic that did not exist has a counter as head; its first message begins a stream.
            let begins = at.offset == 1 && at.epoch > last.epoch && last.offset == 0;
            if at <= last {
                report.give(Verdict::Repeated, topic, || {
                    format!("session {session} got {at} after {last}")
                });
            } else if at != next && !begins {
                report.give(Verdict::Skip, topic, || {
                    format!("session {session} got {at} after {last}")
                });
            }
        }
        let sub = &subscription.sub;
        if let (false, Some(done)) = (subscription.begun, self.processed.get(sub)) {
            let skipped = at.epoch == done.epoch && at.offset > done.offset + 1;
            if skipped {
                report.give(Verdict::GapUnsignalled, topic, || {
                    format!(
                        "subscriber {sub} had processed {done}, session {session} begins with {at}"
                    )
                });
            }
        }
        subscription.begun = true;
        subscription.at = Some(at);
        let done = self.processed.entry(sub.clone()).or_insert(at);
        *done = (*done).max(at);
    }

    pub(crate) fn gap(&mut self, session: &str, reason: &str, to: Position) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        subscription.at = Some(to);
        subscription.begun = true;
        let ahead = reason == "position_ahead";
        let done = self.processed.entry(subscription.sub.clone()).or_insert(to);
        *done = if ahead { to } else { (*done).max(to) };
    }

    pub(crate) fn closed(&mut self, session: &str) {
        self.sessions.remove(session);
    }
}
