//! `fanfare-load`: load on three processes, kills on the way, judged by the checker. Exit code 0 if
//! nothing was lost, repeated, out of order or left behind, 1 otherwise.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use fanfare_tests::load::{self, Plan};

fn main() -> anyhow::Result<ExitCode> {
    let plan = Plan::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(load::run(&plan))?;
    let text = if plan.json {
        outcome.json().to_string()
    } else {
        outcome.to_string()
    };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if outcome.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
