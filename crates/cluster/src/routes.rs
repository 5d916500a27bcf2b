//! Where replicas and nodes are reached: from the view, and before there is one from a hint and
//! from what seeds say. Finding the wrong node is harmless, since it refuses what is not for it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_core::id::{ClusterId, Generation, NodeId, ReplicaId};
use fanfare_core::view::{NodeState, View};

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
        let shards = view.shards.iter().flat_map(|row| &row.replicas);
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
