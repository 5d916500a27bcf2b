//! What one subscriber gets of one topic, over its sessions: contiguous within a session (SKIP,
//! REPEATED), and over sessions nothing missed that no gap told (GAP_UNSIGNALLED). A value.

use std::fmt;

use crate::observation::Position;
use crate::verdict::Verdict;

/// What must not have been, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A session got this slot after that one, which is not before it.
    Repeated { got: Position, after: Position },
    /// A session got this slot after that one, and left out what lies between.
    Skipped { got: Position, after: Position },
    /// A resumed session begins after this position, though less was processed.
    BeginsLate { after: Position, done: Position },
    /// A resumed session's first message is not the one after what was processed.
    BeginsWith { got: Position, done: Position },
}

impl Finding {
    /// The verdict that it gives.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Repeated { .. } => Verdict::Repeated,
            Self::Skipped { .. } => Verdict::Skip,
            Self::BeginsLate { .. } | Self::BeginsWith { .. } => Verdict::GapUnsignalled,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { got, after } | Self::Skipped { got, after } => {
                write!(f, "got {got} after {after}")
            }
            Self::BeginsLate { after, done } => {
                write!(f, "begins after {after}, and {done} was processed")
            }
            Self::BeginsWith { got, done } => {
                write!(f, "begins with {got}, and {done} was processed")
            }
        }
    }
}

/// One subscription of one session. What its subscriber has processed is given with each call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Last position delivered or passed over; `None` before the answer.
    pub(crate) at: Option<Position>,
    /// True once something of it was judged against the subscriber's processed position.
    begun: bool,
}

impl Session {
    /// The answer says after which position delivery begins: after `from`, or for `latest` after
    /// the head. A gap follows as an item.
    pub(crate) fn attached(
        &mut self,
        done: Option<Position>,
        answer: &str,
        from: Option<Position>,
        head: Option<Position>,
    ) -> Option<Finding> {
        let after = match answer {
            "latest" => head,
            "recovered" | "gap" => from,
            _ => return None,
        };
        self.at = after;
        let (after, done) = (after?, done?);
        // While there is no topic the cursor follows the shard's counter (C27): nothing lies between.
        let unborn = after.offset == 0 && done.offset == 0;
        let late = after > done && answer == "recovered" && !unborn;
        late.then_some(Finding::BeginsLate { after, done })
    }

    /// A message came: what is wrong in the session, and against what was processed before it.
    pub(crate) fn message(
        &mut self,
        done: &mut Option<Position>,
        got: Position,
    ) -> [Option<Finding>; 2] {
        let within = self.at.and_then(|after| {
            let next = after.offset.checked_add(1) == Some(got.offset) && after.epoch == got.epoch;
            // A topic that did not exist has a counter as head; its first message begins a stream.
            let begins = got.offset == 1 && got.epoch > after.epoch && after.offset == 0;
            if got <= after {
                Some(Finding::Repeated { got, after })
            } else if !next && !begins {
                Some(Finding::Skipped { got, after })
            } else {
                None
            }
        });
        let over = done.filter(|done| {
            let next = done.offset.saturating_add(1);
            !self.begun && got.epoch == done.epoch && got.offset > next
        });
        self.begun = true;
        self.at = Some(got);
        *done = (*done).max(Some(got));
        [within, over.map(|done| Finding::BeginsWith { got, done })]
    }

    /// A gap was told.
    pub(crate) fn gap(&mut self, done: &mut Option<Position>, reason: &str, to: Position) {
        self.at = Some(to);
        self.begun = true;
        *done = match reason {
            "position_ahead" => Some(to),
            _ => (*done).max(Some(to)),
        };
    }
}

/// A subscriber of one topic, one session after the other.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    session: Session,
    done: Option<Position>,
    attached: bool,
}

impl Reading {
    /// A session's answer: how it begins.
    pub fn attached(
        &mut self,
        answer: &str,
        from: Option<Position>,
        head: Option<Position>,
    ) -> Option<Finding> {
        self.attached = true;
        self.session.attached(self.done, answer, from, head)
    }

    /// A message came.
    pub fn message(&mut self, got: Position) -> [Option<Finding>; 2] {
        self.session.message(&mut self.done, got)
    }

    /// A gap was told.
    pub fn gap(&mut self, reason: &str, to: Position) {
        self.session.gap(&mut self.done, reason, to);
    }

    /// The session is over; another may begin.
    pub fn closed(&mut self) {
        self.session = Session {
            at: None,
            begun: false,
        };
    }

    /// Everything up to here was delivered, told as left out, or was there before the first
    /// session; `None` before the first answer.
    pub fn at(&self) -> Option<Position> {
        self.done.max(self.session.at)
    }

    /// True once a session was answered.
    pub fn was_attached(&self) -> bool {
        self.attached
    }
}
