//! What can be typed to see and end sessions, and to watch a cluster at work.

use std::time::Duration;

use clap::Args as Group;

use super::{Reach, duration};

/// List sessions over all nodes: who is connected, by which transport, how far behind.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare sessions                     of all nodes
  fanfare sessions --topic news --lagging 100
  fanfare sessions --node n2 --subject alice --json
  fanfare sessions --watch             again every two seconds, the slowest first

LAG is messages the session has not got, WAITING bytes its transport has not taken. Waiting polls are
no sessions. Every node is asked over its own gRPC address; one that does not answer is named, and the
exit code is 1.")]
pub struct Sessions {
    /// Only sessions of this node (name or id).
    #[arg(long)]
    pub node: Option<String>,
    /// Only sessions with this topic.
    #[arg(long)]
    pub topic: Option<String>,
    /// Only sessions of this subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only sessions that lag by so many messages or more.
    #[arg(long, value_name = "MESSAGES")]
    pub lagging: Option<u64>,
    /// Most sessions that are listed.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Show them again and again, the slowest first, until interrupted.
    #[arg(long)]
    pub watch: bool,
    /// Print JSON, a line a session.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// End a session, or all sessions of a subject, wherever they are. Clients do not come back by
/// themselves: they are told `disconnected`, with the advice to give up.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare disconnect s-2-1f            a session, as `fanfare sessions` names it
  fanfare disconnect --subject alice

Exit code 1: nobody was there to be told. A client with good credentials may connect again if it
chooses; to keep it out, take its credentials away.")]
pub struct Disconnect {
    /// The session.
    #[arg(required_unless_present = "subject", conflicts_with = "subject")]
    pub session: Option<String>,
    /// All sessions of this subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// Watch the cluster at work: nodes, leaders, lag, sessions, rates of publishing and delivery. Through
/// a pipe it prints one look.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare top
  fanfare top --interval 5s
  fanfare top --count 60 --json >> load.ndjson

Rates are of the last interval. LAG is the sum of the entries that replicas led by the node are
behind. Every node is asked over its own gRPC address.")]
pub struct Top {
    /// Between two looks, at least 100ms.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Looks to take. Default: on a terminal until interrupted, else one.
    #[arg(long)]
    pub count: Option<u64>,
    /// Print JSON, a line a look.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}
