//! The opaque calls between replicas: bodies that this crate carries and does not read. `server`
//! joins them to consensus.

use bytes::Bytes;
use fanfare_core::id::NodeId;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::identity::Misdirected;

/// Between which replicas a call goes, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RaftRoute {
    /// The shard's group; `None`: the metadata group.
    pub shard: Option<u32>,
    /// Replica ids.
    pub from: u64,
    pub to: u64,
    /// Consensus' number of this kind of call.
    pub kind: u8,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftCall {
    pub route: RaftRoute,
    pub body: Bytes,
    /// True: over the connection of large transfers, so that no heartbeat waits behind it.
    pub bulk: bool,
}

/// The receiving end of a node. Neither method is cancelled but by the caller's leaving.
pub trait RaftDoor: Send + Sync + 'static {
    /// Answers a call of node `sender`.
    fn serve(
        &self,
        sender: NodeId,
        route: RaftRoute,
        body: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, RaftError>>;

    /// Answers a pipeline of calls on `route`: bodies come in, their answers go out in the same
    /// order. An error ends it. Ends when the bodies do and all are answered.
    fn serve_pipeline(
        &self,
        sender: NodeId,
        route: RaftRoute,
        bodies: mpsc::Receiver<Bytes>,
        answers: mpsc::Sender<Result<Bytes, RaftError>>,
    ) -> BoxFuture<'static, ()>;
}

/// A call without an answer. Raft tries again by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftError {
    /// The replica does not run on the called node.
    #[error("the replica is not on the called node")]
    NotHere,
    /// The view has no such node, or this node has no identity yet.
    #[error("the node is not known")]
    UnknownNode,
    #[error(transparent)]
    Misdirected(Misdirected),
    /// Not connected, or the connection broke.
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("no answer in time")]
    Timeout,
    /// The called replica failed.
    #[error("the called replica failed: {0}")]
    Failed(String),
}
