//! Administration of topics of one shard, in core types.

use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::{Epoch, Position};
use fanfare_core::rule::{Class, RuleLayer, Rules};

/// What an administrator wants of a shard's topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicCommand {
    /// Make a topic; `topic_exists` if it is there with other rules.
    Create {
        name: TopicName,
        rules: RuleLayer,
    },
    /// End a topic; only if its epoch is this one, if given.
    Delete {
        name: TopicName,
        epoch: Option<Epoch>,
    },
    Get {
        name: TopicName,
    },
    /// Topics after `after` in the order of names, at most `limit`.
    List {
        pattern: Option<TopicPattern>,
        after: Option<TopicName>,
        limit: u32,
    },
}

/// A topic as its shard knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    pub class: Class,
    pub epoch: Epoch,
    /// Lowest retained slot, or the one after head.
    pub start: Position,
    pub head: Position,
    /// Bytes retained.
    pub bytes: u64,
    pub rules: Rules,
}
