//! A whole node: composed from its parts, started, ready, stopped in stages. What it takes from its
//! machine (clock, chance, disk, listeners, connector) are arguments.

mod doors;
mod leave;
mod parts;
mod rise;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use fanfare_cluster::{Cluster, ClusterHandle};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::view::{Addresses, View};
use fanfare_host::{Clock, Connector, Disk, Listener, RealClock, RealDisk, Rng, SystemRng};
use fanfare_host::{TcpConnector, TcpDoor};
use fanfare_rpc::public::ShardStatus;
use tokio::sync::watch;

use crate::admin::leaders;
use crate::config::Config;
use crate::health::Health;
pub use leave::Removed;
use parts::Parts;

/// What a node takes from its machine.
pub struct Deps {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub disk: Arc<dyn Disk>,
    pub connector: Arc<dyn Connector>,
    pub doors: Doors,
}

/// The bound listeners of a node.
pub struct Doors {
    pub edge: Box<dyn Listener>,
    pub grpc: Box<dyn Listener>,
    pub peer: Box<dyn Listener>,
    pub ops: Box<dyn Listener>,
}

impl Doors {
    /// Binds the addresses of a configuration over TCP.
    pub async fn bind(config: &Config) -> Result<Self> {
        let bind = async |what: &str, address: std::net::SocketAddr| {
            let door = TcpDoor::bind(&address.to_string()).await;
            let door =
                door.with_context(|| format!("cannot listen on {address} ({what}.listen)"))?;
            Ok::<Box<dyn Listener>, anyhow::Error>(Box::new(door))
        };
        Ok(Self {
            edge: bind("edge", config.edge.listen).await?,
            grpc: bind("grpc", config.grpc.listen).await?,
            peer: bind("peer", config.peer.listen).await?,
            ops: bind("ops", config.ops.listen).await?,
        })
    }
}

impl Deps {
    /// This machine's: real clock, chance and disk, TCP.
    pub async fn real(config: &Config) -> Result<Self> {
        Ok(Self {
            clock: Arc::new(RealClock::new()),
            rng: Arc::new(SystemRng),
            disk: Arc::new(RealDisk),
            connector: Arc::new(TcpConnector),
            doors: Doors::bind(config).await?,
        })
    }
}

/// What a mode adds to a node (`dev`).
#[derive(Clone, Default)]
pub struct Mode {
    /// More routes of the edge and of the operator's door.
    pub routes: Option<Router>,
    /// More routes of the edge alone; they may take the place of its plain page.
    pub page: Option<Router>,
    /// Pages of any loopback origin may connect.
    pub loopback_origins: bool,
    /// Make a cluster of the seeds if the disk is empty, with so many shards.
    pub init: Option<u32>,
    /// Times of membership instead of the usual ones.
    pub times: Option<fanfare_cluster::Times>,
    /// Where tests stop a change of members.
    pub barriers: Barriers,
}

/// Why a node must end.
#[derive(Clone, Debug)]
pub struct Fatal(pub Arc<anyhow::Error>);

/// A running node. Dropping it leaves its tasks to their runtime; stop it with
/// [`Node::shutdown`].
pub struct Node {
    parts: Arc<Parts>,
    addresses: Addresses,
    fatal: watch::Receiver<Option<Fatal>>,
    up: watch::Receiver<Option<Arc<rise::Up>>>,
}

impl Node {
    /// Recovers the log, opens the doors for peers and operators, and goes on to join its cluster
    /// in the background: [`Node::ready`] and [`Node::ended`] say what becomes of it.
    pub async fn start(config: Config, deps: Deps, mode: Mode) -> Result<Self> {
        let addresses = parts::addresses(&config, &deps.doors)?;
        let (fatal_tx, fatal) = watch::channel(None);
        let (up_tx, up) = watch::channel(None);
        let Deps {
            clock,
            rng,
            disk,
            connector,
            doors,
        } = deps;
        let machine = parts::Machine {
            clock,
            rng,
            disk,
            connector,
        };
        let parts = Parts::build(config, machine, addresses.clone(), &mode, fatal_tx).await?;
        let parts = Arc::new(parts);
        let Doors {
            edge,
            grpc,
            peer,
            ops,
        } = doors;
        doors::open_inner(&parts, peer, ops, mode.routes.clone().unwrap_or_default());
        parts
            .tracker
            .spawn(rise::rise(Arc::clone(&parts), mode, edge, grpc, up_tx));
        Ok(Self {
            parts,
            addresses,
            fatal,
            up,
        })
    }

    /// Where the node is reached.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Whether clients should be sent here.
    pub fn health(&self) -> &Health {
        &self.parts.health
    }

    /// Its membership in the cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.parts.cluster
    }

    /// Waits until the node is ready, or until it must end.
    pub async fn ready(&self) -> Result<(), Fatal> {
        let mut up = self.up.clone();
        tokio::select! { biased;
            fatal = self.ended() => Err(fatal),
            _ = up.wait_for(Option::is_some) => Ok(()),
        }
    }

    /// Waits until the node must end, and says why.
    pub async fn ended(&self) -> Fatal {
        let mut fatal = self.fatal.clone();
        let ended = fatal
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|fatal| fatal.clone());
        match ended {
            Some(fatal) => fatal,
            None => std::future::pending().await,
        }
    }

    /// What this node knows of the cluster, to be asked from outside its runtime. It keeps what the
    /// node has in memory until it is dropped.
    pub(crate) fn look(&self) -> Look {
        Look(self.up.clone())
    }

    /// The cluster's metadata, as this node has it; `None` until it is a member.
    pub fn metadata(&self) -> Option<ClusterHandle> {
        Some(self.up.borrow().as_ref()?.handle.clone())
    }

    /// Hands a shard that this node leads to its replica on another; false if it does not lead it,
    /// or the other has none. The broker says what becomes of it.
    pub fn transfer(&self, shard: ShardId, to: NodeId) -> bool {
        let up = self.up.borrow().clone();
        up.is_some_and(|up| {
            let view = up.handle.view();
            let heir = view.borrow().shard(shard).and_then(|row| row.on(to));
            heir.is_some_and(|heir| up.broker.transfer(shard, heir))
        })
    }

    /// Stops in stages: not ready, leaderships handed over, sessions sent away, streams closed,
    /// groups stopped, log closed. Each stage has a deadline within `grace`.
    pub async fn shutdown(self, grace: Duration) {
        let up = self.up.borrow().clone();
        stop::stop(&self.parts, up.as_deref(), grace).await;
    }
}

/// An eye on the cluster as one node sees it.
#[derive(Clone)]
pub(crate) struct Look(watch::Receiver<Option<Arc<rise::Up>>>);

impl Look {
    /// The view, and for each of its shards who leads it; `None` while the node is no member.
    pub(crate) fn view(&self) -> Option<(Arc<View>, Vec<ShardStatus>)> {
        let up = self.0.borrow().clone()?;
        let view = Arc::clone(&up.handle.view().borrow());
        let shards = leaders(&up.handle, &up.broker, &view);
        Some((view, shards))
    }
}
