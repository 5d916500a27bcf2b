//! A node that the view sends away: it is drained by an operator, departs, or was removed. Its own
//! stop is not in here.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::view::{NodeState, StoreState, View};
use futures_util::future::maybe_done;

use super::parts::Parts;
use super::rise::Up;

/// How long the sessions of a node that was removed are given to go.
const REMOVED: Duration = Duration::from_secs(10);

/// The node ends because it was removed: nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node was removed from its cluster; to use the machine again, start it with an empty data \
     directory"
)]
pub struct Removed;

/// The node ends because an operator said that its data is lost, and the cluster went on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an operator gave up this node's data and the cluster went on without it; to use the machine \
     again, start it with an empty data directory and another name"
)]
pub(crate) struct GivenUp;

/// What the view wants of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Serve,
    SendAway,
    End,
}

/// Does what the view wants of this node, until the node ends.
pub(crate) async fn follow(parts: Arc<Parts>, up: Arc<Up>) {
    let mut views = up.handle.view();
    let wish = |view: &View| wish(view, up.handle.identity());
    let first = views.wait_for(|view| wish(view) > Wish::Serve).await;
    let Ok(first) = first.map(|view| wish(&view)) else {
        return;
    };
    if first == Wish::SendAway && parts.health.is_draining() {
        // It stops by itself, and has told the cluster so.
        return;
    }
    if first == Wish::SendAway {
        tracing::info!("an operator drains this node: sessions are sent away");
    }
    parts.health.drain();
    up.grpc.set(false).await;
    let grace = parts.config.shutdown.grace;
    // Waited for twice, the second time if the first was too short.
    let sent_away = maybe_done(up.edge.drain(grace.mul_f64(0.8)));
    tokio::pin!(sent_away);
    let ended = async {
        // An error: the node stops.
        views.wait_for(|view| wish(view) == Wish::End).await.is_ok()
    };
    let gone = async {
        let (_, ended) = tokio::join!(within(&parts, &mut sent_away, grace), ended);
        ended
    };
    tokio::select! { biased;
        () = parts.stop.cancelled() => {}
        ended = gone => if ended {
            within(&parts, &mut sent_away, REMOVED.min(grace)).await;
            let view = up.handle.view().borrow().clone();
            let row = view.nodes.get(&up.handle.identity().node);
            match row.is_some_and(|row| row.store == StoreState::DataLoss) {
                true => parts.fail(GivenUp.into()),
                false => parts.fail(Removed.into()),
            }
        },
    }
}

/// Waits for `work`, at most so long.
async fn within(parts: &Parts, work: impl Future<Output = ()>, time: Duration) {
    let over = parts.clock.sleep(time);
    tokio::select! { biased; () = work => {}, () = over => {} }
}

fn wish(view: &View, me: fanfare_consensus::Identity) -> Wish {
    match view.nodes.get(&me.node) {
        Some(row) if row.state == NodeState::Gone => Wish::End,
        Some(row) if row.store == StoreState::DataLoss => Wish::End,
        _ if view.departing.contains_key(&me.node) => Wish::SendAway,
        Some(row) if row.state == NodeState::Draining && row.generation == me.generation => {
            Wish::SendAway
        }
        Some(_) | None => Wish::Serve,
    }
}
