//! Where a story stops a change of members: it arms a barrier, the first node that passes it stands
//! still there, and goes on when the story says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_core::barrier::{Barrier, Barriers};
use fanfare_core::id::ShardId;
use fanfare_tests::wait;
use tokio::sync::watch;

const SOON: Duration = Duration::from_secs(120);

/// Where a node was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its place among the nodes, from 0.
    pub node: usize,
    pub barrier: Barrier,
    /// `None`: the metadata group.
    pub shard: Option<ShardId>,
}

/// Whom to stop: who passes this barrier, for this shard or for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    pub barrier: Barrier,
    pub shard: Option<ShardId>,
}

impl From<Barrier> for Armed {
    fn from(barrier: Barrier) -> Self {
        Self {
            barrier,
            shard: None,
        }
    }
}

/// Stops the first node that passes the armed barrier, until it is released.
#[derive(Default)]
pub struct Stage {
    armed: Mutex<Option<Armed>>,
    stop: watch::Sender<Option<Stop>>,
}

impl Stage {
    /// The barriers of so many nodes.
    pub fn barriers(self: &Arc<Self>, nodes: usize) -> Vec<Barriers> {
        let of = |node| {
            let stage = Arc::clone(self);
            Barriers::new(move |barrier, shard| {
                let stage = Arc::clone(&stage);
                async move {
                    let stop = Stop {
                        node,
                        barrier,
                        shard,
                    };
                    stage.pass(stop).await;
                }
            })
        };
        (0..nodes).map(of).collect()
    }

    async fn pass(&self, stop: Stop) {
        {
            let mut armed = lock(&self.armed);
            let is_it = armed.is_some_and(|armed| {
                armed.barrier == stop.barrier
                    && (armed.shard.is_none() || armed.shard == stop.shard)
            });
            if !is_it {
                return;
            }
            *armed = None;
            self.stop.send_replace(Some(stop));
        }
        let mut stops = self.stop.subscribe();
        // An error: the story is over.
        drop(stops.wait_for(|now| *now != Some(stop)).await);
    }

    /// Lets who is stopped go on. The next who passes `next` is stopped.
    pub fn release_until(&self, next: Option<Armed>) {
        *lock(&self.armed) = next;
        self.stop.send_replace(None);
    }

    /// Who stands still, if somebody does.
    pub fn now(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Waits until somebody stands still.
    pub async fn stopped(&self) -> Result<Stop> {
        let mut stops = self.stop.subscribe();
        let stopped = stops.wait_for(Option::is_some);
        let stop = *wait::soon("somebody to be stopped", SOON, stopped).await??;
        stop.context("nobody stopped")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
