//! Leaving for ever: nodes that depart, are removed, and replicas that their groups let go.

use std::collections::BTreeSet;

use crate::id::{NodeId, ReplicaId, ShardId};
use crate::placement::meta_voters;
use crate::view::{Node, NodeState, Refusal, Replica, ShardRow, StoreState, View};

impl View {
    pub(super) fn remove_node(&mut self, id: NodeId) -> Result<u64, Refusal> {
        let version = self.version;
        match self.nodes.get(&id) {
            None => return Err(Refusal::UnknownNode { node: id }),
            Some(node) if node.state == NodeState::Gone => return Ok(version),
            // A store that counts in no quorum takes nothing away when it leaves.
            Some(node) if node.store != StoreState::ReadWrite => {}
            Some(_) => {
                let voters = meta_voters(self);
                if !self.majority_without(&voters, id) {
                    return Err(Refusal::NoMajority { shard: None });
                }
                let short = |row: &&ShardRow| !self.majority_without(&row.replicas, id);
                if let Some(row) = self.shards.iter().find(short) {
                    return Err(Refusal::NoMajority {
                        shard: Some(row.id),
                    });
                }
            }
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.state = NodeState::Gone;
            node.store = StoreState::Gone;
        }
        self.meta.retain(|replica| replica.node != id);
        self.departing.remove(&id);
        for heir in self.departing.values_mut() {
            *heir = heir.filter(|heir| *heir != id);
        }
        self.forget_oldest_gone();
        Ok(self.changed())
    }

    pub(super) fn depart(&mut self, id: NodeId, heir: Option<NodeId>) -> Result<u64, Refusal> {
        let store = self.present(id)?.store;
        if self.departing.get(&id) == Some(&heir) {
            return Ok(self.version);
        }
        let takes = |node: &Node| {
            node.id != id
                && node.state != NodeState::Gone
                && node.store == StoreState::ReadWrite
                && !self.departing.contains_key(&node.id)
        };
        if let Some(heir) = heir {
            let node = self.nodes.get(&heir);
            let node = node.ok_or(Refusal::UnknownNode { node: heir })?;
            if !takes(node) {
                return Err(Refusal::BadHeir { node: heir });
            }
        }
        let nodes = self.nodes.values().filter(|node| takes(node)).count();
        let holds = |row: &&ShardRow| row.on(id).is_some();
        if let Some(row) = self
            .shards
            .iter()
            .filter(holds)
            .find(|row| row.replicas.len() > nodes)
        {
            return Err(Refusal::TooFewNodes {
                shard: row.id,
                replicas: u32::try_from(row.replicas.len()).unwrap_or(u32::MAX),
                nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
            });
        }
        // Nothing is copied from a store that counts in no quorum.
        let closed = |row: &&ShardRow| !self.majority_without(&row.replicas, id);
        if store != StoreState::ReadWrite
            && let Some(row) = self.shards.iter().find(closed)
        {
            return Err(Refusal::NoMajority {
                shard: Some(row.id),
            });
        }
        self.departing.insert(id, heir);
        Ok(self.changed())
    }

    pub(super) fn stay(&mut self, id: NodeId) -> Result<u64, Refusal> {
        self.present(id)?;
        match self.departing.remove(&id) {
            Some(_) => Ok(self.changed()),
            None => Ok(self.version),
        }
    }

    /// True if `replicas` do not need `gone` for a majority of them to be on disks that count.
    fn majority_without(&self, replicas: &[Replica], gone: NodeId) -> bool {
        if !replicas.iter().any(|r| r.node == gone) {
            return true;
        }
        let counts = |r: &&Replica| {
            let store = self.nodes.get(&r.node).map(|node| node.store);
            r.node != gone && store == Some(StoreState::ReadWrite)
        };
        replicas.iter().filter(counts).count() > replicas.len() / 2
    }

    fn forget_oldest_gone(&mut self) {
        let gone = |node: &&Node| node.state == NodeState::Gone;
        let held: BTreeSet<NodeId> = self
            .shards
            .iter()
            .flat_map(ShardRow::present)
            .map(|r| r.node)
            .collect();
        let many = self.nodes.values().filter(gone).count();
        let oldest: Vec<NodeId> = self
            .nodes
            .values()
            .filter(gone)
            .map(|node| node.id)
            .filter(|id| !held.contains(id))
            .take(many.saturating_sub(Self::MAX_GONE))
            .collect();
        for id in oldest {
            self.nodes.remove(&id);
        }
    }

    pub(super) fn left(&mut self, shard: ShardId, gone: &[ReplicaId]) -> Result<u64, Refusal> {
        let row = self.row_mut(shard);
        let row = row.ok_or(Refusal::UnknownShard { shard })?;
        let before = row.leaving.len();
        row.leaving.retain(|replica| !gone.contains(&replica.id));
        if row.leaving.len() == before {
            return Ok(self.version);
        }
        Ok(self.changed())
    }
}
