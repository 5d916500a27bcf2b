//! One topic of a shard: its stream, the rules of its own, and what the shard must remember of it.
//! Append and trim; the same commands give the same offsets everywhere.

use std::sync::Arc;

use crate::dedup::Window;
use crate::gap::Policy;
use crate::history::{History, Limits};
use crate::message::{Content, Message};
use crate::name::TopicName;
use crate::position::Epoch;
use crate::rule::{Class, RuleLayer, RuleTable, Rules};

/// A topic's row.
#[derive(Clone, Debug)]
pub struct Topic {
    class: Class,
    /// Rules of its `Create`; most topics have none.
    own: Option<Box<RuleLayer>>,
    pub(crate) history: History,
    /// The stream that this one continues since an accepted loss.
    pub(crate) continues: Option<Epoch>,
    /// Running time at which its age is looked at next; 0: never.
    pub(crate) due_ms: u64,
    pub(crate) window: Window,
    /// A cache: what the table of this version says.
    resolved: Option<(u64, Box<Rules>)>,
}

impl Topic {
    /// A topic whose stream begins.
    pub(crate) fn new(class: Class, own: RuleLayer, epoch: Epoch) -> Self {
        Self::with_history(class, own, History::new(epoch))
    }

    pub(crate) fn with_history(class: Class, own: RuleLayer, history: History) -> Self {
        let own = Some(own).filter(|own| *own != RuleLayer::default());
        Self {
            class,
            own: own.map(Box::new),
            history,
            continues: None,
            due_ms: 0,
            window: Window::default(),
            resolved: None,
        }
    }

    /// Fixed at its creation.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The stream.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The rules of its `Create`.
    pub fn own(&self) -> RuleLayer {
        self.own.as_deref().cloned().unwrap_or_default()
    }

    /// All its rules under `table`.
    pub fn rules(&self, name: &TopicName, table: &RuleTable) -> Rules {
        match &self.resolved {
            Some((version, rules)) if *version == table.version => Rules::clone(rules),
            Some(_) | None => self.resolve(name, table),
        }
    }

    /// The same, and keeps them for the next time.
    pub(crate) fn rules_kept(&mut self, name: &TopicName, table: &RuleTable) -> &Rules {
        let kept = self.resolved.take();
        let kept = kept.filter(|(version, _)| *version == table.version);
        let fresh = kept.unwrap_or_else(|| (table.version, Box::new(self.resolve(name, table))));
        &self.resolved.insert(fresh).1
    }

    fn resolve(&self, name: &TopicName, table: &RuleTable) -> Rules {
        let none = RuleLayer::default();
        let own = self.own.as_deref().unwrap_or(&none);
        Rules {
            class: self.class,
            ..table.resolve(name, own)
        }
    }

    /// Places a message and trims by `limits`. Returns it and the bytes freed.
    pub(crate) fn place(
        &mut self,
        content: &Content,
        wall_ms: u64,
        limits: Limits,
        now_ms: u64,
    ) -> (Arc<Message>, u64) {
        let message = self.history.append(content, wall_ms, now_ms);
        (message, self.history.trim(limits, now_ms))
    }

    /// When its oldest message grows too old; `None` if nothing is retained.
    pub(crate) fn ages_out_at(&self, limits: Limits) -> Option<u64> {
        let oldest = self.history.oldest_ms()?;
        Some(oldest.saturating_add(limits.age_ms).max(1))
    }
}

impl From<&Rules> for Policy {
    fn from(rules: &Rules) -> Self {
        Self {
            class: rules.class,
            slow: rules.slow,
            slow_lag: rules.slow_lag,
            html: rules.html,
        }
    }
}
