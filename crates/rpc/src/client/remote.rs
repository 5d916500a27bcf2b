//! Another node's broker, over gRPC.

use fanfare_core::code::{Code, Outcome};
use fanfare_core::gap::{Page, Standing};
use fanfare_core::id::{Generation, NodeId, ShardId};
use fanfare_core::link::{
    EdgeSays, LeaderSays, NoRead, PageRequest, PublishAnswer, PublishRequest, Redirect,
    StandRequest,
};
use fanfare_core::receipt::Refusal;
use futures_util::future::{BoxFuture, FutureExt as _};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::convert::read::{page, standing, topics_answer, topics_to_pb};
use crate::identity::{Local, put_header};
use crate::pb::peer as pb;
use crate::pb::peer::bulk_client::BulkClient;
use crate::pb::peer::peer_client::PeerClient;
use crate::peer::Peer;
use crate::topics::{TopicCommand, TopicInfo};

use super::channel::{Dialer, Lanes, MAX_MESSAGE};
use super::failure::{Failure, answer};
use super::link::{self, LINK_QUEUE};

/// One start of one node at one address.
#[derive(Clone)]
pub(super) struct Remote {
    pub(super) node: NodeId,
    pub(super) generation: Generation,
    pub(super) lanes: Lanes,
    pub(super) local: Local,
    pub(super) dialer: Dialer,
}

impl Remote {
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// A call with this node's header.
    pub(super) fn request<T>(&self, body: T) -> Result<tonic::Request<T>, Failure> {
        let header = self
            .local
            .header(self.node, self.generation)
            .ok_or(Failure::NoIdentity)?;
        let mut request = tonic::Request::new(body);
        put_header(request.metadata_mut(), header);
        Ok(request)
    }

    /// The same, with a deadline that the other node is told.
    pub(super) fn question<T>(
        &self,
        body: T,
        within: Duration,
    ) -> Result<tonic::Request<T>, Failure> {
        let mut request = self.request(body)?;
        request.set_timeout(within);
        Ok(request)
    }

    pub(super) fn links(&self) -> PeerClient<tonic::transport::Channel> {
        PeerClient::new(self.lanes.links.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    fn bulk(&self) -> BulkClient<tonic::transport::Channel> {
        BulkClient::new(self.lanes.bulk.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    async fn ask_standings(
        &self,
        call: pb::StandRequests,
        within: Duration,
    ) -> Result<Vec<Result<Standing, NoRead>>, Failure> {
        let expected = call.requests.len();
        let call = self.question(call, within)?;
        let pb::Standings { results } = answer(within, self.links().stand(call)).await?;
        let results = results
            .into_iter()
            .map(standing)
            .collect::<Result<Vec<_>, _>>();
        let results = results.map_err(|bad| Failure::NoAnswer(bad.to_string()))?;
        if results.len() != expected {
            return Err(Failure::NoAnswer("not one result a request".to_owned()));
        }
        Ok(results)
    }

    async fn ask_page(&self, request: PageRequest) -> Result<Result<Page, NoRead>, Failure> {
        let within = self.dialer.settings.work;
        let call = self.question(request.into(), within)?;
        let raw = answer(within, self.bulk().page(call)).await?;
        page(raw).map_err(|bad| Failure::NoAnswer(bad.to_string()))
    }

    async fn ask_leader(&self, ShardId(shard): ShardId) -> Result<Redirect, Failure> {
        let within = self.dialer.settings.question;
        let call = self.question(pb::LeaderRequest { shard }, within)?;
        answer(within, self.links().leader(call))
            .await
            .map(Into::into)
    }

    async fn ask_topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> Result<Result<Vec<TopicInfo>, NoRead>, Failure> {
        let within = self.dialer.settings.work;
        let call = self.question(topics_to_pb(shard, command), within)?;
        let raw = answer(within, self.links().topics(call)).await?;
        topics_answer(raw).map_err(|bad| Failure::NoAnswer(bad.to_string()))
    }

    fn log(&self, what: &'static str, failure: &Failure) {
        tracing::debug!(node = %self.node, what, %failure, "a node did not answer");
    }
}

impl Peer for Remote {
    fn publish(&self, drafts: mpsc::Receiver<PublishRequest>) -> mpsc::Receiver<PublishAnswer> {
        let (answers, rx) = mpsc::channel(LINK_QUEUE);
        self.dialer
            .tasks
            .spawn(link::publish(self.clone(), drafts, answers));
        rx
    }

    /// The receiver takes the edge's id from the call's header.
    fn deliver(&self, _edge: NodeId, says: mpsc::Receiver<EdgeSays>) -> mpsc::Receiver<LeaderSays> {
        let (heard, rx) = mpsc::channel(LINK_QUEUE);
        self.dialer
            .tasks
            .spawn(link::deliver(self.clone(), says, heard));
        rx
    }

    fn stand(
        &self,
        shard: ShardId,
        requests: Vec<StandRequest>,
        wait_ms: u32,
    ) -> BoxFuture<'static, Vec<Result<Standing, NoRead>>> {
        let remote = self.clone();
        async move {
            let count = requests.len();
            let within = remote.dialer.settings.question + Duration::from_millis(wait_ms.into());
            let requests = requests.into_iter().map(Into::into).collect();
            let call = pb::StandRequests {
                shard: shard.0,
                requests,
                wait_ms,
            };
            remote
                .ask_standings(call, within)
                .await
                .unwrap_or_else(|failure| {
                    remote.log("stand", &failure);
                    vec![Err(elsewhere()); count]
                })
        }
        .boxed()
    }

    fn page(&self, request: PageRequest) -> BoxFuture<'static, Result<Page, NoRead>> {
        let remote = self.clone();
        async move {
            remote.ask_page(request).await.unwrap_or_else(|failure| {
                remote.log("page", &failure);
                Err(elsewhere())
            })
        }
        .boxed()
    }

    fn leader(&self, shard: ShardId) -> BoxFuture<'static, Redirect> {
        let remote = self.clone();
        async move {
            remote.ask_leader(shard).await.unwrap_or_else(|failure| {
                remote.log("leader", &failure);
                Redirect::default()
            })
        }
        .boxed()
    }

    fn topics(
        &self,
        shard: ShardId,
        command: TopicCommand,
    ) -> BoxFuture<'static, Result<Vec<TopicInfo>, NoRead>> {
        let remote = self.clone();
        let changes = match command {
            TopicCommand::Create { .. } | TopicCommand::Delete { .. } => true,
            TopicCommand::Get { .. } | TopicCommand::List { .. } => false,
        };
        async move {
            remote
                .ask_topics(shard, command)
                .await
                .unwrap_or_else(|failure| {
                    remote.log("topics", &failure);
                    Err(match changes && !failure.is_definite() {
                        true => NoRead::Refused(Refusal {
                            outcome: Outcome::Unknown,
                            ..Refusal::new(
                                Code::OutcomeUnknown,
                                "the shard's leader did not answer",
                            )
                        }),
                        false => elsewhere(),
                    })
                })
        }
        .boxed()
    }
}

/// The node did not answer, and so does not know who could.
fn elsewhere() -> NoRead {
    NoRead::Reroute(Redirect::default())
}
