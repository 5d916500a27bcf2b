//! What `fanfare verify` takes.

use std::path::PathBuf;

use clap::Args as Group;

/// Judge what a run's clients and nodes observed, by the contract: each broken promise is counted,
/// the first of each kind with the lines that prove it.
#[derive(Debug, Group)]
#[command(after_help = "\
Examples:
  fanfare-load --seconds 60 --kill-at 20 --start-at 40 --dir ./run
  fanfare verify ./run
  fanfare verify ./run --json | jq .verdicts

DIR holds *.jsonl files, an observation a line, and may hold run.json, which says how the cluster was
set up: {\"replicas\": 3, \"heal_ms\": 30000, \"dedup_ms\": 120000,
\"rules\": [{\"topic\": \"news\", \"retain_count\": 1000, \"retain_age_ms\": 3600000}]}

Exit codes: 0 every promise was kept, 1 one was broken, 2 the observations cannot be read.")]
pub struct Verify {
    /// The directory with the observations.
    pub dir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
