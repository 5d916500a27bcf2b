//! What is asked of a shard: how a subscriber stands, pages of history, heads, topics; and what its
//! leader asks itself before it proposes. Reads change nothing (C27).

use super::Shard;
use super::command::Command;
use crate::dedup::window_ms;
use crate::gap::{Answer, Gap, GapReason, Page, Policy, Since, Standing};
use crate::history::Reach;
use crate::id::Term;
use crate::name::{TopicName, TopicPattern};
use crate::position::{Epoch, Offset, Position};
use crate::rule::{Class, CreatePolicy, RuleLayer, Rules};
use crate::topic::Topic;

/// What is told of a topic that has a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: TopicName,
    /// Lowest retained slot, or the one after head.
    pub start: Position,
    pub head: Position,
    /// Bytes retained.
    pub bytes: u64,
    /// Rules of its `Create`.
    pub own: RuleLayer,
    /// All rules as they hold now, the class too.
    pub rules: Rules,
}

/// Why the rows do not answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The leader's topic actor knows.
    #[error("the topic is ephemeral: its stream is not in the shard's rows")]
    Ephemeral,
    /// Told to the client as `topic_not_found`.
    #[error("no such topic, and topics are not made by use")]
    TopicNotFound,
    /// Told to the client as `not_ready`.
    #[error("the shard has not begun")]
    NotBegun,
}

impl Shard {
    /// How a subscriber of a durable topic stands (C13, C15, C27). For a `poll` the head of a topic
    /// that does not exist moves at most once an hour.
    ///
    /// An answer with the gap `position_ahead` must not be told before the leader has confirmed
    /// itself with a majority and has asked here once more (C17).
    pub fn stand(
        &self,
        name: &TopicName,
        since: Since,
        poll: bool,
        term: Term,
    ) -> Result<Standing, Unread> {
        let Some(topic) = self.row_of(name)? else {
            return Ok(self.stand_absent(name, since, poll, term));
        };
        let history = topic.history();
        let (head, begin) = (history.head(), history.start().before());
        let answer = match since {
            Since::Latest => Answer::Latest,
            Since::Earliest => Answer::Recovered(begin),
            Since::Last(count) => {
                let offset = Offset(head.offset.0.saturating_sub(u64::from(count)));
                let offset = offset.max(begin.offset);
                Answer::Recovered(Position { offset, ..head })
            }
            Since::After(from) => match self.gap_after(name, topic, from) {
                Some(gap) => Answer::Gap(gap),
                None => Answer::Recovered(from),
            },
        };
        Ok(Standing {
            answer,
            start: history.start(),
            head,
            exists: true,
            policy: Policy::from(&topic.rules(name, &self.row.rules)),
            term,
        })
    }

    fn stand_absent(&self, name: &TopicName, since: Since, poll: bool, term: Term) -> Standing {
        let from = match since {
            Since::After(from) => Some(from),
            Since::Latest | Since::Earliest | Since::Last(_) => None,
        };
        let head = self.absent_head(name, from, poll);
        let answer = match from.map(|from| (from, self.gap_absent(name, from, head))) {
            None => Answer::Latest,
            Some((from, None)) => Answer::Recovered(from),
            Some((_, Some(gap))) => Answer::Gap(gap),
        };
        let rules = self.row.rules.resolve(name, &RuleLayer::default());
        Standing {
            answer,
            start: head.next(),
            head,
            exists: false,
            policy: Policy::from(&rules),
            term,
        }
    }

    /// What follows `after` of a durable topic as far as this replica has applied: at most `limit`
    /// messages, at most `bytes` but at least one message. A position that this replica has not
    /// reached gives an empty page with a head below it, never a gap `position_ahead`: only the
    /// leader may tell that.
    pub fn page(
        &self,
        name: &TopicName,
        after: Position,
        limit: u32,
        bytes: u64,
    ) -> Result<Page, Unread> {
        let not_ahead = |gap: &Gap| gap.reason != GapReason::PositionAhead;
        let Some(topic) = self.row_of(name)? else {
            let head = self.counter_head();
            return Ok(Page {
                gap: self.gap_absent(name, after, head).filter(not_ahead),
                messages: Vec::new(),
                head,
                start: head.next(),
            });
        };
        let history = topic.history();
        let (head, gap) = (history.head(), self.gap_after(name, topic, after));
        let ahead = gap.is_some_and(|gap| !not_ahead(&gap));
        let begin = gap.map_or(after, |gap| gap.to);
        let offset = match begin.epoch == head.epoch {
            true => begin.offset,
            false => Offset(0),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(Page {
            gap: gap.filter(not_ahead),
            messages: match ahead {
                true => Vec::new(),
                false => history.read(offset, limit, bytes),
            },
            head,
            start: history.start(),
        })
    }

    /// The head of a durable topic; of one that does not exist, the shard's counter (C27).
    pub fn head(&self, name: &TopicName) -> Result<Position, Unread> {
        let topic = self.row_of(name)?;
        Ok(topic.map_or(self.counter_head(), |topic| topic.history().head()))
    }

    /// A topic that has a row. Ephemeral topics made on use have none.
    pub fn get(&self, name: &TopicName) -> Option<TopicInfo> {
        self.topics.get(name).map(|topic| self.info(name, topic))
    }

    /// Topics with a row that come after the name `after` and match, ascending, at most `limit`.
    /// Without a pattern all match, those of the system too.
    pub fn list(
        &self,
        pattern: Option<&TopicPattern>,
        after: Option<&TopicName>,
        limit: usize,
    ) -> Vec<TopicInfo> {
        use std::ops::Bound::{Excluded, Unbounded};
        let lower = after.map_or(Unbounded, Excluded);
        self.topics
            .range::<TopicName, _>((lower, Unbounded))
            .filter(|(name, _)| pattern.is_none_or(|pattern| pattern.matches(name)))
            .take(limit)
            .map(|(name, topic)| self.info(name, topic))
            .collect()
    }

    /// The class by which a draft or a reader of this topic is served: of its row, else of the
    /// rules.
    pub fn class_of(&self, name: &TopicName) -> Class {
        match self.topics.get(name) {
            Some(topic) => topic.class(),
            None => self.rules_of(name).class,
        }
    }

    /// All rules of a topic as they hold now, whether it exists or not.
    pub fn rules_of(&self, name: &TopicName) -> Rules {
        match self.topics.get(name) {
            Some(topic) => topic.rules(name, &self.row.rules),
            None => self.row.rules.resolve(name, &RuleLayer::default()),
        }
    }

    /// Whether the first use makes a topic.
    pub fn create_policy(&self) -> CreatePolicy {
        self.row.rules.create
    }

    /// True if a key of this age, the time it was held here included, is beyond the window: the
    /// leader refuses its draft with `idempotency_expired` instead of proposing it.
    pub fn key_is_past(&self, name: &TopicName, age_ms: u64) -> bool {
        age_ms >= window_ms(&self.rules_of(name))
    }

    /// True if an entry with this running time would drop something: then the leader proposes a
    /// `Tick`, at most once a second.
    pub fn needs_tick(&self, running_ms: u64) -> bool {
        let due = self.due.first().map(|(due, _)| *due);
        let next = [due, self.dedup.next_expiry(), self.tombstones.next_expiry()];
        self.row.sweep.is_some() || next.iter().flatten().any(|end| *end <= running_ms)
    }

    /// The `Trim` that the leader proposes while the shard retains more than `share` of the nodes'
    /// budgets: from the topic with the most bytes, as much as is too much, up to half of it. Looks
    /// at every topic.
    pub fn trim_for(&self, share: u64) -> Option<Command> {
        let excess = self.bytes.checked_sub(share).filter(|excess| *excess > 0)?;
        let (name, topic) = self.largest()?;
        let history = topic.history();
        let through = history.freeing(excess.min(history.bytes() / 2).max(1))?;
        Some(Command::Trim {
            topic: name.clone(),
            epoch: history.epoch(),
            through,
        })
    }

    /// Bytes of the topic that retains the most. Looks at every topic.
    pub fn largest_bytes(&self) -> u64 {
        self.largest()
            .map_or(0, |(_, topic)| topic.history().bytes())
    }

    fn largest(&self) -> Option<(&TopicName, &std::sync::Arc<Topic>)> {
        self.topics
            .iter()
            .max_by_key(|(_, topic)| topic.history().bytes())
    }

    /// The row of a durable topic; `None` if there is none and the first use would make it.
    fn row_of(&self, name: &TopicName) -> Result<Option<&Topic>, Unread> {
        if !self.row.begun {
            return Err(Unread::NotBegun);
        }
        match self.topics.get(name) {
            Some(topic) if topic.class() == Class::Ephemeral => Err(Unread::Ephemeral),
            Some(topic) => Ok(Some(topic)),
            None if self.class_of(name) == Class::Ephemeral => Err(Unread::Ephemeral),
            None if self.row.rules.create == CreatePolicy::Explicit => Err(Unread::TopicNotFound),
            None => Ok(None),
        }
    }

    fn info(&self, name: &TopicName, topic: &Topic) -> TopicInfo {
        let history = topic.history();
        TopicInfo {
            name: name.clone(),
            start: history.start(),
            head: history.head(),
            bytes: history.bytes(),
            own: topic.own(),
            rules: topic.rules(name, &self.row.rules),
        }
    }

    fn counter_head(&self) -> Position {
        Position {
            epoch: self.row.counter,
            offset: Offset(0),
        }
    }

    /// What a reader at `from` cannot have of a topic that exists; `None`: all after it follows.
    fn gap_after(&self, name: &TopicName, topic: &Topic, from: Position) -> Option<Gap> {
        let history = topic.history();
        let (head, begin) = (history.head(), history.start().before());
        if from.epoch > head.epoch {
            return Some(gap(GapReason::PositionAhead, from, head));
        }
        if from.epoch == head.epoch {
            return match history.reach(from.offset) {
                Reach::All => None,
                Reach::Trimmed(gap) => Some(gap),
                Reach::Ahead => Some(gap(GapReason::PositionAhead, from, head)),
            };
        }
        if from.epoch < self.row.repaired {
            let read = match topic.continues == Some(from.epoch) {
                true => from.offset.clamp(begin.offset, head.offset),
                false => begin.offset,
            };
            let to = Position {
                offset: read,
                ..head
            };
            return Some(gap(GapReason::DataLoss, from, to));
        }
        if !self.waits_since(name, from) {
            return Some(gap(GapReason::EpochChanged, from, begin));
        }
        (begin.offset > Offset(0)).then(|| history.trimmed_after(from))
    }

    /// What a reader at `from` cannot have of a topic that does not exist and whose head is told
    /// as `head`.
    fn gap_absent(&self, name: &TopicName, from: Position, head: Position) -> Option<Gap> {
        if self.is_beyond_counter(from) {
            Some(gap(GapReason::PositionAhead, from, self.counter_head()))
        } else if from.epoch < self.row.repaired {
            Some(gap(GapReason::DataLoss, from, head))
        } else if self.waits_since(name, from) {
            None
        } else {
            Some(gap(GapReason::EpochChanged, from, head))
        }
    }

    /// No stream has the counter's present value but one that exists: deleting takes a value.
    fn is_beyond_counter(&self, from: Position) -> bool {
        from > self.counter_head()
    }

    /// True if `from` is a head (c, 0) told when there was no topic, and the shard knows that none
    /// of this name has ended since (C27).
    fn waits_since(&self, name: &TopicName, from: Position) -> bool {
        let ended = self.tombstones.of(name).unwrap_or_default();
        from.offset == Offset(0) && from.epoch >= self.row.forgotten && from.epoch >= ended
    }

    /// The head told for a topic that does not exist to a reader at `from`: above `from` if a gap
    /// leads there, and never so low that the next answer would find a gap again.
    fn absent_head(&self, name: &TopicName, from: Option<Position>, poll: bool) -> Position {
        let present = self.counter_head();
        if !poll || from.is_some_and(|from| self.is_beyond_counter(from)) {
            return present;
        }
        let beyond = from.map_or(Epoch(0), |from| match from.offset {
            Offset(0) => from.epoch,
            Offset(_) => Epoch(from.epoch.0.saturating_add(1)),
        });
        let ended = self.tombstones.of(name).unwrap_or_default();
        let row = &self.row;
        let lowest = [row.hour_counter, beyond, ended, row.forgotten, row.repaired];
        Position {
            epoch: lowest.into_iter().fold(Epoch(0), Epoch::max),
            offset: Offset(0),
        }
    }
}

fn gap(reason: GapReason, from: Position, to: Position) -> Gap {
    Gap {
        reason,
        from,
        to,
        missed: None,
    }
}
