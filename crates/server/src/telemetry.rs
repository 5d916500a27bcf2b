//! Logs of the process: one subscriber, set once by the binary. Levels by consequence: `error`
//! someone must act, `warn` someone should look, `info` a node's state changed or a session ended.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, Logs};

/// Sends log lines to stderr as configured. An error if the filter is malformed or logs are
/// already set.
pub fn init(logs: &Logs) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&logs.filter)?;
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match logs.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|e| anyhow::anyhow!("logs are set already: {e}"))
}
