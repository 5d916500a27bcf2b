//! Which leaderships go back to the nodes that the view prefers: one a round, to an heir that has all
//! but little, and only in calm. A value; who leads a shard, and whether it does as it is asked, is
//! known by the reports of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_core::id::{Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::view::{NodeState, Replica, View};
use fanfare_rpc::members::{HandOver, ReplicaStatus};

/// Entries an heir may be behind: what is on its way under load.
const NEAR: u64 = 64;

/// What is known of the cluster in one round.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) view: &'a View,
    /// Of all nodes that are heard, this one too.
    pub(crate) reports: &'a [ReplicaStatus],
    /// Nodes of the view that are not heard.
    pub(crate) silent: &'a BTreeSet<NodeId>,
    /// Nodes whose disks are full: they would hand over again (R15).
    pub(crate) full: &'a BTreeSet<NodeId>,
}

/// What stays as it is while the cluster is calm.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Picture {
    terms: BTreeMap<ShardId, Term>,
    replicas: BTreeMap<ShardId, Vec<Replica>>,
    starts: BTreeMap<NodeId, Generation>,
}

/// Calm, and since when.
#[derive(Debug)]
pub(crate) struct Balance {
    calm: Duration,
    seen: Option<(Picture, Duration)>,
    /// The shard that was asked for last: its next term is no unrest.
    asked: Option<ShardId>,
    /// Shards that are not asked for again before a time: a leadership that does not stay where it
    /// should be is not tossed to and fro.
    rests: BTreeMap<ShardId, Duration>,
}

impl Balance {
    /// `calm`: how long nothing may have happened before leaderships move, and before the same one
    /// moves again.
    pub(crate) fn new(calm: Duration) -> Self {
        Self {
            calm,
            seen: None,
            asked: None,
            rests: BTreeMap::new(),
        }
    }

    /// Forgets the calm: another node looks after the cluster.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.calm);
    }

    /// What should be handed over now.
    pub(crate) fn round(&mut self, now: Duration, world: &World<'_>) -> Option<HandOver> {
        let leaders = leaders(world.reports);
        let Some(picture) = picture(world, &leaders) else {
            self.seen = None;
            return None;
        };
        let since = match self.seen.take() {
            Some((before, since)) if self.is_same(&before, &picture) => since,
            Some(_) | None => now,
        };
        self.seen = Some((picture, since));
        self.asked = None;
        if now.saturating_sub(since) < self.calm {
            return None;
        }
        self.rests.retain(|_, until| *until > now);
        let rests = &self.rests;
        let wish = leaders
            .values()
            .filter(|leader| !rests.contains_key(&leader.shard))
            .find_map(|leader| wish(world, leader))?;
        self.rests.insert(wish.shard, now + self.calm);
        self.asked = Some(wish.shard);
        Some(wish)
    }

    /// True if nothing happened between two rounds but what was asked for.
    fn is_same(&self, before: &Picture, now: &Picture) -> bool {
        let kept = |(shard, term): (&ShardId, &Term)| {
            self.asked == Some(*shard) || now.terms.get(shard) == Some(term)
        };
        before.terms.iter().all(kept)
            && (&before.replicas, &before.starts) == (&now.replicas, &now.starts)
    }
}

/// Of each shard the leader with the highest term.
fn leaders(reports: &[ReplicaStatus]) -> BTreeMap<ShardId, &ReplicaStatus> {
    let mut leaders: BTreeMap<ShardId, &ReplicaStatus> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.leads) {
        let newest = leaders.entry(report.shard).or_insert(report);
        if newest.term < report.term {
            *newest = report;
        }
    }
    leaders
}

/// The cluster if it is whole: every node is heard and stays, every shard has a leader and exactly
/// the replicas of its row.
fn picture(world: &World<'_>, leaders: &BTreeMap<ShardId, &ReplicaStatus>) -> Option<Picture> {
    let World { view, silent, .. } = world;
    let stays = |node: &fanfare_core::view::Node| node.state == NodeState::Active;
    if !silent.is_empty() || !view.departing.is_empty() || !view.living().all(stays) {
        return None;
    }
    for row in &view.shards {
        let leader = leaders.get(&row.id)?;
        let planned: BTreeSet<ReplicaId> = row.replicas.iter().map(|r| r.id).collect();
        let others = leader.behind.iter().map(|(id, _)| *id);
        let has: BTreeSet<ReplicaId> = others.chain([leader.replica]).collect();
        if has != planned {
            return None;
        }
    }
    let rows = view.shards.iter();
    Some(Picture {
        terms: leaders
            .iter()
            .map(|(id, leader)| (*id, leader.term))
            .collect(),
        replicas: rows.map(|row| (row.id, row.replicas.clone())).collect(),
        starts: view
            .living()
            .map(|node| (node.id, node.generation))
            .collect(),
    })
}

/// The handover that brings a shard to its preferred node, if it could be done at once.
fn wish(world: &World<'_>, leader: &ReplicaStatus) -> Option<HandOver> {
    let row = world.view.shard(leader.shard)?;
    let wanted = row.preferred.filter(|node| !world.full.contains(node))?;
    let heir = row.on(wanted).filter(|heir| *heir != leader.replica)?;
    let behind = leader.behind.iter().find(|(id, _)| *id == heir)?.1;
    (behind < NEAR).then_some(HandOver {
        shard: leader.shard,
        term: leader.term,
        heir,
    })
}

#[cfg(test)]
mod tests;
