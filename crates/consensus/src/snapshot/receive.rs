//! Taking in a snapshot: into a file beside, verified as a whole before openraft hears of it. What
//! is broken off leaves nothing behind, and the replica as it was.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::file::Output;
use super::{Haste, SnapshotFile, Snapshots, is_full, lock};
use crate::format::{Part, Reply, group_number, read_part, reply};
use crate::machine::{Snapshot, blocking};
use crate::raft_types::{Raft, SnapshotMeta, Vote};
use crate::{GroupId, StateMachine, WireError};

/// Between two signs of life while a snapshot is verified and installed.
const SIGN: Duration = Duration::from_secs(1);
/// A sender that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(20);

/// Takes snapshots for one replica, one at a time: the latest sender is the one that counts.
pub(crate) struct Receiver<M: StateMachine> {
    pub(crate) raft: Raft<M>,
    pub(crate) snapshots: Snapshots,
    pub(crate) group: GroupId,
    /// Set when the replica stops.
    pub(crate) stop: CancellationToken,
    turn: tokio::sync::Mutex<()>,
    running: Mutex<CancellationToken>,
    count: AtomicU64,
}

type Answers = mpsc::Sender<Result<Bytes, WireError>>;

fn failed(why: &(impl ToString + ?Sized)) -> WireError {
    WireError::Unreachable(why.to_string())
}

/// Where a snapshot is received. Goes, with what is there, unless the file has got its name.
struct Temporary {
    snapshots: Snapshots,
    path: Option<PathBuf>,
}

impl Temporary {
    async fn remove(mut self) {
        if let Some(path) = self.path.take() {
            let snapshots = self.snapshots.clone();
            let removed = blocking(move || {
                snapshots.discard(&path);
                Ok(())
            });
            // A runtime that ends leaves it to the next start.
            drop(removed.await);
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            let snapshots = self.snapshots.clone();
            let discard = move || snapshots.discard(&path);
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(discard)),
                Err(_) => discard(),
            }
        }
    }
}

/// What is on its way.
struct Incoming {
    out: Output,
    path: PathBuf,
    vote: Vote,
    meta: SnapshotMeta,
    length: u64,
}

impl<M: StateMachine> Receiver<M> {
    pub(crate) fn new(raft: Raft<M>, snapshots: Snapshots, group: GroupId) -> Self {
        let stop = CancellationToken::new();
        Self {
            raft,
            snapshots,
            group,
            running: Mutex::new(stop.child_token()),
            stop,
            turn: tokio::sync::Mutex::default(),
            count: AtomicU64::new(0),
        }
    }

    /// Ends what is being received, and waits until it has.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        drop(self.turn.lock().await);
    }

    /// Takes a snapshot. Ends with an answer that is final.
    pub(crate) async fn serve(&self, mut bodies: mpsc::Receiver<Bytes>, answers: Answers) {
        let mine = self.stop.child_token();
        std::mem::replace(&mut *lock(&self.running), mine.clone()).cancel();
        let _turn = self.turn.lock().await;
        let share = self.snapshots.share();
        let nth = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.snapshots.temporary(&format!("received-{nth}"));
        let temporary = Temporary {
            path: Some(path.clone()),
            snapshots: self.snapshots.clone(),
        };
        let last = match share.receiving.try_acquire() {
            Err(_) => Ok(Reply::Busy),
            Ok(_permit) => match self.begin(&mut bodies, &path, &mine).await {
                Err(ended) => ended,
                Ok(incoming) => tokio::select! {
                    biased;
                    () = mine.cancelled() => Err(failed("another takes its place")),
                    () = answers.closed() => Err(failed("the sender left")),
                    last = self.take(incoming, &mut bodies, &answers) => last,
                },
            },
        };
        temporary.remove().await;
        match &last {
            Ok(Reply::Done(_) | Reply::Taken(_) | Reply::Working | Reply::Busy) => {}
            Ok(Reply::Corrupt(why)) => self.not_taken(why),
            Err(error) => self.not_taken(&error.to_string()),
        }
        // A sender that is gone needs no answer.
        drop(answers.send(last.map(|last| reply(&last))).await);
    }

    fn not_taken(&self, why: &str) {
        self.snapshots.share().metrics.snapshots_failed.inc();
        tracing::warn!(group = ?self.group, why, "a snapshot was not taken");
    }

    /// Hears the offer and makes the file; not broken off between, so that no file comes late.
    async fn begin(
        &self,
        bodies: &mut mpsc::Receiver<Bytes>,
        path: &Path,
        mine: &CancellationToken,
    ) -> Result<Incoming, Result<Reply, WireError>> {
        let first = tokio::select! {
            biased;
            () = mine.cancelled() => return Err(Err(failed("another takes its place"))),
            first = self.next(bodies) => first.map_err(Err)?,
        };
        let Part::Offer { vote, meta, length } = first else {
            return Err(Err(failed("a chunk before its offer")));
        };
        if let Some(higher) = self.higher_than(&vote) {
            return Err(Ok(Reply::Done(higher)));
        }
        let (of_task, at) = (self.snapshots.share().clone(), path.to_path_buf());
        let created = blocking(move || Output::create(&of_task, &at, Haste::Hurried)).await;
        Ok(Incoming {
            out: self.checked(created).map_err(Err)?,
            path: path.to_path_buf(),
            vote,
            meta,
            length,
        })
    }

    async fn next(&self, bodies: &mut mpsc::Receiver<Bytes>) -> Result<Part, WireError> {
        let body = tokio::select! {
            biased;
            body = bodies.recv() => body.ok_or_else(|| failed("it broke off"))?,
            () = self.snapshots.share().clock.sleep(SILENCE) => return Err(WireError::Timeout),
        };
        read_part(body).map_err(|error| failed(&error))
    }

    async fn take(
        &self,
        incoming: Incoming,
        bodies: &mut mpsc::Receiver<Bytes>,
        answers: &Answers,
    ) -> Result<Reply, WireError> {
        let Incoming {
            mut out,
            path,
            vote,
            meta,
            length,
        } = incoming;
        while out.at() < length {
            say(answers, &Reply::Taken(out.at())).await?;
            let Part::Chunk { group, at, bytes } = self.next(bodies).await? else {
                return Err(failed("a second offer"));
            };
            let end = at.saturating_add(bytes.len() as u64);
            if group != group_number(self.group) || at != out.at() || end > length || end == at {
                let text = format!("bytes {at} to {end} of group {group} do not fit");
                return Err(failed(&text));
            }
            let written = blocking(move || out.write(&bytes).map(|()| out)).await;
            out = self.checked(written)?;
            if let Some(higher) = self.higher_than(&vote) {
                return Ok(Reply::Done(higher));
            }
        }
        let clock = Arc::clone(&self.snapshots.share().clock);
        let mut installing = pin!(self.verify_and_install(out, path, vote, meta));
        loop {
            tokio::select! {
                biased;
                last = &mut installing => return last,
                () = clock.sleep(SIGN) => say(answers, &Reply::Working).await?,
            }
        }
    }

    async fn verify_and_install(
        &self,
        out: Output,
        path: PathBuf,
        vote: Vote,
        meta: SnapshotMeta,
    ) -> Result<Reply, WireError> {
        let disk = Arc::clone(&self.snapshots.share().disk);
        let synced = blocking(move || out.sync()).await;
        self.checked(synced)?;
        let file = match blocking(move || SnapshotFile::open(disk.as_ref(), path)).await {
            Ok(file) if file.meta == meta => file,
            Ok(_) => {
                return Ok(Reply::Corrupt(
                    "it is not the one that was offered".to_owned(),
                ));
            }
            Err(error) => return Ok(Reply::Corrupt(error.to_string())),
        };
        let snapshot = Snapshot {
            meta,
            snapshot: file,
        };
        let installed = self.raft.install_full_snapshot(vote, snapshot).await;
        installed
            .map(|answer| Reply::Done(answer.vote))
            .map_err(|error| failed(&error))
    }

    /// This replica's vote, if it is higher than the sender's: who sends leads no more.
    fn higher_than(&self, vote: &Vote) -> Option<Vote> {
        use openraft::type_config::async_runtime::watch::WatchReceiver as _;
        let metrics = self.raft.metrics();
        let own = metrics.borrow_watched().vote;
        (own.leader_id.term > vote.leader_id.term).then_some(own)
    }

    /// A full volume ends the transfer and nothing else; any other failure of the disk is the
    /// node's (R5, R15).
    fn checked<T>(&self, result: std::io::Result<T>) -> Result<T, WireError> {
        result.map_err(|error| {
            if !is_full(&error) {
                (self.snapshots.share().on_poison)(&error);
            }
            failed(&error)
        })
    }
}

async fn say(answers: &Answers, said: &Reply) -> Result<(), WireError> {
    let sent = answers.send(Ok(reply(said))).await;
    sent.map_err(|_| failed("the sender left"))
}
