//! What a publisher is told: the ack (contract section 2) or a refusal (section 4).

use crate::code::{Code, Outcome};
use crate::name::TopicName;
use crate::position::Position;
use crate::rule::Class;

/// What is true of a message when its ack is sent (C5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reached {
    /// The edge has taken the draft.
    None,
    /// The leader has placed it, in memory.
    Ephemeral,
    /// A majority has it on disk and it is committed in the leader's own term.
    Durable,
}

/// An ack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub topic: TopicName,
    /// Absent only for ack `none`.
    pub position: Option<Position>,
    pub class: Class,
    pub reached: Reached,
    /// True if the key had this slot already.
    pub duplicate: bool,
    /// ms of running time for which the key is still known; only with a key.
    pub dedup_remaining_ms: Option<u64>,
}

/// An error with a code: what happened, and of a publish whether it may be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub outcome: Outcome,
    /// For people: what, why, what to do.
    pub detail: String,
    /// The field as the client sent it, if one is wrong.
    pub field: Option<String>,
    pub topic: Option<TopicName>,
    /// `expectation_failed`: the head.
    pub head: Option<Position>,
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A refusal of something that is no publish.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            outcome: Outcome::None,
            detail: detail.into(),
            field: None,
            topic: None,
            head: None,
            retry_after_ms: None,
        }
    }

    /// A refusal of a publish, with the outcome the code has for it.
    pub fn of_publish(code: Code, detail: impl Into<String>) -> Self {
        Self {
            outcome: code.publish_outcome(),
            ..Self::new(code, detail)
        }
    }

    /// Names the wrong field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the topic.
    #[must_use]
    pub fn topic(mut self, topic: TopicName) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Says when to come back, in ms.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// The same refusal, of a publish.
    #[must_use]
    pub fn as_publish(mut self) -> Self {
        self.outcome = self.code.publish_outcome();
        self
    }
}
