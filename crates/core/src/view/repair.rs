//! After the loss of a majority, when an operator has accepted it: a shard's row begins again with
//! one fresh replica, the metadata with one fresh group.

use std::collections::BTreeSet;

use crate::id::{NodeId, ReplicaId, ShardId};
use crate::view::{Refusal, Replica, StoreState, View};

/// By how much ids and versions rise when the metadata loses its tail: more than the lost copies
/// can have given meanwhile, so that none is given twice.
const REPLICA_STEP: u64 = 1 << 32;
const NODE_STEP: u64 = 1 << 16;

/// Where a shard's group began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repaired {
    /// Whose copy it began from; on the same node.
    pub from: ReplicaId,
    /// Its first replica. Those of lower ids are of the group before, which is over.
    pub to: ReplicaId,
}

impl View {
    /// By how much the version rises when the metadata begins anew: more than the lost copies can
    /// have counted meanwhile.
    pub const REPAIR_STEP: u64 = 1 << 20;

    pub(super) fn repair_shard(
        &mut self,
        base: u64,
        shard: ShardId,
        node: NodeId,
        from: ReplicaId,
    ) -> Result<u64, Refusal> {
        if base != self.version {
            return Err(Refusal::StalePlan {
                version: self.version,
            });
        }
        let row = self.shard(shard).ok_or(Refusal::UnknownShard { shard })?;
        if !row.begun {
            return Err(Refusal::NotBegun { shard });
        }
        if row.repaired.is_some_and(|repaired| from < repaired.to) {
            return Err(Refusal::BadPlacement { shard });
        }
        if self.present(node)?.store != StoreState::ReadWrite {
            return Err(Refusal::DataLoss { node });
        }
        let fresh = self.new_replica(node);
        if let Some(row) = self.row_mut(shard) {
            row.replicas = vec![fresh];
            row.leaving.clear();
            row.preferred = Some(node);
            row.repaired = Some(Repaired { from, to: fresh.id });
        }
        Ok(self.changed())
    }

    /// Begins the metadata anew on `node`, whose fresh replica is returned: `lost` nodes are marked
    /// as having lost their data, every other one gets a fresh replica of the new group. Not a
    /// command: the group that could take it is what was lost.
    pub fn repair_meta(
        &mut self,
        node: NodeId,
        lost: &BTreeSet<NodeId>,
    ) -> Result<ReplicaId, Refusal> {
        if !self.is_bootstrapped() {
            return Err(Refusal::NotBootstrapped);
        }
        if lost.contains(&node) || self.present(node)?.store != StoreState::ReadWrite {
            return Err(Refusal::DataLoss { node });
        }
        for id in lost {
            if let Ok(row) = self.present(*id) {
                row.store = StoreState::DataLoss;
            }
        }
        self.next_replica = self.next_replica.saturating_add(REPLICA_STEP);
        self.next_node = self.next_node.saturating_add(NODE_STEP);
        self.version = self.version.saturating_add(Self::REPAIR_STEP);
        // Shards may have rules that only the lost copies knew: these are newer.
        self.rules.version = self.version;
        let others = self.living().filter(|row| row.id != node);
        let others = others.filter(|row| row.store == StoreState::ReadWrite);
        let nodes: Vec<NodeId> = others.map(|row| row.id).collect();
        let first = self.new_replica(node);
        let mut meta: Vec<Replica> = vec![first];
        meta.extend(nodes.into_iter().map(|id| self.new_replica(id)));
        self.meta = meta;
        Ok(first.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DiskId;
    use crate::placement;
    use crate::view::Command;
    use crate::view::stories::{addresses, begin_all, cluster, done, refused};

    fn repair(view: &View, shard: u32, from: ReplicaId) -> Command {
        Command::RepairShard {
            base: view.version,
            shard: ShardId(shard),
            node: NodeId(1),
            from,
        }
    }

    #[test]
    fn a_repaired_shard_has_one_fresh_replica_and_is_filled_by_moves() {
        let mut view = cluster(3);
        let old = view.shards[0].on(NodeId(1)).unwrap();
        let early = repair(&view, 0, old);
        let no = refused(&mut view, &early);
        assert_eq!(no, Refusal::NotBegun { shard: ShardId(0) });
        begin_all(&mut view);
        let stale = repair(&view, 0, old);
        for node in [2, 3] {
            done(&mut view, &Command::RecordDataLoss { node: NodeId(node) });
        }
        assert!(matches!(
            refused(&mut view, &stale),
            Refusal::StalePlan { .. }
        ));
        let fresh = ReplicaId(view.next_replica);
        let now = repair(&view, 0, old);
        done(&mut view, &now);
        let row = &view.shards[0];
        assert_eq!(row.present().map(|r| r.id).collect::<Vec<_>>(), [fresh]);
        assert_eq!(
            row.repaired,
            Some(Repaired {
                from: old,
                to: fresh
            })
        );
        assert!(view.has_left(ShardId(0), old));
        // The copy of the group before is no beginning of another one.
        let again = repair(&view, 0, old);
        let no = refused(&mut view, &again);
        assert_eq!(no, Refusal::BadPlacement { shard: ShardId(0) });
        // With room again, the planner gives it the seats it lacks, and nobody else's copy.
        for name in ["n4", "n5"] {
            view.apply(&Command::AddNode {
                name: name.to_owned(),
                disk: DiskId(100),
                level: crate::level::KNOWN,
                addresses: addresses(name),
            });
        }
        let plan = placement::plan(&view, &BTreeSet::new());
        let next = plan.iter().find(|row| row.shard == ShardId(0)).unwrap();
        assert_eq!(next.nodes.len(), 3, "{next:?}");
        assert!(!next.nodes.contains(&NodeId(2)), "{next:?}");
    }

    #[test]
    fn repaired_metadata_gives_nothing_twice_and_marks_who_is_lost() {
        let mut view = cluster(4);
        let (before, lost) = (view.clone(), BTreeSet::from([NodeId(2), NodeId(3)]));
        let first = view.repair_meta(NodeId(1), &lost).unwrap();
        assert!(first.0 > before.next_replica + 1_000_000);
        assert!(view.next_node > before.next_node + 1_000);
        assert!(view.version > before.version + 100_000);
        assert_eq!(view.rules.version, view.version);
        assert_eq!(view.meta_on(NodeId(1)), Some(first));
        assert!(view.meta_on(NodeId(4)) > Some(first));
        assert_eq!(view.meta_on(NodeId(2)), None);
        let store = |id| view.nodes[&NodeId(id)].store;
        assert_eq!(store(2), StoreState::DataLoss);
        assert_eq!(store(4), StoreState::ReadWrite);
        let voters: Vec<_> = placement::meta_voters(&view)
            .iter()
            .map(|r| r.node)
            .collect();
        assert_eq!(voters, [NodeId(1), NodeId(4)]);
        let lost_one = view.repair_meta(NodeId(2), &BTreeSet::new());
        assert_eq!(lost_one, Err(Refusal::DataLoss { node: NodeId(2) }));
    }
}
