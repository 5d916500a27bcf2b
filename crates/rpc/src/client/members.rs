//! Members at an address, over gRPC.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::NodeId;
use fanfare_core::repair::Copy;
use fanfare_core::view::{Command, Outcome, View};
use futures_util::future::{BoxFuture, FutureExt as _};
use tonic::transport::Channel;

use crate::convert::membership::{adopted, joined, propose_to_pb, proposed};
use crate::convert::{Malformed, required};
use crate::members::{
    Adopt, AdoptError, Beat, CallError, Card, Dial, Envelope, JoinError, Members, ProposeError,
};
use crate::pb::peer as pb;
use crate::pb::peer::members_client::MembersClient;

use super::channel::{ClientSettings, MAX_MESSAGE};
use super::failure::{Failure, answer};
use super::pool::PeerClients;

/// What a proposal may take beyond its own time.
const GRACE: Duration = Duration::from_millis(500);

/// How long letting a node in may take: a proposal, and its adoption.
const JOIN: Duration = Duration::from_secs(15);

impl Dial for PeerClients {
    fn members(&self, address: &str) -> Arc<dyn Members> {
        Arc::new(RemoteMembers {
            address: address.to_owned(),
            channel: self.to_members(address),
            settings: self.dialer().settings.clone(),
        })
    }
}

#[derive(Clone)]
struct RemoteMembers {
    address: String,
    /// `None`: the address is none.
    channel: Option<Channel>,
    settings: ClientSettings,
}

impl RemoteMembers {
    fn client(&self) -> Result<MembersClient<Channel>, Failure> {
        let no_address = || Failure::NotSent(format!("`{}` is no HOST:PORT", self.address));
        let channel = self.channel.clone().ok_or_else(no_address)?;
        Ok(MembersClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }

    async fn ask_identity(&self, name: String) -> Result<pb::IdentifyAnswer, Failure> {
        let call = request(pb::IdentifyRequest { name }, self.settings.question);
        answer(self.settings.question, self.client()?.identify(call)).await
    }

    async fn ask_adopt(&self, adopt: &Adopt) -> Result<pb::AdoptAnswer, Failure> {
        let call = request(adopt.into(), self.settings.work);
        answer(self.settings.work, self.client()?.adopt(call)).await
    }

    async fn ask_join(&self, card: Card) -> Result<pb::JoinAnswer, Failure> {
        let card = Some(card.into());
        let call = request(pb::JoinRequest { card }, JOIN);
        answer(JOIN, self.client()?.join(call)).await
    }

    async fn ask_propose(
        &self,
        call: pb::ProposeRequest,
        within: Duration,
    ) -> Result<pb::ProposeAnswer, Failure> {
        let within = within + GRACE;
        answer(within, self.client()?.propose(request(call, within))).await
    }

    async fn ask_beat(&self, call: pb::HeartbeatRequest) -> Result<pb::HeartbeatAnswer, Failure> {
        let call = request(call, self.settings.question);
        answer(self.settings.question, self.client()?.heartbeat(call)).await
    }

    async fn ask_copies(&self, envelope: Envelope) -> Result<pb::CopiesAnswer, Failure> {
        let call = pb::CopiesRequest {
            envelope: Some(envelope.into()),
        };
        let call = request(call, self.settings.question);
        answer(self.settings.question, self.client()?.copies(call)).await
    }

    async fn ask_view(&self, envelope: Envelope) -> Result<pb::ViewAnswer, Failure> {
        let call = pb::ViewRequest {
            envelope: Some(envelope.into()),
        };
        let call = request(call, self.settings.work);
        answer(self.settings.work, self.client()?.view(call)).await
    }
}

fn request<T>(body: T, within: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(body);
    request.set_timeout(within);
    request
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(why) => Self::Unreachable(why),
            Failure::Misdirected(refused) => Self::NotForMe {
                cluster: Some(refused.cluster),
                node: Some(refused.node),
            },
            Failure::NoIdentity | Failure::NoAnswer(_) | Failure::Timeout => Self::NoAnswer,
        }
    }
}

impl From<Malformed> for CallError {
    fn from(bad: Malformed) -> Self {
        tracing::warn!(%bad, "a node sent what this one does not understand");
        Self::NoAnswer
    }
}

impl Members for RemoteMembers {
    fn identify(&self, name: String) -> BoxFuture<'static, Result<Card, CallError>> {
        let to = self.clone();
        async move {
            let pb::IdentifyAnswer { result } = to.ask_identity(name).await?;
            match required(result, "result")? {
                pb::identify_answer::Result::Card(card) => Ok(card.try_into()?),
                pb::identify_answer::Result::Error(error) => Err(error.try_into()?),
            }
        }
        .boxed()
    }

    fn adopt(&self, adopt: Adopt) -> BoxFuture<'static, Result<(), AdoptError>> {
        let to = self.clone();
        async move {
            let raw = to
                .ask_adopt(&adopt)
                .await
                .map_err(|failure| AdoptError::Call(failure.into()))?;
            adopted(raw).map_err(|bad| AdoptError::Call(bad.into()))?
        }
        .boxed()
    }

    fn join(&self, card: Card) -> BoxFuture<'static, Result<NodeId, JoinError>> {
        let to = self.clone();
        async move {
            let raw = to
                .ask_join(card)
                .await
                .map_err(|failure| JoinError::Call(failure.into()))?;
            joined(raw).map_err(|bad| JoinError::Call(bad.into()))?
        }
        .boxed()
    }

    fn propose(
        &self,
        envelope: Envelope,
        command: Command,
        within: Duration,
    ) -> BoxFuture<'static, Result<Outcome, ProposeError>> {
        let to = self.clone();
        async move {
            let call = propose_to_pb(envelope, &command, within);
            let raw = to
                .ask_propose(call, within)
                .await
                .map_err(|failure| match failure {
                    Failure::NotSent(why) => ProposeError::Unreachable(why),
                    Failure::Misdirected(_) => ProposeError::NotForMe,
                    Failure::NoIdentity | Failure::NoAnswer(_) | Failure::Timeout => {
                        ProposeError::Unknown
                    }
                })?;
            proposed(raw).unwrap_or_else(|bad| {
                tracing::warn!(%bad, "a node sent what this one does not understand");
                Err(ProposeError::Unknown)
            })
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        envelope: Envelope,
        beat: Beat,
    ) -> BoxFuture<'static, Result<Beat, CallError>> {
        let to = self.clone();
        async move {
            let call = pb::HeartbeatRequest {
                envelope: Some(envelope.into()),
                beat: Some(beat.into()),
            };
            let pb::HeartbeatAnswer { result } = to.ask_beat(call).await?;
            match required(result, "result")? {
                pb::heartbeat_answer::Result::Beat(beat) => Ok(beat.try_into()?),
                pb::heartbeat_answer::Result::Error(error) => Err(error.try_into()?),
            }
        }
        .boxed()
    }

    fn copies(&self, envelope: Envelope) -> BoxFuture<'static, Result<Vec<Copy>, CallError>> {
        let to = self.clone();
        async move {
            let pb::CopiesAnswer { result } = to.ask_copies(envelope).await?;
            match required(result, "result")? {
                pb::copies_answer::Result::Copies(pb::Copies { copies }) => {
                    Ok(copies.into_iter().map(Into::into).collect())
                }
                pb::copies_answer::Result::Error(error) => Err(error.try_into()?),
            }
        }
        .boxed()
    }

    fn view(&self, envelope: Envelope) -> BoxFuture<'static, Result<Arc<View>, CallError>> {
        let to = self.clone();
        async move {
            let pb::ViewAnswer { result } = to.ask_view(envelope).await?;
            match required(result, "result")? {
                pb::view_answer::Result::View(view) => Ok(Arc::new(view.try_into()?)),
                pb::view_answer::Result::Error(error) => Err(error.try_into()?),
            }
        }
        .boxed()
    }
}
