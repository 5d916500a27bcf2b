//! What a hall does when topics are made or ended, or the rules change.

use std::sync::Arc;

use fanfare_core::gap::{GapReason, Policy};
use fanfare_core::link::Ended;
use fanfare_core::name::TopicName;
use fanfare_core::rule::{Class, CreatePolicy};

use super::{Absent, Hall, ShardRef, topic};

impl Hall {
    /// Topics were made or ended, or the rules are others.
    pub(in crate::shard) async fn on_news(&mut self, me: &ShardRef) {
        let news = self.attended.take();
        for topic in &news.changed {
            if self
                .topics
                .get(topic)
                .is_some_and(|seated| seated.class == Class::Ephemeral)
            {
                self.unseat(topic, Ended::StreamEnded);
            }
            if self.absent.contains_key(topic) {
                self.on_absent_changed(topic, me).await;
            }
        }
        if news.rules_changed {
            self.on_rules();
        }
        if news.repaired {
            for topic in self.absent.keys().cloned().collect::<Vec<_>>() {
                self.send_absent_away(&topic);
            }
        }
    }

    async fn on_absent_changed(&mut self, topic: &TopicName, me: &ShardRef) {
        let (exists, class, broken) = {
            let shard = self.reign.replica.read();
            let lowest = self
                .absent
                .get(topic)
                .and_then(|absent| absent.audience.lowest());
            let page = lowest.and_then(|at| shard.page(topic, at, 1, 0).ok());
            let gap = page.and_then(|page| page.gap);
            let broken = gap.is_some_and(|gap| !matches!(gap.reason, GapReason::Trimmed(_)));
            (shard.get(topic).is_some(), shard.class_of(topic), broken)
        };
        let good = !broken && class == Class::Durable;
        let stays = good && (!exists || self.seat(topic, class, me).await.is_ok());
        if !stays {
            self.send_absent_away(topic);
        }
    }

    fn send_absent_away(&mut self, topic: &TopicName) {
        if let Some(mut absent) = self.absent.remove(topic) {
            absent.audience.end_all(&Ended::StreamEnded);
            self.attended.leave(topic);
        }
    }

    /// Classes of topics without a row, and policies, follow the rules.
    fn on_rules(&mut self) {
        let reign = Arc::clone(&self.reign);
        let class_of = |topic: &TopicName| reign.replica.read().class_of(topic);
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            let class = class_of(&topic);
            match self.topics.get_mut(&topic) {
                Some(seated) if seated.class == class => seated.tell(topic::Msg::Rules),
                Some(_) => self.unseat(&topic, Ended::StreamEnded),
                None => {}
            }
        }
        let others = |(topic, absent): &(&TopicName, &Absent)| {
            let shard = reign.replica.read();
            let explicit = shard.create_policy() == CreatePolicy::Explicit;
            explicit || Policy::from(&shard.rules_of(topic)) != absent.policy
        };
        let stale: Vec<_> = self
            .absent
            .iter()
            .filter(others)
            .map(|(t, _)| t.clone())
            .collect();
        for topic in stale {
            self.send_absent_away(&topic);
        }
    }
}
