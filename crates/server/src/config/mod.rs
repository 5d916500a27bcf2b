//! A node's configuration: defaults < file < environment < flags. Read once, at the top; everything
//! below gets plain structs. The doc comments are the manual.

mod layers;
mod lines;
mod validate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use layers::{Layers, Setting, Source};
pub use validate::{Problem, Problems};

/// Everything a node can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the cluster. Nodes of another one are refused. Required.
    pub cluster: String,
    /// Name of this node, unique in the cluster. Required.
    pub name: String,
    /// Directory of this node's data. Required.
    pub data: PathBuf,
    /// Peer addresses (`HOST:PORT`) of the nodes that make the cluster, this one among them.
    /// Required, unless the node makes a cluster of its own (`--single-node`).
    pub seeds: Vec<String>,
    /// Serve without authentication. Default: `false`, and then a node without credentials to
    /// check refuses to start.
    pub insecure_open: bool,
    /// The front door for browsers: HTTP/1.1 and HTTP/2.
    pub edge: Edge,
    /// The door for backends: gRPC.
    pub grpc: Door,
    /// The door for the other nodes of the cluster.
    pub peer: Door,
    /// The operator's door: `/metrics`, `/healthz`, `/readyz`.
    pub ops: Door,
    /// The write-ahead log.
    pub log: Log,
    /// How the groups of replicas agree.
    pub raft: Raft,
    /// Messages kept for readers that come later.
    pub history: History,
    /// How a node stops.
    pub shutdown: Shutdown,
    /// What is written to stderr.
    pub logs: Logs,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Door {
    /// Address listened on. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How others reach this door, `HOST:PORT`. Default: the address listened on.
    pub advertise: String,
}

/// The front door and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edge {
    /// Address listened on. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// How clients reach this node, `HOST:PORT`. Default: the address listened on.
    pub advertise: String,
    /// Origins (`https://app.example`) whose pages may connect. Default: the same host only.
    pub allowed_origins: Vec<String>,
    /// `Host` names answered. Default: `localhost`, loopback, and the addresses listened on or
    /// advertised.
    pub allowed_hosts: Vec<String>,
    /// Most sessions of this node; one more is told `overloaded`. Default: `100000`.
    pub max_sessions: usize,
    /// Bytes of drafts in flight; more is told `overloaded`. Default: 64 MiB.
    pub publish_bytes: usize,
    /// Bytes of recent messages kept for subscribers, over all topics. Default: 128 MiB.
    pub tail_bytes: usize,
    /// Time from accept to a whole first request head. Default: `5s`.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Time from the upgrade to `hello`. Default: `10s`.
    #[serde(with = "humantime_serde")]
    pub hello_timeout: Duration,
    /// Seconds for which a cache may keep polls that anybody may read, 1–60. Default: 0, off.
    pub public_polls: u32,
    /// Path under which a proxy offers this edge (`/push`), prefixed to the URLs it answers.
    /// Default: none.
    pub base_path: String,
    /// Networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed. Default: none, and
    /// then peers with loopback and private addresses have no limit by address.
    pub trusted_proxies: Vec<String>,
    /// Limits of one client's address.
    pub per_ip: PerIp,
}

/// What one address, behind trusted proxies the one they name, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerIp {
    /// Requests a second, with twice as many at once after a rest; more is told `rate_limited`.
    /// 0: no limit. Default: `200`.
    pub requests: u32,
}

impl Default for PerIp {
    fn default() -> Self {
        Self { requests: 200 }
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Free bytes below which the node refuses drafts instead of filling its disk. Default: 0,
    /// which means 256 MiB or 2 % of the volume, the larger.
    pub reserve: u64,
    /// Bytes of a segment. Default: 64 MiB.
    pub segment: u64,
    /// Bytes a shard's log grows by before a snapshot takes its place, unless the last snapshot was
    /// larger. Default: 64 MiB.
    pub snapshot_after: u64,
    /// Bytes of the whole log above which the shard that holds the oldest segment writes a
    /// snapshot. Default: 2 GiB.
    pub budget: u64,
}

/// How the groups of replicas agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raft {
    /// Silence of a leader after which a follower wants to lead; each draws up to twice as long.
    /// Give all nodes the same. Default: `500ms`.
    #[serde(with = "humantime_serde")]
    pub election: Duration,
}

/// Messages kept for readers that come later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Bytes of memory for history over all replicas of this node. Default: 1 GiB.
    pub budget: u64,
}

/// How a node stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time over which sessions are sent away and stages end. Default: `10s`.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// What is written to stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// Directives such as `info` or `warn,fanfare::session=info`. Default: `info,openraft=error`.
    pub filter: String,
    /// `text` or `json`. Default: `text`.
    pub format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Default for Config {
    fn default() -> Self {
        let door = |port| Door {
            listen: loopback(port),
            advertise: String::new(),
        };
        Self {
            cluster: String::new(),
            name: String::new(),
            data: PathBuf::new(),
            seeds: Vec::new(),
            insecure_open: false,
            edge: Edge::default(),
            grpc: door(9090),
            peer: door(7070),
            ops: door(9100),
            log: Log::default(),
            raft: Raft::default(),
            history: History::default(),
            shutdown: Shutdown {
                grace: Duration::from_secs(10),
            },
            logs: Logs::default(),
        }
    }
}

impl Default for Door {
    fn default() -> Self {
        Self {
            listen: loopback(0),
            advertise: String::new(),
        }
    }
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            advertise: String::new(),
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
            max_sessions: 100_000,
            publish_bytes: 64 << 20,
            tail_bytes: 128 << 20,
            header_timeout: Duration::from_secs(5),
            hello_timeout: Duration::from_secs(10),
            public_polls: 0,
            base_path: String::new(),
            trusted_proxies: Vec::new(),
            per_ip: PerIp::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            reserve: 0,
            segment: 64 << 20,
            snapshot_after: 64 << 20,
            budget: 2 << 30,
        }
    }
}

impl Default for Raft {
    fn default() -> Self {
        Self {
            election: Duration::from_millis(500),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { budget: 1 << 30 }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(10),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            filter: "info,openraft=error".to_owned(),
            format: LogFormat::Text,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
