//! The relays of an edge, as the edge has them: each follows its topic at a leader, fills holes with
//! pages, keeps a tail, and offers what comes to the sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_core::attach::LinkId;
use fanfare_core::gap::{Page, Policy, Standing};
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{AttachId, Attached, Ended, Live, Redirect, Run};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::{Block, Follow, LINGER, Misfit, Span, Tail};

use crate::link::Link;
use crate::reads::{Asker, What};
use crate::session::Items;
use crate::world::World;

/// One topic of an edge.
#[derive(Default)]
pub(crate) struct Relay {
    pub(crate) tail: Tail<Items>,
    start: Position,
    policy: Policy,
    exists: bool,
    term: Term,
    pub(crate) on: On,
    /// It is to be attached, not before this.
    pub(crate) wanted: Option<Duration>,
    failures: u32,
    pub(crate) members: BTreeSet<u64>,
    idle_since: Option<Duration>,
}

/// Where a relay is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum On {
    #[default]
    Nowhere,
    Link(NodeId, LinkId, AttachId),
    Refused,
}

/// What a relay hears; the link and the attachment it came by.
pub(crate) enum Work {
    Attached(NodeId, LinkId, Attached),
    Run(NodeId, LinkId, AttachId, Run),
    Ended(NodeId, LinkId, AttachId, Ended),
    Lost(NodeId, LinkId, AttachId),
}

/// Pages that may fill one hole.
const FILL_PAGES: u32 = 3;
/// Bytes of a tail: few, so that readers fall out of it.
const TAIL_BYTES: u64 = 1_200;

impl Relay {
    /// The standing of a subscriber, if the tail alone can say.
    pub(crate) fn stand(&self, at: Position) -> Option<Standing> {
        Some(Standing {
            answer: self.tail.answer(at)?,
            start: self.start,
            head: self.tail.last()?,
            exists: self.exists,
            policy: self.policy,
            term: self.term,
        })
    }

    /// B13: as if the tail was all there is.
    pub(crate) fn stand_latest(&self) -> Option<Standing> {
        let head = self.tail.last()?;
        let at = self.stand(head)?;
        Some(Standing {
            answer: fanfare_core::gap::Answer::Latest,
            ..at
        })
    }
}

impl World {
    fn relay(&mut self, edge: NodeId, topic: &TopicName) -> Option<&mut Relay> {
        self.edge(edge).relays.get_mut(topic)
    }

    /// A relay that is kept while sessions use it.
    pub(crate) fn lease(&mut self, edge: NodeId, topic: &TopicName) {
        let now = self.now;
        let known = self.edge(edge).relays.contains_key(topic);
        let relay = self.edge(edge).relays.entry(topic.clone()).or_default();
        relay.idle_since = None;
        if relay.on == On::Refused || !known {
            relay.on = On::Nowhere;
            relay.wanted = Some(now);
        }
    }

    /// Attaches a relay that wants to be, where its shard's leader is believed to be.
    pub(crate) fn attach(&mut self, edge: NodeId, topic: &TopicName) {
        let (now, shard) = (self.now, self.shard_of(topic));
        let Some(relay) = self.relay(edge, topic) else {
            return;
        };
        if relay.wanted.take().is_none() {
            return;
        }
        let failures = relay.failures;
        let believed = match failures > 1 {
            true => self.seek(edge, shard).and_then(|found| found.leader),
            false => Some(self.believed(edge, shard).0),
        };
        let leader = believed.filter(|leader| self.is_up(*leader) && !self.is_held(edge, *leader));
        let Some(leader) = leader else {
            return self.failed(edge, topic, true);
        };
        let id = self.fresh();
        let after = self.nodes[&edge].edge.relays[topic].tail.last();
        let link = self.links.entry((edge, leader));
        let link = link.or_insert_with(|| Link::new(id, now));
        let (link_id, attach) = (link.id, link.attach(shard, topic, after, now));
        if let Some(relay) = self.relay(edge, topic) {
            relay.on = On::Link(leader, link_id, attach);
        }
    }

    /// The next try comes a little later each time.
    fn failed(&mut self, edge: NodeId, topic: &TopicName, wants: bool) {
        let now = self.now;
        if let Some(relay) = self.relay(edge, topic) {
            relay.failures += 1;
            let pause = Duration::from_millis(25 << relay.failures.min(5));
            if wants {
                relay.wanted = Some(now + pause);
            }
        }
    }

    fn want(&mut self, edge: NodeId, topic: &TopicName) {
        let now = self.now;
        if let Some(relay) = self.relay(edge, topic) {
            let pause = match relay.failures {
                0 => Duration::ZERO,
                failures => Duration::from_millis(25 << failures.min(5)),
            };
            relay.wanted = Some(now + pause);
        }
    }

    pub(crate) fn relay_work(&mut self, edge: NodeId, topic: &TopicName, work: Work) {
        match work {
            Work::Attached(leader, link, attached) => {
                if self.is_on(edge, topic, On::Link(leader, link, attached.id)) {
                    self.on_attached(edge, topic, attached);
                }
            }
            Work::Run(leader, link, id, run) => {
                let on = self.is_on(edge, topic, On::Link(leader, link, id));
                if on && !self.push_run(edge, topic, run) {
                    self.lost(edge, topic, Some((leader, id)));
                }
            }
            Work::Ended(leader, link, id, why) => {
                if self.is_on(edge, topic, On::Link(leader, link, id)) {
                    self.on_ended(edge, topic, &why);
                }
            }
            Work::Lost(leader, link, id) => {
                if self.is_on(edge, topic, On::Link(leader, link, id)) {
                    self.failed(edge, topic, false);
                    self.lost(edge, topic, None);
                }
            }
        }
    }

    fn on_attached(&mut self, edge: NodeId, topic: &TopicName, attached: Attached) {
        let Attached {
            id,
            term,
            head,
            start,
            exists,
            policy,
            live,
        } = attached;
        let Some(relay) = self.relay(edge, topic) else {
            return;
        };
        (relay.policy, relay.exists, relay.start, relay.term) = (policy, exists, start, term);
        relay.failures = 0;
        let last = relay.tail.last();
        match live {
            Live::Yes(run) => {
                if last.is_none() {
                    relay.tail.reset(run.after);
                }
                let On::Link(leader, ..) = relay.on else {
                    return;
                };
                if !run.messages.is_empty() && !self.push_run(edge, topic, run) {
                    return self.lost(edge, topic, Some((leader, id)));
                }
                if let Some(relay) = self.relay(edge, topic) {
                    relay.tail.set_live(true);
                }
                self.offer(edge, topic, &[], true);
            }
            Live::No => {
                relay.on = On::Nowhere;
                match last {
                    Some(_) => self.fill(edge, topic, 0),
                    None => self.begin_at(edge, topic, head),
                }
            }
        }
    }

    fn on_ended(&mut self, edge: NodeId, topic: &TopicName, why: &Ended) {
        let shard = self.shard_of(topic);
        match why {
            &Ended::NotLeader(redirect) => {
                let news = self.learn(edge, shard, redirect);
                if !news || redirect.leader.is_none() {
                    self.failed(edge, topic, false);
                }
                self.lost(edge, topic, None);
            }
            Ended::Overloaded => {
                self.failed(edge, topic, false);
                self.lost(edge, topic, None);
            }
            Ended::Lagging => {
                if let Some(relay) = self.relay(edge, topic) {
                    relay.tail.set_live(false);
                    relay.on = On::Nowhere;
                }
                self.fill(edge, topic, 0);
            }
            Ended::StreamEnded => {
                self.oracle.reach("relay: stream ended");
                self.lost(edge, topic, None);
            }
            Ended::TopicNotFound => {
                let Some(relay) = self.relay(edge, topic) else {
                    return;
                };
                relay.tail.set_live(false);
                relay.on = On::Refused;
                for session in relay.members.clone() {
                    self.lose_topic(edge, session);
                }
            }
        }
    }

    /// The attachment is over: another one, at the last position.
    fn lost(&mut self, edge: NodeId, topic: &TopicName, detach: Option<(NodeId, AttachId)>) {
        let now = self.now;
        if let Some((leader, id)) = detach
            && let Some(link) = self.links.get_mut(&(edge, leader))
        {
            link.detach(id, now);
        }
        if let Some(relay) = self.relay(edge, topic) {
            relay.tail.set_live(false);
            relay.on = On::Nowhere;
        }
        self.want(edge, topic);
    }

    /// Gives up what lies between the tail and the head: sessions read it as pages.
    fn begin_at(&mut self, edge: NodeId, topic: &TopicName, head: Position) {
        self.oracle.reach("relay: begins at head");
        if let Some(relay) = self.relay(edge, topic) {
            relay.tail.reset(head);
        }
        self.offer(edge, topic, &[], true);
        self.want(edge, topic);
    }

    fn fill(&mut self, edge: NodeId, topic: &TopicName, pages: u32) {
        let last = self.relay(edge, topic).and_then(|relay| relay.tail.last());
        let Some(after) = last else {
            return self.want(edge, topic);
        };
        let what = What::Page {
            after,
            leader: true,
        };
        self.ask(edge, topic, what, Asker::Relay(pages));
    }

    /// A page to fill a hole with came, or did not.
    pub(crate) fn on_relay_page(
        &mut self,
        edge: NodeId,
        topic: &TopicName,
        pages: u32,
        result: Result<Page, Refusal>,
    ) {
        let Some(relay) = self.relay(edge, topic) else {
            return;
        };
        if relay.on != On::Nowhere {
            return;
        }
        let Ok(page) = result else {
            return self.failed(edge, topic, true);
        };
        let head = page.head;
        self.oracle.reach("relay: page");
        let Some(relay) = self.relay(edge, topic) else {
            return;
        };
        if let Some(gap) = page.gap {
            relay.tail.push_gap(gap);
            self.offer(edge, topic, &[Block::Gap(gap)], false);
        }
        let last = self.relay(edge, topic).and_then(|relay| relay.tail.last());
        let run = Run {
            after: last.unwrap_or(head),
            messages: page.messages,
        };
        let end = run.end();
        let reached = end >= head || run.messages.is_empty();
        if !run.messages.is_empty() && !self.push_run(edge, topic, run) {
            return self.begin_at(edge, topic, head);
        }
        if reached && end != head {
            self.failed(edge, topic, true);
        } else if reached {
            self.want(edge, topic);
        } else if pages + 1 >= FILL_PAGES {
            self.begin_at(edge, topic, head);
        } else {
            self.fill(edge, topic, pages + 1);
        }
    }

    /// Takes a run into the tail and offers it; false if something before it is missing.
    fn push_run(&mut self, edge: NodeId, topic: &TopicName, run: Run) -> bool {
        let Some(span) = Span::of(&run) else {
            return true;
        };
        let cost = run.cost();
        let after = run.after;
        self.check_run(topic, &run);
        let Some(relay) = self.relay(edge, topic) else {
            return true;
        };
        let items = Items::new(run.messages);
        match relay.tail.push_run(span, items.clone(), cost) {
            Ok(()) => {
                relay.exists = true;
                relay.tail.trim(TAIL_BYTES);
                let block = Block::Run(span, items);
                let last = relay.tail.last();
                self.oracle.inside(last == Some(span.end()), "TAIL", || {
                    format!("{topic} at {edge}: {last:?} after a run from {after}")
                });
                self.offer(edge, topic, &[block], false);
                true
            }
            Err(Misfit::Known) => {
                self.oracle.reach("relay: known run");
                true
            }
            Err(Misfit::Hole) => {
                self.oracle.reach("relay: hole");
                false
            }
        }
    }

    /// What a relay holds is a run of its topic.
    fn check_run(&mut self, topic: &TopicName, run: &Run) {
        let mut last = run.after;
        for message in &run.messages {
            let at = message.position;
            let begins = at.offset.0 == 1 && at.epoch > last.epoch;
            let slot = self
                .oracle
                .truth(topic)
                .slots
                .get(&at)
                .map(|slot| slot.draft);
            let same = slot == crate::oracle::Oracle::draft_of(message);
            let fits = (at == last.next() || begins) && same;
            self.oracle.inside(fits, "TAIL", || {
                format!("{topic}: {at} follows {last} in a run, placed: {slot:?}")
            });
            last = at;
        }
    }

    /// Relays that nobody used for a while are let go.
    pub(crate) fn sweep(&mut self, edge: NodeId) {
        let now = self.now;
        let mut gone = Vec::new();
        self.edge(edge).relays.retain(|_, relay| {
            let used = !relay.members.is_empty();
            relay.idle_since = match used {
                true => None,
                false => relay.idle_since.or(Some(now)),
            };
            let kept = relay.idle_since.is_none_or(|since| now - since < LINGER);
            if !kept {
                gone.push(relay.on);
            }
            kept
        });
        for on in gone {
            if let On::Link(leader, id, attach) = on
                && let Some(link) = self.links.get_mut(&(edge, leader))
                && link.id == id
            {
                link.detach(attach, now);
            }
        }
    }

    /// Whom an edge believes to lead, and in which term; a guess has term 0.
    pub(crate) fn believed(&self, edge: NodeId, shard: ShardId) -> (NodeId, Term) {
        let learnt = self.nodes[&edge]
            .edge
            .beliefs
            .get(&shard)
            .copied()
            .unwrap_or_default();
        let guess = self.groups[&shard].voters[0];
        match learnt.leader {
            Some(leader) => (leader, learnt.term),
            None => (guess, Term(0)),
        }
    }

    /// Takes note of what a node said of a leader; false if it is no news.
    pub(crate) fn learn(&mut self, edge: NodeId, shard: ShardId, redirect: Redirect) -> bool {
        let now = self.now;
        let edge = self.edge(edge);
        let known = edge.beliefs.entry(shard).or_default();
        let named = redirect.leader.is_some() && known.leader.is_none();
        let news = redirect.term > known.term || (redirect.term == known.term && named);
        if news {
            *known = redirect;
            edge.publishing.leader(now, shard, Some(redirect));
        }
        news
    }

    /// Asks the replicas whom they follow; those that can be reached and are in time answer.
    pub(crate) fn seek(&mut self, edge: NodeId, shard: ShardId) -> Option<Redirect> {
        let voters = self.groups[&shard].voters.clone();
        let mut best: Option<Redirect> = None;
        for node in voters {
            let late = self.faulty && self.chance.one_in(3);
            if late || !self.is_up(node) || self.is_held(edge, node) {
                continue;
            }
            let answer = self.redirect(shard, node);
            let better = best.is_none_or(|best| answer.term > best.term);
            if answer.leader.is_some() && better {
                best = Some(answer);
            }
        }
        if let Some(best) = best {
            self.learn(edge, shard, best);
        }
        best
    }
}
