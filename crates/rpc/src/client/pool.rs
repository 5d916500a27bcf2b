//! Finds the way to a node: connections by (node, generation, address).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
/// Nodes connected to; beyond, the first is forgotten.
const MAX_NODES: usize = 1_024;
/// Starts and addresses of one node connected to: what the view says and what raft's routes say
/// may differ for a while.
const MAX_STARTS: usize = 2;

/// One start of a node, at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    pub node: NodeId,
    pub generation: Generation,
    /// `HOST:PORT` of its peer listener.
    pub address: String,
}

/// Connections to other nodes. Those that are not used any more are dropped when newer ones of
/// the same node are. A clone is the same.
#[derive(Clone)]
pub struct PeerClients {
    inner: Arc<Inner>,
}

struct Inner {
    own: Arc<dyn Peer>,
    local: Local,
    dialer: Dialer,
    /// Of each node the last used connections, the most recently used last.
    nodes: Mutex<BTreeMap<NodeId, Vec<(At, Lanes)>>>,
    addresses: Mutex<BTreeMap<String, Channel>>,
    /// No connections are made any more.
    closed: AtomicBool,
}

impl PeerClients {
    /// `own` is this node's broker, reached without gRPC. Connections' tasks run on `tasks`; they
    /// end after [`close`](Self::close), with the last call or link that uses them.
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
            closed: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The node as the view has it now; `None` if there is none or it is gone.
    pub fn at(&self, node: NodeId) -> Option<At> {
        let view = self.inner.local.view.borrow();
        let row = view.nodes.get(&node)?;
        (row.state != NodeState::Gone).then(|| At {
            node,
            generation: row.generation,
            address: row.addresses.peer.clone(),
        })
    }

    /// Lets go of all connections and makes no more. Calls and links that are open go on; others
    /// find no node any more.
    pub fn close(&self) {
        // Under each lock: who made a connection before has put it where it is dropped now.
        let mut nodes = lock(&self.inner.nodes);
        self.inner.closed.store(true, Ordering::Release);
        nodes.clear();
        drop(nodes);
        lock(&self.inner.addresses).clear();
    }

    fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::Acquire)
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.inner.dialer.tasks
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.inner.dialer
    }

    /// Connections to that start of the node; `None` if the address is no `HOST:PORT`.
    pub(super) fn remote_at(&self, at: &At) -> Option<Remote> {
        let Inner {
            local,
            dialer,
            nodes,
            ..
        } = &*self.inner;
        let mut nodes = lock(nodes);
        if self.is_closed() {
            return None;
        }
        if nodes.len() >= MAX_NODES && !nodes.contains_key(&at.node) {
            nodes.pop_first();
        }
        let known = nodes.entry(at.node).or_default();
        let used = match known.iter().position(|(key, _)| key == at) {
            Some(place) => known.remove(place),
            None => (at.clone(), dialer.lanes(&at.address)?),
        };
        let lanes = used.1.clone();
        known.push(used);
        if known.len() > MAX_STARTS {
            known.remove(0);
        }
        Some(Remote {
            node: at.node,
            generation: at.generation,
            lanes,
            local: local.clone(),
            dialer: dialer.clone(),
        })
    }

    /// The connection for membership calls to an address; `None` if it is no `HOST:PORT`.
    pub(super) fn to_members(&self, address: &str) -> Option<Channel> {
        let addresses = &self.inner.addresses;
        let mut known = lock(addresses);
        if self.is_closed() {
            return None;
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers for PeerClients {
    fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>> {
        let own = self.inner.local.identity.borrow().map(|own| own.node);
        if own == Some(node) {
            return Some(self.inner.own.clone());
        }
        let remote = self.remote_at(&self.at(node)?)?;
        Some(Arc::new(remote))
    }
}
