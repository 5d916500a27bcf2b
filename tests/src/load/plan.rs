//! What a load run does: sizes, times, faults. Also the flags of the command.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;

use super::operation::Operations;

/// Seconds of a load that is ended when all is done: a day.
pub(super) const ENDLESS: u64 = 86_400;

const EXAMPLES: &str = "Examples:
  Kill the node that leads most shards at second 20, start it again at 40:
    fanfare-load --seconds 60 --rate 2000 --topics 200 --subscribers 500 --kill-at 20 --start-at 40
  All nodes at once, at second 20, and again at once:
    fanfare-load --seconds 60 --kill-all-at 20
  Every planned operation in turn, under load, until all are done:
    fanfare-load --operations all --rate 1000 --subscribers 200
  What a node's disk and memory do in 20 minutes, and how it starts again:
    fanfare-load --watch-data --minutes 20 --rate 1000 --payload 1024 --retain-bytes 1000000";

/// Load on a cluster of processes on this machine, judged by the contract's checker.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "fanfare-load", after_help = EXAMPLES)]
pub struct Plan {
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 3)]
    pub nodes: usize,
    /// Shards of the cluster.
    #[arg(long, default_value_t = 16)]
    pub shards: u32,
    /// Seconds of load.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Publishes a second, over all topics.
    #[arg(long, default_value_t = 2_000)]
    pub rate: u64,
    /// Topics.
    #[arg(long, default_value_t = 200)]
    pub topics: usize,
    /// Subscribers, spread over topics, transports and nodes.
    #[arg(long, default_value_t = 500)]
    pub subscribers: usize,
    /// Publish streams, spread over the nodes.
    #[arg(long, default_value_t = 6)]
    pub streams: usize,
    /// Drafts without an answer at which a stream stops sending.
    #[arg(long, default_value_t = 1_000)]
    pub in_flight: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 128)]
    pub payload: usize,
    /// Second at which the node that leads most shards is killed with -9.
    #[arg(long)]
    pub kill_at: Option<u64>,
    /// Second at which it is started again.
    #[arg(long, requires = "kill_at")]
    pub start_at: Option<u64>,
    /// Second at which all nodes are killed with -9 at once, to be started again at once.
    #[arg(long)]
    pub kill_all_at: Option<u64>,
    /// Planned operations, carried out in turn under load by the commands of an operator: `all`, or
    /// some of join, drain, remove, replace, transfer, restart, divided by commas. The load ends
    /// when they are done; `--seconds` is of no account.
    #[arg(long, conflicts_with_all = ["kill_at", "kill_all_at"])]
    pub operations: Option<Operations>,
    /// The binary that the nodes run at first, for the operation `upgrade`: of an older release.
    #[arg(long, requires = "operations")]
    pub old_binary: Option<PathBuf>,
    /// Most seconds that one operation may take until everything is calm again.
    #[arg(long, default_value_t = 180)]
    pub patience: u64,
    /// Sample bytes on disk and memory of each node, then start one again under load.
    #[arg(long, conflicts_with_all = ["operations", "kill_at", "kill_all_at"])]
    pub watch_data: bool,
    /// Minutes of load with `--watch-data`.
    #[arg(long, default_value_t = 20, requires = "watch_data")]
    pub minutes: u64,
    /// Seconds between two samples with `--watch-data`.
    #[arg(long, default_value_t = 15, requires = "watch_data")]
    pub every: u64,
    /// Most bytes a data directory may take with `--watch-data`; more is not clean.
    #[arg(long, requires = "watch_data")]
    pub most_data: Option<u64>,
    /// Messages kept of a topic.
    #[arg(long, default_value_t = 1_000_000)]
    pub retain_count: u64,
    /// Bytes kept of a topic.
    #[arg(long, default_value_t = 16 << 20)]
    pub retain_bytes: u64,
    /// Seconds that subscribers have to reach the head after the load.
    #[arg(long, default_value_t = 60)]
    pub settle: u64,
    /// Where data, logs and observations go; a temporary directory if absent.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Put before the names of publishers, so that two runs on one cluster share no keys.
    #[arg(skip)]
    pub run: String,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Plan {
    /// A load that a story ends, with as much time as a slow machine may need.
    pub fn story() -> Self {
        let mut plan = Self::parse_from(["load"]);
        (plan.shards, plan.seconds) = (4, ENDLESS);
        (plan.settle, plan.patience) = (300, 300);
        // So few that all are answered in their time even by a machine that is slow: what is sent
        // again for want of an answer makes it slower still.
        plan.in_flight = 50;
        plan
    }

    /// Name of the n-th topic.
    pub fn topic(n: usize) -> String {
        format!("load.{n}")
    }

    /// Time between two publishes of one stream.
    pub fn pace(&self) -> Duration {
        let per_stream = (self.rate as f64 / self.streams as f64).max(0.001);
        Duration::from_secs_f64(1.0 / per_stream)
    }
}
