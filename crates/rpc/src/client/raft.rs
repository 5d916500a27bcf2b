//! Opaque raft calls to other nodes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::convert::raft::{answer_of, route_to_pb};
use crate::pb::peer as pb;
use crate::pb::peer::raft_client::RaftClient;
use crate::raft::{RaftCall, RaftError, RaftRoute};

use super::channel::MAX_MESSAGE;
use super::failure::{Failure, answer};
use super::pool::{At, PeerClients};
use super::remote::Remote;

/// Answers of a pipeline waiting to be taken.
const PIPELINE: usize = 64;

impl From<Failure> for RaftError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoIdentity => Self::UnknownNode,
            Failure::Misdirected(refused) => Self::Misdirected(refused),
            Failure::NotSent(why) | Failure::NoAnswer(why) => Self::Unreachable(why),
            Failure::Timeout => Self::Timeout,
        }
    }
}

impl PeerClients {
    /// One call to the replica `call.route.to`, which runs on the node `at`; at most `within`.
    pub fn raft(
        &self,
        at: &At,
        call: RaftCall,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, RaftError>> {
        let remote = self.remote_at(at);
        async move {
            let remote = remote.ok_or(RaftError::UnknownNode)?;
            let RaftCall { route, body, bulk } = call;
            let mut client = client(&remote, bulk);
            let call = pb::RaftCall {
                route: Some(route_to_pb(&route)),
                body,
            };
            let call = remote.question(call, within)?;
            answer_of(answer(within, client.call(call)).await?)
        }
        .boxed()
    }

    /// A heartbeat to the replica `route.to`, which runs on the node `at`; sent together with those
    /// that other replicas send there now. The caller gives up by dropping it, or after `within`
    /// where the other node knows no heartbeats that travel together.
    pub fn raft_heartbeat(
        &self,
        at: &At,
        route: RaftRoute,
        body: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Bytes, RaftError>> {
        let (remote, clients, at) = (self.remote_at(at), self.clone(), at.clone());
        async move {
            let remote = remote.ok_or(RaftError::UnknownNode)?;
            let call = pb::RaftCall {
                route: Some(route_to_pb(&route)),
                body: body.clone(),
            };
            match remote.heartbeat(call).await {
                Some(answer) => answer,
                None => {
                    let bulk = false;
                    let call = RaftCall { route, body, bulk };
                    clients.raft(&at, call, within).await
                }
            }
        }
        .boxed()
    }

    /// A pipeline of calls on `route` to the node `at`: bodies go in, answers come out in the same order.
    /// An error is the last answer. `bulk`: over the connection of large transfers.
    pub fn raft_pipeline(
        &self,
        at: &At,
        route: RaftRoute,
        bulk: bool,
        bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, RaftError>> {
        let (answers, rx) = mpsc::channel(PIPELINE);
        let remote = self.remote_at(at);
        self.tasks().spawn(async move {
            let ended = match remote {
                Some(remote) => pipeline(remote, route, bulk, bodies, &answers).await,
                None => Err(RaftError::UnknownNode),
            };
            if let Err(error) = ended
                && answers.send(Err(error)).await.is_err()
            {
                tracing::trace!("a pipeline's user left before its end");
            }
        });
        rx
    }
}

pub(super) fn client(remote: &Remote, bulk: bool) -> RaftClient<tonic::transport::Channel> {
    let lane = match bulk {
        true => &remote.lanes.bulk,
        false => &remote.lanes.raft,
    };
    RaftClient::new(lane.clone()).max_decoding_message_size(MAX_MESSAGE)
}

async fn pipeline(
    remote: Remote,
    route: RaftRoute,
    bulk: bool,
    bodies: mpsc::Receiver<Bytes>,
    answers: &mpsc::Sender<Result<Bytes, RaftError>>,
) -> Result<(), RaftError> {
    let mut first = Some(route_to_pb(&route));
    let calls = ReceiverStream::new(bodies).map(move |body| pb::RaftCall {
        route: first.take(),
        body,
    });
    let call = remote.request(calls)?;
    let opened = client(&remote, bulk).pipeline(call).await;
    let mut incoming = opened.map_err(Failure::from)?.into_inner();
    loop {
        let next = tokio::select! { biased;
            () = answers.closed() => return Ok(()),
            next = incoming.message() => next.map_err(Failure::from)?,
        };
        let Some(raw) = next else { return Ok(()) };
        let answer = answer_of(raw)?;
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
}
