//! What can be typed. The doc comments are the manual that `--help` prints.

mod bench;
mod cluster;
mod health;
mod look;
mod operate;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Parser, Subcommand};

pub use bench::*;
pub use cluster::*;
pub use health::*;
pub use look::*;
pub use operate::*;
pub use verify::*;

/// Push updates to people: publish once, and every subscriber gets it, on any node, over any
/// transport, or is told what it cannot have.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Examples:
  fanfare dev                                  three nodes in one process, to try everything
  fanfare pub news '{\"home\": 2}'               publish a message
  fanfare sub news --from earliest             print what is there and what comes
  fanfare serve --single-node --insecure-open --name n1 --data ./data --cluster demo

Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 cannot reach a node,
4 refused by a node (the code is printed), 130 interrupted.";

#[derive(Debug, Subcommand)]
pub enum Command {
    Dev(Dev),
    Serve(Serve),
    Cluster(Cluster),
    Pub(Publish),
    Sub(Subscribe),
    Topic(Topic),
    Sessions(Sessions),
    Disconnect(Disconnect),
    Top(Top),
    Bench(Bench),
    Errors(Errors),
    Config(Config),
    Doctor(Doctor),
    Completions(Completions),
    Health(Health),
    Verify(Verify),
    Version(Version),
}

/// Run whole nodes in this process, for trying things out. Open to everybody on this machine.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare dev                    three nodes; their data stays in ./.fanfare-dev
  fanfare dev --nodes 1 --fresh  one node, from nothing
  fanfare dev --port-offset 100  beside another one

Node i listens on 127.0.0.1: edge 8079+i, grpc 9089+i, peer 7069+i, ops 9099+i, plus the offset.
  curl -X POST localhost:8080/dev/nodes/2/kill    node 2 loses what it had not synced
  curl -X POST localhost:8080/dev/nodes/2/start   and comes back from its disk
The others are stop (drains first), pause and resume.")]
pub struct Dev {
    /// Nodes to run, 1 to 9.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// Added to every port.
    #[arg(long, default_value_t = 0)]
    pub port_offset: u16,
    /// Directory of the nodes' data.
    #[arg(long, default_value = "./.fanfare-dev")]
    pub dir: PathBuf,
    /// Empty the directory first; only if it is one of `dev`.
    #[arg(long)]
    pub fresh: bool,
    /// What to log, such as `info` or `fanfare=debug`.
    #[arg(long, default_value = "warn,openraft=error")]
    pub log: String,
}

/// Run one node of a cluster.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare serve --config /etc/fanfare/node.toml
  fanfare serve --single-node --insecure-open --cluster demo --name n1 --data ./data

Three nodes on one machine:
  S=127.0.0.1:7070,127.0.0.1:7071,127.0.0.1:7072
  fanfare serve --insecure-open --cluster demo --name n1 --data d1 --seeds $S --peer 127.0.0.1:7070 --edge 127.0.0.1:8080 --grpc 127.0.0.1:9090 --ops 127.0.0.1:9100
  … the same for n2 and n3 with their own ports, then once:
  fanfare cluster init --ops http://127.0.0.1:9100

Defaults < file < environment (FANFARE_EDGE__LISTEN) < flags.")]
pub struct Serve {
    /// The node's configuration file (TOML).
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Make a cluster of this node alone if its disk is empty.
    #[arg(long)]
    pub single_node: bool,
    #[command(flatten)]
    pub flags: NodeFlags,
}

/// Keys of a node's configuration that have a flag.
#[derive(Debug, Default, Group)]
pub struct NodeFlags {
    /// Name of the cluster.
    #[arg(long)]
    pub cluster: Option<String>,
    /// Name of this node.
    #[arg(long)]
    pub name: Option<String>,
    /// Directory of this node's data.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Address for clients: HTTP, WebSocket, SSE, polls.
    #[arg(long)]
    pub edge: Option<SocketAddr>,
    /// Address for backends: gRPC.
    #[arg(long)]
    pub grpc: Option<SocketAddr>,
    /// Address for the other nodes.
    #[arg(long)]
    pub peer: Option<SocketAddr>,
    /// Address for the operator.
    #[arg(long)]
    pub ops: Option<SocketAddr>,
    /// Peer addresses of the nodes that make the cluster, divided by commas.
    #[arg(long, value_delimiter = ',')]
    pub seeds: Vec<String>,
    /// Serve without authentication: whoever reaches the ports may publish and subscribe.
    #[arg(long)]
    pub insecure_open: bool,
}

/// Where nodes are reached.
#[derive(Clone, Debug, Group)]
pub struct Reach {
    /// Edges, divided by commas: `http://HOST:PORT`.
    #[arg(
        long,
        env = "FANFARE_URL",
        default_value = "http://127.0.0.1:8080",
        value_delimiter = ','
    )]
    pub url: Vec<String>,
    /// gRPC doors, divided by commas: `http://HOST:PORT`.
    #[arg(
        long,
        env = "FANFARE_GRPC",
        default_value = "http://127.0.0.1:9090",
        value_delimiter = ','
    )]
    pub grpc: Vec<String>,
    #[command(flatten)]
    pub token: Token,
}

/// Credentials.
#[derive(Clone, Debug, Default, Group)]
pub struct Token {
    /// File with a token or API key, read again when a node asks for a new one. Without it the
    /// variable FANFARE_TOKEN holds the token itself, if there is one.
    #[arg(long, env = "FANFARE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// Publish: one message, or each line of stdin. Prints the positions.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare pub news hello
  fanfare pub news '{\"home\": 2}' --event score --key goal-2
  fanfare pub news @picture.png --type image/png
  tail -f access.log | fanfare pub log -
  fanfare pub news tick --rate 10 --count 100

A lost answer is asked for again with the same key, so nothing is placed twice.")]
pub struct Publish {
    /// Topic, such as `news` or `chat.7`.
    pub topic: String,
    /// The message; `-` for each line of stdin, `@FILE` for a file's bytes.
    #[arg(default_value = "-")]
    pub data: String,
    /// Idempotency key; with several messages `KEY-1`, `KEY-2`, …. Default: drawn for each.
    #[arg(long)]
    pub key: Option<String>,
    /// Name of the event.
    #[arg(long)]
    pub event: Option<String>,
    /// Content type. Default: JSON if it is JSON, else text, else bytes.
    #[arg(long = "type")]
    pub content_type: Option<String>,
    /// Tags, `KEY:VALUE`; may be repeated.
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// `committed`: answered when it is durable. `none`: when the edge has it.
    #[arg(long, default_value = "committed", value_parser = ["committed", "none"])]
    pub ack: String,
    /// Messages a second. Default: as fast as they are acked.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Publish DATA so many times.
    #[arg(long, default_value_t = 1)]
    pub count: u64,
    /// Print JSON, a line a message.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// Subscribe: print messages as they come, resume by itself.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare sub news
  fanfare sub news chat.7 --from last:10 --transport sse
  fanfare sub orders --from earliest --cursor-file orders.cursor
  fanfare sub news --count 1 --json

With a cursor file a restart of the command goes on where it was. A gap is printed where the
left-out messages would be.")]
pub struct Subscribe {
    /// Topics, up to 100.
    #[arg(required = true)]
    pub topics: Vec<String>,
    /// Transports to use in turn: ws, sse, longpoll, poll, tail, grpc.
    #[arg(long, default_value = "ws", value_delimiter = ',')]
    pub transport: Vec<String>,
    /// `latest`, `earliest`, `last:N`, or for one topic a position already processed.
    #[arg(long, default_value = "latest")]
    pub from: String,
    /// Keep the cursor in this file, and begin from it if it is there.
    #[arg(long)]
    pub cursor_file: Option<PathBuf>,
    /// End after so many messages.
    #[arg(long)]
    pub count: Option<u64>,
    /// Print JSON, a line an item.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// Look at topics and their rules, make and delete them.
#[derive(Debug, Group)]
pub struct Topic {
    #[command(subcommand)]
    pub command: TopicCommand,
}

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// List topics.
    #[command(after_help = "Examples:\n  fanfare topic list\n  fanfare topic list 'chat.*'")]
    List {
        /// Only topics that match.
        pattern: Option<String>,
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one topic.
    #[command(after_help = "Example:\n  fanfare topic show news")]
    Show {
        topic: String,
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make a topic with rules of its own.
    #[command(
        after_help = "Example:\n  fanfare topic create live.score --class ephemeral --retain-count 100"
    )]
    Create {
        topic: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        reach: Reach,
    },
    /// Set the rules of all topics that match a pattern.
    #[command(
        after_help = "Example:\n  fanfare topic set 'chat.>' --retain-age 24h --retain-count 10000"
    )]
    Set {
        pattern: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        reach: Reach,
    },
    /// List the rules by pattern, or forget those of one.
    #[command(
        after_help = "Examples:\n  fanfare topic rules\n  fanfare topic rules --forget 'chat.>'"
    )]
    Rules {
        /// Forget the rules of this pattern.
        #[arg(long)]
        forget: Option<String>,
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a topic: its subscribers are told, its messages are gone.
    #[command(after_help = "Example:\n  fanfare topic delete news")]
    Delete {
        topic: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Rules of topics; what is not said stays as it is by default.
#[derive(Clone, Debug, Default, Group)]
pub struct Rules {
    /// `durable` or `ephemeral`.
    #[arg(long, value_parser = ["durable", "ephemeral"])]
    pub class: Option<String>,
    /// Messages kept.
    #[arg(long)]
    pub retain_count: Option<u64>,
    /// Bytes kept.
    #[arg(long)]
    pub retain_bytes: Option<u64>,
    /// Time for which messages are kept, such as 90s or 24h.
    #[arg(long, value_parser = duration)]
    pub retain_age: Option<Duration>,
    /// What slow sessions get: `catch_up` or `conflate`.
    #[arg(long, value_parser = ["catch_up", "conflate"])]
    pub slow: Option<String>,
    /// Messages a session may lag before `conflate` skips.
    #[arg(long)]
    pub slow_lag: Option<u64>,
    /// Time for which keys are known.
    #[arg(long, value_parser = duration)]
    pub dedup_age: Option<Duration>,
    /// `text/html` payloads in HTML fragments: `escape` or `verbatim`.
    #[arg(long, value_parser = ["escape", "verbatim"])]
    pub html: Option<String>,
}

/// A number with a unit: `500ms`, `90s`, `15m`, `24h`, `7d`.
pub fn duration(raw: &str) -> Result<Duration, String> {
    let split = raw.find(|c: char| !c.is_ascii_digit()).unwrap_or(raw.len());
    let (number, unit) = raw.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("`{raw}` is no time such as 90s or 24h"))?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{raw}` has no unit of ms, s, m, h, d")),
    };
    let ms = number
        .checked_mul(unit_ms)
        .ok_or(format!("`{raw}` is too long"))?;
    Ok(Duration::from_millis(ms))
}

/// Print the version.
#[derive(Debug, Group)]
#[command(after_help = "Example:\n  fanfare version --json")]
pub struct Version {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let own: Vec<_> = command
                .get_subcommands()
                .filter(|c| c.get_name() != "help")
                .collect();
            if own.is_empty() {
                let after = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(after.contains("fanfare "), "{path} has no example");
            }
            for sub in own {
                check(sub, &format!("{path} {}", sub.get_name()));
            }
        }
        check(&Args::command(), "fanfare");
    }

    #[test]
    fn every_command_is_on_the_page_of_commands() {
        fn check(command: &clap::Command, path: &str, page: &str) {
            let own = command.get_subcommands().filter(|c| c.get_name() != "help");
            let own: Vec<_> = own.collect();
            if own.is_empty() {
                assert!(
                    page.contains(&format!("`{path}`")),
                    "docs/commands.md lacks `{path}`"
                );
            }
            for sub in own {
                check(sub, &format!("{path} {}", sub.get_name()), page);
            }
        }
        let page = include_str!("../../../docs/commands.md");
        check(&Args::command(), "fanfare", page);
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(duration("90").is_err());
        assert!(duration("s").is_err());
        assert!(duration("99999999999999999999d").is_err());
    }
}
