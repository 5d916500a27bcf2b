//! A peer that is there before the broker behind it: connections and listeners are made first.
//! Until then every read is sent elsewhere and every link ends at once.

use std::sync::{Arc, OnceLock};

use fanfare_core::gap::{Page, Standing};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{
    EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest, Redirect,
    StandRequest,
};
use fanfare_rpc::peer::Peer;
use fanfare_rpc::topics::{TopicCommand, TopicInfo};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::mpsc;

/// The broker of this node, once there is one. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct LatePeer(Arc<OnceLock<Arc<dyn Peer>>>);

impl LatePeer {
    /// From now on calls go to `peer`. The first one stays.
    pub(crate) fn set(&self, peer: Arc<dyn Peer>) {
        self.0.get_or_init(|| peer);
    }
}

fn elsewhere() -> NoRead {
    NoRead::Reroute(Redirect::default())
}

impl Peer for LatePeer {
    fn publish(&self, drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        match self.0.get() {
            Some(peer) => peer.publish(drafts),
            None => mpsc::channel(1).1,
        }
    }

    fn deliver(&self, edge: NodeId, says: mpsc::Receiver<EdgeSays>) -> mpsc::Receiver<LeaderSays> {
        match self.0.get() {
            Some(peer) => peer.deliver(edge, says),
            None => mpsc::channel(1).1,
        }
    }

    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        match self.0.get() {
            Some(peer) => peer.stand(shard, requests, wait_ms),
            None => ready(requests.iter().map(|_| Err(elsewhere())).collect()).boxed(),
        }
    }

    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        match self.0.get() {
            Some(peer) => peer.page(request),
            None => ready(Err(elsewhere())).boxed(),
        }
    }

    fn leader(&self, shard: ShardId) -> BoxFuture<'static, Redirect> {
        match self.0.get() {
            Some(peer) => peer.leader(shard),
            None => ready(Redirect::default()).boxed(),
        }
    }

    fn topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        match self.0.get() {
            Some(peer) => peer.topics(shard, command),
            None => ready(Err(elsewhere())).boxed(),
        }
    }
}
