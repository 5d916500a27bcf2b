//! What a load run does: sizes, times, faults. Also the flags of the command.

use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  Kill the node that leads most shards at second 20, start it again at 40:
    fanfare-load --seconds 60 --rate 2000 --topics 200 --subscribers 500 --kill-at 20 --start-at 40
  All nodes at once, at second 20, and again at once:
    fanfare-load --seconds 60 --kill-all-at 20";

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
