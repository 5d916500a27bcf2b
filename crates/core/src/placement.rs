//! Where replicas should be and who should lead: the view gives a new table. Pure, stable (nothing
//! changes while all is well), few moves. Executing it is not in here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::{NodeId, ShardId};
use crate::view::{NodeState, Placement, Replica, StoreState, View};

/// Replicas of a shard, and voters of the metadata group, where there are nodes enough.
pub const REPLICAS: usize = 3;

/// The table of a new cluster: `min(3, nodes)` replicas a shard on distinct nodes.
#[must_use]
pub fn first(nodes: &BTreeSet<NodeId>, shards: u32) -> Vec<Placement> {
    let rows = (0..shards).map(|shard| Placement {
        shard: ShardId(shard),
        nodes: Vec::new(),
        preferred: None,
    });
    let mut plan = Plan {
        rows: rows.collect(),
        hosts: nodes.clone(),
        takers: nodes.clone(),
        heirs: BTreeMap::new(),
        fixed: BTreeSet::new(),
    };
    plan.solve();
    plan.rows
}

/// The rows that should change, in the order of shards; none if the table is as it should be.
/// `away`: nodes that are silent for so long that their replicas are to be made anew elsewhere.
///
/// A seat stays where it is unless its node is gone, lost its data or is away; without another
/// node for it, only a seat on a gone node is given up. Draining nodes keep what they have and get
/// nothing; departing ones keep what they have until others can have it. Shards that have not begun
/// stay as they are; so do those without any replica to copy from, which only an operator can
/// repair.
#[must_use]
pub fn plan(view: &View, away: &BTreeSet<NodeId>) -> Vec<Placement> {
    plan_around(view, away, &BTreeSet::new())
}

/// As [`plan`], but nodes that are `silent` now get nothing that they do not have.
#[must_use]
pub fn plan_around(
    view: &View,
    away: &BTreeSet<NodeId>,
    silent: &BTreeSet<NodeId>,
) -> Vec<Placement> {
    let sound = |id: &NodeId| {
        view.nodes.get(id).is_some_and(|node| {
            node.state != NodeState::Gone && node.store == StoreState::ReadWrite
        }) && !away.contains(id)
    };
    // Replicas can be copied from these.
    let sources: BTreeSet<NodeId> = view.nodes.keys().copied().filter(sound).collect();
    let stays = |id: &NodeId| !view.departing.contains_key(id);
    let hosts: BTreeSet<NodeId> = sources.iter().copied().filter(stays).collect();
    let active = |id: &NodeId| {
        view.nodes
            .get(id)
            .is_some_and(|n| n.state == NodeState::Active)
            && !silent.contains(id)
    };
    let takers = hosts.iter().copied().filter(active).collect();
    let gone = |id: &NodeId| {
        view.nodes
            .get(id)
            .is_none_or(|n| n.state == NodeState::Gone)
    };

    let mut plan = Plan {
        rows: Vec::new(),
        hosts,
        takers,
        heirs: view
            .departing
            .iter()
            .filter_map(|(node, heir)| Some((*node, (*heir)?)))
            .collect(),
        fixed: BTreeSet::new(),
    };
    let mut old = Vec::new();
    for row in &view.shards {
        let now = Placement {
            shard: row.id,
            nodes: row.replicas.iter().map(|r| r.node).collect(),
            preferred: row.preferred,
        };
        let mut next = now.clone();
        if row.begun && next.nodes.iter().any(|id| sources.contains(id)) {
            next.nodes.retain(|id| !gone(id));
        } else {
            plan.fixed.insert(plan.rows.len());
        }
        plan.rows.push(next);
        old.push(now);
    }
    plan.solve();
    plan.rows
        .into_iter()
        .zip(old)
        .filter(|(next, now)| next != now)
        .map(|(next, _)| next)
        .collect()
}

/// The replicas of the metadata group that should vote: three on nodes that are not gone and whose
/// disks count, rather those that stay, then those of lowest id. The others learn.
#[must_use]
pub fn meta_voters(view: &View) -> Vec<Replica> {
    let counts = |replica: &Replica| {
        let node = view.nodes.get(&replica.node);
        node.is_some_and(|n| n.state != NodeState::Gone && n.store == StoreState::ReadWrite)
    };
    let mut sound: Vec<Replica> = view.meta.iter().copied().filter(counts).collect();
    sound.sort_unstable_by_key(|r| (view.departing.contains_key(&r.node), *r));
    sound.truncate(REPLICAS);
    sound
}

/// A table in the making.
struct Plan {
    rows: Vec<Placement>,
    /// Nodes whose replicas count.
    hosts: BTreeSet<NodeId>,
    /// Hosts that may be given more.
    takers: BTreeSet<NodeId>,
    /// Who is to take over the seats of a departing node.
    heirs: BTreeMap<NodeId, NodeId>,
    /// Rows, by place, whose nodes stay as they are.
    fixed: BTreeSet<usize>,
}

impl Plan {
    fn solve(&mut self) {
        for at in 0..self.rows.len() {
            if !self.fixed.contains(&at) {
                self.fill(at);
            }
        }
        while self.move_one() {}
        self.prefer();
    }

    /// How many seats each taker has.
    fn seats(&self) -> BTreeMap<NodeId, usize> {
        let mut seats: BTreeMap<NodeId, usize> = self.takers.iter().map(|id| (*id, 0)).collect();
        for node in self.rows.iter().flat_map(|row| &row.nodes) {
            if let Some(count) = seats.get_mut(node) {
                *count += 1;
            }
        }
        seats
    }

    /// Replaces the row's seats that do not count, and adds what it lacks.
    fn fill(&mut self, at: usize) {
        let seats = self.seats();
        let row = &mut self.rows[at];
        let wanted = REPLICAS.min(self.hosts.len()).max(row.nodes.len());
        let mut free: Vec<NodeId> = self
            .takers
            .iter()
            .copied()
            .filter(|id| !row.nodes.contains(id))
            .collect();
        // The least loaded first; among equals a draw by shard, so that the shards of one node
        // have their other replicas everywhere.
        free.sort_by_key(|id| {
            let seats = seats.get(id).copied().unwrap_or(0);
            std::cmp::Reverse((std::cmp::Reverse(seats), draw(row.shard, *id)))
        });
        for seat in row.nodes.iter_mut().filter(|id| !self.hosts.contains(id)) {
            let heir = self.heirs.get(seat);
            let heir = heir.and_then(|heir| free.iter().position(|id| id == heir));
            if !free.is_empty() {
                *seat = free.remove(heir.unwrap_or(0));
            }
        }
        let missing = wanted.saturating_sub(row.nodes.len());
        row.nodes.extend(free.into_iter().take(missing));
    }

    /// Moves one seat from the fullest taker to the emptiest, if that makes the table more even.
    fn move_one(&mut self) -> bool {
        let seats = self.seats();
        let mut by_load: Vec<(usize, NodeId)> = seats.iter().map(|(id, n)| (*n, *id)).collect();
        by_load.sort_unstable();
        for (most, from) in by_load.iter().rev() {
            for (least, to) in &by_load {
                if most.saturating_sub(*least) < 2 {
                    break;
                }
                let movable = |(at, row): &(usize, &Placement)| {
                    !self.fixed.contains(at) && row.nodes.contains(from) && !row.nodes.contains(to)
                };
                // Rather one whose leader stays.
                let found = self
                    .rows
                    .iter()
                    .enumerate()
                    .filter(movable)
                    .min_by_key(|(at, row)| (row.preferred == Some(*from), *at))
                    .map(|(at, _)| at);
                if let Some(at) = found {
                    for seat in self.rows[at].nodes.iter_mut().filter(|id| *id == from) {
                        *seat = *to;
                    }
                    return true;
                }
            }
        }
        false
    }

    /// Gives every row a preferred leader and evens out how many each node has.
    fn prefer(&mut self) {
        let mut led: BTreeMap<NodeId, usize> = self.takers.iter().map(|id| (*id, 0)).collect();
        for row in &mut self.rows {
            let keeps = |id: &NodeId| row.nodes.contains(id) && self.hosts.contains(id);
            if row.nodes.iter().any(|id| led.contains_key(id)) {
                row.preferred = row.preferred.filter(keeps);
            }
            if let Some(count) = row.preferred.and_then(|id| led.get_mut(&id)) {
                *count += 1;
            }
        }
        for row in self.rows.iter_mut().filter(|row| row.preferred.is_none()) {
            let load = |id: &&NodeId| led.get(id).copied();
            let candidates = row.nodes.iter().filter(|id| led.contains_key(id));
            row.preferred = candidates.min_by_key(|id| (load(id), **id)).copied();
            if let Some(count) = row.preferred.and_then(|id| led.get_mut(&id)) {
                *count += 1;
            }
        }
        while let Some(path) = self.uneven_path(&led) {
            if let Some((at, _, _)) = path.first()
                && let Some(count) = self.rows[*at].preferred.and_then(|id| led.get_mut(&id))
            {
                *count -= 1;
            }
            if let Some(count) = path.last().and_then(|(_, _, to)| led.get_mut(to)) {
                *count += 1;
            }
            for (at, _, to) in path {
                self.rows[at].preferred = Some(to);
            }
        }
    }

    /// Steps (row, from, to) by which leaderships pass from a node to one that leads at least two
    /// fewer, the nodes between keeping their number; the shortest such path.
    fn uneven_path(&self, led: &BTreeMap<NodeId, usize>) -> Option<Vec<(usize, NodeId, NodeId)>> {
        let mut sources: Vec<(usize, NodeId)> = led.iter().map(|(id, n)| (*n, *id)).collect();
        sources.sort_unstable();
        let fewest = sources.first()?.0;
        for (most, source) in sources.into_iter().rev() {
            if most < fewest + 2 {
                return None;
            }
            let mut came: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
            let mut queue = VecDeque::from([source]);
            while let Some(from) = queue.pop_front() {
                if led.get(&from).is_some_and(|n| n + 2 <= most) {
                    return Some(walk_back(&came, source, from));
                }
                for (at, row) in self.rows.iter().enumerate() {
                    if row.preferred != Some(from) {
                        continue;
                    }
                    for to in &row.nodes {
                        if *to != source && led.contains_key(to) && !came.contains_key(to) {
                            came.insert(*to, (at, from));
                            queue.push_back(*to);
                        }
                    }
                }
            }
        }
        None
    }
}

fn walk_back(
    came: &BTreeMap<NodeId, (usize, NodeId)>,
    source: NodeId,
    target: NodeId,
) -> Vec<(usize, NodeId, NodeId)> {
    let mut path = Vec::new();
    let mut to = target;
    while to != source {
        let Some((at, from)) = came.get(&to).copied() else {
            break;
        };
        path.push((at, from, to));
        to = from;
    }
    path.reverse();
    path
}

/// A number that looks random and is not.
fn draw(shard: ShardId, node: NodeId) -> u64 {
    let mut bytes = [0_u8; 12];
    bytes[..4].copy_from_slice(&shard.0.to_be_bytes());
    bytes[4..].copy_from_slice(&node.0.to_be_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

#[cfg(test)]
mod tests;
