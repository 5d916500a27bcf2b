//! What can be typed after `fanfare cluster`.

use std::time::Duration;

use clap::{Args as Group, Subcommand};

use super::{Reach, duration};

/// Make a cluster and look at it.
#[derive(Debug, Group)]
pub struct Cluster {
    #[command(subcommand)]
    pub command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    Init(Init),
    Status(Status),
    Shards(Shards),
    Drain(Drain),
    Remove(Remove),
    Replace(Replace),
    Transfer(Transfer),
    Upgrade(Upgrade),
    Repair(Repair),
}

/// Make the cluster, once, of the seeds of one node. All of them must be up.
#[derive(Debug, Group)]
#[command(after_help = "\
Example:
  fanfare cluster init --ops http://127.0.0.1:9100 --shards 64
  fanfare cluster init --wait 2m                                 in a script that may run twice

The number of shards is fixed for ever: 64 suit 32 to 64 busy nodes, 16 a small cluster.")]
pub struct Init {
    /// The operator's door of one node.
    #[arg(long, env = "FANFARE_OPS", default_value = "http://127.0.0.1:9100")]
    pub ops: String,
    /// Shards of the cluster, 1 to 1024.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub shards: u32,
    /// Ask again for so long (`90s`, `5m`) while a seed is not up, and end when the node is ready. A node
    /// whose cluster is made already is fine.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Raise the cluster's feature level by one step, once all nodes run a binary that knows it.
#[derive(Debug, Group)]
#[command(after_help = "\
Example:
  fanfare cluster upgrade

The last step of an upgrade, after every node was restarted with the new binary. Until then the old
one may come back; from then on it does not start any more.")]
pub struct Upgrade {
    #[command(flatten)]
    pub reach: Reach,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Show what is left of a shard, or of the metadata, that lost the majority of its replicas; and begin
/// it anew from the best copy, if the loss is accepted.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare cluster repair 12                                    what is left of shard 12
  fanfare cluster repair metadata --lost n2,n3 --accept-data-loss
  fanfare cluster repair all --accept-data-loss

Two disks of three destroyed: first the metadata, then all shards, then replace the lost nodes. While
nodes may come back with their data, start them instead: nothing is lost then.")]
pub struct Repair {
    /// A shard's number, `all` for every shard without a leader, or `metadata`.
    #[arg(value_name = "SHARD", value_parser = repair_target)]
    pub target: RepairTarget,
    /// What only the lost replicas had is lost for ever; readers are told by a gap `data_loss`.
    #[arg(long)]
    pub accept_data_loss: bool,
    /// Silent nodes (names or ids, divided by commas) that will never come back with their data. They
    /// are refused if they do.
    #[arg(long, value_delimiter = ',', value_name = "NODES")]
    pub lost: Vec<String>,
    #[command(flatten)]
    pub reach: Reach,
    /// Print JSON, one object a group.
    #[arg(long)]
    pub json: bool,
}

/// What is to be repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairTarget {
    Metadata,
    Shard(u32),
    All,
}

fn repair_target(text: &str) -> Result<RepairTarget, String> {
    match text {
        "metadata" => Ok(RepairTarget::Metadata),
        "all" => Ok(RepairTarget::All),
        number => number
            .parse()
            .map(RepairTarget::Shard)
            .map_err(|_| "give a shard's number, `all` or `metadata`".to_owned()),
    }
}

/// Show nodes, generations, shards, leaders and replicas that lag.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare cluster status
  fanfare cluster status --wait 5m         before the next step of a restart
  fanfare cluster status --grpc http://n2:9090 --json")]
pub struct Status {
    #[command(flatten)]
    pub reach: Reach,
    /// Show it again on each change, until interrupted.
    #[arg(long)]
    pub watch: bool,
    /// Wait until every node answers, every shard has a leader and every replica keeps up; exit
    /// code 1 if that takes longer than TIME, such as 90s.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "watch")]
    pub wait: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Show each shard: who leads it, its replicas, and those that are moving away.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare cluster shards
  fanfare cluster shards --node n1 --json")]
pub struct Shards {
    /// Only shards with a replica on this node (name or id).
    #[arg(long)]
    pub node: Option<String>,
    #[command(flatten)]
    pub reach: Reach,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Give away all that a node leads and its sessions, so that it can be stopped. It keeps its replicas
/// and serves again when it is started again.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare cluster drain n2
  fanfare cluster drain n2 --timeout 5m --json

Refused if a shard would have no majority without the node. Interrupted, it goes on; ask again to
see how far it is.")]
pub struct Drain {
    /// Name or id.
    pub node: String,
    #[command(flatten)]
    pub wait: Wait,
}

/// Remove a node for ever: its replicas move to other nodes first. Works for a node that is dead, too.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare cluster remove n2
  fanfare cluster remove n2 --no-wait
  fanfare cluster remove n2 --stay            it is to stay after all
  fanfare cluster remove n2 --fewer-replicas  at once, though no other node can have its replicas

Refused if the others are too few for all replicas, or if a shard has no majority. A removed node
ends by itself. Its name may be used again, by a node with an empty data directory. Interrupted, the
removal goes on; ask again to see how far it is.")]
pub struct Remove {
    /// Name or id.
    pub node: String,
    /// Remove it at once: shards have fewer replicas until there are nodes enough.
    #[arg(long, conflicts_with = "stay")]
    pub fewer_replicas: bool,
    /// Take a removal back that is not done yet; what has moved stays where it is.
    #[arg(long)]
    pub stay: bool,
    #[command(flatten)]
    pub wait: Wait,
}

/// Have a node take over from another one, which is removed for ever: one that is dead, has lost its
/// data, or is to go.
#[derive(Debug, Group)]
#[command(after_help = "\
Example, after n2 has lost its disk:
  fanfare serve --name n4 --data /new/disk --seeds n1:7070,n3:7070 …   on the new machine
  fanfare cluster replace n2 n4

Every replica of the old node is made anew on the new one, or where there is room if that has one
of the shard already. Interrupted, it goes on; ask again to see how far it is.")]
pub struct Replace {
    /// The node that goes: name or id.
    pub old: String,
    /// The node that takes over: it has joined already.
    pub new: String,
    #[command(flatten)]
    pub wait: Wait,
}

/// Have another replica lead a shard.
#[derive(Debug, Group)]
#[command(after_help = "\
Example:
  fanfare cluster transfer 7 n2")]
pub struct Transfer {
    /// The shard's number.
    pub shard: u32,
    /// Node with a replica of it: name or id.
    pub node: String,
    #[command(flatten)]
    pub wait: Wait,
}

/// How long a command that takes time is waited for, and what is shown.
#[derive(Clone, Debug, Group)]
pub struct Wait {
    /// How long to wait, such as 90s or 1h. What was begun goes on afterwards.
    #[arg(long, default_value = "30m", value_parser = duration)]
    pub timeout: Duration,
    /// Do not wait until it is done.
    #[arg(long)]
    pub no_wait: bool,
    /// Print JSON, a line a change.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}
