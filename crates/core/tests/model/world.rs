//! The world: nodes, groups, links and clients as values, and how a step changes it. Everything
//! that happens is drawn from the step's own chance.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::Redirect;
use fanfare_core::name::TopicName;
use fanfare_core::publishing::{Publishing, Ticket};
use fanfare_core::rule::RuleTable;

use crate::chance::Chance;
use crate::client::Subscriber;
use crate::group::Group;
use crate::link::Link;
use crate::oracle::Oracle;
use crate::plan::{Plan, Size};
use crate::publish::{PublishLink, Publisher};
use crate::reads::Call;
use crate::relay::Relay;
use crate::sabotage::Sabotage;
use crate::session::Session;

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) chance: Chance,
    pub(crate) sabotage: Option<Sabotage>,
    /// False once all faults are over.
    pub(crate) faulty: bool,
    pub(crate) shards: u32,
    pub(crate) room: usize,
    /// Bytes a shard may retain.
    pub(crate) share: u64,
    pub(crate) topics: Vec<TopicName>,
    pub(crate) rules: RuleTable,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) groups: BTreeMap<ShardId, Group>,
    pub(crate) links: BTreeMap<(NodeId, NodeId), Link>,
    pub(crate) publish_links: BTreeMap<(NodeId, NodeId), PublishLink>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// Pairs of nodes between which nothing is delivered.
    pub(crate) held: BTreeSet<(NodeId, NodeId)>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) oracle: Oracle,
    next_id: u64,
    /// What happened, if anybody wants to read it.
    pub(crate) story: Option<Vec<String>>,
}

pub(crate) struct Node {
    up: bool,
    pub(crate) edge: Edge,
}

/// A node's edge; gone with a crash.
#[derive(Default)]
pub(crate) struct Edge {
    pub(crate) relays: BTreeMap<TopicName, Relay>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) publishing: Publishing,
    /// Publisher, stream and sending of each draft that is not answered.
    pub(crate) tickets: BTreeMap<Ticket, (usize, u64, usize)>,
    /// Shards whose leader publishing looks for, and whether beliefs will not do.
    pub(crate) seeks: BTreeMap<ShardId, bool>,
    pub(crate) beliefs: BTreeMap<ShardId, Redirect>,
}

/// Time passes in pieces, so that what is due in between happens in its order.
const PIECE: Duration = Duration::from_millis(250);
/// Longest wait that is cut into pieces; more is one leap of an idle cluster.
const LEAP: Duration = Duration::from_secs(6);
/// A connection that delivers nothing for so long is found dead.
const DEAD: Duration = Duration::from_secs(10);

impl World {
    pub(crate) fn new(plan: &Plan, sabotage: Option<Sabotage>, outside_only: bool) -> Self {
        let Size {
            nodes,
            shards,
            subscribers,
            publishers,
            room,
        } = plan.size;
        let ids: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
        let voters = ids.len().min(3);
        let group = |shard: u32| {
            let mut voters: Vec<NodeId> = ids
                .iter()
                .cycle()
                .skip(shard as usize)
                .take(voters)
                .copied()
                .collect();
            voters.sort();
            (ShardId(shard), Group::new(voters, shards))
        };
        let node = |id: &NodeId| {
            let edge = Edge::default();
            (*id, Node { up: true, edge })
        };
        let names = ["d.a", "d.b", "d.c", "e.a", "e.b"];
        let topics: Vec<TopicName> = names.iter().map(|n| n.parse().expect("a name")).collect();
        let mut chance = Chance::new(plan.seed ^ 0x5eed);
        let mut world = Self {
            now: Duration::from_secs(1),
            sabotage,
            faulty: true,
            shards,
            room,
            share: chance.within(1_500, 20_000),
            rules: crate::rules::first(&mut chance),
            nodes: ids.iter().map(node).collect(),
            groups: (0..shards).map(group).collect(),
            links: BTreeMap::new(),
            publish_links: BTreeMap::new(),
            calls: BTreeMap::new(),
            held: BTreeSet::new(),
            subscribers: Vec::new(),
            publishers: Vec::new(),
            oracle: Oracle::new(voters, outside_only),
            next_id: 0,
            story: None,
            chance,
            topics,
        };
        world.note_rules();
        for number in 0..subscribers {
            let topics = world.topics.clone();
            let topic = world.chance.pick(&topics).expect("some topics");
            world.subscribers.push(Subscriber::new(number, topic));
        }
        for number in 0..publishers {
            let node = world.chance.pick(&ids).expect("some nodes");
            let stream = world.fresh();
            world
                .publishers
                .push(Publisher::new(format!("p{number}"), node, stream));
        }
        for shard in world.groups.keys().copied().collect::<Vec<_>>() {
            let voters = world.groups[&shard].voters.clone();
            let first = world.chance.pick(&voters).expect("some voters");
            world.elect(shard, first, 0, true);
        }
        world
    }

    pub(crate) fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(format!("    {:>9} {}", self.now.as_millis(), line()));
        }
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn is_up(&self, node: NodeId) -> bool {
        self.nodes[&node].up
    }

    pub(crate) fn is_held(&self, one: NodeId, other: NodeId) -> bool {
        one != other && self.held.contains(&(one.min(other), one.max(other)))
    }

    pub(crate) fn shard_of(&self, topic: &TopicName) -> ShardId {
        topic.shard(self.shards)
    }

    pub(crate) fn group(&mut self, shard: ShardId) -> &mut Group {
        self.groups.get_mut(&shard).expect("shards are fixed")
    }

    pub(crate) fn edge(&mut self, node: NodeId) -> &mut Edge {
        &mut self.nodes.get_mut(&node).expect("nodes are fixed").edge
    }

    /// Replicas, as shard and node.
    pub(crate) fn replicas(&self) -> Vec<(ShardId, NodeId)> {
        let of = |(shard, group): (&ShardId, &Group)| {
            let shard = *shard;
            group
                .voters
                .iter()
                .map(move |node| (shard, *node))
                .collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of).collect()
    }

    /// A node dies with all it has in memory.
    pub(crate) fn crash(&mut self, node: NodeId) {
        if !self.is_up(node) {
            return;
        }
        self.trace(|| format!("{node} crashes"));
        for (shard, of) in self.replicas() {
            if of == node {
                let group = self.group(shard);
                if group.leader == Some(node) {
                    group.leader = None;
                }
                self.restart_replica(shard, node);
            }
        }
        for other in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.publish_links.remove(&(node, other));
            self.break_publish(other, node, 0);
            self.break_link(other, node);
            self.break_link(node, other);
        }
        self.drop_publishers(node);
        self.calls.retain(|_, call| call.edge != node);
        for call in self.calls.values_mut() {
            // Its answer never comes.
            if call.target.is_some_and(|(target, _)| target == node) && call.back.is_none() {
                call.stuck_at = None;
            }
        }
        for number in 0..self.subscribers.len() {
            if self.subscribers[number]
                .session
                .is_some_and(|open| open.node == node)
            {
                self.drop_session(number);
            }
        }
        if let Some(state) = self.nodes.get_mut(&node) {
            (state.up, state.edge) = (false, Edge::default());
        }
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        if !self.is_up(node) {
            self.trace(|| format!("{node} starts"));
            if let Some(state) = self.nodes.get_mut(&node) {
                state.up = true;
            }
            for (shard, of) in self.replicas() {
                if of == node {
                    self.notice(shard, node);
                }
            }
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        let leap = time.saturating_sub(LEAP);
        let mut rest = time - leap;
        while rest > Duration::ZERO {
            let piece = rest.min(PIECE);
            rest -= piece;
            self.now += piece;
            self.tick();
        }
        if leap > Duration::ZERO {
            // What is on its way does not survive so long.
            for (edge, node) in self.publish_links.keys().copied().collect::<Vec<_>>() {
                self.break_publish(edge, node, 0);
            }
            self.now += leap;
            self.tick();
        }
    }

    fn tick(&mut self) {
        for (shard, node) in self.replicas() {
            self.tick_reign(shard, node);
        }
        for (edge, node) in self.links.keys().copied().collect::<Vec<_>>() {
            self.tick_link(edge, node);
        }
        for (edge, node) in self.publish_links.keys().copied().collect::<Vec<_>>() {
            let link = self.publish_links.get_mut(&(edge, node));
            let Some(link) = link else { continue };
            if link.up.is_empty() && link.down.is_empty() {
                link.moved = self.now;
            }
            if self.now.saturating_sub(link.moved) >= DEAD {
                self.break_publish(edge, node, 0);
            }
        }
        for node in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.sweep(node);
            self.tick_sessions(node);
            self.tick_publishing(node);
        }
        self.tick_reads();
    }
}
