//! Finds the way to a node: connections by (node, generation, address), after the view.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_core::id::{Generation, NodeId};
use fanfare_core::view::NodeState;
use fanfare_host::Connector;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::identity::Local;
use crate::peer::{Peer, Peers};

use super::channel::{ClientSettings, Dialer, Lanes};
use super::remote::Remote;

/// Addresses asked for members at one time; beyond, the first is forgotten.
const MAX_DIALED: usize = 512;

/// Connections to the other nodes of the view. Those to an older start or another address of a
/// node are dropped when the view says so and the node is asked for again. A clone is the same.
#[derive(Clone)]
pub struct PeerClients {
    inner: Arc<Inner>,
}

struct Inner {
    own: Arc<dyn Peer>,
    local: Local,
    dialer: Dialer,
    nodes: Mutex<BTreeMap<NodeId, Known>>,
    addresses: Mutex<BTreeMap<String, Channel>>,
}

/// Connections of one key.
struct Known {
    generation: Generation,
    address: String,
    lanes: Lanes,
}

impl PeerClients {
    /// `own` is this node's broker, reached without gRPC. Connections' tasks run on `tasks`; they
    /// end when the last clone of this and of its peers is dropped.
    pub fn new(
        own: Arc<dyn Peer>,
        local: Local,
        connector: Arc<dyn Connector>,
        tasks: TaskTracker,
        settings: ClientSettings,
    ) -> Self {
        let inner = Inner {
            own,
            local,
            dialer: Dialer {
                connector,
                tasks,
                settings,
            },
            nodes: Mutex::default(),
            addresses: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.inner.dialer.tasks
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.inner.dialer
    }

    /// The node as the view has it now; `None` if there is none or it is gone.
    pub(super) fn remote(&self, node: NodeId) -> Option<Remote> {
        let Inner {
            local,
            dialer,
            nodes,
            ..
        } = &*self.inner;
        let view = local.view.borrow().clone();
        let mut known = nodes.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|id, _| view.nodes.contains_key(id));
        let row = view
            .nodes
            .get(&node)
            .filter(|row| row.state != NodeState::Gone)?;
        let address = &row.addresses.peer;
        let lanes = match known.get(&node) {
            Some(known) if known.generation == row.generation && known.address == *address => {
                known.lanes.clone()
            }
            _ => {
                let lanes = dialer.lanes(address)?;
                let new = Known {
                    generation: row.generation,
                    address: address.clone(),
                    lanes: lanes.clone(),
                };
                known.insert(node, new);
                lanes
            }
        };
        Some(Remote {
            node,
            generation: row.generation,
            lanes,
            local: local.clone(),
            dialer: dialer.clone(),
        })
    }

    /// The connection for membership calls to an address; `None` if it is no `HOST:PORT`.
    pub(super) fn at(&self, address: &str) -> Option<Channel> {
        let mut known = self
            .inner
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = known.get(address) {
            return Some(channel.clone());
        }
        let channel = self.inner.dialer.channel(address)?;
        if known.len() >= MAX_DIALED {
            known.pop_first();
        }
        known.insert(address.to_owned(), channel.clone());
        Some(channel)
    }
}

impl Peers for PeerClients {
    fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>> {
        let own = self
            .inner
            .local
            .identity
            .borrow()
            .map(|identity| identity.node);
        if own == Some(node) {
            return Some(self.inner.own.clone());
        }
        self.remote(node)
            .map(|remote| Arc::new(remote) as Arc<dyn Peer>)
    }
}
