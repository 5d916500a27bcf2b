//! The end of a run: all faults are over, everybody must get where the contract says, and every
//! replica shows what it holds.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_checker::{Event, Row};
use fanfare_core::id::NodeId;
use fanfare_core::name::TopicName;
use fanfare_core::rule::{Class, CreatePolicy};

use crate::chance::Chance;
use crate::oracle::Oracle;
use crate::world::World;

/// Looks of a quarter of a second within which all must be well (C26).
const LOOKS: u32 = 120;

impl World {
    /// All faults end; then the clauses that speak of the end are judged.
    pub(crate) fn heal(&mut self) {
        self.faulty = false;
        self.chance = Chance::new(1);
        self.held.clear();
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.restart(node);
        }
        for (shard, node) in self.replicas() {
            if self.groups[&shard].leader.is_none() {
                self.elect(shard, node, usize::MAX, true);
            }
            self.notice(shard, node);
        }
        self.subscribers
            .iter_mut()
            .for_each(|reader| reader.stalled = false);
        self.rules.create = CreatePolicy::OnUse;
        self.rules.version += 1;
        self.converge();
        let topics = self.topics.clone();
        for topic in &topics {
            self.publish(0, topic, true);
        }
        self.converge();
        if self.oracle.broken.is_none() {
            self.show();
            self.oracle.finish();
        }
    }

    /// Until everybody is at head and every publish has its end.
    fn converge(&mut self) {
        for _ in 0..LOOKS {
            if !self.settle() {
                self.oracle
                    .fail("NOT_LIVE", "what is due never ends".to_owned());
            }
            if self.oracle.broken.is_some() {
                return;
            }
            for number in 0..self.subscribers.len() {
                self.subscribe(number, false);
            }
            for number in 0..self.publishers.len() {
                while let Some(draft) = self.publishers[number].retries.pop_front() {
                    self.send(number, draft, false);
                }
            }
            if self.late().is_none() {
                return;
            }
            self.wait(Duration::from_millis(250));
        }
        let late = self.late().unwrap_or_default();
        self.oracle
            .fail("NOT_LIVE", format!("30 s after the last fault: {late}"));
    }

    /// Who is not where it must be.
    fn late(&self) -> Option<String> {
        for (number, reader) in self.subscribers.iter().enumerate() {
            let at_head = reader
                .session
                .is_some_and(|open| self.is_live(open.node, open.id));
            if !at_head {
                return Some(format!("{} (reader {number}) is not live", reader.name));
            }
            let at = reader.at.unwrap_or_default();
            let truth = &self.oracle.truths[&reader.topic];
            let newest = truth.slots.keys().next_back().copied().unwrap_or_default();
            let class = self.class_of(&reader.topic);
            if at < newest && (class == Class::Durable || at.epoch == newest.epoch) {
                let Some(open) = reader.session else {
                    continue;
                };
                let stands = self.describe(open.node, open.id);
                return Some(format!(
                    "{} is at {at} of {}, head {newest}: {stands}",
                    reader.name, reader.topic
                ));
            }
        }
        let mut edges = self.nodes.values().map(|node| &node.edge);
        if edges.any(|edge| !edge.publishing.is_empty()) {
            return Some("some drafts have no answer".to_owned());
        }
        if self
            .publishers
            .iter()
            .any(|publisher| !publisher.retries.is_empty())
        {
            return Some("some keyed drafts have no end".to_owned());
        }
        let behind = |(shard, node): &(_, NodeId)| {
            let group = &self.groups[shard];
            !group.pending.is_empty() || group.replicas[node].applied < group.log.len()
        };
        let behind = self.replicas().into_iter().find(behind);
        behind.map(|(shard, node)| format!("{node} has not applied all of {shard}"))
    }

    fn class_of(&self, topic: &TopicName) -> Class {
        let group = &self.groups[&self.shard_of(topic)];
        let rows = group.leader.map(|leader| &group.replicas[&leader].rows);
        rows.map_or(Class::Durable, |rows| rows.class_of(topic))
    }

    /// Every replica's final dump; equal ones, since all have applied everything.
    fn show(&mut self) {
        let mut chains: BTreeMap<_, (NodeId, u128)> = BTreeMap::new();
        let mut blocks = BTreeMap::new();
        for (shard, node) in self.replicas() {
            let rows = &self.groups[&shard].replicas[&node].rows;
            let frozen = rows.freeze();
            let chain = rows.chain();
            let whole: Vec<_> = frozen.clone().blocks().collect();
            let same = *blocks.entry(shard).or_insert_with(|| whole.clone()) == whole;
            self.oracle.inside(same, "REPLICA_DIVERGED", || {
                format!("{shard}: {node} would write another snapshot")
            });
            let (first, known) = *chains.entry(shard).or_insert((node, chain));
            if known != chain {
                let proof = format!("{shard}: the chains of {first} and {node} differ");
                self.oracle.fail("REPLICA_DIVERGED", proof);
            }
            for dump in frozen.dump() {
                if dump.class != Class::Durable {
                    continue;
                }
                let row = |record: &fanfare_core::history::Record| Row {
                    offset: record.message.position.offset.0,
                    hash: format!("{:032x}", record.hash),
                    draft: Oracle::draft_of(&record.message)
                        .unwrap_or(u64::MAX)
                        .to_string(),
                };
                let event = Event::Final {
                    node: node.to_string(),
                    topic: dump.name.to_string(),
                    class: "durable".to_owned(),
                    epoch: dump.head.epoch.0,
                    start: dump.start.offset.0,
                    head: dump.head.offset.0,
                    chain: format!("{:032x}", dump.chain),
                    rows: dump.records.iter().map(row).collect(),
                };
                self.oracle.see(&node.to_string(), event);
            }
        }
    }
}
