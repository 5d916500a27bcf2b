//! Publish links: drafts come in with permits, verdicts go out; and the runs of (stream, shard)
//! that a `Reroute` has closed. What becomes of a draft is decided by the shard's actor.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::id::ShardId;
use fanfare_core::link::{PublishAnswer, PublishRequest, Redirect, Verdict};
use fanfare_core::message::Draft;
use fanfare_core::receipt::{Receipt, Refusal};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Requests of one link that may be unanswered; then the link is read no further.
const MAX_IN_FLIGHT: u32 = 8_192;

/// Which runs of one link are closed.
#[derive(Debug, Default)]
struct ClosedRuns {
    /// The highest closed run of each (shard, stream).
    rows: BTreeMap<(ShardId, u64), u32>,
    /// Rows in the order in which they came: the oldest goes first.
    age: VecDeque<(ShardId, u64)>,
}

impl ClosedRuns {
    /// More than eight times what can be in flight, so that no request of a forgotten run is.
    const MAX_ROWS: usize = 8 * MAX_IN_FLIGHT as usize;

    fn is_closed(&self, shard: ShardId, stream: u64, run: u32) -> bool {
        self.rows
            .get(&(shard, stream))
            .is_some_and(|closed| run <= *closed)
    }

    fn close(&mut self, shard: ShardId, stream: u64, run: u32) {
        let row = self.rows.entry((shard, stream)).or_insert_with(|| {
            self.age.push_back((shard, stream));
            run
        });
        *row = run.max(*row);
        if self.rows.len() > Self::MAX_ROWS
            && let Some(oldest) = self.age.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }
}

/// One publish link: answers on their way to the edge.
pub(crate) struct PublishLink {
    answers: Mutex<Answers>,
    news: Notify,
    runs: Mutex<ClosedRuns>,
    /// Cancelled when nobody reads the answers any more.
    gone: CancellationToken,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Answers {
    queue: VecDeque<(PublishAnswer, OwnedSemaphorePermit)>,
    /// Tickets given and not answered yet.
    open: usize,
    /// No more requests come.
    closed: bool,
}

impl PublishLink {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            answers: Mutex::default(),
            news: Notify::new(),
            runs: Mutex::default(),
            gone: CancellationToken::new(),
            metrics,
        }
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> MutexGuard<'_, ClosedRuns> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads requests and gives each, with its ticket, to `take`, until the edge ends.
    pub(crate) async fn read(
        self: &Arc<Self>,
        mut drafts: mpsc::Receiver<PublishRequest>,
        now: impl Fn() -> Duration + Send,
        take: impl Fn(Work) + Send,
    ) {
        let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        while let Some(request) = drafts.recv().await {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                break;
            };
            self.metrics.drafts.inc();
            take(self.accept(request, slot, now()));
        }
    }

    /// Completes when nobody reads the answers any more.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// No more requests come: the link ends once all are answered.
    pub(crate) fn close(&self) {
        self.answers().closed = true;
        self.news.notify_one();
    }

    fn accept(
        self: &Arc<Self>,
        request: PublishRequest,
        slot: OwnedSemaphorePermit,
        now: Duration,
    ) -> Work {
        let PublishRequest {
            seq,
            stream,
            run,
            shard,
            draft,
            timeout_ms,
        } = request;
        self.answers().open += 1;
        let open = Open {
            link: Arc::clone(self),
            slot,
            seq,
            stream,
            run,
            shard,
        };
        let deadline = now + Duration::from_millis(u64::from(timeout_ms));
        let ticket = Ticket {
            open: Some(open),
            proposed: false,
        };
        Work {
            draft,
            ticket,
            arrived: now,
            deadline,
            room: None,
            rules: 0,
        }
    }

    /// A request outside of a reader, for tests.
    #[cfg(test)]
    pub(crate) fn work(self: &Arc<Self>, request: PublishRequest, now: Duration) -> Work {
        let slots = Arc::new(Semaphore::new(1));
        let slot = slots.try_acquire_owned().expect("a slot of its own");
        self.accept(request, slot, now)
    }

    /// Writes answers until all requests are answered and no more come, or the edge is gone.
    pub(crate) async fn write(self: Arc<Self>, verdicts: mpsc::Sender<PublishAnswer>) {
        loop {
            let (next, done) = {
                let mut answers = self.answers();
                let next = answers.queue.pop_front();
                (next, answers.closed && answers.open == 0)
            };
            match next {
                Some((answer, slot)) => {
                    if verdicts.send(answer).await.is_err() {
                        return self.gone.cancel();
                    }
                    drop(slot);
                }
                None if done => return,
                None => self.news.notified().await,
            }
        }
    }
}

/// A draft and the right to answer it.
pub(crate) struct Work {
    pub(crate) draft: Draft,
    pub(crate) ticket: Ticket,
    /// Monotonic time at which it came, and until which its publisher waits.
    pub(crate) arrived: Duration,
    pub(crate) deadline: Duration,
    /// Bytes of the shard's room that it takes until it is answered.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    /// Version of the shard's rules by which it was judged to be for the log.
    pub(crate) rules: u64,
}

/// The right to answer one request, once. Dropped unanswered it says what is true: sent back if it
/// was not proposed, else unknown.
pub(crate) struct Ticket {
    open: Option<Open>,
    proposed: bool,
}

struct Open {
    link: Arc<PublishLink>,
    slot: OwnedSemaphorePermit,
    seq: u64,
    stream: u64,
    run: u32,
    shard: ShardId,
}

impl Ticket {
    /// The shard it is for, while it is not answered.
    pub(crate) fn shard(&self) -> Option<ShardId> {
        self.open.as_ref().map(|open| open.shard)
    }

    /// From now on nobody may say that the draft is not placed, but apply.
    pub(crate) fn propose(&mut self) {
        self.proposed = true;
    }

    /// The proposal is known not to have entered the log.
    pub(crate) fn not_proposed(&mut self) {
        self.proposed = false;
    }

    /// True if an earlier draft of its run was sent back: then it must be too.
    pub(crate) fn run_closed(&self) -> bool {
        let closed = |open: &Open| {
            open.link
                .runs()
                .is_closed(open.shard, open.stream, open.run)
        };
        self.open.as_ref().is_some_and(closed)
    }

    pub(crate) fn placed(mut self, receipt: Receipt) {
        self.answer(Verdict::Placed(receipt));
    }

    pub(crate) fn refuse(mut self, refusal: Refusal) {
        self.answer(Verdict::Refused(refusal));
    }

    pub(crate) fn unknown(mut self, why: &str) {
        self.answer(unknown(why));
    }

    pub(crate) fn reroute(mut self, redirect: Redirect) {
        self.answer(Verdict::Reroute(redirect));
    }

    fn answer(&mut self, verdict: Verdict) {
        let Some(open) = self.open.take() else { return };
        let Open {
            link,
            slot,
            seq,
            stream,
            run,
            shard,
        } = open;
        match &verdict {
            Verdict::Placed(receipt) => {
                link.metrics.placed.inc();
                if receipt.duplicate {
                    link.metrics.duplicates.inc();
                }
            }
            Verdict::Refused(refusal) if refusal.code == Code::OutcomeUnknown => {
                link.metrics.unknown.inc();
            }
            Verdict::Refused(_) => link.metrics.refused.inc(),
            Verdict::Reroute(_) => {
                link.metrics.rerouted.inc();
                link.runs().close(shard, stream, run);
            }
        }
        let mut answers = link.answers();
        answers.open -= 1;
        answers
            .queue
            .push_back((PublishAnswer { seq, verdict }, slot));
        drop(answers);
        link.news.notify_one();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let verdict = if self.proposed {
            unknown("the shard's leader stopped before the result was known")
        } else {
            Verdict::Reroute(Redirect::default())
        };
        self.answer(verdict);
    }
}

fn unknown(why: &str) -> Verdict {
    Verdict::Refused(Refusal::of_publish(Code::OutcomeUnknown, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_run_stays_closed_and_the_next_is_open() {
        let mut runs = ClosedRuns::default();
        runs.close(ShardId(1), 7, 3);
        assert!(runs.is_closed(ShardId(1), 7, 3));
        assert!(runs.is_closed(ShardId(1), 7, 2));
        assert!(!runs.is_closed(ShardId(1), 7, 4));
        assert!(!runs.is_closed(ShardId(2), 7, 3));
        runs.close(ShardId(1), 7, 1);
        assert!(
            runs.is_closed(ShardId(1), 7, 3),
            "a late answer of an old run opens nothing"
        );
    }

    #[test]
    fn closed_runs_are_bounded() {
        let mut runs = ClosedRuns::default();
        for stream in 0..ClosedRuns::MAX_ROWS as u64 + 5 {
            runs.close(ShardId(0), stream, 1);
        }
        assert_eq!(runs.rows.len(), ClosedRuns::MAX_ROWS);
        assert_eq!(runs.age.len(), ClosedRuns::MAX_ROWS);
        assert!(!runs.is_closed(ShardId(0), 4, 1));
        assert!(runs.is_closed(ShardId(0), 5, 1));
    }
}
