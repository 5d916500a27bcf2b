//! What a subscriber is told when it attaches, and what it cannot have (C13, C15): since, answer,
//! gap, standing, page.

use std::sync::Arc;

use crate::id::Term;
use crate::message::Message;
use crate::name::TopicName;
use crate::position::Position;
use crate::rule::{Class, Html, Slow};

/// From where a subscriber wants a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Since {
    /// What comes after the head.
    #[default]
    Latest,
    /// All that is retained.
    Earliest,
    /// The last so many messages, 1–1000.
    Last(u32),
    /// What follows a position already processed.
    After(Position),
}

/// Why slots are left out. The order is the order of precedence if several hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    DataLoss,
    EpochChanged,
    PositionAhead,
    Trimmed(TrimmedBy),
    Conflated,
}

/// Which limit removed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrimmedBy {
    Age,
    Count,
    Bytes,
    Budget,
}

/// All slots after `from` up to and including `to` are left out; delivery goes on after `to`.
/// For `PositionAhead` alone `to`, the head, is below `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub reason: GapReason,
    pub from: Position,
    pub to: Position,
    /// Messages left out, if known.
    pub missed: Option<u64>,
}

/// The answer to attaching a topic (C13). A refusal is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All after this position follows.
    Recovered(Position),
    /// The topic's first item is this gap; delivery goes on after it.
    Gap(Gap),
    /// What comes after the head follows.
    Latest,
}

/// How a subscriber stands to a topic, as its shard's leader says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub answer: Answer,
    /// Lowest retained slot, or the one after head if nothing is retained.
    pub start: Position,
    pub head: Position,
    /// False if no such topic exists (yet): then the head is a counter (C27).
    pub exists: bool,
    pub policy: Policy,
    /// The leader's term; an answer of an older one is dropped.
    pub term: Term,
}

impl Standing {
    /// The position after which delivery begins: of the answer.
    pub fn begin(&self) -> Position {
        match self.answer {
            Answer::Recovered(from) => from,
            Answer::Gap(gap) => gap.to,
            Answer::Latest => self.head,
        }
    }
}

/// What an edge must know of a topic's rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub class: Class,
    pub slow: Slow,
    pub slow_lag: u64,
    pub html: Html,
}

/// A stretch of history after some position, of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Set if slots between the asked position and the first message are left out.
    pub gap: Option<Gap>,
    /// In order, contiguous after the asked position or after the gap; maybe none.
    pub messages: Vec<Arc<Message>>,
    /// The head this replica knows. For the truth ask the leader.
    pub head: Position,
    /// Lowest retained slot, or the one after head.
    pub start: Position,
}

/// An item of a topic's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Message(TopicName, Arc<Message>),
    Gap(TopicName, Gap),
}
