//! What nodes ask of each other, in core types: the seam between `edge` and `broker`. One
//! implementation calls the broker in this process, the other goes over gRPC.

use std::sync::Arc;

use fanfare_core::gap::{Page, Standing};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{
    EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest, StandRequest,
};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::topics::{TopicCommand, TopicInfo};

/// A node's broker, as edges use it: its own or another node's.
pub trait Peer: Send + Sync + 'static {
    /// Opens a publish link. Drafts go in, verdicts come out; both are bounded. The end of the
    /// verdicts leaves all that is unanswered unknown. Dropping the sender half-closes: what was
    /// sent is still answered.
    fn publish(&self, drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer>;

    /// Opens a delivery link. Its end ends all attachments on it.
    fn deliver(&self, edge: NodeId, says: mpsc::Receiver<EdgeSays>) -> mpsc::Receiver<LeaderSays>;

    /// The standing of subscribers to topics of one shard, confirmed by a majority (C21–C23).
    /// Waits up to `wait_ms` for a `min_position`. One result for each request, in order.
    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>>;

    /// A page of history: of any replica up to what it has applied, or of the leader.
    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>>;

    /// Who leads the shard, as this node's replica sees it.
    fn leader(&self, shard: ShardId) -> BoxFuture<'static, fanfare_core::link::Redirect>;

    /// Creates, deletes or describes topics of one shard, on its leader.
    fn topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>>;
}

/// Finds the peer of a node: the local broker for this node's id, a channel for others. `None` if
/// the view has no such node.
pub trait Peers: Send + Sync + 'static {
    fn peer(&self, node: NodeId) -> Option<Arc<dyn Peer>>;
}
