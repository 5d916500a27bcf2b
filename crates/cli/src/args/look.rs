//! What can be typed to understand something: codes, configurations, data directories, what lies
//! between here and an edge.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Group, Subcommand};

use super::{NodeFlags, duration};

/// Say what a code means: when it is told, who may try again, what to do.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare errors                 all codes
  fanfare errors no_quorum       one code
  fanfare errors 4501            the codes of a WebSocket close, HTTP or gRPC number
  fanfare errors --json

An edge says the same at GET /v1/errors/CODE.")]
pub struct Errors {
    /// A code, such as `no_quorum`, or a number, such as 503 or 4501.
    pub code: Option<String>,
    /// Print JSON, a line a code.
    #[arg(long)]
    pub json: bool,
}

/// Look at a node's configuration without starting it.
#[derive(Debug, Group)]
pub struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    Check(ConfigCheck),
    Print(ConfigPrint),
}

/// Say all that is wrong with a configuration, as `serve` would read it: the file, then the
/// environment, then flags.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare config check /etc/fanfare/node.toml
  fanfare config check node.toml --no-env --json     the file alone, whatever the environment says
  fanfare config check node.toml --insecure-open     with flags that `serve` will get

Exit codes: 0 a node can read it, 2 something is wrong (each problem is named with its place).")]
pub struct ConfigCheck {
    /// The file (TOML).
    pub file: PathBuf,
    /// Leave environment variables (FANFARE_EDGE__LISTEN, …) out.
    #[arg(long)]
    pub no_env: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: NodeFlags,
}

/// Print every key as `serve` would read it, and where its value came from: default, file and line,
/// environment or flag. Secrets are hidden.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare config print                               the defaults and the environment
  fanfare config print /etc/fanfare/node.toml --set  only what is not a default
  fanfare config print node.toml --edge 0.0.0.0:80 --json

What is wrong with it is told, too, with exit code 2.")]
pub struct ConfigPrint {
    /// The file (TOML).
    pub file: Option<PathBuf>,
    /// Only keys that are not as by default.
    #[arg(long)]
    pub set: bool,
    /// Leave environment variables (FANFARE_EDGE__LISTEN, …) out.
    #[arg(long)]
    pub no_env: bool,
    /// Print JSON, a line a key.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub flags: NodeFlags,
}

/// Find what is wrong: with the way to an edge (a URL), through whatever proxy lies between, or with
/// the data directory of a stopped node.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare doctor http://push.example:80
  fanfare doctor http://push.example:80 --patience 70s    and watch streams for proxies' idle limits
  fanfare doctor http://127.0.0.1:8080 --grpc http://127.0.0.1:9090 --json
  fanfare doctor /var/lib/fanfare
  fanfare doctor ./data --json

With a URL each transport is tried (WebSocket, SSE, NDJSON tail, long and short poll in JSON and HTML,
gRPC with --grpc) and a message is published to a topic of its own, which must arrive at once. Faults
have names: unreachable, no_upgrade, buffering, slow_first_byte, idle_cut, refused; each says which
directive of nginx, HAProxy or Caddy to change. A path that a proxy needs goes into the URL.

Exit codes: 0 it is sound, 1 something is wrong, 2 wrong usage, or the directory cannot be read or is
open in a running node, 3 the URL does not reach an edge.")]
pub struct Doctor {
    /// `http://HOST:PORT` of an edge or a proxy before it, or a node's data directory.
    #[arg(value_name = "URL|DIR")]
    pub target: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// With a URL: a gRPC door to try, too, `http://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    pub grpc: Option<String>,
    /// With a URL: the topic that is published to and read.
    #[arg(long, default_value = "fanfare-doctor")]
    pub topic: String,
    /// With a URL: watch open streams for so long, such as 70s. Proxies cut idle streams after 30 to
    /// 60 s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub patience: Option<Duration>,
    /// With a URL: what is later than this is slow, or held back.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = duration)]
    pub within: Duration,
    #[command(flatten)]
    pub token: super::Token,
}

/// Print a script that completes commands and flags in a shell.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare completions bash > /etc/bash_completion.d/fanfare
  fanfare completions zsh > ~/.zfunc/_fanfare
  fanfare completions fish > ~/.config/fish/completions/fanfare.fish")]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
