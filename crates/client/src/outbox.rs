//! The drafts of one publish stream and what becomes of them: which is sent next, with which age,
//! which is sent again, when it is given up (protocol section 12, rule 4). A value; time and chance
//! are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_core::code::{Advice, Code, Outcome};
use fanfare_core::message::Draft;
use fanfare_core::name::TopicName;
use fanfare_protocol::json::ack::Acked;
use fanfare_protocol::spelling::Named;

use crate::course::back_off;
use crate::told::Told;

/// How long a publisher tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// With an unknown draft, since it was first sent: at most half the dedup window. Default: 60 s.
    pub unknown: Duration,
    /// With a draft that was never placed for reasons that may pass. Default: 30 s.
    pub refused: Duration,
    /// What the server may take for one sending, 1–30 s. Default: 5 s.
    pub sending: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            unknown: Duration::from_secs(60),
            refused: Duration::from_secs(30),
            sending: Duration::from_secs(5),
        }
    }
}

/// Beyond the server's time for a sending, its answer may take so long on its way.
const GRACE: Duration = Duration::from_secs(5);

/// Why a draft was not acked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not placed, and it never will be: act by the code.
    #[error("{0}")]
    Refused(Box<Told>),
    /// No node was reached in time: never sent, so not placed.
    #[error("no node was reached: {0}")]
    Unreachable(String),
    /// It may be placed, now or later: only its readers can tell.
    #[error("it may be placed or not: {0}")]
    Unknown(String),
    /// The publisher has ended.
    #[error("the publisher has ended")]
    Ended,
}

/// What one sending came to.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Acked(Acked),
    Refused(Told),
    NeverLeft(String),
    NoAnswer(String),
}

/// What a draft came to.
pub(crate) type Report = Result<Acked, PublishError>;

#[derive(Debug)]
struct Row {
    draft: Draft,
    /// How old the key was when the draft was taken, as its application says.
    age_ms: u64,
    taken: Duration,
    first_sent: Option<Duration>,
    /// A sending may have placed it.
    unknown: bool,
    tries: u32,
    /// When it is to be sent (waiting), or was sent (in flight).
    at: Duration,
    /// The last thing heard of it.
    last: Option<Sent>,
}

impl Row {
    /// When trying ends.
    fn limit(&self, patience: &Patience) -> Duration {
        match self.first_sent.filter(|_| self.unknown) {
            Some(first) => first.saturating_add(patience.unknown),
            None => self.taken.saturating_add(patience.refused),
        }
    }

    /// What to report without another sending.
    fn give_up(self) -> Report {
        let why = match &self.last {
            Some(Sent::Refused(told)) => told.to_string(),
            Some(Sent::NeverLeft(why) | Sent::NoAnswer(why)) => why.clone(),
            Some(Sent::Acked(_)) | None => "no answer in time".to_owned(),
        };
        Err(match (self.unknown, self.last) {
            (true, _) => PublishError::Unknown(why),
            (false, Some(Sent::Refused(told))) => PublishError::Refused(Box::new(told)),
            (false, _) => PublishError::Unreachable(why),
        })
    }
}

/// Drafts in the order they were taken. Each has a number, ascending.
#[derive(Debug)]
pub(crate) struct Outbox {
    patience: Patience,
    next: u64,
    waiting: BTreeMap<u64, Row>,
    in_flight: BTreeMap<u64, Row>,
    sent_again: u64,
}

impl Outbox {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            next: 1,
            waiting: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sent_again: 0,
        }
    }

    /// Sendings after the first ones.
    pub(crate) fn sent_again(&self) -> u64 {
        self.sent_again
    }

    /// Drafts without a report.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Takes a draft; its number.
    pub(crate) fn push(&mut self, draft: Draft, now: Duration) -> u64 {
        let id = self.next;
        self.next += 1;
        let row = Row {
            age_ms: draft.key_age_ms,
            draft,
            taken: now,
            first_sent: None,
            unknown: false,
            tries: 0,
            at: now,
            last: None,
        };
        self.waiting.insert(id, row);
        id
    }

    /// The next draft to send now: in the first order, and of one topic none before an earlier one
    /// that waits to be sent again.
    pub(crate) fn next_due(&mut self, now: Duration) -> Option<(u64, Draft)> {
        let mut held: BTreeSet<&TopicName> = BTreeSet::new();
        let mut due = None;
        for (id, row) in &self.waiting {
            if held.contains(&row.draft.topic) {
                continue;
            }
            if row.at <= now {
                due = Some(*id);
                break;
            }
            held.insert(&row.draft.topic);
        }
        let id = due?;
        let mut row = self.waiting.remove(&id)?;
        self.sent_again += u64::from(row.first_sent.is_some());
        let first = *row.first_sent.get_or_insert(now);
        if row.draft.key.is_some() {
            let since = u64::try_from(now.saturating_sub(first).as_millis()).unwrap_or(u64::MAX);
            row.draft.key_age_ms = row.age_ms.saturating_add(since);
        }
        row.at = now;
        let draft = row.draft.clone();
        self.in_flight.insert(id, row);
        Some((id, draft))
    }

    /// A sending came to this. The report, if there will be no other sending.
    pub(crate) fn on_sent(
        &mut self,
        id: u64,
        sent: Sent,
        now: Duration,
        chance: u64,
    ) -> Option<Report> {
        let mut row = self.in_flight.remove(&id)?;
        let mut asked = Duration::ZERO;
        let again = match &sent {
            Sent::Acked(acked) => return Some(Ok(acked.clone())),
            Sent::NeverLeft(_) => {
                // What never left does not make its key older.
                if !row.unknown && row.tries == 0 {
                    row.first_sent = None;
                }
                true
            }
            Sent::NoAnswer(_) => {
                row.unknown = true;
                row.draft.key.is_some()
            }
            Sent::Refused(told) => {
                asked = told.retry_after();
                let expired = told.problem.code == Named::Known(Code::IdempotencyExpired);
                let unknown = told.problem.publish_outcome() == Outcome::Unknown;
                row.unknown |= expired || unknown;
                match told.advice() {
                    _ if unknown => row.draft.key.is_some(),
                    Advice::RetryLater | Advice::RetrySameKey | Advice::Reroute => {
                        !row.unknown || row.draft.key.is_some()
                    }
                    Advice::GiveUp | Advice::Reauthenticate => false,
                }
            }
        };
        row.last = Some(sent);
        row.at = now
            .saturating_add(back_off(row.tries, chance))
            .saturating_add(asked);
        row.tries = row.tries.saturating_add(1);
        if !again || row.at > row.limit(&self.patience) {
            return Some(row.give_up());
        }
        self.waiting.insert(id, row);
        None
    }

    /// The stream is gone: what was in flight is unknown, and due again at once, when another is
    /// open. Reports those that cannot be sent again.
    pub(crate) fn on_broken(&mut self, why: &str, now: Duration) -> Vec<(u64, Report)> {
        let mut reports = Vec::new();
        for (id, mut row) in std::mem::take(&mut self.in_flight) {
            row.unknown = true;
            row.last = Some(Sent::NoAnswer(why.to_owned()));
            row.tries = row.tries.saturating_add(1);
            row.at = now;
            if row.draft.key.is_some() && now <= row.limit(&self.patience) {
                self.waiting.insert(id, row);
            } else {
                reports.push((id, row.give_up()));
            }
        }
        reports
    }

    /// No node can be reached, or none takes us: what waits hears of it.
    pub(crate) fn on_unreachable(&mut self, sent: &Sent) {
        for row in self.waiting.values_mut().filter(|row| !row.unknown) {
            row.last = Some(sent.clone());
        }
    }

    /// There will be no stream: everything is reported.
    pub(crate) fn give_up(&mut self, sent: &Sent) -> Vec<(u64, Report)> {
        self.on_unreachable(sent);
        let rows = std::mem::take(&mut self.waiting).into_iter();
        rows.map(|(id, row)| (id, row.give_up())).collect()
    }

    /// Reports what has waited too long.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<(u64, Report)> {
        let patience = self.patience;
        let over = self
            .waiting
            .iter()
            .filter(|(_, row)| now > row.limit(&patience));
        let over: Vec<u64> = over.map(|(id, _)| *id).collect();
        let rows = over
            .into_iter()
            .filter_map(|id| Some((id, self.waiting.remove(&id)?)));
        rows.map(|(id, row)| (id, row.give_up())).collect()
    }

    /// True if an answer is overdue: the stream is as good as broken.
    pub(crate) fn is_overdue(&self, now: Duration) -> bool {
        let allowed = self.patience.sending.saturating_add(GRACE);
        let mut rows = self.in_flight.values();
        rows.any(|row| now > row.at.saturating_add(allowed))
    }

    /// When to look again; `None`: when something comes.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        const TICK: Duration = Duration::from_millis(1);
        let allowed = self.patience.sending.saturating_add(GRACE);
        let overdue = self
            .in_flight
            .values()
            .map(|row| row.at.saturating_add(allowed));
        let waiting = self.waiting.values();
        let ends = waiting.map(|row| row.limit(&self.patience));
        // A limit is over once it has passed.
        overdue.chain(ends).min().map(|at| at.saturating_add(TICK))
    }

    /// When the next waiting draft is due.
    pub(crate) fn due_at(&self) -> Option<Duration> {
        self.waiting.values().map(|row| row.at).min()
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
