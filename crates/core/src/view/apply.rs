//! Applying commands to the view: a function of the view and the command alone.

use std::collections::BTreeSet;

use crate::id::{DiskId, Generation, NodeId, ReplicaId, ShardId};
use crate::level;
use crate::view::{
    Addresses, Bootstrap, Command, Node, NodeState, Outcome, Placement, Refusal, Replica, ShardRow,
    StoreState, View,
};

/// Longest name of a node, in bytes: it is a label of a DNS name.
const MAX_NAME: usize = 63;
/// Longest address, in bytes.
const MAX_ADDRESS: usize = 261;

/// What a node says of itself at its start.
struct Started<'a> {
    node: NodeId,
    generation: Generation,
    disk: DiskId,
    level: u32,
    addresses: &'a Addresses,
}

impl View {
    /// Applies a committed command. Refused commands change nothing, also not the version; nor do
    /// those that say what holds already.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        let done = match command {
            Command::Bootstrap(bootstrap) => self.bootstrap(bootstrap),
            _ if !self.is_bootstrapped() => Err(Refusal::NotBootstrapped),
            _ if command.level() > self.level => Err(Refusal::LevelBelow {
                needs: command.level(),
                level: self.level,
            }),
            Command::AddNode {
                name,
                disk,
                level,
                addresses,
            } => {
                return self
                    .add_node(name, *disk, *level, addresses)
                    .unwrap_or_else(Outcome::Refused);
            }
            Command::NodeStarted {
                node,
                generation,
                disk,
                level,
                addresses,
            } => self.node_started(&Started {
                node: *node,
                generation: *generation,
                disk: *disk,
                level: *level,
                addresses,
            }),
            Command::Draining { node, generation } => self.draining(*node, *generation),
            Command::RemoveNode { node } => self.remove_node(*node),
            Command::Depart { node, heir } => self.depart(*node, *heir),
            Command::Stay { node } => self.stay(*node),
            Command::RecordDataLoss { node } => self.record_data_loss(*node),
            Command::ReplicasLost { node, replicas } => self.replicas_lost(*node, replicas),
            Command::Place { base, rows } => self.place(*base, rows),
            Command::RepairShard {
                base,
                shard,
                node,
                from,
            } => self.repair_shard(*base, *shard, *node, *from),
            Command::Left { shard, replicas } => self.left(*shard, replicas),
            Command::ShardBegun { shard } => self.shard_begun(*shard),
            Command::PutRule { pattern, rules } => match rules.check(self.payload_limit) {
                Err(bad) => Err(Refusal::BadRule(bad)),
                Ok(()) if self.rules.put(pattern.clone(), rules.clone()) => {
                    Ok(self.rules_changed())
                }
                Ok(()) => Err(Refusal::RulesFull),
            },
            Command::DeleteRule { pattern } => match self.rules.remove(pattern) {
                true => Ok(self.rules_changed()),
                false => Err(Refusal::NoSuchRule),
            },
            Command::SetCreatePolicy { create, max_topics } => {
                self.rules.create = *create;
                self.rules.max_topics = *max_topics;
                Ok(self.rules_changed())
            }
            Command::SetLevel { level } => self.set_level(*level),
            Command::SetBudget {
                node,
                generation,
                history,
            } => self.set_budget(*node, *generation, *history),
        };
        match done {
            Ok(version) => Outcome::Done { version },
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    pub(super) fn changed(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn rules_changed(&mut self) -> u64 {
        self.rules.version = self.changed();
        self.version
    }

    fn bootstrap(&mut self, new: &Bootstrap) -> Result<u64, Refusal> {
        if self.is_bootstrapped() {
            return Err(Refusal::Bootstrapped {
                cluster: self.cluster,
            });
        }
        if !is_sound(new) {
            return Err(Refusal::BadBootstrap);
        }
        let nodes = new.nodes.iter().map(|node| {
            let row = Node {
                id: node.id,
                name: node.name.clone(),
                generation: Generation(0),
                level: node.level,
                disk: node.disk,
                store: StoreState::ReadWrite,
                state: NodeState::Active,
                addresses: node.addresses.clone(),
                history_budget: 0,
            };
            (node.id, row)
        });
        let mut view = Self {
            cluster: new.cluster,
            level: new.level,
            payload_limit: new.payload_limit,
            nodes: nodes.collect(),
            meta: new.meta.clone(),
            ..Self::empty()
        };
        view.next_node = 1 + new.nodes.iter().map(|node| node.id.0).max().unwrap_or(0);
        view.next_replica = 1 + new.meta.iter().map(|r| r.id.0).max().unwrap_or(0);
        for row in &new.shards {
            let replicas = row
                .nodes
                .iter()
                .map(|node| view.new_replica(*node))
                .collect();
            view.shards.push(ShardRow {
                id: row.shard,
                replicas,
                leaving: Vec::new(),
                preferred: row.preferred,
                begun: false,
                repaired: None,
            });
        }
        view.changed();
        *self = view;
        Ok(self.version)
    }

    pub(super) fn new_replica(&mut self, node: NodeId) -> Replica {
        let id = ReplicaId(self.next_replica);
        self.next_replica += 1;
        Replica { id, node }
    }

    fn add_node(
        &mut self,
        name: &str,
        disk: DiskId,
        level: u32,
        addresses: &Addresses,
    ) -> Result<Outcome, Refusal> {
        if !names_are_sound(name, addresses) {
            return Err(Refusal::BadNode);
        }
        if level < self.level {
            return Err(Refusal::BinaryTooOld { level: self.level });
        }
        if let Some(known) = self.node_named(name) {
            let node = known.id;
            return match self.meta_on(node) {
                Some(replica) if known.disk == disk && known.store == StoreState::ReadWrite => {
                    Ok(Outcome::Added {
                        version: self.version,
                        node,
                        replica,
                    })
                }
                _ => Err(Refusal::NameTaken { node }),
            };
        }
        if self.living().count() >= Self::MAX_NODES {
            return Err(Refusal::TooManyNodes);
        }
        let node = NodeId(self.next_node);
        self.next_node += 1;
        let replica = self.new_replica(node);
        self.meta.push(replica);
        let row = Node {
            id: node,
            name: name.to_owned(),
            generation: Generation(0),
            level,
            disk,
            store: StoreState::ReadWrite,
            state: NodeState::Active,
            addresses: addresses.clone(),
            history_budget: 0,
        };
        self.nodes.insert(node, row);
        Ok(Outcome::Added {
            version: self.changed(),
            node,
            replica: replica.id,
        })
    }

    fn node_started(&mut self, new: &Started<'_>) -> Result<u64, Refusal> {
        let (version, level) = (self.version, self.level);
        let node = self.present(new.node)?;
        if node.store == StoreState::DataLoss {
            return Err(Refusal::DataLoss { node: new.node });
        }
        if node.disk != new.disk {
            return Err(Refusal::WrongDisk {
                node: new.node,
                recorded: node.disk,
            });
        }
        if new.generation < node.generation {
            let recorded = node.generation;
            return Err(Refusal::OldGeneration {
                node: new.node,
                recorded,
            });
        }
        if new.level < level {
            return Err(Refusal::BinaryTooOld { level });
        }
        if !names_are_sound(&node.name, new.addresses) {
            return Err(Refusal::BadNode);
        }
        if new.generation == node.generation {
            return Ok(version);
        }
        node.generation = new.generation;
        node.level = new.level;
        node.addresses = new.addresses.clone();
        node.state = NodeState::Active;
        Ok(self.changed())
    }

    fn draining(&mut self, id: NodeId, generation: Generation) -> Result<u64, Refusal> {
        let version = self.version;
        let node = self.present(id)?;
        if generation < node.generation {
            let recorded = node.generation;
            return Err(Refusal::OldGeneration { node: id, recorded });
        }
        if node.state == NodeState::Draining {
            return Ok(version);
        }
        node.state = NodeState::Draining;
        Ok(self.changed())
    }

    fn set_budget(
        &mut self,
        id: NodeId,
        generation: Generation,
        history: u64,
    ) -> Result<u64, Refusal> {
        let version = self.version;
        let node = self.present(id)?;
        if generation < node.generation {
            let recorded = node.generation;
            return Err(Refusal::OldGeneration { node: id, recorded });
        }
        if node.history_budget == history {
            return Ok(version);
        }
        node.history_budget = history;
        Ok(self.changed())
    }

    fn record_data_loss(&mut self, id: NodeId) -> Result<u64, Refusal> {
        let version = self.version;
        let node = self.present(id)?;
        if node.store == StoreState::DataLoss {
            return Ok(version);
        }
        node.store = StoreState::DataLoss;
        Ok(self.changed())
    }

    /// A lost replica's id is given up with its data: an empty log under it could vote again.
    fn replicas_lost(&mut self, node: NodeId, lost: &[ReplicaId]) -> Result<u64, Refusal> {
        self.present(node)?;
        let mut next = self.next_replica;
        for row in self.shards.iter_mut().filter(|row| row.begun) {
            for replica in &mut row.replicas {
                if replica.node == node && lost.contains(&replica.id) {
                    replica.id = ReplicaId(next);
                    next += 1;
                }
            }
        }
        if next == self.next_replica {
            return Ok(self.version);
        }
        self.next_replica = next;
        Ok(self.changed())
    }

    fn place(&mut self, base: u64, rows: &[Placement]) -> Result<u64, Refusal> {
        if base != self.version {
            return Err(Refusal::StalePlan {
                version: self.version,
            });
        }
        let mut seen = BTreeSet::new();
        for row in rows {
            let shard = row.shard;
            let Some(old) = self.shard(shard) else {
                return Err(Refusal::UnknownShard { shard });
            };
            let known = |id: &NodeId| {
                let node = self.nodes.get(id);
                node.is_some_and(|node| node.state != NodeState::Gone)
            };
            // One replica of a shard a node: the group must let go the old one first.
            let leaves = |id: &NodeId| old.leaving.iter().any(|r| r.node == *id);
            let nodes = &row.nodes;
            if !seen.insert(shard)
                || !row.is_sound()
                || !nodes.iter().all(known)
                || nodes.iter().any(leaves)
            {
                return Err(Refusal::BadPlacement { shard });
            }
            // Its group may be initialised right now, with the replicas of the present row.
            let moves = !row
                .nodes
                .iter()
                .copied()
                .eq(old.replicas.iter().map(|r| r.node));
            if moves && !old.begun {
                return Err(Refusal::NotBegun { shard });
            }
        }
        for row in rows {
            let old = self
                .shard(row.shard)
                .map(|old| old.replicas.clone())
                .unwrap_or_default();
            let kept = |node: &NodeId| old.iter().find(|r| r.node == *node).copied();
            let replicas: Vec<Replica> = row
                .nodes
                .iter()
                .map(|node| kept(node).unwrap_or_else(|| self.new_replica(*node)))
                .collect();
            let keeps = self.level >= level::LEAVING;
            if let Some(at) = self.row_mut(row.shard) {
                at.leaving
                    .extend(old.iter().filter(|r| keeps && !replicas.contains(r)));
                at.replicas = replicas;
                at.preferred = row.preferred;
            }
        }
        Ok(self.changed())
    }

    fn shard_begun(&mut self, shard: ShardId) -> Result<u64, Refusal> {
        let version = self.version;
        match self.row_mut(shard) {
            None => Err(Refusal::UnknownShard { shard }),
            Some(row) if row.begun => Ok(version),
            Some(row) => {
                row.begun = true;
                Ok(self.changed())
            }
        }
    }

    pub(super) fn row_mut(&mut self, shard: ShardId) -> Option<&mut ShardRow> {
        self.shards.get_mut(usize::try_from(shard.0).ok()?)
    }

    fn set_level(&mut self, level: u32) -> Result<u64, Refusal> {
        if level <= self.level {
            return Err(Refusal::LevelNotAbove { level: self.level });
        }
        if let Some(below) = self.living().find(|node| node.level < level) {
            return Err(Refusal::NodeBelow {
                node: below.id,
                level: below.level,
            });
        }
        self.level = level;
        Ok(self.changed())
    }

    /// The node, if it is known and not gone.
    pub(super) fn present(&mut self, id: NodeId) -> Result<&mut Node, Refusal> {
        match self.nodes.get_mut(&id) {
            None => Err(Refusal::UnknownNode { node: id }),
            Some(node) if node.state == NodeState::Gone => Err(Refusal::NodeGone { node: id }),
            Some(node) => Ok(node),
        }
    }
}

impl Placement {
    /// True if the nodes are distinct, at least one, and the preferred one is among them.
    fn is_sound(&self) -> bool {
        let distinct: BTreeSet<&NodeId> = self.nodes.iter().collect();
        !self.nodes.is_empty()
            && distinct.len() == self.nodes.len()
            && self
                .preferred
                .is_none_or(|leader| distinct.contains(&leader))
    }
}

fn names_are_sound(name: &str, addresses: &Addresses) -> bool {
    let Addresses {
        peer,
        edge,
        grpc,
        ops,
    } = addresses;
    let short = [edge, grpc, ops].iter().all(|at| at.len() <= MAX_ADDRESS);
    (1..=MAX_NAME).contains(&name.len()) && (1..=MAX_ADDRESS).contains(&peer.len()) && short
}

fn is_sound(new: &Bootstrap) -> bool {
    let ids: BTreeSet<NodeId> = new.nodes.iter().map(|node| node.id).collect();
    let names: BTreeSet<&str> = new.nodes.iter().map(|node| node.name.as_str()).collect();
    let meta: BTreeSet<ReplicaId> = new.meta.iter().map(|r| r.id).collect();
    let meta_nodes: BTreeSet<NodeId> = new.meta.iter().map(|r| r.node).collect();
    let nodes = (1..=View::MAX_NODES).contains(&new.nodes.len())
        && ids.len() == new.nodes.len()
        && names.len() == new.nodes.len()
        && new
            .nodes
            .iter()
            .all(|node| node.level >= new.level && names_are_sound(&node.name, &node.addresses));
    let replicas = meta.len() == new.meta.len() && meta_nodes == ids && new.meta.len() == ids.len();
    let numbered = (0_u32..).zip(&new.shards).all(|(at, row)| {
        row.shard.0 == at && row.is_sound() && row.nodes.iter().all(|node| ids.contains(node))
    });
    nodes && replicas && numbered && (1..=View::MAX_SHARDS).contains(&new.shards.len())
}
