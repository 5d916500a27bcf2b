//! From a recovered log to a node that serves: membership, broker, edge, public doors.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use fanfare_broker::{Broker, BrokerDeps, BrokerOptions};
use fanfare_cluster::{ClusterHandle, InitError};
use fanfare_core::barrier::Barrier;
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::view::{Command, Outcome};
use fanfare_edge::Edge;
use fanfare_edge::config::{EdgeConfig, EdgeDeps, Hosts, Origins, PublishLimits, SessionLimits};
use fanfare_edge::limits::{Network, Rate};
use fanfare_host::Listener;
use fanfare_rpc::identity::Identity;
use fanfare_rpc::members::{HandOver, ReplicaStatus};
use fanfare_rpc::server::{self, PublicDoors, public_routes};
use tokio::sync::watch;

use super::Mode;
use super::doors;
use super::leave;
use super::parts::Parts;
use crate::accept::Limits;
use crate::admin::{Admin, Rules};
use crate::codec;
use crate::health::Condition;

/// Between two reports of this node's replicas to the rest of the cluster.
const REPORT: Duration = Duration::from_millis(250);
/// Rounds of reports between two looks at how far the replicas' logs go.
const COPIES: u32 = 4;
/// Largest message on the gRPC door: a payload of the limit with everything around it.
const MAX_MESSAGE: usize = 1 << 20;

/// What a member has beside its parts.
pub(crate) struct Up {
    pub(crate) handle: ClusterHandle,
    pub(crate) broker: Arc<Broker>,
    pub(crate) edge: Edge,
    pub(crate) grpc: server::Health,
}

/// Makes the node a member and opens its public doors; a failure ends the node.
pub(crate) async fn rise(
    parts: Arc<Parts>,
    mode: Mode,
    edge: Box<dyn Listener>,
    grpc: Box<dyn Listener>,
    up: watch::Sender<Option<Arc<Up>>>,
) {
    let risen = tokio::select! { biased;
        () = parts.stop.cancelled() => return,
        risen = member(&parts, &mode, edge, grpc) => risen,
    };
    match risen {
        Ok(risen) => {
            let risen = Arc::new(risen);
            parts
                .tracker
                .spawn(leave::follow(Arc::clone(&parts), Arc::clone(&risen)));
            up.send_replace(Some(risen));
        }
        Err(why) => parts.fail(why),
    }
}

async fn member(
    parts: &Arc<Parts>,
    mode: &Mode,
    edge_door: Box<dyn Listener>,
    grpc_door: Box<dyn Listener>,
) -> Result<Up> {
    if let Some(shards) = mode.init {
        // Beside the start: an empty node waits there until it is a member.
        let (parts, stop) = (Arc::clone(parts), parts.stop.clone());
        parts
            .tracker
            .clone()
            .spawn(stop.run_until_cancelled_owned(init(parts, shards)));
    }
    let handle = Box::pin(parts.cluster.start()).await;
    let handle = handle.context("the node cannot join its cluster")?;
    let own = handle.identity();
    parts.identity.send_replace(Some(Identity {
        cluster: own.cluster,
        node: own.node,
        generation: own.generation,
        disk: own.disk,
    }));
    parts
        .tracker
        .spawn(follow(Arc::clone(parts), handle.view()));

    let broker = Arc::new(broker(parts, &handle).await?);
    parts.own.set(broker.peer());
    parts.tracker.spawn(report(
        Arc::clone(parts),
        Arc::clone(&broker),
        handle.clone(),
    ));
    parts
        .tracker
        .spawn(give(Arc::clone(parts), handle.clone(), Arc::clone(&broker)));
    let edge = edge(parts, mode, &handle).await?;
    let extra = [&mode.routes, &mode.page].into_iter().flatten().cloned();
    let router = match extra.reduce(Router::merge) {
        Some(extra) => extra.fallback_service(edge.router()),
        None => edge.router(),
    };
    let limits = Limits::public(
        parts.config.edge.max_sessions.saturating_add(2_048),
        parts.config.edge.header_timeout,
    );
    doors::open(parts, "edge", edge_door, router, limits);
    let (routes, health) = public(parts, &handle, &broker, &edge)?;
    doors::open(parts, "grpc", grpc_door, doors::router(routes), limits);
    parts.health.met(Condition::Accepting);
    handle
        .ready()
        .await
        .context("the cluster does not let this node in")?;
    parts.health.met(Condition::Member);
    health.set(true).await;
    tracing::info!(node = %own.node, generation = %own.generation, "ready");
    Ok(Up {
        handle,
        broker,
        edge,
        grpc: health,
    })
}

/// Makes a cluster if this node's disk is empty; a seed that is not up yet is waited for.
async fn init(parts: Arc<Parts>, shards: u32) {
    loop {
        match parts.cluster.init(shards).await {
            Ok(_) | Err(InitError::Member { .. }) => return,
            Err(why) => tracing::debug!(why = %why, "the cluster is not made yet"),
        }
        parts.clock.sleep(Duration::from_millis(100)).await;
    }
}

/// Hands the views on to those that were built before there was one.
async fn follow(parts: Arc<Parts>, mut views: watch::Receiver<Arc<fanfare_core::view::View>>) {
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        parts.views.send_replace(view);
        tokio::select! { biased;
            () = parts.stop.cancelled() => return,
            changed = views.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Gives leaderships to whom the metadata leader wants to have them.
async fn give(parts: Arc<Parts>, handle: ClusterHandle, broker: Arc<Broker>) {
    let mut wishes = handle.handovers();
    loop {
        let wish = *wishes.borrow_and_update();
        if let Some(HandOver { shard, term, heir }) = wish {
            broker.transfer_in(shard, term, heir);
        }
        tokio::select! { biased;
            () = parts.stop.cancelled() => return,
            changed = wishes.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// Tells the rest of the cluster how this node's replicas are.
async fn report(parts: Arc<Parts>, broker: Arc<Broker>, handle: ClusterHandle) {
    let most = u64::try_from(parts.config.edge.max_sessions);
    let limit = &parts.metrics.standing.sessions_limit;
    limit.set(most.unwrap_or(u64::MAX));
    let mut rounds = 0_u32;
    loop {
        let rows = broker.status().into_iter().map(|status| ReplicaStatus {
            shard: status.shard,
            replica: status.replica,
            term: status.group.role.term,
            leads: status.leads,
            applied: status.group.applied,
            behind: status.group.behind,
        });
        let rows: Vec<ReplicaStatus> = rows.collect();
        let ready = parts.health.ready(parts.groups.store.log().has_room());
        let standing = &parts.metrics.standing;
        standing.note(ready.is_ok(), &parts.views.borrow(), &rows);
        parts.replicas.send_replace(rows);
        // Asked for by people, and only of groups that stand still.
        if rounds.is_multiple_of(COPIES) {
            parts.copies.send_replace(broker.copies());
        }
        rounds = rounds.wrapping_add(1);
        let full = handle.full();
        parts.full.send_if_modified(|known| {
            let changed = *known != full;
            *known = full;
            changed
        });
        tokio::select! { biased;
            () = parts.stop.cancelled() => return,
            () = parts.clock.sleep(REPORT) => {}
        }
    }
}

async fn broker(parts: &Arc<Parts>, handle: &ClusterHandle) -> Result<Broker> {
    let marking = (Arc::clone(parts), handle.clone());
    let mark_begun = Arc::new(move |shard: ShardId| {
        let (parts, handle) = &marking;
        let (handle, stop) = (handle.clone(), parts.stop.clone());
        parts
            .tracker
            .spawn(stop.run_until_cancelled_owned(async move {
                // Asked for again while the view does not say so.
                if let Err(why) = handle.propose(&Command::ShardBegun { shard }).await {
                    tracing::debug!(%shard, %why, "not marked as begun yet");
                }
            }));
    });
    let marking = (Arc::clone(parts), handle.clone());
    let mark_left = Arc::new(move |shard: ShardId, replicas: Vec<ReplicaId>| {
        let (parts, handle) = &marking;
        let (handle, barriers) = (handle.clone(), parts.barriers.clone());
        let told = async move {
            // Asked for again while the view still has them.
            match handle.propose(&Command::Left { shard, replicas }).await {
                Ok(_) => barriers.pass(Barrier::ViewRecorded, Some(shard)).await,
                Err(why) => tracing::debug!(%shard, %why, "not recorded as left yet"),
            }
        };
        let stop = parts.stop.clone();
        parts.tracker.spawn(stop.run_until_cancelled_owned(told));
    });
    let marking = (Arc::clone(parts), handle.clone());
    let mark_lost = Arc::new(move |node: NodeId, replicas: Vec<ReplicaId>| {
        let (parts, handle) = &marking;
        let (handle, stop) = (handle.clone(), parts.stop.clone());
        let command = Command::ReplicasLost { node, replicas };
        let told = async move {
            // Asked for again while the view still has them.
            match handle.propose(&command).await {
                Ok(Outcome::Done { .. } | Outcome::Added { .. }) => {
                    tracing::warn!(%node, "replicas whose disk forgot are made anew under fresh ids");
                }
                Ok(Outcome::Refused(why)) => tracing::warn!(%node, %why, "a loss is not recorded"),
                Err(why) => tracing::debug!(%node, %why, "a loss is not recorded yet"),
            }
        };
        parts.tracker.spawn(stop.run_until_cancelled_owned(told));
    });
    let deps = BrokerDeps {
        node: handle.identity().node,
        groups: parts.groups.clone(),
        rng: Arc::clone(&parts.rng),
        view: handle.view(),
        entries: codec::entries(),
        blocks: codec::blocks(),
        mark_begun,
        mark_left,
        mark_lost,
        full: parts.full.subscribe(),
        barriers: parts.barriers.clone(),
        metrics: Arc::clone(&parts.metrics.broker),
    };
    let options = BrokerOptions {
        history_budget: parts.config.history.budget,
        election_min: parts.config.raft.election,
        election_max: parts.config.raft.election * 2,
        ..BrokerOptions::default()
    };
    Broker::build(deps, options)
        .await
        .context("the broker does not start")
}

async fn edge(parts: &Arc<Parts>, mode: &Mode, handle: &ClusterHandle) -> Result<Edge> {
    let config = &parts.config.edge;
    let origins = match (mode.loopback_origins, config.allowed_origins.is_empty()) {
        (true, _) => Origins::Loopback,
        (false, true) => Origins::SameHost,
        (false, false) => Origins::Listed(lower(&config.allowed_origins)),
    };
    let settings = EdgeConfig {
        origins,
        hosts: Hosts::Listed(hosts(parts)),
        public_polls: u8::try_from(config.public_polls).ok().filter(|s| *s > 0),
        base_path: config.base_path.clone(),
        trusted_proxies: networks(&config.trusted_proxies)?,
        requests: Some(config.per_ip.requests)
            .filter(|rate| *rate > 0)
            .map(|per_second| Rate {
                per_second,
                burst: per_second.saturating_mul(2),
            }),
        publish: PublishLimits {
            bytes: u32::try_from(config.publish_bytes).unwrap_or(u32::MAX),
            ..PublishLimits::default()
        },
        sessions: SessionLimits {
            sessions: config.max_sessions,
            hello_timeout: config.hello_timeout,
            tail_bytes: config.tail_bytes as u64,
            ..SessionLimits::default()
        },
        ..EdgeConfig::default()
    };
    let deps = EdgeDeps {
        clock: Arc::clone(&parts.clock),
        rng: Arc::clone(&parts.rng),
        node: handle.identity().node,
        view: handle.view(),
        peers: Arc::new(parts.clients.clone()),
        tracker: parts.tracker.clone(),
        stop: parts.stop.clone(),
        metrics: Arc::clone(&parts.metrics.edge),
    };
    Edge::build(settings, deps)
        .await
        .context("the edge does not start")
}

fn networks(list: &[String]) -> Result<Vec<Network>> {
    let parsed = list.iter().map(|network| network.parse());
    parsed
        .collect::<Result<_, _>>()
        .context("edge.trusted_proxies")
}

fn lower(list: &[String]) -> Vec<String> {
    list.iter().map(|item| item.to_lowercase()).collect()
}

/// The hosts that requests may name beside this machine's own names.
fn hosts(parts: &Parts) -> Vec<String> {
    let config = &parts.config.edge;
    if !config.allowed_hosts.is_empty() {
        return lower(&config.allowed_hosts);
    }
    let name = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        host.trim_matches(['[', ']']).to_lowercase()
    };
    let mut hosts = vec![config.listen.ip().to_string()];
    if !config.advertise.is_empty() {
        hosts.push(name(&config.advertise));
    }
    hosts
}

fn public(
    parts: &Arc<Parts>,
    handle: &ClusterHandle,
    broker: &Arc<Broker>,
    edge: &Edge,
) -> Result<(server::Routes, server::Health)> {
    let rules = Arc::new(Rules(handle.clone()));
    let topics = edge.topic_admin(rules);
    let rng = Arc::clone(&parts.rng);
    let admin = Admin {
        handle: handle.clone(),
        broker: Arc::clone(broker),
        topics: Arc::clone(&topics),
        gate: edge.admin_gate(),
        tracker: parts.tracker.clone(),
        stop: parts.stop.clone(),
        roster: edge.roster(),
        metrics: Arc::clone(&parts.metrics),
        clock: Arc::clone(&parts.clock),
    };
    let doors = PublicDoors {
        publisher: edge.grpc_publisher(),
        subscriber: edge.grpc_subscriber(),
        history: edge.grpc_history(),
        topics,
        cluster: Arc::new(admin),
        request_ids: Arc::new(move || format!("r-{:016x}", rng.next_u64())),
        tasks: parts.tracker.clone(),
        max_message: MAX_MESSAGE,
    };
    public_routes(doors).context("the gRPC services")
}
