//! How a node stops: in stages, each with a deadline, and a line for the one that overran.

use std::time::Duration;

use fanfare_host::Clock;

use super::parts::Parts;
use super::rise::Up;

/// How long handing leaderships over may take.
const HAND_OVER: Duration = Duration::from_secs(3);
/// How long telling the cluster may take.
const TELL: Duration = Duration::from_secs(1);
/// How long streams may take to end after their sessions have.
const CLOSE: Duration = Duration::from_secs(2);
/// How long snapshots may take that make the next start short.
const SNAPSHOTS: Duration = Duration::from_secs(5);
/// How long groups and tasks may take to end.
const END: Duration = Duration::from_secs(5);

pub(crate) async fn stop(parts: &Parts, up: Option<&Up>, grace: Duration) {
    let clock = &*parts.clock;
    parts.health.drain();
    if let Some(up) = up {
        up.grpc.set(false).await;
        if parts.local.view.borrow().nodes.len() > 1 {
            let told = async { drop(up.handle.drain().await) };
            stage(clock, "telling the cluster", TELL, told).await;
            let handed = async {
                up.broker.hand_all_over().await;
                up.handle.hand_over().await;
            };
            let within = HAND_OVER.min(grace);
            stage(clock, "handing leaderships over", within, handed).await;
        }
        let spread = grace.mul_f64(0.8);
        stage(clock, "sending sessions away", grace, up.edge.drain(spread)).await;
    }
    parts.close.cancel();
    parts.connections.close();
    parts.tracker.close();
    if let Some(up) = up {
        let snapshots = up.broker.snapshot_to_stop();
        stage(clock, "writing snapshots", SNAPSHOTS.min(grace), snapshots).await;
        stage(clock, "stopping the shards", END, up.broker.shutdown()).await;
        stage(clock, "stopping the metadata group", END, up.handle.stop()).await;
    }
    let closed = parts.connections.wait();
    stage(clock, "closing connections", CLOSE, closed).await;
    parts.stop.cancel();
    parts.clients.close();
    let ended = async {
        parts.connections.wait().await;
        parts.tracker.wait().await;
    };
    stage(clock, "ending tasks", END, ended).await;
    stage(clock, "closing the log", END, parts.groups.store.close()).await;
    parts.held.release();
    tracing::info!("stopped");
}

/// Runs a stage within its time; a line in the log if it took longer.
async fn stage(
    clock: &dyn Clock,
    name: &'static str,
    within: Duration,
    work: impl Future<Output = ()>,
) {
    let began = clock.now();
    tokio::select! { biased;
        () = work => {
            let took = clock.now().saturating_sub(began);
            tracing::debug!(stage = name, ?took, "done");
        }
        () = clock.sleep(within) => {
            tracing::warn!(stage = name, ?within, "took too long, going on without it");
        }
    }
}
