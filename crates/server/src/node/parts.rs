//! The parts of a node that are there before it is a member of a cluster: store, wire, connections,
//! membership, counters.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use fanfare_cluster::{Admission, Cluster, Routes};
use fanfare_consensus::{Door, GroupDeps, OnPoison, Pace, Reserve, Store, StoreOptions};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::NodeId;
use fanfare_core::repair::Copy;
use fanfare_core::view::{Addresses, View};
use fanfare_host::{Clock, Connector, DirLock, Disk, Listener, PowerLost, Rng};
use fanfare_rpc::client::{ClientSettings, PeerClients};
use fanfare_rpc::identity::{Identity, Local};
use fanfare_rpc::members::ReplicaStatus;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Doors, Fatal, Mode};
use crate::codec;
use crate::config::Config;
use crate::health::{Condition, Health};
use crate::late::LatePeer;
use crate::metrics::Metrics;
use crate::wire::RaftWire;

/// Highest feature level this binary understands.
pub(crate) const LEVEL: u32 = fanfare_core::level::KNOWN;

/// Clock, chance, disk and connector.
pub(crate) struct Machine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) connector: Arc<dyn Connector>,
}

/// What a node stands on.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) groups: GroupDeps,
    pub(crate) cluster: Cluster,
    pub(crate) barriers: Barriers,
    pub(crate) clients: PeerClients,
    /// This node's broker, once there is one.
    pub(crate) own: LatePeer,
    pub(crate) local: Local,
    pub(crate) identity: watch::Sender<Option<Identity>>,
    pub(crate) views: watch::Sender<Arc<View>>,
    pub(crate) replicas: watch::Sender<Vec<ReplicaStatus>>,
    pub(crate) copies: watch::Sender<Vec<Copy>>,
    /// Nodes whose disk has no room.
    pub(crate) full: watch::Sender<BTreeSet<NodeId>>,
    pub(crate) fatal: watch::Sender<Option<Fatal>>,
    /// Given up with the log.
    pub(crate) held: DirLock,
    /// Every task of the node, but those of its doors.
    pub(crate) tracker: TaskTracker,
    /// Accept loops and the connections they accepted.
    pub(crate) connections: TaskTracker,
    /// Close the doors; what is in flight goes on.
    pub(crate) close: CancellationToken,
    /// End every task.
    pub(crate) stop: CancellationToken,
}

impl Parts {
    /// Opens the store and builds what stands on it; nothing is served yet.
    pub(crate) async fn build(
        config: Config,
        machine: Machine,
        addresses: Addresses,
        mode: &Mode,
        fatal: watch::Sender<Option<Fatal>>,
    ) -> Result<Self> {
        let Machine {
            clock,
            rng,
            disk,
            connector,
        } = machine;
        let tracker = TaskTracker::new();
        let metrics: Arc<Metrics> = Arc::default();
        let (store, held) =
            open_store(&config, &clock, &rng, &disk, &metrics, fatal.clone()).await?;
        let health = Health::default();
        health.met(Condition::Recovered);

        let routes = Routes::new();
        let clients = Arc::new(OnceLock::new());
        let wire = RaftWire {
            routes: routes.clone(),
            clients: Arc::clone(&clients),
            tasks: tracker.clone(),
        };
        let groups = GroupDeps {
            store,
            door: Door::new(),
            wire: Arc::new(wire),
            clock: Arc::clone(&clock),
            tasks: tracker.clone(),
            pace: Pace::default(),
        };
        let (identity, identities) = watch::channel(None);
        let (views, seen) = watch::channel(Arc::new(View::empty()));
        let local = Local {
            identity: identities,
            view: seen,
        };
        let own = LatePeer::default();
        let peers = PeerClients::new(
            Arc::new(own.clone()),
            local.clone(),
            connector,
            tracker.clone(),
            ClientSettings::default(),
        );
        let peers = clients.get_or_init(|| peers).clone();

        let stop = CancellationToken::new();
        let (replicas, reported) = watch::channel(Vec::new());
        let (copies, told) = watch::channel(Vec::new());
        let seeds = match mode.init.is_some() && config.seeds.is_empty() {
            true => Vec::new(),
            false => config.seeds.clone(),
        };
        let deps = fanfare_cluster::Deps {
            groups: groups.clone(),
            disk,
            dir: config.data.clone(),
            dial: Arc::new(peers.clone()),
            commands: codec::commands(),
            views: codec::views(),
            rng: Arc::clone(&rng),
            routes,
            replicas: reported,
            copies: told,
            barriers: mode.barriers.clone(),
            stop: stop.clone(),
        };
        let mut membership =
            fanfare_cluster::Config::new(config.name.clone(), addresses, seeds, LEVEL);
        membership.history_budget = config.history.budget;
        membership.group = membership.group.electing_after(config.raft.election);
        membership.times = mode.times.unwrap_or_default();
        // Join tokens are not built: only an open cluster lets nodes in.
        if config.insecure_open {
            membership.admission = Admission::Open;
        }
        Ok(Self {
            config,
            clock,
            rng,
            health,
            metrics,
            groups,
            cluster: Cluster::new(membership, deps),
            barriers: mode.barriers.clone(),
            clients: peers,
            own,
            local,
            identity,
            views,
            replicas,
            copies,
            full: watch::Sender::new(BTreeSet::new()),
            fatal,
            held,
            tracker,
            connections: TaskTracker::new(),
            close: CancellationToken::new(),
            stop,
        })
    }

    /// The node must end. The first reason stays.
    pub(crate) fn fail(&self, why: anyhow::Error) {
        fail(&self.fatal, why);
    }
}

fn fail(fatal: &watch::Sender<Option<Fatal>>, why: anyhow::Error) {
    fatal.send_if_modified(|fatal| {
        let first = fatal.is_none();
        if first {
            match why.is::<PowerLost>() {
                // Killed, as it was meant.
                true => tracing::debug!("the node ends with its power"),
                false => tracing::error!(why = format!("{why:#}"), "the node must end"),
            }
            *fatal = Some(Fatal(Arc::new(why)));
        }
        first
    });
}

async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    rng: &Arc<dyn Rng>,
    disk: &Arc<dyn Disk>,
    metrics: &Metrics,
    fatal: watch::Sender<Option<Fatal>>,
) -> Result<(Store, DirLock)> {
    let mut options = StoreOptions::new(Arc::clone(clock), Arc::clone(rng));
    options.segment_bytes = config.log.segment;
    options.snapshot_after = config.log.snapshot_after;
    options.log_budget = config.log.budget;
    options.metrics = Arc::clone(&metrics.store);
    if config.log.reserve > 0 {
        options.reserve = Reserve {
            bytes: config.log.reserve,
            percent: 0,
        };
    }
    let on_poison: OnPoison = Arc::new(move |error| {
        if PowerLost::is_why(error) {
            return fail(&fatal, PowerLost.into());
        }
        let why = anyhow::anyhow!(
            "{error}: the node ends, since what it wrote cannot be trusted (nothing unsynced was \
             acked). Look at the disk and its free space, then start the node again: it verifies \
             what is there. If the disk is failing, replace the node: fanfare cluster replace"
        );
        fail(&fatal, why);
    });
    let (disk, dir): (_, PathBuf) = (Arc::clone(disk), config.data.clone());
    disk.create_dir_all(&dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    let shown = dir.display().to_string();
    let held = match disk.lock(&dir, true) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => anyhow::bail!(
            "the data directory {shown} is in use: another node, or `fanfare doctor`, has it open"
        ),
        held => held.with_context(|| format!("cannot lock {shown}"))?,
    };
    let open = move || Store::open(disk, dir, options, on_poison);
    let opened = tokio::task::spawn_blocking(open)
        .await
        .context("opening the store")?;
    let store = opened.with_context(|| format!("cannot use the data directory {shown}"))?;
    Ok((store, held))
}

/// How a node is reached: as advertised, or at the addresses its doors are bound to.
pub(crate) fn addresses(config: &Config, doors: &Doors) -> Result<Addresses> {
    let of = |advertised: &str, door: &dyn Listener| -> Result<String> {
        let bound: SocketAddr = door.local_addr()?;
        Ok(if advertised.is_empty() {
            bound.to_string()
        } else {
            advertised.to_owned()
        })
    };
    Ok(Addresses {
        peer: of(&config.peer.advertise, &*doors.peer)?,
        edge: of(&config.edge.advertise, &*doors.edge)?,
        grpc: of(&config.grpc.advertise, &*doors.grpc)?,
        ops: of(&config.ops.advertise, &*doors.ops)?,
    })
}
