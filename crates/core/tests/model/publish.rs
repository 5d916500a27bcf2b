//! Publishers, the edge's publishing, and the publish links to leaders.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::{Code, Outcome};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{PublishAnswer, PublishRequest, Redirect, Verdict};
use fanfare_core::message::{Ack, Content, Draft, Key, Meta};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::publishing::Effect;
use fanfare_core::receipt::{Receipt, Refusal};

use crate::reign::{Work, millis};
use crate::sabotage::Sabotage;
use crate::world::World;

/// A publisher: one connection at a time, which is one publish stream.
pub(crate) struct Publisher {
    pub(crate) name: String,
    node: NodeId,
    stream: u64,
    /// Keyed drafts that are to be sent again until their end is known.
    pub(crate) retries: VecDeque<u64>,
    /// All its keyed drafts.
    keyed: Vec<u64>,
}

/// A publish link from an edge to a node.
pub(crate) struct PublishLink {
    pub(crate) id: u64,
    pub(crate) up: VecDeque<PublishRequest>,
    pub(crate) down: VecDeque<PublishAnswer>,
    /// The highest closed run of each stream.
    pub(crate) closed: BTreeMap<(ShardId, u64), u32>,
    /// When something was delivered last, or nothing waited.
    pub(crate) moved: Duration,
}

impl Publisher {
    pub(crate) fn new(name: String, node: NodeId, stream: u64) -> Self {
        Self {
            name,
            node,
            stream,
            retries: VecDeque::new(),
            keyed: Vec::new(),
        }
    }
}

impl World {
    /// A publisher sends a new draft.
    pub(crate) fn publish(&mut self, publisher: usize, topic: &TopicName, keyed: bool) {
        let expect = match self.chance.below(12) {
            0 => Some(self.oracle.truth(topic).acked),
            1 => Some(Position::NONE),
            _ => None,
        };
        let now_ms = millis(self.now);
        let draft = self.oracle.draft(topic, keyed, expect, now_ms);
        if keyed {
            self.publishers[publisher].keyed.push(draft);
        }
        self.send(publisher, draft, false);
    }

    /// A keyed draft again: one of unknown end, or any of the publisher's.
    pub(crate) fn again(&mut self, publisher: usize) {
        let retry = self.publishers[publisher].retries.pop_front();
        let keyed = self.publishers[publisher].keyed.clone();
        let Some(draft) = retry.or_else(|| self.chance.pick(&keyed)) else {
            return;
        };
        let young = retry.is_none() && self.chance.one_in(4);
        let other = retry.is_none() && self.chance.one_in(6);
        match other {
            true => self.send_other(publisher, draft),
            false => self.send(publisher, draft, young),
        }
    }

    /// The key of a draft with another payload: never placed while the key is known (C11).
    fn send_other(&mut self, publisher: usize, draft: u64) {
        let now_ms = millis(self.now);
        let Some(row) = self.oracle.draft_row(draft).cloned() else {
            return;
        };
        let other = self.oracle.draft(&row.topic, false, None, now_ms);
        if let Some(other) = self.oracle.draft_row(other) {
            other.key = row.key;
            other.sent_ms = row.sent_ms;
        }
        self.send(publisher, other, false);
    }

    /// One sending. `young`: the publisher does not say how old the key is.
    pub(crate) fn send(&mut self, publisher: usize, draft: u64, young: bool) {
        let nodes: Vec<NodeId> = self
            .nodes
            .keys()
            .copied()
            .filter(|n| self.is_up(*n))
            .collect();
        let Publisher { node, .. } = self.publishers[publisher];
        if !self.is_up(node) {
            let Some(node) = self.chance.pick(&nodes) else {
                return;
            };
            self.publishers[publisher].node = node;
            self.publishers[publisher].stream = self.fresh();
        }
        let Publisher { node, stream, .. } = self.publishers[publisher];
        let name = self.publishers[publisher].name.clone();
        let now = self.now;
        let Some(row) = self.oracle.draft_row(draft) else {
            return;
        };
        row.aged &= !young;
        let age = if young { 0 } else { millis(now) - row.sent_ms };
        let key = row.key.clone().map(Bytes::from).map(Key::new);
        let wire = Draft {
            topic: row.topic.clone(),
            content: Content {
                payload: Bytes::from(row.payload.clone()),
                meta: Arc::new(Meta::default()),
            },
            key: key.map(|key| key.expect("a short key")),
            key_age_ms: if row.key.is_some() { age } else { 0 },
            ack: Ack::Committed,
            expect: row.expect,
        };
        let shard = self.shard_of(&wire.topic);
        let deadline = now + Duration::from_millis(self.chance.within(500, 5_000));
        let op = self.oracle.sent(draft, &name, stream, node.0);
        let edge = self.edge(node);
        let ticket = edge.publishing.submit(now, stream, shard, wire, deadline);
        edge.tickets.insert(ticket, (publisher, stream, op));
        self.publishing_effects(node);
    }

    /// A publisher's connection breaks: what it waits for it never hears.
    pub(crate) fn hang_up(&mut self, publisher: usize) {
        let Publisher { node, stream, .. } = self.publishers[publisher];
        let edge = self.edge(node);
        edge.publishing.close(stream);
        let gone = edge.tickets.extract_if(.., |_, (of, ..)| *of == publisher);
        let gone: Vec<usize> = gone.map(|(_, (_, _, op))| op).collect();
        for op in gone {
            self.op_ended(publisher, op, Err(unknown("the connection broke")));
        }
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        let node = self.chance.pick(&nodes).unwrap_or(node);
        self.publishers[publisher].node = node;
        self.publishers[publisher].stream = self.fresh();
    }

    /// A node crashed: all its publishers know is that their connections broke.
    pub(crate) fn drop_publishers(&mut self, node: NodeId) {
        let gone = std::mem::take(&mut self.edge(node).tickets);
        for (publisher, _, op) in gone.into_values() {
            self.op_ended(publisher, op, Err(unknown("the connection broke")));
        }
    }

    fn op_ended(&mut self, publisher: usize, op: usize, result: Result<Receipt, Refusal>) {
        self.trace(|| format!("sending {op}: {result:?}"));
        self.oracle.ended(op, &result);
        let Some(draft) = self.oracle.op(op).map(|op| op.draft) else {
            return;
        };
        let again = result.is_err_and(|refusal| refusal.outcome == Outcome::Unknown);
        if again && self.publishers[publisher].keyed.contains(&draft) {
            self.publishers[publisher].retries.push_back(draft);
        }
    }

    /// What an edge's publishing wants done.
    pub(crate) fn publishing_effects(&mut self, node: NodeId) {
        let definite = self.sabotage == Some(Sabotage::RefuseProposed);
        loop {
            let effects: Vec<Effect> = self.edge(node).publishing.effects().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Seek { shard, ask } => {
                        self.edge(node).seeks.insert(shard, ask);
                    }
                    Effect::Answer(ticket, result) => {
                        if let Some((publisher, _, op)) = self.edge(node).tickets.remove(&ticket) {
                            let result = result.map_err(|refusal| match definite {
                                true => Refusal::of_publish(Code::DeadlineExceeded, "too late"),
                                false => refusal,
                            });
                            self.op_ended(publisher, op, result);
                        }
                    }
                }
            }
        }
    }

    /// An edge finds out who leads a shard.
    pub(crate) fn find_leader(&mut self, edge: NodeId, shard: ShardId) {
        let Some(ask) = self.edge(edge).seeks.remove(&shard) else {
            return;
        };
        let (leader, term) = self.believed(edge, shard);
        // A guess has no term, by which a deposed leader could be told from a newer one (C3).
        let found = match ask || term.0 == 0 {
            true => self.seek(edge, shard),
            false => Some(Redirect {
                leader: Some(leader),
                term,
            }),
        };
        let now = self.now;
        self.edge(edge).publishing.leader(now, shard, found);
        self.publishing_effects(edge);
    }

    /// The edge writes a request into the link of a node.
    pub(crate) fn take_request(&mut self, edge: NodeId, node: NodeId) {
        let now = self.now;
        if !self.is_up(node) {
            self.edge(edge).publishing.link_lost(now, node);
            return self.publishing_effects(edge);
        }
        let Some(request) = self.edge(edge).publishing.take(now, node) else {
            return self.publishing_effects(edge);
        };
        let id = self.fresh();
        let link = self
            .publish_links
            .entry((edge, node))
            .or_insert_with(|| PublishLink {
                id,
                up: VecDeque::new(),
                down: VecDeque::new(),
                closed: BTreeMap::new(),
                moved: now,
            });
        link.up.push_back(request);
        self.publishing_effects(edge);
    }

    /// The node reads the next request of a link.
    pub(crate) fn serve_request(&mut self, edge: NodeId, node: NodeId) {
        let now = self.now;
        let Some(link) = self.publish_links.get_mut(&(edge, node)) else {
            return;
        };
        let Some(request) = link.up.pop_front() else {
            return;
        };
        link.moved = now;
        let id = link.id;
        let (shard, work) = work_of(request, edge, id, now);
        if self.groups[&shard].replicas.contains_key(&node) {
            self.on_draft(shard, node, work);
        } else {
            self.verdict(shard, node, &work, Verdict::Reroute(Redirect::default()));
        }
    }

    /// The node answers a request.
    pub(crate) fn verdict(&mut self, shard: ShardId, node: NodeId, work: &Work, verdict: Verdict) {
        let link = self.publish_links.get_mut(&(work.edge, node));
        let Some(link) = link.filter(|link| link.id == work.link) else {
            return;
        };
        if matches!(verdict, Verdict::Reroute(_)) {
            self.oracle.reach("publish: rerouted");
            let closed = link.closed.entry((shard, work.stream)).or_insert(work.run);
            *closed = work.run.max(*closed);
        }
        let seq = work.seq;
        link.down.push_back(PublishAnswer { seq, verdict });
    }

    /// The edge hears the next verdict of a link.
    pub(crate) fn hear_verdict(&mut self, edge: NodeId, node: NodeId) {
        let now = self.now;
        let Some(link) = self.publish_links.get_mut(&(edge, node)) else {
            return;
        };
        let Some(answer) = link.down.pop_front() else {
            return;
        };
        link.moved = now;
        if let Verdict::Reroute(redirect) = answer.verdict
            && let Some(shard) = self.edge(edge).publishing.shard_of(answer.seq)
        {
            self.learn(edge, shard, redirect);
        }
        self.edge(edge).publishing.verdict(now, answer);
        self.publishing_effects(edge);
    }

    /// A publish link breaks; the node may read some of what it has not read yet.
    pub(crate) fn break_publish(&mut self, edge: NodeId, node: NodeId, read: usize) {
        let now = self.now;
        for _ in 0..read {
            self.serve_request(edge, node);
        }
        if self.publish_links.remove(&(edge, node)).is_some() {
            self.oracle.reach("publish: link lost");
            self.edge(edge).publishing.link_lost(now, node);
            self.publishing_effects(edge);
        }
    }

    pub(crate) fn tick_publishing(&mut self, edge: NodeId) {
        let now = self.now;
        self.edge(edge).publishing.tick(now);
        self.publishing_effects(edge);
    }
}

fn work_of(request: PublishRequest, edge: NodeId, link: u64, now: Duration) -> (ShardId, Work) {
    let PublishRequest {
        seq,
        stream,
        run,
        shard,
        draft,
        timeout_ms,
    } = request;
    let work = Work {
        draft,
        edge,
        link,
        seq,
        stream,
        run,
        arrived: now,
        deadline: now + Duration::from_millis(u64::from(timeout_ms)),
    };
    (shard, work)
}

fn unknown(why: &str) -> Refusal {
    Refusal::of_publish(Code::OutcomeUnknown, why)
}
