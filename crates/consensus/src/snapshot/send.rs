//! Sending a snapshot: an offer, then the file in chunks, a few on their way at a time. Each answer
//! has seconds to come, the whole has none: a large snapshot takes as long as it moves.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fanfare_host::Clock;
use tokio::sync::mpsc;

use super::{SnapshotFile, Snapshots};
use crate::format::{Reply, chunk, offer, read_reply};
use crate::raft_types::Vote;
use crate::{Route, Wire, WireError};

/// Bytes of a chunk.
pub(crate) const CHUNK: u64 = 512 << 10;
/// Chunks on their way at a time.
const WINDOW: u64 = 4;

/// The snapshots that a replica is sending: the last entry in each. The log behind them is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfers(Arc<Mutex<BTreeMap<u64, u64>>>);

impl Transfers {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last entry of the snapshot that is on its way to `replica`.
    pub(crate) fn to(&self, replica: u64) -> Option<u64> {
        self.lock().get(&replica).copied()
    }

    fn begin(&self, replica: u64, index: u64) -> UnderWay {
        self.lock().insert(replica, index);
        UnderWay {
            transfers: self.clone(),
            replica,
        }
    }
}

struct UnderWay {
    transfers: Transfers,
    replica: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.transfers.lock().remove(&self.replica);
    }
}

/// What a replica sends its snapshots with.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) snapshots: Snapshots,
    pub(crate) transfers: Transfers,
    /// How long an answer may take.
    pub(crate) patience: Duration,
}

impl Sender {
    /// Sends a snapshot on `route`; the vote of who took it. `None`: cancelled. Any error leaves
    /// the other replica as it was.
    pub(crate) async fn send(
        &self,
        wire: &dyn Wire,
        route: Route,
        vote: &Vote,
        file: SnapshotFile,
        cancel: impl Future<Output = impl Sized>,
    ) -> Option<Result<Vote, WireError>> {
        let index = file.meta.last_log_id.map_or(0, |id| id.index);
        let _under_way = self.transfers.begin(route.to.0, index);
        let bytes = file.length;
        tracing::debug!(group = ?route.group, to = %route.to, index, bytes, "sends a snapshot");
        let (bodies, from_here) = mpsc::channel(usize::try_from(WINDOW).unwrap_or(1) + 1);
        let sending = Sending {
            sender: self,
            clock: Arc::clone(&self.snapshots.share().clock),
            route,
            file,
            bodies,
            answers: wire.snapshot(route, from_here),
        };
        let sent = tokio::select! {
            biased;
            _ = pin!(cancel) => return None,
            sent = sending.run(vote) => sent,
        };
        let metrics = &self.snapshots.share().metrics;
        match &sent {
            Ok(_) => {
                metrics.snapshots_sent.inc();
                tracing::info!(group = ?route.group, to = %route.to, index, "a snapshot has arrived");
            }
            Err(error) if *error == busy() => {}
            Err(error) => {
                metrics.snapshots_failed.inc();
                tracing::warn!(group = ?route.group, to = %route.to, index, %error, "a snapshot did not arrive");
            }
        }
        Some(sent)
    }
}

/// It is tried again like any error, and is none to be counted.
fn busy() -> WireError {
    WireError::Unreachable("the other node takes in as many snapshots as it can".to_owned())
}

struct Sending<'a> {
    sender: &'a Sender,
    clock: Arc<dyn Clock>,
    route: Route,
    file: SnapshotFile,
    bodies: mpsc::Sender<Bytes>,
    answers: mpsc::Receiver<Result<Bytes, WireError>>,
}

impl Sending<'_> {
    async fn run(mut self, vote: &Vote) -> Result<Vote, WireError> {
        let length = self.file.length;
        self.put(offer(vote, &self.file.meta, length)).await?;
        let (mut sent, mut taken) = (0, None);
        loop {
            let going = taken.is_some_and(|taken| sent - taken < WINDOW * CHUNK);
            if going && sent < length {
                let bytes = self.read(sent).await?;
                self.put(chunk(self.route.group, sent, &bytes)).await?;
                sent += bytes.len() as u64;
                continue;
            }
            match self.reply().await? {
                Reply::Taken(at) if at <= sent && Some(at) >= taken => taken = Some(at),
                Reply::Taken(at) => {
                    let text = format!("{at} bytes taken of {sent} that were sent");
                    return Err(WireError::Unreachable(text));
                }
                Reply::Working => {}
                Reply::Busy => return Err(busy()),
                Reply::Done(vote) => return Ok(vote),
                Reply::Corrupt(why) => {
                    self.look_at_own().await;
                    return Err(WireError::Unreachable(format!("refused: {why}")));
                }
            }
        }
    }

    async fn put(&self, body: Bytes) -> Result<(), WireError> {
        let sent = tokio::select! {
            biased;
            sent = self.bodies.send(body) => sent,
            () = self.clock.sleep(self.sender.patience) => return Err(WireError::Timeout),
        };
        sent.map_err(|_| WireError::Unreachable("the transfer ended".to_owned()))
    }

    async fn reply(&mut self) -> Result<Reply, WireError> {
        let answer = tokio::select! {
            biased;
            answer = self.answers.recv() => answer,
            () = self.clock.sleep(self.sender.patience) => return Err(WireError::Timeout),
        };
        let ended = || WireError::Unreachable("the transfer ended".to_owned());
        let body = answer.ok_or_else(ended)??;
        read_reply(body).map_err(|error| WireError::Unreachable(error.to_string()))
    }

    async fn read(&self, at: u64) -> Result<Bytes, WireError> {
        let file = self.file.clone();
        let read = crate::machine::blocking(move || file.read(at, CHUNK)).await;
        read.map_err(|error| WireError::Unreachable(format!("cannot be read: {error}")))
    }

    /// The other end found it corrupt: if it is so on this disk, another takes its place.
    async fn look_at_own(&self) {
        let file = self.file.clone();
        if let Err(error) = crate::machine::blocking(move || file.verify()).await {
            tracing::error!(group = ?self.route.group, %error, "a snapshot on this disk is not what was written");
            self.sender.snapshots.growth().damage();
        }
    }
}
