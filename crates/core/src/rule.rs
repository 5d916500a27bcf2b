//! Topic rules (protocol section 10): class, retention, slow policy, dedup window. A topic's rules
//! are the defaults, then the most specific matching pattern, then those of its `Create`.

use std::time::Duration;

use crate::name::{TopicName, TopicPattern};

/// Where a topic's messages live and what an ack of them means (contract section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    #[default]
    Durable,
    Ephemeral,
}

/// What a slow session of the topic gets (C25).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Slow {
    /// Everything that is retained, from history.
    #[default]
    CatchUp,
    /// Beyond `slow_lag` messages: a gap up to the newest message, then that.
    Conflate,
}

/// How `text/html` payloads are shown in HTML fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Html {
    #[default]
    Escape,
    Verbatim,
}

/// Whether the first publish makes a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CreatePolicy {
    #[default]
    OnUse,
    Explicit,
}

/// All rules of one topic, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub class: Class,
    /// Messages kept.
    pub retain_count: u64,
    /// Bytes kept, by [`Content::cost`](crate::message::Content::cost).
    pub retain_bytes: u64,
    /// Running time for which a message is kept.
    pub retain_age: Duration,
    pub slow: Slow,
    /// Messages a session may lag before `Slow::Conflate` skips.
    pub slow_lag: u64,
    /// Running time for which a key is known.
    pub dedup_age: Duration,
    pub html: Html,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            class: Class::Durable,
            retain_count: 1_000,
            retain_bytes: 1 << 20,
            retain_age: Duration::from_secs(3_600),
            slow: Slow::CatchUp,
            slow_lag: 500,
            dedup_age: Duration::from_secs(120),
            html: Html::Escape,
        }
    }
}

/// One layer of rules: what is set here wins over the layers before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLayer {
    pub class: Option<Class>,
    pub retain_count: Option<u64>,
    pub retain_bytes: Option<u64>,
    pub retain_age: Option<Duration>,
    pub slow: Option<Slow>,
    pub slow_lag: Option<u64>,
    pub dedup_age: Option<Duration>,
    pub html: Option<Html>,
}

impl RuleLayer {
    /// Puts this layer over `below`.
    pub fn over(&self, below: &Rules) -> Rules {
        Rules {
            class: self.class.unwrap_or(below.class),
            retain_count: self.retain_count.unwrap_or(below.retain_count),
            retain_bytes: self.retain_bytes.unwrap_or(below.retain_bytes),
            retain_age: self.retain_age.unwrap_or(below.retain_age),
            slow: self.slow.unwrap_or(below.slow),
            slow_lag: self.slow_lag.unwrap_or(below.slow_lag),
            dedup_age: self.dedup_age.unwrap_or(below.dedup_age),
            html: self.html.unwrap_or(below.html),
        }
    }

    /// Refuses what is out of range; names the rule. `payload_limit` is the cluster's.
    pub fn check(&self, payload_limit: u64) -> Result<(), BadRule> {
        const DAY: u64 = 86_400;
        let within = |value: Option<u64>, low: u64, high: u64, rule: &'static str| match value {
            Some(v) if v < low || v > high => Err(BadRule { rule, low, high }),
            _ => Ok(()),
        };
        let secs = |age: Option<Duration>| {
            age.map(|a| a.as_secs().saturating_add(u64::from(a.subsec_nanos() > 0)))
        };
        within(self.retain_count, 1, 1_000_000, "retain_count")?;
        within(self.retain_bytes, payload_limit, 1 << 30, "retain_bytes")?;
        within(secs(self.retain_age), 1, 30 * DAY, "retain_age")?;
        within(self.slow_lag, 1, 1_000_000, "slow_lag")?;
        within(secs(self.dedup_age), 1, DAY, "dedup_age")
    }
}

/// A rule out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{rule}` must be from {low} to {high}")]
pub struct BadRule {
    pub rule: &'static str,
    pub low: u64,
    pub high: u64,
}

/// The cluster's rules by pattern, with the version of the metadata that holds them. Replicated
/// to each shard as one entry, so that every replica resolves alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTable {
    pub version: u64,
    pub create: CreatePolicy,
    /// Most topics of the cluster; 0 is the default, 1,000,000.
    pub max_topics: u64,
    /// Ascending by [`TopicPattern::cmp_specific`], then by text: the last match wins.
    rows: Vec<(TopicPattern, RuleLayer)>,
}

impl RuleTable {
    /// Most patterns of a cluster.
    pub const MAX_ROWS: usize = 1_000;

    /// Sets the rules of a pattern; false if the table is full.
    #[must_use]
    pub fn put(&mut self, pattern: TopicPattern, layer: RuleLayer) -> bool {
        match self.find(&pattern) {
            Ok(at) => self.rows[at].1 = layer,
            Err(_) if self.rows.len() >= Self::MAX_ROWS => return false,
            Err(at) => self.rows.insert(at, (pattern, layer)),
        }
        true
    }

    /// Forgets the rules of a pattern; false if there were none.
    pub fn remove(&mut self, pattern: &TopicPattern) -> bool {
        let found = self.find(pattern);
        if let Ok(at) = found {
            self.rows.remove(at);
        }
        found.is_ok()
    }

    /// The patterns and their rules, from the least to the most specific.
    pub fn rows(&self) -> &[(TopicPattern, RuleLayer)] {
        &self.rows
    }

    /// The rules of `topic`, whose `Create` (if there was one) set `own`.
    pub fn resolve(&self, topic: &TopicName, own: &RuleLayer) -> Rules {
        let layer = self
            .rows
            .iter()
            .rev()
            .find(|(pattern, _)| pattern.matches(topic));
        let base = Rules::default();
        let ruled = layer.map_or(base.clone(), |(_, layer)| layer.over(&base));
        own.over(&ruled)
    }

    fn find(&self, pattern: &TopicPattern) -> Result<usize, usize> {
        self.rows.binary_search_by(|(have, _)| {
            have.cmp_specific(pattern)
                .then_with(|| have.as_str().cmp(pattern.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(n: u64) -> RuleLayer {
        RuleLayer {
            retain_count: Some(n),
            ..RuleLayer::default()
        }
    }

    #[test]
    fn the_most_specific_pattern_wins_and_create_wins_over_it() {
        let mut table = RuleTable::default();
        assert!(table.put(">".parse().unwrap(), count(1)));
        assert!(table.put("chat.*".parse().unwrap(), count(2)));
        assert!(table.put("chat.7".parse().unwrap(), count(3)));
        let resolved =
            |topic: &str, own: &RuleLayer| table.resolve(&topic.parse().unwrap(), own).retain_count;
        assert_eq!(resolved("news", &RuleLayer::default()), 1);
        assert_eq!(resolved("chat.8", &RuleLayer::default()), 2);
        assert_eq!(resolved("chat.7", &RuleLayer::default()), 3);
        assert_eq!(resolved("chat.7", &count(4)), 4);
        assert_eq!(resolved("$sys", &RuleLayer::default()), 1_000);
    }

    #[test]
    fn a_rule_out_of_range_is_named() {
        assert_eq!(count(0).check(65_536).unwrap_err().rule, "retain_count");
        let small = RuleLayer {
            retain_bytes: Some(100),
            ..RuleLayer::default()
        };
        assert_eq!(small.check(65_536).unwrap_err().rule, "retain_bytes");
        assert_eq!(count(1_000_000).check(65_536), Ok(()));
    }
}
