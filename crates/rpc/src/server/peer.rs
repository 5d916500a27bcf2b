//! The serving end of links and reads: a local broker for other nodes' edges.

use std::sync::Arc;

use fanfare_core::id::ShardId;
use fanfare_core::link::{EdgeSays, LeaderSays, PageRequest, PublishRequest, StandRequest};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::batch::batches;
use crate::convert::content::Metas;
use crate::convert::link::request;
use crate::convert::read;
use crate::identity::{Check, Local};
use crate::pb::peer as pb;
use crate::pb::peer::bulk_server::Bulk;
use crate::pb::peer::peer_server::Peer as Links;
use crate::peer::Peer;

/// Values of a link taken from the connection and not yet by the broker.
const LINK_QUEUE: usize = 256;
/// What a word costs beside the messages in it.
const WORD: u64 = 64;

#[derive(Clone)]
pub(super) struct PeerService {
    pub(super) local: Local,
    pub(super) peer: Arc<dyn Peer>,
    pub(super) tasks: TaskTracker,
}

impl PeerService {
    /// Hands on what comes in until it ends. An end without half-close, or a value that cannot be
    /// read, also ends what goes out: the link is over.
    fn feed<T: Send + 'static>(
        &self,
        incoming: impl Stream<Item = Result<Vec<T>, Status>> + Send + 'static,
        into: mpsc::Sender<T>,
    ) -> CancellationToken {
        let broken = CancellationToken::new();
        let token = broken.clone();
        self.tasks.spawn(async move {
            let mut incoming = std::pin::pin!(incoming);
            while let Some(batch) = incoming.next().await {
                match batch {
                    Ok(batch) => {
                        for value in batch {
                            if into.send(value).await.is_err() {
                                return token.cancel();
                            }
                        }
                    }
                    Err(status) => {
                        tracing::debug!(code = %status.code(), why = status.message(), "link broke");
                        return token.cancel();
                    }
                }
            }
        });
        broken
    }
}

#[tonic::async_trait]
impl Links for PeerService {
    type PublishStream = BoxStream<'static, Result<pb::Verdicts, Status>>;

    async fn publish(
        &self,
        call: Request<Streaming<pb::Drafts>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        self.local
            .check(call.metadata(), Check::Exact)
            .map_err(|refused| *refused)?;
        let incoming = call.into_inner().map(|batch| {
            let pb::Drafts { drafts } = batch?;
            let mut metas = Metas::default();
            let drafts = drafts.into_iter().map(|raw| request(raw, &mut metas));
            drafts
                .collect::<Result<Vec<PublishRequest>, _>>()
                .map_err(Status::from)
        });
        let (drafts, rx) = mpsc::channel(LINK_QUEUE);
        let answers = self.peer.publish(rx);
        let broken = self.feed(incoming, drafts);
        let out = batches(answers, |_| WORD).map(|batch| {
            Ok(pb::Verdicts {
                verdicts: batch.into_iter().map(Into::into).collect(),
            })
        });
        Ok(Response::new(
            out.take_until(broken.cancelled_owned()).boxed(),
        ))
    }

    type DeliverStream = BoxStream<'static, Result<pb::LeaderSays, Status>>;

    async fn deliver(
        &self,
        call: Request<Streaming<pb::EdgeSays>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let checked = self.local.check(call.metadata(), Check::Exact);
        let edge = checked.map_err(|refused| *refused)?;
        let incoming = call.into_inner().map(|batch| {
            let pb::EdgeSays { words } = batch?;
            let words = words.into_iter().map(EdgeSays::try_from);
            words.collect::<Result<Vec<_>, _>>().map_err(Status::from)
        });
        let (says, rx) = mpsc::channel(LINK_QUEUE);
        let words = self.peer.deliver(edge, rx);
        let broken = self.feed(incoming, says);
        let out = batches(words, cost).map(|batch| {
            Ok(pb::LeaderSays {
                words: batch.into_iter().map(Into::into).collect(),
            })
        });
        Ok(Response::new(
            out.take_until(broken.cancelled_owned()).boxed(),
        ))
    }

    async fn stand(
        &self,
        call: Request<pb::StandRequests>,
    ) -> Result<Response<pb::Standings>, Status> {
        self.local
            .check(call.metadata(), Check::Exact)
            .map_err(|refused| *refused)?;
        let pb::StandRequests {
            shard,
            requests,
            wait_ms,
        } = call.into_inner();
        let requests = requests.into_iter().map(StandRequest::try_from);
        let requests = requests
            .collect::<Result<Vec<_>, _>>()
            .map_err(Status::from)?;
        let results = self.peer.stand(ShardId(shard), requests, wait_ms).await;
        let results = results.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::Standings { results }))
    }

    async fn leader(
        &self,
        call: Request<pb::LeaderRequest>,
    ) -> Result<Response<pb::Redirect>, Status> {
        self.local
            .check(call.metadata(), Check::Exact)
            .map_err(|refused| *refused)?;
        let pb::LeaderRequest { shard } = call.into_inner();
        Ok(Response::new(self.peer.leader(ShardId(shard)).await.into()))
    }

    async fn topics(
        &self,
        call: Request<pb::TopicsRequest>,
    ) -> Result<Response<pb::TopicsAnswer>, Status> {
        self.local
            .check(call.metadata(), Check::Exact)
            .map_err(|refused| *refused)?;
        let (shard, command) = read::topics(call.into_inner()).map_err(Status::from)?;
        Ok(Response::new(self.peer.topics(shard, command).await.into()))
    }
}

fn cost(word: &LeaderSays) -> u64 {
    use fanfare_core::link::Live;
    match word {
        LeaderSays::Run(_, run) => WORD + run.cost(),
        LeaderSays::Attached(attached) => match &attached.live {
            Live::Yes(run) => WORD + run.cost(),
            Live::No => WORD,
        },
        LeaderSays::Ended(..) | LeaderSays::Digest { .. } => WORD,
    }
}

#[tonic::async_trait]
impl Bulk for PeerService {
    async fn page(
        &self,
        call: Request<pb::PageRequest>,
    ) -> Result<Response<pb::PageAnswer>, Status> {
        self.local
            .check(call.metadata(), Check::Exact)
            .map_err(|refused| *refused)?;
        let request = PageRequest::try_from(call.into_inner()).map_err(Status::from)?;
        Ok(Response::new(self.peer.page(request).await.into()))
    }
}
