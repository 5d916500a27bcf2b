//! What may happen next, and what a step of a plan does.

use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::LeaderSays;
use fanfare_core::name::TopicName;
use fanfare_core::rule::Class;
use fanfare_core::shard::{Command, Entry};

use crate::chance::Chance;
use crate::plan::{Kind, Step};
use crate::world::World;

/// Something that is due.
#[derive(Clone, Debug)]
enum Act {
    Commit(ShardId),
    Apply(ShardId, NodeId),
    Propose(ShardId, NodeId),
    Chore(ShardId, NodeId),
    News(ShardId, NodeId),
    HearEdge(NodeId, NodeId),
    HearLeader(NodeId, NodeId),
    Take(NodeId, NodeId),
    Serve(NodeId, NodeId),
    Verdict(NodeId, NodeId),
    Find(NodeId, ShardId),
    Attach(NodeId, TopicName),
    Drain(NodeId, u64),
    Route(u64),
    ServeRead(u64),
    HearRead(u64),
    Read(usize),
}

impl World {
    /// All that is due now.
    fn due(&self) -> Vec<Act> {
        let mut due = Vec::new();
        for (shard, group) in &self.groups {
            if !group.pending.is_empty() && group.leader.is_some() && self.majority_up(*shard) {
                due.push(Act::Commit(*shard));
            }
            for (node, replica) in &group.replicas {
                if !self.is_up(*node) {
                    continue;
                }
                if self.may_apply(*shard, *node) {
                    due.push(Act::Apply(*shard, *node));
                }
                let Some(reign) = &replica.reign else {
                    continue;
                };
                if reign.may_propose() {
                    due.push(Act::Propose(*shard, *node));
                }
                if reign.has_news() {
                    due.push(Act::News(*shard, *node));
                }
                if self.chore_due(*shard, *node).is_some() {
                    due.push(Act::Chore(*shard, *node));
                }
            }
        }
        for ((edge, node), link) in &self.links {
            if self.is_held(*edge, *node) {
                continue;
            }
            if !link.up.is_empty() {
                due.push(Act::HearEdge(*edge, *node));
            }
            if !link.down.is_empty() || link.outbox.answers_waiting() > 0 || link.outbox.live() > 0
            {
                due.push(Act::HearLeader(*edge, *node));
            }
        }
        for ((edge, node), link) in &self.publish_links {
            if self.is_held(*edge, *node) {
                continue;
            }
            if !link.up.is_empty() {
                due.push(Act::Serve(*edge, *node));
            }
            if !link.down.is_empty() {
                due.push(Act::Verdict(*edge, *node));
            }
        }
        for (node, state) in &self.nodes {
            due.extend(state.edge.publishing.nodes().map(|to| Act::Take(*node, to)));
            due.extend(
                state
                    .edge
                    .seeks
                    .keys()
                    .map(|shard| Act::Find(*node, *shard)),
            );
            for (topic, relay) in &state.edge.relays {
                if relay.wanted.is_some_and(|at| at <= self.now) {
                    due.push(Act::Attach(*node, topic.clone()));
                }
            }
            for (id, session) in &state.edge.sessions {
                if self.may_drain(session) {
                    due.push(Act::Drain(*node, *id));
                }
                let reader = &self.subscribers[session.subscriber];
                if !reader.stalled && !session.wire.queue.is_empty() {
                    due.push(Act::Read(session.subscriber));
                }
            }
        }
        for (id, call) in &self.calls {
            if call.target.is_none() && call.not_before <= self.now {
                due.push(Act::Route(*id));
            } else if call.back.is_some() {
                let held = call
                    .target
                    .is_some_and(|(node, _)| self.is_held(call.edge, node));
                if !held {
                    due.push(Act::HearRead(*id));
                }
            } else if self.may_serve(call) {
                due.push(Act::ServeRead(*id));
            }
        }
        due
    }

    /// True if it did anything.
    fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Commit(shard) => {
                let count = 1 + self.chance.below(3);
                self.commit(shard, count);
            }
            Act::Apply(shard, node) => {
                for _ in 0..=self.chance.below(3) {
                    self.apply(shard, node);
                }
            }
            Act::Propose(shard, node) => self.propose_batch(shard, node),
            Act::Chore(shard, node) => self.chore(shard, node),
            Act::News(shard, node) => self.on_news(shard, node),
            Act::HearEdge(edge, node) => self.hear_edge(edge, node),
            Act::HearLeader(edge, node) => {
                let pumped = self.pump(edge, node);
                let waits = self
                    .links
                    .get(&(edge, node))
                    .is_some_and(|l| !l.down.is_empty());
                if !self.faulty || !self.chance.one_in(4) {
                    self.hear_leader(edge, node);
                }
                return pumped || waits;
            }
            Act::Take(edge, node) => self.take_request(edge, node),
            Act::Serve(edge, node) => self.serve_request(edge, node),
            Act::Verdict(edge, node) => self.hear_verdict(edge, node),
            Act::Find(edge, shard) => self.find_leader(edge, shard),
            Act::Attach(edge, topic) => self.attach(edge, &topic),
            Act::Drain(edge, id) => self.drain(edge, id),
            Act::Route(id) => self.route(id),
            Act::ServeRead(id) => self.serve_read(id),
            Act::HearRead(id) => self.hear_read(id),
            Act::Read(number) => self.read(number),
        }
        true
    }

    /// So many of the things that are due happen, in any order.
    pub(crate) fn run(&mut self, count: u32) {
        for _ in 0..count {
            let due = self.due();
            let Some(act) = self.chance.pick(&due) else {
                return;
            };
            self.act(act);
        }
    }

    /// Everything happens that is due, until nothing is; false if that does not come to an end.
    pub(crate) fn settle(&mut self) -> bool {
        for _ in 0..2_000 {
            let due = self.due();
            let mut moved = false;
            for act in due {
                moved |= self.act(act);
            }
            if !moved || self.oracle.broken.is_some() {
                return true;
            }
        }
        false
    }

    fn pair(&mut self) -> (NodeId, NodeId) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let one = self.chance.pick(&nodes).expect("some nodes");
        let other = self.chance.pick(&nodes).expect("some nodes");
        (one, other)
    }

    fn replica(&mut self) -> (ShardId, NodeId) {
        let replicas = self.replicas();
        self.chance.pick(&replicas).expect("some replicas")
    }

    pub(crate) fn step(&mut self, step: Step) {
        self.chance = Chance::new(step.chance);
        let (one, other) = self.pair();
        let (shard, node) = self.replica();
        let topics = self.topics.clone();
        let topic = self.chance.pick(&topics).expect("some topics");
        let publisher = self.chance.below(self.publishers.len());
        let subscriber = self.chance.below(self.subscribers.len());
        match step.kind {
            Kind::Run(count) => self.run(count),
            Kind::Settle => {
                self.settle();
            }
            Kind::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Kind::Publish => {
                let most = if self.chance.one_in(5) { 20 } else { 5 };
                for _ in 0..=self.chance.below(most) {
                    let keyed = self.chance.one_in(2);
                    self.publish(publisher, &topic, keyed);
                }
            }
            Kind::Again => self.again(publisher),
            Kind::Hangup => self.hang_up(publisher),
            Kind::Subscribe => {
                let anew = self.chance.one_in(3);
                self.subscribe(subscriber, anew);
            }
            Kind::Drop => {
                self.drop_session(subscriber);
                if self.chance.one_in(2) {
                    self.subscribe(subscriber, false);
                }
            }
            Kind::Stall => {
                let stalled = &mut self.subscribers[subscriber].stalled;
                *stalled = !*stalled;
            }
            Kind::Elect => {
                let keep = self.chance.below(4);
                let told = self.chance.one_in(2);
                self.elect(shard, node, keep, told);
            }
            Kind::Notice => self.notice(shard, node),
            Kind::Crash => self.crash(one),
            Kind::Restart => self.restart(one),
            Kind::Snapshot if self.is_up(node) => self.snapshot(shard, node),
            Kind::Install => {
                let voters = self.groups[&shard].voters.clone();
                let to = self.chance.pick(&voters).expect("some voters");
                if self.is_up(node) && self.is_up(to) {
                    self.install(shard, node, to);
                }
            }
            Kind::Snapshot => {}
            Kind::Hold => {
                self.held.insert((one.min(other), one.max(other)));
            }
            Kind::Release => self.held.clear(),
            Kind::Break => {
                let read = self.chance.below(4);
                self.break_publish(one, other, read);
                if self.chance.one_in(2) {
                    self.break_link(one, other);
                }
            }
            Kind::Eat | Kind::Double => self.garble(one, other, step.kind == Kind::Eat),
            Kind::Lose => {
                let ids: Vec<u64> = self.calls.keys().copied().collect();
                let lost = self.chance.pick(&ids);
                if let Some(call) = lost.and_then(|id| self.calls.get_mut(&id)) {
                    call.back = None;
                }
            }
            Kind::Squeeze => self.squeeze(shard, node),
            Kind::Rules => self.change_rules(),
            Kind::Create | Kind::Delete | Kind::Trim => self.command(&topic, step.kind),
            Kind::Forget => self.forget_idle(shard, node),
        }
    }

    /// Something that a leader says is lost, or comes twice.
    fn garble(&mut self, edge: NodeId, leader: NodeId, eat: bool) {
        while self.pump(edge, leader) {}
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return;
        };
        let at = self.chance.below(link.down.len());
        match link.down.remove(at) {
            None => {}
            // Nothing but time tells of an end that was not heard: the digests do.
            Some(said) if !eat => {
                link.down.insert(at, said.clone());
                link.down.insert(at, said);
            }
            Some(LeaderSays::Attached(_) | LeaderSays::Run(..) | LeaderSays::Ended(..)) => {}
            Some(LeaderSays::Digest { .. }) => {}
        }
    }

    /// A topic is made, ended or trimmed, if its shard has a leader.
    fn command(&mut self, topic: &TopicName, kind: Kind) {
        let shard = self.shard_of(topic);
        let Some(leader) = self.groups[&shard].leader else {
            return;
        };
        let rows = &self.groups[&shard].replicas[&leader].rows;
        let (begun, info) = (rows.begun(), rows.get(topic));
        let topic = topic.clone();
        let command = match (kind, info) {
            (Kind::Delete, _) => {
                self.oracle.delete_asked(&topic);
                Command::Delete { topic, epoch: None }
            }
            (Kind::Trim, Some(info)) => Command::Trim {
                topic,
                epoch: info.head.epoch,
                through: info.start.offset,
            },
            (Kind::Trim, None) => return,
            _ => {
                let class = match self.chance.one_in(4) {
                    true => Class::Ephemeral,
                    false => Class::Durable,
                };
                let own = crate::rules::layer(&mut self.chance, class);
                self.oracle.truth(&topic).conflated = true;
                Command::Create { topic, own }
            }
        };
        self.trace(|| format!("{command:?}"));
        if begun {
            let running_ms = rows_ms(self, shard, leader);
            self.propose(
                shard,
                leader,
                Entry {
                    running_ms,
                    command,
                },
            );
        }
    }
}

/// A running time that is surely not above the leader's.
fn rows_ms(world: &World, shard: ShardId, leader: NodeId) -> u64 {
    world.groups[&shard].replicas[&leader].rows.running_ms()
}
