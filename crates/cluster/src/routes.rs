//! Where replicas and nodes are reached: from the view, and before there is one from a hint and
//! from what seeds say. Finding the wrong node is harmless, since it refuses what is not for it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_core::id::{ClusterId, Generation, NodeId, ReplicaId};
use fanfare_core::view::{NodeState, ShardRow, View};

/// A node as one calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Of the last start that is known here; a newer one may answer.
    pub generation: Generation,
    /// `HOST:PORT` of its peer listener.
    pub address: String,
}

/// The address book of a node. A clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    book: Arc<RwLock<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    version: u64,
    targets: BTreeMap<NodeId, Target>,
    /// Heard from seeds: a start later than the view's wins over it.
    heard: BTreeMap<NodeId, Target>,
    replicas: BTreeMap<ReplicaId, NodeId>,
}

impl Routes {
    /// An empty book.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The node that holds a replica of any group. `None` if it is not known or gone.
    #[must_use]
    pub fn replica(&self, replica: ReplicaId) -> Option<Target> {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        book.target(*book.replicas.get(&replica)?)
    }

    /// The node. `None` if it is not known or gone.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<Target> {
        self.book
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .target(node)
    }

    /// All nodes that can be called, by id.
    pub(crate) fn nodes(&self) -> Vec<Target> {
        let book = self.book.read().unwrap_or_else(PoisonError::into_inner);
        book.targets
            .keys()
            .filter_map(|node| book.target(*node))
            .collect()
    }

    /// Takes over what a view says, unless a newer one was seen: a node that replays its log
    /// passes through old ones.
    pub(crate) fn update(&self, view: &View) {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        if view.version < book.version || !view.is_bootstrapped() {
            return;
        }
        book.version = view.version;
        let living = view
            .nodes
            .values()
            .filter(|node| node.state != NodeState::Gone);
        book.targets = living
            .map(|node| {
                let target = Target {
                    cluster: view.cluster,
                    node: node.id,
                    generation: node.generation,
                    address: node.addresses.peer.clone(),
                };
                (node.id, target)
            })
            .collect();
        let shards = view.shards.iter().flat_map(ShardRow::present);
        book.replicas = view
            .meta
            .iter()
            .chain(shards)
            .map(|r| (r.id, r.node))
            .collect();
        let known: Vec<NodeId> = book.targets.keys().copied().collect();
        book.heard.retain(|node, _| known.contains(node));
    }

    /// Takes over where a known node says it is.
    pub(crate) fn heard(&self, target: Target) {
        let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
        let known = book.target(target.node);
        if known.is_some_and(|known| {
            known.cluster == target.cluster && known.generation < target.generation
        }) {
            book.heard.insert(target.node, target);
        }
    }
}

impl Book {
    fn target(&self, node: NodeId) -> Option<Target> {
        let told = self.targets.get(&node)?;
        let heard = self
            .heard
            .get(&node)
            .filter(|heard| heard.generation > told.generation);
        Some(heard.unwrap_or(told).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fanfare_core::id::DiskId;
    use fanfare_core::placement;
    use fanfare_core::view::{Addresses, Bootstrap, Command, NewNode, Outcome, Replica};

    use super::*;

    fn at(peer: &str) -> Addresses {
        Addresses {
            peer: peer.to_owned(),
            ..Addresses::default()
        }
    }

    fn cluster() -> View {
        let ids = BTreeSet::from([NodeId(1), NodeId(2)]);
        let node = |id: &NodeId| NewNode {
            id: *id,
            name: format!("n{id}"),
            disk: DiskId(u128::from(id.0)),
            level: fanfare_core::level::KNOWN,
            addresses: at(&format!("n{id}:1")),
        };
        let mut view = View::empty();
        let made = view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(7),
            level: fanfare_core::level::KNOWN,
            payload_limit: 65_536,
            nodes: ids.iter().map(node).collect(),
            meta: ids
                .iter()
                .map(|id| Replica {
                    id: ReplicaId(id.0),
                    node: *id,
                })
                .collect(),
            shards: placement::first(&ids, 1),
        }));
        assert_eq!(made, Outcome::Done { version: 1 });
        view
    }

    fn started(view: &mut View, generation: u64, peer: &str) {
        let done = view.apply(&Command::NodeStarted {
            node: NodeId(2),
            generation: Generation(generation),
            disk: DiskId(2),
            level: fanfare_core::level::KNOWN,
            addresses: at(peer),
        });
        assert!(matches!(done, Outcome::Done { .. }), "{done:?}");
    }

    fn second(routes: &Routes) -> String {
        routes.replica(ReplicaId(2)).unwrap().address
    }

    #[test]
    fn replicas_of_all_groups_are_found_on_their_nodes() {
        let routes = Routes::new();
        assert_eq!(routes.replica(ReplicaId(2)), None);
        routes.update(&cluster());
        assert_eq!(second(&routes), "n2:1");
        let shards: BTreeSet<NodeId> = [3, 4]
            .map(|id| routes.replica(ReplicaId(id)).unwrap().node)
            .into();
        assert_eq!(shards, BTreeSet::from([NodeId(1), NodeId(2)]));
        assert_eq!(routes.replica(ReplicaId(5)), None);
    }

    #[test]
    fn old_views_of_a_replayed_log_take_nothing_back() {
        let routes = Routes::new();
        let old = cluster();
        let mut new = old.clone();
        started(&mut new, 1, "moved:1");
        routes.update(&new);
        routes.update(&old);
        routes.update(&View::empty());
        assert_eq!(second(&routes), "moved:1");
    }

    #[test]
    fn what_a_node_says_of_a_later_start_wins_until_the_view_has_it() {
        let routes = Routes::new();
        let mut view = cluster();
        started(&mut view, 1, "n2:1");
        routes.update(&view);
        let says = |node: u64, generation, peer: &str| Target {
            cluster: ClusterId(7),
            node: NodeId(node),
            generation: Generation(generation),
            address: peer.to_owned(),
        };
        routes.heard(says(2, 1, "same:1"));
        assert_eq!(second(&routes), "n2:1", "not later");
        routes.heard(Target {
            cluster: ClusterId(8),
            ..says(2, 9, "other:1")
        });
        assert_eq!(second(&routes), "n2:1", "another cluster's");
        routes.heard(says(2, 2, "moved:1"));
        assert_eq!(second(&routes), "moved:1");
        routes.heard(says(9, 2, "stranger:1"));
        assert_eq!(routes.node(NodeId(9)), None, "not of this cluster");
        started(&mut view, 2, "again:1");
        routes.update(&view);
        assert_eq!(second(&routes), "again:1");
    }
}
