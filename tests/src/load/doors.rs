//! The doors that clients know, as a list that changes under them: what a balancer or a name in DNS
//! would tell.

use std::sync::{Arc, PoisonError, RwLock};

use crate::wire::session::Node;

/// Where the nodes of the cluster are reached, shared by all clients of a run.
#[derive(Clone, Debug)]
pub struct Doors(Arc<RwLock<Vec<Node>>>);

impl Doors {
    /// The doors of these nodes.
    pub fn new(nodes: &[Node]) -> Self {
        Self(Arc::new(RwLock::new(nodes.to_vec())))
    }

    /// The `n`-th door, around and around; none if the list is empty.
    pub fn at(&self, n: usize) -> Option<Node> {
        let nodes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(n % nodes.len().max(1)).cloned()
    }

    /// All doors.
    pub fn all(&self) -> Vec<Node> {
        let nodes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        nodes.clone()
    }

    /// A node is reached from now on.
    pub fn open(&self, node: Node) {
        let mut nodes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !nodes.contains(&node) {
            nodes.push(node);
        }
    }

    /// A node is not given to anybody any more; who has a session there keeps it.
    pub fn close(&self, node: &Node) {
        let mut nodes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|known| known != node);
    }
}
