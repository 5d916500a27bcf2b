//! What retention does outside of placing: by the clock, after a change of rules, for the budget.

use std::sync::Arc;

use super::Shard;
use super::apply::{Step, note_topic};
use crate::history::Limits;
use crate::name::TopicName;
use crate::position::{Epoch, Offset};

/// Topics looked at by one entry, after a change of rules and by one tick: what bounds its time.
const LOOKS: usize = 1_024;

impl Shard {
    pub(super) fn trim(
        &mut self,
        name: &TopicName,
        epoch: Epoch,
        through: Offset,
        step: &mut Step,
    ) {
        let Some(topic) = self.topics.get_mut(name) else {
            return;
        };
        if topic.history().epoch() == epoch {
            let topic = Arc::make_mut(topic);
            let freed = topic.history.cut(through);
            self.bytes = self.bytes.saturating_sub(freed);
            note_topic(&mut step.digest, name, topic);
        }
    }

    pub(super) fn tick(&mut self, step: &mut Step) {
        for _ in 0..LOOKS {
            match self.due.first() {
                Some((due, name)) if *due <= self.row.running_ms => {
                    let name = name.clone();
                    self.look(&name, step);
                }
                Some(_) | None => break,
            }
        }
    }

    /// New rules bind idle topics too: some are looked at with each entry until all were.
    pub(super) fn sweep(&mut self, step: &mut Step) {
        let Some(from) = self.row.sweep.take() else {
            return;
        };
        let mut names: Vec<TopicName> = self
            .topics
            .range(from..)
            .take(LOOKS + 1)
            .map(|(name, _)| name.clone())
            .collect();
        if names.len() > LOOKS {
            self.row.sweep = names.pop();
        }
        names.iter().for_each(|name| self.look(name, step));
    }

    /// Trims a topic by its rules as they are now, and says when to look again.
    fn look(&mut self, name: &TopicName, step: &mut Step) {
        let Some(topic) = self.topics.get_mut(name) else {
            return;
        };
        let topic = Arc::make_mut(topic);
        let limits = Limits::from(topic.rules_kept(name, &self.row.rules));
        let freed = topic.history.trim(limits, self.row.running_ms);
        self.bytes = self.bytes.saturating_sub(freed);
        let due = topic.ages_out_at(limits).unwrap_or(0);
        if due != topic.due_ms {
            self.due.remove(&(topic.due_ms, name.clone()));
            topic.due_ms = due;
            if due != 0 {
                self.due.insert((due, name.clone()));
            }
        }
        note_topic(&mut step.digest, name, topic);
    }
}
