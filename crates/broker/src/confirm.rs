//! Reads that a majority confirms (ReadIndex): one round at a time a shard; who comes while one is
//! out shares the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_consensus::ConfirmError;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

type Answer = Result<(), ConfirmError>;

/// Asks a majority once.
pub(crate) type Round = Arc<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>;

/// The rounds of one shard's leader.
pub(crate) struct Confirmer {
    round: Round,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    out: bool,
    waiting: Vec<oneshot::Sender<Answer>>,
}

impl Confirmer {
    /// How long a round may take.
    pub(crate) const WITHIN: Duration = Duration::from_secs(2);
    /// Reads that may wait for a round; more are refused as if no majority was heard.
    const MAX_WAITING: usize = 16_384;

    pub(crate) fn new(round: Round, tasks: TaskTracker, metrics: Arc<Metrics>) -> Self {
        Self {
            round,
            tasks,
            metrics,
            state: Mutex::default(),
        }
    }

    /// Waits for a round that begins after this call.
    pub(crate) async fn confirm(self: &Arc<Self>) -> Answer {
        let (answer, confirmed) = oneshot::channel();
        let first = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.waiting.len() >= Self::MAX_WAITING {
                return Err(ConfirmError::NoQuorum);
            }
            state.waiting.push(answer);
            !std::mem::replace(&mut state.out, true)
        };
        if first {
            self.tasks.spawn(Arc::clone(self).rounds());
        }
        confirmed.await.unwrap_or(Err(ConfirmError::Stopped))
    }

    async fn rounds(self: Arc<Self>) {
        loop {
            let asked = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.waiting.is_empty() {
                    state.out = false;
                    return;
                }
                std::mem::take(&mut state.waiting)
            };
            let answer = (self.round)().await;
            self.metrics.confirmations.inc();
            self.metrics.confirmed_reads.add(asked.len() as u64);
            for reader in asked {
                // A reader that has gone needs no answer.
                reader.send(answer.clone()).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn reads_that_come_during_a_round_share_the_next() {
        let gate = Arc::new(Semaphore::new(0));
        let metrics = Arc::new(Metrics::default());
        let round: Round = {
            let gate = Arc::clone(&gate);
            Arc::new(move || {
                let gate = Arc::clone(&gate);
                Box::pin(async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(())
                })
            })
        };
        let confirmer = Arc::new(Confirmer::new(
            round,
            TaskTracker::new(),
            Arc::clone(&metrics),
        ));
        let reads: Vec<_> = (0..10).map(|_| confirmer.confirm()).collect();
        let mut reads = reads.into_iter().map(Box::pin).collect::<Vec<_>>();
        for read in &mut reads {
            assert!(futures_util::poll!(read).is_pending());
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        for read in reads {
            assert_eq!(read.await, Ok(()));
        }
        assert_eq!(metrics.confirmed_reads.get(), 10);
        assert_eq!(metrics.confirmations.get(), 2);
    }
}
