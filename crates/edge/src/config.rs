//! What an operator may set of an edge, already validated, and what a node hands it at the start.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::id::NodeId;
use fanfare_core::view::View;
use fanfare_host::{Clock, Rng};
use fanfare_rpc::peer::Peers;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{Network, Rate};
use crate::metrics::Metrics;

/// Settings of an edge. The defaults are those of the papers.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Which pages of browsers may talk to this edge.
    pub origins: Origins,
    /// Which `Host` a request may name.
    pub hosts: Hosts,
    /// Who may do what.
    pub policy: Policy,
    /// `max-age` of polls of topics that everybody may read, 1–60 s; `None`: no shared caching.
    pub public_polls: Option<u8>,
    /// Prefixed to the paths in `Link`, without a `/` at its end; mostly empty.
    pub base_path: String,
    /// Requests of one address; `None`: as many as it likes.
    pub requests: Option<Rate>,
    /// Peers whose `X-Forwarded-For` is believed. While there are none, loopback and private
    /// peers have no limit: each may be a proxy that stands for many.
    pub trusted_proxies: Vec<Network>,
    pub publish: PublishLimits,
    pub sessions: SessionLimits,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            origins: Origins::SameHost,
            hosts: Hosts::Any,
            policy: Policy::Open,
            public_polls: None,
            base_path: String::new(),
            requests: Some(Rate {
                per_second: 200,
                burst: 400,
            }),
            trusted_proxies: Vec::new(),
            publish: PublishLimits::default(),
            sessions: SessionLimits::default(),
        }
    }
}

/// Which `Origin` is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// The origin whose host and port are those of the request.
    SameHost,
    /// The same host, and loopback hosts on any port (`fanfare dev`).
    Loopback,
    /// The same host, and these: `SCHEME://HOST[:PORT]`, compared exactly, in lower case.
    Listed(Vec<String>),
    /// Every page, which then cannot send cookies.
    Any,
}

/// Which `Host` is allowed: a guard against DNS rebinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    Any,
    /// `localhost`, loopback addresses, and these hosts, without ports, in lower case.
    Listed(Vec<String>),
}

/// How bearers are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nobody is asked; everybody may do everything but touch the system's topics. There is no key
    /// to check a credential with, so one that is presented is refused, as every bad one is.
    Open,
}

/// Bounds of publishing.
#[derive(Clone, Debug)]
pub struct PublishLimits {
    /// Bytes of drafts in flight on this node; beyond it: `overloaded`.
    pub bytes: u32,
    /// How long a publish waits for room among them.
    pub room_wait: Duration,
    /// Longest time for a request body.
    pub body_timeout: Duration,
    /// Most lines and bytes of a batch.
    pub batch_lines: usize,
    pub batch_bytes: usize,
}

impl Default for PublishLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            room_wait: Duration::from_millis(100),
            body_timeout: Duration::from_secs(15),
            batch_lines: 1_000,
            batch_bytes: 8 << 20,
        }
    }
}

/// Bounds of sessions.
#[derive(Clone, Debug)]
pub struct SessionLimits {
    /// Sessions of this node; beyond it: `overloaded`.
    pub sessions: usize,
    /// Topics of one session.
    pub topics: usize,
    /// Largest frame from a WebSocket, in bytes.
    pub ws_frame: usize,
    /// Requests of a WebSocket that may be unanswered before reading stops.
    pub ws_in_flight: usize,
    /// A write without progress for so long ends the session.
    pub write_stall: Duration,
    /// The first frame of a WebSocket comes within this.
    pub hello_timeout: Duration,
    /// Bytes of all relay tails of this node.
    pub tail_bytes: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions: 100_000,
            topics: 100,
            ws_frame: 128 << 10,
            ws_in_flight: 64,
            write_stall: Duration::from_secs(60),
            hello_timeout: Duration::from_secs(10),
            tail_bytes: 128 << 20,
        }
    }
}

/// What a node lends its edge.
#[derive(Clone)]
pub struct EdgeDeps {
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
    pub node: NodeId,
    pub view: watch::Receiver<Arc<View>>,
    pub peers: Arc<dyn Peers>,
    /// Every task of the edge runs on it.
    pub tracker: TaskTracker,
    /// Cancelled when the node stops: what is left ends at once.
    pub stop: CancellationToken,
    pub metrics: Arc<Metrics>,
}
