//! Delivery links between edges and leaders: what is on the way in both directions, the leader's
//! box, and the edge's watch over what it has of each shard.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fanfare_core::attach::{LinkId, Listener, Outbox};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{Attach, AttachId, EdgeSays, Ended, LeaderSays, Live, digest_term};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::relay::{DigestWatch, Follow as _};

use crate::relay::{On, Work};
use crate::world::World;

/// A link from an edge to a leader.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) up: VecDeque<EdgeSays>,
    pub(crate) outbox: Outbox,
    pub(crate) down: VecDeque<LeaderSays>,
    rows: BTreeMap<AttachId, Row>,
    shards: BTreeMap<ShardId, Watched>,
    next: u64,
    digest_at: Duration,
}

struct Row {
    shard: ShardId,
    topic: TopicName,
    at: Option<Position>,
    asked: Duration,
}

struct Watched {
    watch: DigestWatch,
    count: u64,
    sum: u64,
}

/// An attachment is answered within this, or begun again.
const ANSWER: Duration = Duration::from_secs(5);

impl Link {
    pub(crate) fn new(id: u64, now: Duration) -> Self {
        Self {
            id: LinkId(id),
            up: VecDeque::new(),
            outbox: Outbox::new(),
            down: VecDeque::new(),
            rows: BTreeMap::new(),
            shards: BTreeMap::new(),
            next: 0,
            digest_at: now,
        }
    }

    /// Wishes to follow a topic.
    pub(crate) fn attach(
        &mut self,
        shard: ShardId,
        topic: &TopicName,
        after: Option<Position>,
        now: Duration,
    ) -> AttachId {
        let id = AttachId(self.next);
        self.next += 1;
        let row = Row {
            shard,
            topic: topic.clone(),
            at: None,
            asked: now,
        };
        self.rows.insert(id, row);
        let topic = topic.clone();
        let attach = Attach {
            id,
            shard,
            topic,
            after,
        };
        self.up.push_back(EdgeSays::Attach(vec![attach]));
        id
    }

    pub(crate) fn detach(&mut self, id: AttachId, now: Duration) {
        if self.remove(id, now).is_some() {
            self.up.push_back(EdgeSays::Detach(vec![id]));
        }
    }

    fn place(&mut self, id: AttachId, at: Option<Position>, now: Duration) -> Option<TopicName> {
        let row = self.rows.get_mut(&id)?;
        let hash = row.topic.hash64();
        let before = std::mem::replace(&mut row.at, at);
        let watched = self.shards.entry(row.shard).or_insert_with(|| Watched {
            watch: DigestWatch::new(now),
            count: 0,
            sum: 0,
        });
        if let Some(before) = before {
            watched.count -= 1;
            watched.sum = watched.sum.wrapping_sub(digest_term(hash, before));
        }
        if let Some(at) = at {
            watched.count += 1;
            watched.sum = watched.sum.wrapping_add(digest_term(hash, at));
        }
        if watched.count == 0 {
            self.shards.remove(&row.shard);
        }
        Some(row.topic.clone())
    }

    fn remove(&mut self, id: AttachId, now: Duration) -> Option<TopicName> {
        self.place(id, None, now);
        self.rows.remove(&id).map(|row| row.topic)
    }

    fn silent(&self, now: Duration) -> Vec<ShardId> {
        let silent = self
            .shards
            .iter()
            .filter(|(_, shard)| shard.watch.is_silent(now));
        let late = |row: &&Row| row.at.is_none() && now.saturating_sub(row.asked) > ANSWER;
        let unanswered = self.rows.values().filter(late).map(|row| row.shard);
        silent.map(|(id, _)| *id).chain(unanswered).collect()
    }
}

impl World {
    /// The link with this number at a leader, unless it broke.
    pub(crate) fn link_at(&mut self, leader: NodeId, id: LinkId) -> Option<&mut Link> {
        let mut links = self.links.iter_mut();
        links
            .find(|((_, to), link)| *to == leader && link.id == id)
            .map(|(_, link)| link)
    }

    /// What a reader that is late stands before.
    pub(crate) fn describe(&self, edge: NodeId, id: u64) -> String {
        let state = &self.nodes[&edge].edge;
        let Some(session) = state.sessions.get(&id) else {
            return "no session".to_owned();
        };
        let Some(relay) = state.relays.get(&session.topic) else {
            return format!("no relay; {session:?}");
        };
        let links = self.links.iter().filter(|((of, _), _)| *of == edge);
        let links: Vec<String> = links
            .map(|((_, to), link)| {
                let Link {
                    id,
                    up,
                    down,
                    outbox,
                    ..
                } = link;
                format!("{id:?} to {to}: up {up:?}, down {down:?}, box {outbox:?}")
            })
            .collect();
        let (on, wanted, last) = (relay.on, relay.wanted, relay.tail.last());
        format!("{session:?}; relay {on:?} wanted {wanted:?} at {last:?}; links {links:#?}")
    }

    /// The leader hears what an edge says.
    pub(crate) fn hear_edge(&mut self, edge: NodeId, leader: NodeId) {
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return;
        };
        let id = link.id;
        match link.up.pop_front() {
            Some(EdgeSays::Attach(wishes)) => {
                for wish in wishes {
                    self.on_attach(leader, id, wish);
                }
            }
            Some(EdgeSays::Detach(ids)) => {
                for gone in ids {
                    link_forget(self, leader, id, gone);
                }
            }
            Some(EdgeSays::Credit(bytes)) => link.outbox.credit(bytes),
            None => {}
        }
    }

    /// The leader puts the next of its box on the wire.
    pub(crate) fn pump(&mut self, edge: NodeId, leader: NodeId) -> bool {
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return false;
        };
        let say = link.outbox.next_say();
        let said = say.is_some();
        link.down.extend(say);
        said
    }

    /// The edge hears what a leader says.
    pub(crate) fn hear_leader(&mut self, edge: NodeId, leader: NodeId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return;
        };
        let id = link.id;
        let Some(said) = link.down.pop_front() else {
            return;
        };
        match said {
            LeaderSays::Attached(attached) => {
                let topic = match &attached.live {
                    Live::Yes(run) => link.place(attached.id, Some(run.end()), now),
                    Live::No => link.remove(attached.id, now),
                };
                if let Some(topic) = topic {
                    self.relay_work(edge, &topic, Work::Attached(leader, id, attached));
                }
            }
            LeaderSays::Run(attach, run) => {
                let topic = link.place(attach, Some(run.end()), now);
                link.up.push_back(EdgeSays::Credit(run.cost()));
                if let Some(topic) = topic {
                    self.relay_work(edge, &topic, Work::Run(leader, id, attach, run));
                }
            }
            LeaderSays::Ended(attach, why) => {
                if let Some(topic) = link.remove(attach, now) {
                    self.relay_work(edge, &topic, Work::Ended(leader, id, attach, why));
                }
            }
            LeaderSays::Digest { shard, count, sum } => {
                let wrong = link.shards.get_mut(&shard).is_some_and(|mine| {
                    mine.watch
                        .on_digest(now, (mine.count, mine.sum) == (count, sum))
                });
                if wrong {
                    self.distrust(edge, leader, shard);
                }
            }
        }
    }

    /// All attachments of a shard on a link begin again.
    fn distrust(&mut self, edge: NodeId, leader: NodeId, shard: ShardId) {
        let now = self.now;
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return;
        };
        let id = link.id;
        let rows = link.rows.iter().filter(|(_, row)| row.shard == shard);
        let gone: Vec<_> = rows.map(|(id, row)| (*id, row.topic.clone())).collect();
        for (attach, _) in &gone {
            link.detach(*attach, now);
        }
        self.oracle.reach("link: distrusted");
        self.trace(|| format!("edge {edge} does not trust {leader} with {shard} any more"));
        for (attach, topic) in gone {
            self.relay_work(edge, &topic, Work::Lost(leader, id, attach));
        }
    }

    /// Digests are due, and silence is noticed.
    pub(crate) fn tick_link(&mut self, edge: NodeId, leader: NodeId) {
        let now = self.now;
        let held = self.is_held(edge, leader);
        let Some(link) = self.links.get_mut(&(edge, leader)) else {
            return;
        };
        if now.saturating_sub(link.digest_at) >= Duration::from_secs(1)
            && link.outbox.answers_waiting() == 0
            && !held
        {
            link.digest_at = now;
            let digests: Vec<_> = link.outbox.digests().collect();
            link.down.extend(digests);
        }
        for shard in link.silent(now) {
            self.distrust(edge, leader, shard);
        }
    }

    /// The link breaks, on both ends, with what was on its way.
    pub(crate) fn break_link(&mut self, edge: NodeId, leader: NodeId) {
        let Some(link) = self.links.remove(&(edge, leader)) else {
            return;
        };
        let shards: Vec<ShardId> = self.groups.keys().copied().collect();
        for shard in shards {
            self.with_reign(shard, leader, |_, reign| {
                for seat in reign.seats.values_mut() {
                    seat.listeners.unlink(link.id);
                }
            });
        }
        for (attach, row) in link.rows {
            self.relay_work(edge, &row.topic, Work::Lost(leader, link.id, attach));
        }
    }

    /// A leader has no room for what waits for one of its listeners.
    pub(crate) fn squeeze(&mut self, shard: ShardId, leader: NodeId) {
        let at = self.chance.next();
        self.with_reign(shard, leader, |world, reign| {
            let all: Vec<(TopicName, Listener)> = reign
                .seats
                .iter()
                .flat_map(|(topic, seat)| seat.listeners.iter().map(|who| (topic.clone(), who)))
                .collect();
            let Some((topic, who)) = all.get(at as usize % all.len().max(1)) else {
                return;
            };
            if let Some(seat) = reign.seats.get_mut(topic) {
                seat.listeners.detach(*who);
            }
            world.end_attachment(leader, who.link, who.id, Ended::Lagging);
        });
    }

    /// True if this is where a relay is attached.
    pub(crate) fn is_on(&self, edge: NodeId, topic: &TopicName, on: On) -> bool {
        let relay = self.nodes[&edge].edge.relays.get(topic);
        relay.is_some_and(|relay| relay.on == on)
    }
}

/// The leader forgets a listener.
fn link_forget(world: &mut World, leader: NodeId, link: LinkId, id: AttachId) {
    let shards: Vec<ShardId> = world.groups.keys().copied().collect();
    for shard in shards {
        world.with_reign(shard, leader, |_, reign| {
            for seat in reign.seats.values_mut() {
                seat.listeners.detach(Listener { link, id });
            }
            reign.parked.retain(|parked| {
                !matches!(parked, crate::seats::Parked::Attach(of, wish) if *of == link && wish.id == id)
            });
        });
    }
    if let Some(link) = world.link_at(leader, link) {
        link.outbox.detach(id);
    }
}
