//! A client of the public services at one address, in core types: publish, read, administer. It
//! asks once and tells what it heard; when and where to ask again is its user's.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::message::Draft;
use fanfare_core::receipt::Receipt;
use fanfare_host::Connector;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::convert::heard::draft_error;
use crate::convert::required;
use crate::heard::{CallError, Heard, HeardPage};
use crate::pb::v1 as pb;
use crate::pb::v1::history_client::HistoryClient;
use crate::pb::v1::publisher_client::PublisherClient;
use crate::pb::v1::subscriber_client::SubscriberClient;
use crate::public::{HistoryRequest, StreamDraft, SubscribeRequest};

use super::channel::{ClientSettings, Dialer, MAX_MESSAGE};

/// What a call may take beyond the time that the server has for it.
const GRACE: Duration = Duration::from_secs(1);

/// The public services at one address. A clone shares the connection, which is made when it is
/// first needed and again when it broke.
#[derive(Clone, Debug)]
pub struct PublicClient {
    pub(super) channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    pub(super) settings: ClientSettings,
}

impl PublicClient {
    /// A client of `address`; `None` if it is no `HOST:PORT`. The connection's tasks run on `tasks`
    /// and end with the last clone.
    pub fn connect(
        address: &str,
        connector: Arc<dyn Connector>,
        tasks: TaskTracker,
        settings: ClientSettings,
    ) -> Option<Self> {
        let dialer = Dialer {
            connector,
            tasks,
            settings: settings.clone(),
        };
        Some(Self {
            channel: dialer.channel(address)?,
            authorization: None,
            settings,
        })
    }

    /// The same client with metadata `authorization`, such as `Bearer X`; `None` if that is no
    /// header's value.
    pub fn authorized(self, authorization: &str) -> Option<Self> {
        let mut value: MetadataValue<Ascii> = authorization.parse().ok()?;
        value.set_sensitive(true);
        Some(Self {
            authorization: Some(value),
            ..self
        })
    }

    pub(super) fn request<T>(&self, body: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(body);
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        request
    }

    /// Places one draft within `within`. Without an answer it is unknown.
    pub async fn publish(&self, draft: Draft, within: Duration) -> Result<Receipt, CallError> {
        let draft = Some(draft.into());
        let mut request = self.request(pb::PublishRequest { draft });
        request.set_timeout(within);
        let mut client = PublisherClient::new(self.channel.clone());
        let pb::PublishResponse { receipt } = answer(within, client.publish(request)).await?;
        Ok(required(receipt, "receipt")?.try_into()?)
    }

    /// Opens a publish stream (C3). Drafts put into `drafts` before this returns may leave before
    /// the node has accepted the call; put later, an error here has sent nothing. The end of
    /// `drafts` half-closes: the rest is still answered.
    pub async fn publish_stream(
        &self,
        drafts: mpsc::Receiver<StreamDraft>,
    ) -> Result<Answers, CallError> {
        let drafts = ReceiverStream::new(drafts).map(stream_request);
        let mut client =
            PublisherClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let call = client.publish_stream(self.request(drafts));
        let incoming = answer(self.settings.work, call).await?;
        Ok(Answers { incoming })
    }

    /// Opens a session. `cursor` is the text as it was received; it takes the place of
    /// `request.cursor`.
    pub async fn subscribe(
        &self,
        request: SubscribeRequest,
        cursor: Option<String>,
    ) -> Result<Events, CallError> {
        let mut call: pb::SubscribeRequest = request.into();
        if let Some(cursor) = cursor {
            call.cursor = cursor;
        }
        let mut client =
            SubscriberClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let call = client.subscribe(self.request(call));
        let incoming = answer(self.settings.work, call).await?;
        Ok(Events { incoming })
    }

    /// A page of what is retained of a topic.
    pub async fn page(&self, request: HistoryRequest) -> Result<HeardPage, CallError> {
        let HistoryRequest {
            topic,
            after,
            limit,
            min_position,
            wait,
        } = request;
        let call = pb::PageRequest {
            topic: topic.as_str().to_owned(),
            after: after.map(Into::into),
            limit,
            min_position: min_position.map(Into::into),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        let mut client =
            HistoryClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE);
        let within = self.settings.work.saturating_add(wait);
        let mut call = self.request(call);
        call.set_timeout(within);
        let page = answer(within, client.page(call)).await?;
        Ok(page.try_into()?)
    }
}

fn stream_request(StreamDraft { seq, draft, within }: StreamDraft) -> pb::PublishStreamRequest {
    pb::PublishStreamRequest {
        id: seq,
        draft: Some(draft.into()),
        timeout_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
    }
}

/// The answer of a call, or its first word if it is a stream, within `within` and a little more:
/// the server's deadline is not the later one.
pub(super) async fn answer<T>(
    within: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(within.saturating_add(GRACE), call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(CallError::NoAnswer("no answer in time".to_owned())),
    }
}

/// The answers of a publish stream.
#[derive(Debug)]
pub struct Answers {
    incoming: tonic::Streaming<pb::PublishStreamResponse>,
}

impl Answers {
    /// The next answer: which draft, and what became of it. `None` is the end after a half-close;
    /// an error is any other. Either leaves unanswered drafts unknown. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<(u64, Result<Receipt, CallError>)>, CallError> {
        use pb::publish_stream_response::Result as Of;
        let Some(raw) = self.incoming.message().await? else {
            return Ok(None);
        };
        let pb::PublishStreamResponse { id, result } = raw;
        Ok(Some(match required(result, "result")? {
            Of::Receipt(receipt) => (id, Receipt::try_from(receipt).map_err(Into::into)),
            Of::Error(status) => (id, Err(draft_error(&status))),
        }))
    }
}

/// The events of a session.
#[derive(Debug)]
pub struct Events {
    incoming: tonic::Streaming<pb::SubscribeResponse>,
}

impl Events {
    /// The next event; `None` is an end in order, an error any other. Safe to cancel.
    pub async fn next(&mut self) -> Result<Option<Heard>, CallError> {
        match self.incoming.message().await? {
            Some(raw) => Ok(Some(raw.try_into()?)),
            None => Ok(None),
        }
    }
}
