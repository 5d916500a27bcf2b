//! What sessions and subscribers got, by the rules of a reading, for a judge that sees everything.

use std::collections::BTreeMap;

use crate::observation::Position;
use crate::reading::{Finding, Session};
use crate::verdict::Report;

/// One subscription of one session.
#[derive(Debug, Default)]
struct Subscription {
    sub: String,
    session: Session,
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
            session: Session::default(),
        };
        self.sessions.insert(session.to_owned(), subscription);
    }

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
        let sub = &subscription.sub;
        let done = self.processed.get(sub).copied();
        let found = subscription.session.attached(done, answer, from, head);
        give(report, topic, session, sub, found);
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
        let sub = &subscription.sub;
        let mut done = self.processed.get(sub).copied();
        let found = subscription.session.message(&mut done, at);
        if let Some(done) = done {
            self.processed.insert(sub.clone(), done);
        }
        give(report, topic, session, sub, found.into_iter().flatten());
    }

    pub(crate) fn gap(&mut self, session: &str, reason: &str, to: Position) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        let sub = &subscription.sub;
        let mut done = self.processed.get(sub).copied();
        subscription.session.gap(&mut done, reason, to);
        if let Some(done) = done {
            self.processed.insert(sub.clone(), done);
        }
    }

    pub(crate) fn closed(&mut self, session: &str) {
        self.sessions.remove(session);
    }
}

fn give(
    report: &mut Report,
    topic: &str,
    session: &str,
    sub: &str,
    found: impl IntoIterator<Item = Finding>,
) {
    for finding in found {
        report.give(finding.verdict(), topic, || {
            format!("subscriber {sub}, session {session}: {finding}")
        });
    }
}
