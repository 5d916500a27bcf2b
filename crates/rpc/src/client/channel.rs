//! HTTP/2 connections to a target, made lazily through the node's connector. Three for each
//! target, so that neither bulk nor messages delay a heartbeat.

use std::sync::Arc;
use std::time::Duration;

use fanfare_host::{Connector, Stream};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;
use tonic::transport::{Channel, Endpoint};

use super::heartbeats::Heartbeats;

/// Times and sizes of connections to other nodes.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// How long connecting may take; shorter than any question, or what was not sent looks as if
    /// it had been. Default: 1 s.
    pub connect_timeout: Duration,
    /// A connection on which nothing came for so long is asked for a sign of life. Default: 2 s.
    pub keep_alive: Duration,
    /// It is given up without an answer after so long. Default: 5 s.
    pub keep_alive_timeout: Duration,
    /// How long a short question may take: leader, standing beyond its own wait. Default: 2 s.
    pub question: Duration,
    /// How long a page, a change of topics or an adoption may take. Default: 10 s.
    pub work: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            keep_alive: Duration::from_secs(2),
            keep_alive_timeout: Duration::from_secs(5),
            question: Duration::from_secs(2),
            work: Duration::from_secs(10),
        }
    }
}

/// Largest message between nodes: an append is at most 4 MiB and an entry more.
pub(crate) const MAX_MESSAGE: usize = 32 << 20;

const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// What connections need of the node.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) tasks: TaskTracker,
    pub(crate) settings: ClientSettings,
}

/// Connections to one start of one node at one address.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) raft: Channel,
    /// Deliveries, publishes, questions.
    pub(crate) links: Channel,
    /// Pages and snapshots.
    pub(crate) bulk: Channel,
    /// Heartbeats, over `raft`.
    pub(crate) heartbeats: Heartbeats,
}

impl Dialer {
    /// Connections to `address`, none of them made yet; `None` if it is no `HOST:PORT`.
    pub(crate) fn lanes(&self, address: &str) -> Option<Lanes> {
        Some(Lanes {
            raft: self.channel(address)?,
            links: self.channel(address)?,
            bulk: self.channel(address)?,
            heartbeats: Heartbeats::default(),
        })
    }

    /// One connection to `address`, not made yet and made again when it broke.
    pub(crate) fn channel(&self, address: &str) -> Option<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint
            .executor(Tracked(self.tasks.clone()))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(self.settings.keep_alive)
            .keep_alive_timeout(self.settings.keep_alive_timeout)
            .keep_alive_while_idle(true);
        let (connector, address) = (self.connector.clone(), address.to_owned());
        let patience = self.settings.connect_timeout;
        let dial = tower::service_fn(move |_| {
            let connecting = connector.connect(&address);
            async move {
                match tokio::time::timeout(patience, connecting).await {
                    Ok(Ok(stream)) => Ok::<TokioIo<Stream>, NotConnected>(TokioIo::new(stream)),
                    Ok(Err(error)) => Err(NotConnected(error.to_string())),
                    Err(_) => Err(NotConnected("no connection in time".to_owned())),
                }
            }
        });
        Some(endpoint.connect_with_connector_lazy(dial))
    }
}

/// There is no connection: what was to go over it was not sent. tonic keeps of an error its text
/// alone, hence the mark.
#[derive(Debug, thiserror::Error)]
#[error("{NOT_CONNECTED}{0}")]
struct NotConnected(String);

const NOT_CONNECTED: &str = "not connected: ";

/// Why there was no connection, if a call failed for that.
pub(crate) fn not_connected(status: &tonic::Status) -> Option<&str> {
    let unavailable = status.code() == tonic::Code::Unavailable && status.details().is_empty();
    status
        .message()
        .strip_prefix(NOT_CONNECTED)
        .filter(|_| unavailable)
}

/// Runs the connections' tasks on the node's tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
