//! The log's thread: it takes what waits, of all replicas, commits it with one sync, and completes
//! it in order, while the next buffer fills. Around it the handle that replicas submit to.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fanfare_host::{Clock, Disk, PowerLost};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::index::{self, Extent, Index, Read};
use super::record::Record;
use super::value::Wal;
use super::{Reserve, lock};
use crate::{Metrics, OnPoison};

/// A log without work for this long marks what it has as durable.
const QUIET_AFTER: Duration = Duration::from_millis(50);
/// Bytes that are committed together.
const BUFFER: usize = 4 << 20;
/// Age at which a sample of the free space is taken anew.
const SAMPLE: Duration = Duration::from_secs(1);

/// Called when a job is durable, or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// Records of one replica that are written together.
pub struct Job {
    pub replica: u64,
    pub records: Vec<Record>,
    /// False: it may wait for a job that is in a hurry, or for quiet.
    pub hurry: bool,
    pub done: Option<Done>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// Records to be made durable at once.
    #[must_use]
    pub fn new(replica: u64, records: Vec<Record>) -> Self {
        Self {
            replica,
            records,
            hurry: true,
            done: None,
            permit: None,
        }
    }

    fn bytes(&self) -> usize {
        self.records.iter().map(Record::size).sum()
    }
}

/// Work for the thread.
enum Work {
    Jobs(Vec<Job>),
    /// Nothing in a hurry came for a while; what waits without hurry.
    Quiet(Vec<Job>),
    /// The handles are gone.
    End(Vec<Job>),
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    hurried: usize,
    closed: bool,
    /// Set by the first failure; the kind and text it had.
    poison: Option<(io::ErrorKind, String)>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

impl Queue {
    /// An error if the log takes nothing any more; the job is completed with it, too.
    fn push(&self, job: Job) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        let error = || match &waiting.poison {
            Some((kind, text)) => Some(io::Error::new(*kind, text.clone())),
            None if waiting.closed => Some(io::Error::other("the log is closed")),
            None => None,
        };
        let (Some(told), Some(returned)) = (error(), error()) else {
            waiting.hurried += usize::from(job.hurry);
            waiting.jobs.push_back(job);
            self.wake.notify_one();
            return Ok(());
        };
        drop(waiting);
        if let Some(done) = job.done {
            done(Err(told));
        }
        Err(returned)
    }

    fn take(&self, quiet: bool) -> Work {
        let mut waiting = lock(&self.waiting);
        loop {
            if waiting.hurried > 0 {
                let mut jobs = Vec::new();
                let mut bytes = 0;
                while let Some(job) = waiting.jobs.front() {
                    if !jobs.is_empty() && bytes + job.bytes() > BUFFER {
                        break;
                    }
                    bytes += job.bytes();
                    let Some(job) = waiting.jobs.pop_front() else {
                        break;
                    };
                    waiting.hurried -= usize::from(job.hurry);
                    jobs.push(job);
                }
                return Work::Jobs(jobs);
            }
            if waiting.closed {
                return Work::End(waiting.jobs.drain(..).collect());
            }
            if quiet && waiting.jobs.is_empty() {
                waiting = self
                    .wake
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, timeout) = self
                .wake
                .wait_timeout(waiting, QUIET_AFTER)
                .unwrap_or_else(PoisonError::into_inner);
            waiting = woken;
            if timeout.timed_out() && waiting.hurried == 0 && !waiting.closed {
                return Work::Quiet(waiting.jobs.drain(..).collect());
            }
        }
    }

    fn close(&self) {
        lock(&self.waiting).closed = true;
        self.wake.notify_one();
    }
}

/// Ends the thread with the last handle.
struct Shared {
    queue: Arc<Queue>,
    index: Arc<Mutex<Index>>,
    permits: Arc<Semaphore>,
    permit_limit: u32,
    largest_payload: usize,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    clock: Arc<dyn Clock>,
    reserve: Reserve,
    metrics: Arc<Metrics>,
    room: Mutex<Option<(Duration, bool)>>,
    ended: watch::Receiver<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The log's handle: a clone is the same log. Its thread ends when the last one is dropped.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

/// What the handle of a log takes from its node.
pub(crate) struct LogParts {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reserve: Reserve,
    pub(crate) queue_bytes: usize,
    pub(crate) on_poison: OnPoison,
    pub(crate) metrics: Arc<Metrics>,
}

impl Log {
    /// Starts the thread.
    pub(crate) fn start(wal: Wal, parts: LogParts) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let index = Arc::clone(wal.index());
        let largest_payload = wal.largest_payload();
        let permit_limit = u32::try_from(parts.queue_bytes).unwrap_or(u32::MAX >> 3);
        let (end, ended) = watch::channel(false);
        let of_thread = Arc::clone(&queue);
        let (on_poison, metrics) = (parts.on_poison, Arc::clone(&parts.metrics));
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                run(wal, &of_thread, &on_poison, &metrics);
                end.send_replace(true);
            })?;
        Ok(Self(Arc::new(Shared {
            queue,
            index,
            permits: Arc::new(Semaphore::new(
                parts.queue_bytes.min(Semaphore::MAX_PERMITS),
            )),
            permit_limit,
            largest_payload,
            disk: parts.disk,
            dir: parts.dir,
            clock: parts.clock,
            reserve: parts.reserve,
            metrics: parts.metrics,
            room: Mutex::new(None),
            ended,
        })))
    }

    /// Shows the job's records to readers and queues them. Waits while too many bytes are queued.
    /// Of one replica one call at a time. An error: the log takes nothing any more, or the job is
    /// too large.
    pub(crate) async fn submit(&self, mut job: Job) -> io::Result<()> {
        if job
            .records
            .iter()
            .any(|record| record.payload.len() > self.0.largest_payload)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an entry is too large",
            ));
        }
        let bytes = u32::try_from(job.bytes())
            .unwrap_or(u32::MAX)
            .min(self.0.permit_limit);
        let permits = Arc::clone(&self.0.permits);
        let closed = |_| io::Error::other("the log is closed");
        job.permit = Some(permits.acquire_many_owned(bytes).await.map_err(closed)?);
        lock(&self.0.index).stage(job.replica, &mut job.records);
        self.0.queue.push(job)
    }

    /// Like `submit`, and waits until the job is durable.
    pub(crate) async fn submit_and_wait(&self, mut job: Job) -> io::Result<()> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        job.done = Some(Box::new(move |result| drop(tx.send(result))));
        self.submit(job).await?;
        rx.await
            .unwrap_or_else(|_| Err(io::Error::other("the log is closed")))
    }

    pub(crate) fn extent(&self, replica: u64) -> Extent {
        lock(&self.0.index).extent(replica)
    }

    pub(crate) fn read(
        &self,
        replica: u64,
        from: u64,
        to: u64,
        limit: usize,
    ) -> io::Result<Vec<Read>> {
        index::read(&self.0.index, replica, from, to, limit)
    }

    /// Bytes of the log that some replica still needs, and the bytes its segments take.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        lock(&self.0.index).bytes()
    }

    /// The replica that holds most of the oldest segment, if the log has more than one.
    pub(crate) fn oldest_holder(&self) -> Option<u64> {
        lock(&self.0.index).oldest_holder()
    }

    /// The last entry of a replica that can go if of those up to `upto` the newest `keep` bytes
    /// stay.
    pub(crate) fn last_before(&self, replica: u64, upto: u64, keep: u64) -> Option<u64> {
        lock(&self.0.index).last_before(replica, upto, keep)
    }

    /// False if free space is below the reserve (R15). Cheap: sampled at most once a second. A
    /// volume that does not tell has room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let now = self.0.clock.now();
        let mut room = lock(&self.0.room);
        if let Some((at, known)) = *room
            && now.saturating_sub(at) < SAMPLE
        {
            return known;
        }
        let before = room.is_none_or(|(_, known)| known);
        let fresh = match self.0.disk.space(&self.0.dir) {
            Ok(space) => {
                let reserve = self.0.reserve.of(space.total);
                // A little more is asked for before it has room again, so that it does not flap.
                let wanted = if before {
                    reserve
                } else {
                    reserve + reserve / 16
                };
                let fresh = space.free > wanted;
                let free = space.free;
                self.0.metrics.free_bytes.set(free);
                self.0.metrics.reserve_bytes.set(reserve);
                match (before, fresh) {
                    (true, false) => tracing::error!(
                        free, reserve, dir = %self.0.dir.display(),
                        "the disk is full: messages are refused and leaderships given away"
                    ),
                    (false, true) => tracing::warn!(
                        free, reserve, dir = %self.0.dir.display(),
                        "the disk has room again: messages are taken"
                    ),
                    (true, true) | (false, false) => {}
                }
                fresh
            }
            Err(error) => {
                tracing::warn!(%error, "free space is not known");
                true
            }
        };
        self.0.metrics.log_full.set(u64::from(!fresh));
        *room = Some((now, fresh));
        fresh
    }

    /// True once a write or sync failed: nothing is accepted any more (R5).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        lock(&self.0.queue.waiting).poison.is_some()
    }

    /// Writes what waits, marks it durable and ends the thread.
    pub(crate) async fn close(&self) {
        self.0.queue.close();
        let mut ended = self.0.ended.clone();
        // An error means that the thread is gone, which is what is waited for.
        drop(ended.wait_for(|ended| *ended).await);
    }
}

fn run(mut wal: Wal, queue: &Queue, on_poison: &OnPoison, metrics: &Metrics) {
    loop {
        let (live, all) = lock(wal.index()).bytes();
        metrics.log_live_bytes.set(live);
        metrics.log_bytes.set(all);
        let work = queue.take(wal.is_quiet());
        let end = matches!(work, Work::End(_));
        let rests = !matches!(work, Work::Jobs(_));
        let (Work::Jobs(jobs) | Work::Quiet(jobs) | Work::End(jobs)) = work;
        let committed = if jobs.is_empty() {
            Ok(())
        } else {
            wal.commit(&jobs)
        };
        let result = committed.and_then(|()| if rests { wal.rest() } else { Ok(()) });
        if let Err(error) = &result {
            poison(queue, error, jobs);
            on_poison(error);
            return;
        }
        for job in jobs {
            if let Some(done) = job.done {
                done(Ok(()));
            }
        }
        if let Err(error) = wal.reclaim() {
            poison(queue, &error, Vec::new());
            on_poison(&error);
            return;
        }
        if end {
            return;
        }
    }
}

/// Fails all that waits and will ever come (R5).
fn poison(queue: &Queue, error: &io::Error, jobs: Vec<Job>) {
    match PowerLost::is_why(error) {
        true => tracing::debug!("the log ended with its power"),
        false => tracing::error!(%error, "the log failed and takes nothing any more"),
    }
    let waiting: Vec<Job> = {
        let mut waiting = lock(&queue.waiting);
        waiting.poison = Some((error.kind(), error.to_string()));
        waiting.hurried = 0;
        waiting.jobs.drain(..).collect()
    };
    for job in jobs.into_iter().chain(waiting) {
        if let Some(done) = job.done {
            done(Err(io::Error::new(error.kind(), error.to_string())));
        }
    }
}
