//! Tells the metadata how much history this node may hold, whenever the view says otherwise.

use std::sync::Arc;

use fanfare_consensus::Identity;
use fanfare_core::view::{Command, View};

use crate::cluster::Shared;

/// Proposes this node's budget until the view of this run has it, and again if it is lost.
pub(crate) async fn tell(shared: Arc<Shared>, me: Identity) {
    let history = shared.config.history_budget;
    let told = Command::SetBudget {
        node: me.node,
        generation: me.generation,
        history,
    };
    let untold = |view: &View| {
        let node = view.nodes.get(&me.node);
        // A cluster of an older level could not read it: it is told once the level has risen.
        view.level >= told.level()
            && node.is_some_and(|node| {
                node.generation == me.generation && node.history_budget != history
            })
    };
    let mut views = shared.views.subscribe();
    while views.wait_for(|view| untold(view)).await.is_ok() {
        let proposed = shared.propose(&told, shared.config.times.propose).await;
        if let Err(error) = proposed {
            tracing::debug!(%error, "the budget of history is not told yet");
        }
        shared.deps.clock().sleep(shared.config.times.retry).await;
    }
}
