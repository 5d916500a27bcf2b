//! What can be typed after `fanfare health`.

use std::time::Duration;

use clap::Args as Group;

use super::duration;

/// Ask the node of this machine whether clients should be sent to it: what a container's health check
/// or a script calls where there is no curl.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare health                            is it ready?
  fanfare health --live                     does the process live?
  fanfare health --wait 1m                  wait until it is ready

Exit codes: 0 it is, 1 it says why not, 3 nobody answers.")]
pub struct Health {
    /// The operator's door of the node.
    #[arg(long, env = "FANFARE_OPS", default_value = "http://127.0.0.1:9100")]
    pub ops: String,
    /// Ask only whether the process lives, not whether it is ready.
    #[arg(long)]
    pub live: bool,
    /// Ask again for so long (`90s`, `5m`) while the answer is no.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub wait: Option<Duration>,
}
