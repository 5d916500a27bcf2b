//! The way between replicas, as consensus asks it of its user: opaque bodies between replica ids.

use bytes::Bytes;
use fanfare_core::id::ReplicaId;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::GroupId;

/// Kinds of raft calls between replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Appends and heartbeats.
    Append,
    Vote,
    PreVote,
    /// Leadership handed over.
    Transfer,
    /// A snapshot, in pieces.
    Snapshot,
}

/// One raft call from replica `from` to replica `to` of `group`.
#[derive(Clone, Debug)]
pub struct Call {
    pub route: Route,
    pub kind: Kind,
    pub body: Bytes,
}

/// Way to the other replicas. The user finds the node that holds `route.to` and brings the body to
/// its [`Door::serve`](crate::Door::serve). An error means no answer: raft retries by itself.
pub trait Wire: Send + Sync + 'static {
    /// One request, one answer.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>>;

    /// A heartbeat: small, an append without entries. Those that the leaders of one node send to
    /// another come at the same time, and a wire may carry them together; none waits for the
    /// answer of another. Dropped by the caller when it took too long.
    fn heartbeat(&self, route: Route, body: Bytes) -> BoxFuture<'static, Result<Bytes, WireError>> {
        let kind = Kind::Append;
        self.call(Call { route, kind, body })
    }

    /// A pipeline of appends on `route`: bodies go in, their answers come out in the same order.
    /// An error, or the end of the answers, ends it. The other end gives it to
    /// [`Door::serve_appends`](crate::Door::serve_appends). At most 8 bodies are on their way, each
    /// of about 4 MiB at most; dropping the answers must end the pipeline at both ends.
    fn appends(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>>;

    /// The pieces of a snapshot on `route`, like [`appends`](Self::appends) but over the connection
    /// for large transfers, and with more than one answer to the last piece. The other end gives it
    /// to [`Door::serve_snapshot`](crate::Door::serve_snapshot). At most 5 bodies are on their way,
    /// each a little larger than 512 KiB. A wire that does not carry snapshots refuses them.
    fn snapshot(
        &self,
        route: Route,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        drop((route, bodies));
        let (answers, refused) = mpsc::channel(1);
        let text = "this wire carries no snapshots";
        // The channel is new and empty.
        drop(answers.try_send(Err(WireError::Unreachable(text.to_owned()))));
        refused
    }
}

/// Between which replicas a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    pub group: GroupId,
    pub from: ReplicaId,
    pub to: ReplicaId,
}

/// A call that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the node of replica {0} is not known")]
    NoAddress(ReplicaId),
    #[error("the replica is not on the called node")]
    NotHere,
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
}
