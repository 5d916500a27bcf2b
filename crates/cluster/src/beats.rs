//! Heartbeats to all nodes of the view, and what theirs say. One call to a node at a time, so that
//! one that hangs delays nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::NodeId;
use fanfare_rpc::members::{Beat, CallError, HandOver};
use futures_util::FutureExt as _;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use crate::ask::within;
use crate::cluster::Shared;

/// Another node, by its heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The last one; empty if there was none yet.
    pub beat: Beat,
    /// Time since the last sign of life, or since this node began to listen.
    pub silence: Duration,
    /// False once it is suspected.
    pub alive: bool,
    /// True once its replicas should be made anew elsewhere.
    pub away: bool,
}

/// Beats until it is cancelled.
pub(crate) async fn beat(shared: Arc<Shared>) {
    let mut calls: FuturesUnordered<BoxFuture<'static, NodeId>> = FuturesUnordered::new();
    let mut busy: BTreeSet<NodeId> = BTreeSet::new();
    let mut next = shared.deps.clock().now();
    loop {
        tokio::select! {
            biased;
            Some(node) = calls.next() => {
                busy.remove(&node);
            }
            () = shared.deps.clock().sleep_until(next) => {
                next = shared.deps.clock().now().saturating_add(shared.config.times.beat);
                for node in shared.watch() {
                    if busy.insert(node) {
                        calls.push(call(Arc::clone(&shared), node).boxed());
                    }
                }
            }
        }
    }
}

async fn call(shared: Arc<Shared>, node: NodeId) -> NodeId {
    let Some(target) = shared.deps.routes.node(node) else {
        return node;
    };
    let Some(envelope) = shared.envelope(node) else {
        return node;
    };
    let member = shared.dial(&target.address);
    let asked = member.heartbeat(envelope, shared.own_beat());
    match within(&**shared.deps.clock(), shared.config.times.call, asked).await {
        Some(Ok(beat)) if beat.generation >= target.generation => shared.hear(node, None),
        // From before its last start: it is not the node that is meant.
        Some(Ok(_)) | None => {}
        Some(Err(CallError::OldGeneration { known })) => {
            tracing::warn!(%node, %known, "a later start of this node is known: is its data copied?");
        }
        Some(Err(CallError::NotForMe { .. } | CallError::Unreachable(_) | CallError::NoAnswer)) => {
            tracing::debug!(%node, "no heartbeat")
        }
    }
    node
}

impl Shared {
    /// Takes the nodes of the view under watch; returns the others than this one.
    fn watch(&self) -> BTreeSet<NodeId> {
        let me = self.member().map(|me| me.node);
        let nodes = self
            .deps
            .routes
            .nodes()
            .into_iter()
            .map(|target| target.node);
        let others: BTreeSet<NodeId> = nodes.filter(|node| Some(*node) != me).collect();
        self.detector().tick(&others, self.deps.clock().now());
        self.beats().retain(|node, _| others.contains(node));
        others
    }

    /// Notes a sign of life, and what it says.
    pub(crate) fn hear(&self, node: NodeId, beat: Option<Beat>) {
        let now = self.deps.clock().now();
        let mut detector = self.detector();
        detector.heard(node, now);
        // Of a node that is not watched nothing is kept.
        if let Some(beat) = beat.filter(|_| detector.silence(node, now).is_some()) {
            self.ask(beat.hand_over);
            self.beats().insert(node, beat);
        }
    }

    /// Passes on what the metadata leader wants of a shard's leader, here perhaps.
    pub(crate) fn ask(&self, wish: Option<HandOver>) {
        if wish.is_some() {
            self.asked.send_if_modified(|known| {
                let news = *known != wish;
                *known = wish;
                news
            });
        }
    }

    /// How this node is.
    pub(crate) fn own_beat(&self) -> Beat {
        let mut replicas = self.deps.replicas.borrow().clone();
        replicas.truncate(Beat::MAX_REPLICAS);
        Beat {
            generation: self.member().map(|me| me.generation).unwrap_or_default(),
            view: self.views.borrow().version,
            leader: self.leader(),
            replicas,
            full: !self.deps.groups.store.log().has_room(),
            hand_over: *self.hand_over.borrow(),
        }
    }

    /// Nodes whose disk has no room (R15), this one too.
    pub(crate) fn full(&self) -> BTreeSet<NodeId> {
        let seen = self.seen().into_iter();
        let full = seen.filter(|(_, seen)| seen.alive && seen.beat.full);
        let own = self.member().filter(|_| self.own_beat().full);
        let own = own.map(|me| me.node);
        full.map(|(node, _)| node).chain(own).collect()
    }

    pub(crate) fn seen(&self) -> BTreeMap<NodeId, Seen> {
        let now = self.deps.clock().now();
        let detector = self.detector().clone();
        let away = detector.away(now);
        let beats = self.beats().clone();
        let row = |target: crate::Target| {
            let node = target.node;
            let seen = Seen {
                beat: beats.get(&node).cloned().unwrap_or_default(),
                silence: detector.silence(node, now)?,
                alive: detector.is_alive(node, now),
                away: away.contains(&node),
            };
            Some((node, seen))
        };
        self.deps
            .routes
            .nodes()
            .into_iter()
            .filter_map(row)
            .collect()
    }
}
