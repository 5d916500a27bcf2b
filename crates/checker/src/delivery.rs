//! What sessions and subscribers of one topic got: by the rules of a reading (C2, C13, C15), never
//! back (C18), never a gap over what was delivered (C15), and at the end all there is (C6, C26).

use std::collections::BTreeMap;

use crate::observation::{Position, SinceText};
use crate::reading::{Finding, Session};
use crate::slots::Slots;
use crate::verdict::{Report, Verdict};

/// One subscription of one session.
#[derive(Debug)]
struct Subscription {
    sub: String,
    session: Session,
    since: SinceText,
    /// When it was answered.
    attached: Option<u64>,
    /// The highest position acked durable when it was asked for.
    acked_before: Option<Position>,
    /// It was told `position_ahead`: it may go back.
    ahead: bool,
    /// The last message it was given.
    given: Option<Position>,
    /// The stretch of its last gap.
    gap: Option<(Position, Position)>,
}

/// Sessions and subscribers of one topic.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    sessions: BTreeMap<String, Subscription>,
    /// The open session of a subscriber.
    open: BTreeMap<String, String>,
    /// Highest position each subscriber has processed, over all sessions.
    processed: BTreeMap<String, Position>,
}

/// What is asked for, and when.
pub(crate) struct Asked<'a> {
    pub(crate) session: &'a str,
    pub(crate) sub: &'a str,
    pub(crate) since: &'a SinceText,
    pub(crate) acked_before: Option<Position>,
}

/// What a subscription must have when the run is over.
pub(crate) struct Due<'a> {
    pub(crate) slots: &'a Slots,
    /// What was acked before this moment must be there.
    pub(crate) until: u64,
    pub(crate) durable: bool,
    /// The highest position in the final dumps of a durable topic.
    pub(crate) head: Option<Position>,
}

/// An answer, as it was told.
pub(crate) struct Answered<'a> {
    pub(crate) answer: &'a str,
    pub(crate) from: Option<Position>,
    pub(crate) head: Option<Position>,
}

/// A gap, as it was told.
pub(crate) struct Told<'a> {
    pub(crate) reason: &'a str,
    pub(crate) from: Position,
    pub(crate) to: Position,
}

impl Delivery {
    pub(crate) fn subscribed(&mut self, asked: &Asked<'_>) {
        // A subscriber that asks anew has left its session before.
        let (sub, session) = (asked.sub.to_owned(), asked.session.to_owned());
        if let Some(old) = self.open.insert(sub.clone(), session.clone()) {
            self.sessions.remove(&old);
        }
        let subscription = Subscription {
            sub,
            session: Session::default(),
            since: asked.since.clone(),
            attached: None,
            acked_before: asked.acked_before,
            ahead: false,
            given: None,
            gap: None,
        };
        self.sessions.insert(session, subscription);
    }

    pub(crate) fn attached(
        &mut self,
        topic: &str,
        session: &str,
        t: u64,
        told: &Answered<'_>,
        report: &mut Report,
    ) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        if told.answer != "refused" {
            subscription.attached.get_or_insert(t);
        }
        let sub = &subscription.sub;
        let done = self.processed.get(sub).copied();
        let found = subscription
            .session
            .attached(done, told.answer, told.from, told.head);
        give(report, topic, session, sub, found);
        if let (true, Some(head), Some(acked)) = (
            told.answer == "latest",
            told.head,
            subscription.acked_before,
        ) && head < acked
        {
            report.give(Verdict::StaleHead, topic, || {
                format!(
                    "session {session} is told latest {head}, {acked} was acked before it asked"
                )
            });
        }
    }

    pub(crate) fn message(
        &mut self,
        topic: &str,
        session: &str,
        got: Position,
        report: &mut Report,
    ) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        let Subscription { sub, gap, .. } = &*subscription;
        let mut done = self.processed.get(sub).copied();
        let covered = gap.is_some_and(|(from, to)| got > from && got <= to);
        let back = subscription.goes_back(got, done);
        let found = subscription.session.message(&mut done, got);
        let sub = subscription.sub.clone();
        if let Some(done) = done {
            self.processed.insert(sub.clone(), done);
        }
        subscription.given = subscription.given.max(Some(got));
        let repeated = matches!(found[0], Some(Finding::Repeated { .. }));
        if covered && repeated {
            report.give(Verdict::FalseGap, topic, || {
                format!("subscriber {sub}, session {session}: got {got} after a gap over it")
            });
            return;
        }
        give(report, topic, session, &sub, found.into_iter().flatten());
        if let Some(below) = back.filter(|_| !repeated) {
            report.give(Verdict::Stale, topic, || {
                format!("subscriber {sub}, session {session}: got {got}, and had {below}")
            });
        }
    }

    /// True if an accepted loss explains it when it says `position_ahead`.
    pub(crate) fn gap(
        &mut self,
        topic: &str,
        session: &str,
        told: &Told<'_>,
        explained: bool,
        report: &mut Report,
    ) {
        let Some(subscription) = self.sessions.get_mut(session) else {
            return;
        };
        let Told { reason, from, to } = *told;
        let sub = subscription.sub.clone();
        let ahead = reason == "position_ahead";
        if ahead && !explained {
            report.give(Verdict::Ahead, topic, || {
                format!("subscriber {sub}, session {session}: told that {from} is ahead of {to}")
            });
        }
        if let Some(given) = subscription
            .given
            .filter(|given| !ahead && from < *given && from < to)
        {
            report.give(Verdict::FalseGap, topic, || {
                format!("subscriber {sub}, session {session}: a gap from {from} to {to}, {given} was given before")
            });
        }
        subscription.ahead |= ahead;
        subscription.gap = (!ahead).then_some((from, to));
        let mut done = self.processed.get(&sub).copied();
        subscription.session.gap(&mut done, reason, to);
        if let Some(done) = done {
            self.processed.insert(sub, done);
        }
    }

    pub(crate) fn closed(&mut self, session: &str) {
        if let Some(gone) = self.sessions.remove(session)
            && self.open.get(&gone.sub).is_some_and(|open| open == session)
        {
            self.open.remove(&gone.sub);
        }
    }

    /// The run is over: what the sessions that had their time lack.
    pub(crate) fn judge(&self, topic: &str, due: &Due<'_>, report: &mut Report) {
        for (session, subscription) in &self.sessions {
            let Some(since) = subscription.attached.filter(|since| *since <= due.until) else {
                continue;
            };
            let (at, sub) = (subscription.session.at, &subscription.sub);
            let mut lacks = due.slots.after(at).filter(|(_, slot)| {
                // An ephemeral message owes itself to those who were there when it came.
                let present = |acked: u64| due.durable || acked >= since;
                let acked = slot.acked.filter(|_| slot.durable == due.durable);
                acked.is_some_and(|acked| acked <= due.until && present(acked))
            });
            let had = at.map_or("nothing".to_owned(), |at| at.to_string());
            if let Some((slot, _)) = lacks.next() {
                let verdict = match due.durable {
                    true => Verdict::Unseen,
                    false => Verdict::LostSilent,
                };
                report.give(verdict, topic, || {
                    format!("subscriber {sub}, session {session}: has {had} and no gap after it, {slot} was acked")
                });
            } else if let Some(head) = due.head.filter(|head| at < Some(*head)) {
                report.give(Verdict::NotLive, topic, || {
                    format!("subscriber {sub}, session {session}: has {had}, the head is {head}")
                });
            }
        }
    }
}

impl Subscription {
    /// What it had already, if `got` is a step back from it (C18): the cursor it presented, for
    /// `latest` all it processed, and any epoch above.
    fn goes_back(&self, got: Position, done: Option<Position>) -> Option<Position> {
        if self.ahead {
            return None;
        }
        let presented = self.since.position().filter(|since| got <= *since);
        let latest = (self.since.0 == "latest" && self.given.is_none()).then_some(done);
        let latest = latest.flatten().filter(|done| got <= *done);
        let epoch = done.filter(|done| got.epoch < done.epoch);
        presented.or(latest).or(epoch)
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
