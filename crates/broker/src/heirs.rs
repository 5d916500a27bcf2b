//! Who takes the shards of a node that leaves: of each the best heir, spread over the other nodes, a
//! few handovers at a time. The choice is a value; who goes, and when, is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::view::{NodeState, ShardRow, View};

use crate::parts::Parts;
use crate::shard::Msg;

/// Entries an heir may be behind to be waited for.
const NEAR: u64 = 1_000;
/// Handovers under way at a time: each is an election of a few syncs on every replica.
const AT_ONCE: usize = 8;
/// Between two looks at what has become of them.
const LOOK: Duration = Duration::from_millis(10);

/// The nodes that shards were given to, so that they are spread.
#[derive(Debug, Default)]
pub(crate) struct Heirs {
    given: BTreeMap<NodeId, usize>,
}

impl Heirs {
    /// The replica that should lead in place of `me`'s: on a node that stays, near, the preferred
    /// one if it is such, else where least was given. `near` says whether a replica could take over.
    pub(crate) fn of(
        &mut self,
        view: &View,
        row: &ShardRow,
        me: NodeId,
        near: impl Fn(ReplicaId) -> bool,
    ) -> Option<ReplicaId> {
        let stays = |node: NodeId| {
            let active = |row: &fanfare_core::view::Node| row.state == NodeState::Active;
            view.nodes.get(&node).is_some_and(active) && !view.departing.contains_key(&node)
        };
        let fit = row
            .replicas
            .iter()
            .filter(|replica| replica.node != me && stays(replica.node) && near(replica.id));
        let given = |node| self.given.get(&node).copied().unwrap_or_default();
        let heir = fit.min_by_key(|replica| {
            let wished = row.preferred == Some(replica.node);
            (!wished, given(replica.node), replica.id)
        })?;
        *self.given.entry(heir.node).or_default() += 1;
        Some(heir.id)
    }
}

/// Hands over all shards that this node leads and another one could lead, until it leads none of
/// them. Those that nobody could take over stay.
pub(crate) async fn hand_all_over(parts: &Parts) {
    let mut heirs = Heirs::default();
    loop {
        let view = parts.view.borrow().clone();
        let (mut out, mut open) = (0, Vec::new());
        for (shard, local) in parts.directory.all() {
            match (local.court, view.shard(shard)) {
                (Some(court), _) if court.reign.is_handing_over() => out += 1,
                (Some(court), Some(row)) => open.push((court, row)),
                (Some(_), None) | (None, _) => {}
            }
        }
        for (court, row) in open {
            if out >= AT_ONCE {
                break;
            }
            let group = &court.reign.group;
            let near = |id| group.could_take_over(id, NEAR);
            if let Some(heir) = heirs.of(&view, row, parts.node, near) {
                out += 1;
                // An actor that has failed is replaced; the next look asks again.
                court.actor.cast(Msg::Transfer(heir)).ok();
            }
        }
        if out == 0 {
            return;
        }
        parts.groups.clock.sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::{DiskId, Generation, ShardId};
    use fanfare_core::view::{Addresses, Node, Replica, StoreState};

    use super::*;

    fn view(states: &[(u64, NodeState)]) -> View {
        let node = |(id, state): &(u64, NodeState)| {
            let row = Node {
                id: NodeId(*id),
                name: format!("n{id}"),
                generation: Generation(1),
                level: 1,
                disk: DiskId(1),
                store: StoreState::ReadWrite,
                state: *state,
                addresses: Addresses::default(),
                history_budget: 0,
            };
            (row.id, row)
        };
        View {
            nodes: states.iter().map(node).collect(),
            ..View::empty()
        }
    }

    fn row(preferred: u64) -> ShardRow {
        let replica = |id: u64| Replica {
            id: ReplicaId(10 + id),
            node: NodeId(id),
        };
        ShardRow {
            id: ShardId(0),
            replicas: [1, 2, 3].map(replica).to_vec(),
            preferred: Some(NodeId(preferred)),
            leaving: Vec::new(),
            begun: true,
            repaired: None,
        }
    }

    use NodeState::{Active, Draining};

    #[test]
    fn the_preferred_node_takes_over_else_they_are_spread() {
        let view = view(&[(1, Draining), (2, Active), (3, Active)]);
        let mut heirs = Heirs::default();
        let mut heir = |preferred| heirs.of(&view, &row(preferred), NodeId(1), |_| true);
        assert_eq!(heir(3), Some(ReplicaId(13)));
        assert_eq!(heir(3), Some(ReplicaId(13)));
        for _ in 0..2 {
            assert_eq!(heir(1), Some(ReplicaId(12)));
        }
        assert_eq!(heir(1), Some(ReplicaId(12)), "of equals the first");
        assert_eq!(heir(1), Some(ReplicaId(13)));
    }

    #[test]
    fn nobody_who_leaves_too_or_is_far_behind_takes_over() {
        let all_leave = view(&[(1, Draining), (2, Draining), (3, Draining)]);
        let mut heirs = Heirs::default();
        assert_eq!(heirs.of(&all_leave, &row(2), NodeId(1), |_| true), None);
        let view = view(&[(1, Draining), (2, Active), (3, Active)]);
        let near = |id| id == ReplicaId(13);
        assert_eq!(
            heirs.of(&view, &row(2), NodeId(1), near),
            Some(ReplicaId(13))
        );
        assert_eq!(heirs.of(&view, &row(2), NodeId(1), |_| false), None);
    }
}
