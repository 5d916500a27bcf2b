//! Opens the doors of a node: each is an accept loop over a tower service.

use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use fanfare_host::Listener;
use fanfare_rpc::public::Remote;
use fanfare_rpc::server::{PeerDoors, Routes, peer_routes};
use std::net::SocketAddr;

use super::parts::Parts;
use crate::accept::{Ground, Limits, accept};
use crate::metrics::Exposition;
use crate::ops::{self, Ops};
use crate::wire::RaftService;

/// Opens the doors for peers and for the operator, which a node needs before it is a member.
pub(crate) fn open_inner(
    parts: &Arc<Parts>,
    peer: Box<dyn Listener>,
    ops: Box<dyn Listener>,
    extra: Router,
) {
    let peers = peer_routes(PeerDoors {
        local: parts.local.clone(),
        peer: Arc::new(parts.own.clone()),
        raft: Arc::new(RaftService(parts.groups.door.clone())),
        members: parts.cluster.members(),
        tasks: parts.tracker.clone(),
        close: parts.close.clone(),
    });
    open(parts, "peer", peer, router(peers), Limits::peers());
    let log = parts.groups.store.log().clone();
    let state = Ops {
        health: parts.health.clone(),
        metrics: Exposition::new(Arc::clone(&parts.metrics)),
        cluster: parts.cluster.clone(),
        log_writable: Box::new(move || log.has_room()),
    };
    let limits = Limits::public(256, parts.config.edge.header_timeout);
    open(
        parts,
        "ops",
        ops,
        ops::router(Arc::new(state), extra),
        limits,
    );
}

/// A tonic service as a router that tells its calls where they come from.
pub(crate) fn router(routes: Routes) -> Router {
    let remote = |mut request: Request| async move {
        let from = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|from| from.0);
        if let Some(from) = from {
            request.extensions_mut().insert(Remote(from));
        }
        request
    };
    routes
        .into_axum_router()
        .layer(axum::middleware::map_request(remote))
}

/// Runs an accept loop on the node's tracker.
pub(crate) fn open(
    parts: &Arc<Parts>,
    door: &'static str,
    listener: Box<dyn Listener>,
    service: Router,
    limits: Limits,
) {
    let ground = Ground {
        clock: Arc::clone(&parts.clock),
        tracker: parts.connections.clone(),
        stop: parts.close.clone(),
        abort: parts.stop.clone(),
    };
    parts
        .connections
        .spawn(accept(door, listener, service, limits, ground));
}
