//! Delivery of one topic to one session: a cursor that is Attaching, then Live or Behind, then
//! Detached. `drain` is the only way an item leaves, whoever has the news (relay or pump).

use crate::gap::{Answer, Gap, Page, Policy, Standing};
use crate::position::{Offset, Position};
use crate::relay::{Block, Follow, Next, Span, conflate};
use crate::rule::Slow;

/// Where items go. It never waits: what it does not take it is offered again.
pub trait Sink<R> {
    /// Takes messages of `run` from index `skip` on; says how many, from 0 to all.
    fn run(&mut self, span: &Span, run: &R, skip: u32) -> u32;
    /// Takes a gap, or says no.
    fn gap(&mut self, gap: &Gap) -> bool;
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No answer yet.
    Attaching,
    /// At head: the relay writes to it.
    Live,
    /// Its pump brings it to head: from the tail, or from pages.
    Behind,
    /// Over.
    Detached,
}

/// Why `drain` came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It has all there is, and is Live now.
    Head,
    /// The sink takes no more: again when it does.
    Blocked,
    /// What follows this position is not in the tail: bring a page.
    Page(Position),
    /// The relay has to come first; it will have news. True: the subscription is ahead of it, so
    /// if that lasts ask the leader for a page.
    Wait { ahead: bool },
    /// Not attached, or no more.
    Idle,
}

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paged {
    /// It brings the subscription on: drain.
    Progress,
    /// It has nothing new. If it was a replica's, ask the leader.
    Nothing,
}

/// One subscription.
#[derive(Clone, Debug)]
pub struct Subscription<R> {
    phase: Phase,
    at: Position,
    policy: Policy,
    /// A gap that is due before anything else.
    due: Option<Gap>,
    /// What a page brought and the sink has not taken.
    page: Option<(Span, R)>,
    /// It was at head once: only from then on it can be slow.
    settled: bool,
}

impl<R> Default for Subscription<R> {
    fn default() -> Self {
        Self {
            phase: Phase::Attaching,
            at: Position::NONE,
            policy: Policy::default(),
            due: None,
            page: None,
            settled: false,
        }
    }
}

impl<R: Clone> Subscription<R> {
    /// How it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// All up to here was taken by the sink.
    pub fn at(&self) -> Position {
        self.at
    }

    /// The rules it is served by.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The topic's rules changed: from now on it is served by these.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The answer came: delivery begins. Returns the position of the first cursor (C13).
    pub fn begin(&mut self, standing: &Standing) -> Position {
        self.phase = Phase::Behind;
        self.policy = standing.policy;
        (self.at, self.due) = match standing.answer {
            Answer::Latest => (standing.head, None),
            // Nothing exists between the two: the counter moves on, so that it does not grow old.
            Answer::Recovered(from) if !standing.exists => (from.max(standing.head), None),
            Answer::Recovered(from) => (from, None),
            Answer::Gap(gap) => (gap.from, Some(gap)),
        };
        self.at
    }

    /// No item of it leaves any more.
    pub fn detach(&mut self) {
        self.phase = Phase::Detached;
        self.due = None;
        self.page = None;
    }

    /// The relay has a new block in its hand. For a Live subscription this is all of delivery;
    /// for any other it does nothing, and the pump must look. True if the pump has to be woken.
    #[must_use]
    pub fn offer(&mut self, block: &Block<R>, sink: &mut impl Sink<R>) -> bool {
        match self.phase {
            Phase::Detached => return false,
            Phase::Attaching | Phase::Behind => return true,
            Phase::Live => {}
        }
        let taken = match block {
            Block::Run(span, run) => match span.skip(self.at) {
                Some(have) if have >= span.count => true,
                Some(have) => self.take(span, run, have, sink),
                None => false,
            },
            Block::Gap(gap) if gap.from == self.at => {
                let taken = sink.gap(gap);
                if taken {
                    self.at = gap.to;
                }
                taken
            }
            Block::Gap(_) => false,
        };
        if !taken {
            self.phase = Phase::Behind;
        }
        !taken
    }

    /// The tail began anew: whether this is at head, `drain` has to say.
    pub fn doubt(&mut self) {
        if self.phase == Phase::Live {
            self.phase = Phase::Behind;
        }
    }

    /// Gives the sink all that follows, as far as it takes and the tail has.
    pub fn drain(&mut self, tail: &impl Follow<R>, sink: &mut impl Sink<R>) -> Drained {
        if matches!(self.phase, Phase::Attaching | Phase::Detached) {
            return Drained::Idle;
        }
        let drained = self.pour(tail, sink);
        self.phase = if drained == Drained::Head {
            Phase::Live
        } else {
            Phase::Behind
        };
        self.settled |= drained == Drained::Head;
        drained
    }

    /// A page came, asked for after `at()`. `run` is the form of its messages.
    pub fn on_page(&mut self, page: &Page, run: Option<(Span, R)>) -> Paged {
        if self.phase == Phase::Detached || self.page.is_some() || self.due.is_some() {
            return Paged::Nothing;
        }
        let expected = page.gap.map_or(self.at, |gap| gap.to);
        let fits = run
            .as_ref()
            .is_none_or(|(span, _)| span.skip(expected) == Some(0));
        if page.gap.is_some_and(|gap| gap.from != self.at) || !fits {
            return Paged::Nothing;
        }
        self.due = page.gap;
        self.page = run;
        if self.due.is_some() || self.page.is_some() {
            return Paged::Progress;
        }
        // No topic, then and now: only the shard's counter has grown.
        let unborn = self.at.offset == Offset(0) && page.head.offset == Offset(0);
        if unborn && page.head > self.at {
            self.at = page.head;
            return Paged::Progress;
        }
        Paged::Nothing
    }

    fn pour(&mut self, tail: &impl Follow<R>, sink: &mut impl Sink<R>) -> Drained {
        loop {
            if let Some(gap) = self.due {
                if !sink.gap(&gap) {
                    return Drained::Blocked;
                }
                self.at = gap.to;
                self.due = None;
            }
            if self.skip_ahead(tail) {
                continue;
            }
            if let Some((span, run)) = self.page.take() {
                let have = span.skip(self.at).unwrap_or(span.count);
                if have < span.count && !self.take(&span, &run, have, sink) {
                    self.page = Some((span, run));
                    return Drained::Blocked;
                }
                continue;
            }
            match tail.next(self.at) {
                Next::Block(Block::Run(span, run)) => {
                    let have = span.skip(self.at).unwrap_or(0);
                    if !self.take(&span, &run, have, sink) {
                        return Drained::Blocked;
                    }
                }
                Next::Block(Block::Gap(gap)) => self.due = Some(gap),
                Next::Head => return Drained::Head,
                Next::Ahead => return Drained::Wait { ahead: true },
                Next::Unknown => return Drained::Wait { ahead: false },
                Next::Below => return Drained::Page(self.at),
            }
        }
    }

    /// A slow session of a conflating topic: what it lags is one gap.
    fn skip_ahead(&mut self, tail: &impl Follow<R>) -> bool {
        if !self.settled || self.policy.slow != Slow::Conflate {
            return false;
        }
        let gap = tail
            .last()
            .and_then(|last| conflate(self.at, last, self.policy.slow_lag));
        if gap.is_some() {
            self.due = gap;
            self.page = None;
        }
        gap.is_some()
    }

    /// Gives the sink a run; true if it took the rest of it.
    fn take(&mut self, span: &Span, run: &R, have: u32, sink: &mut impl Sink<R>) -> bool {
        let wanted = span.count - have;
        let taken = sink.run(span, run, have).min(wanted);
        if taken > 0 {
            self.at = span.position(have + taken - 1);
        }
        taken == wanted
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
