//! Tells the metadata that this run of the node has begun, until it knows.

use std::sync::Arc;

use fanfare_consensus::Identity;
use fanfare_core::view::{Command, Outcome, Refusal};

use crate::ProposeFailed;
use crate::cluster::{Registration, Shared};

/// Proposes `NodeStarted` until it is applied here, or refused for good.
pub(crate) async fn register(shared: Arc<Shared>, me: Identity) {
    let started = Command::NodeStarted {
        node: me.node,
        generation: me.generation,
        disk: me.disk,
        level: shared.config.level,
        addresses: shared.config.addresses.clone(),
    };
    loop {
        match shared.propose(&started, shared.config.times.propose).await {
            Ok(Outcome::Refused(Refusal::NotBootstrapped)) => {}
            Ok(Outcome::Refused(refusal)) => {
                tracing::error!(%refusal, "the cluster refuses this node");
                shared
                    .registration
                    .send_replace(Registration::Refused(refusal));
                return;
            }
            Ok(Outcome::Done { .. } | Outcome::Added { .. }) => break,
            Err(ProposeFailed::NoLeader | ProposeFailed::Unknown) => {
                // Nodes may have moved while this one was away.
                shared.find_members().await;
            }
            Err(ProposeFailed::Stopped) => return,
        }
        shared.deps.clock().sleep(shared.config.times.retry).await;
    }
    let mut views = shared.views.subscribe();
    let applied = views.wait_for(|view| {
        view.nodes
            .get(&me.node)
            .is_some_and(|node| node.generation >= me.generation)
    });
    if applied.await.is_ok() {
        shared.registration.send_replace(Registration::Done);
    }
}
