//! `fanfare verify`: observations of a run, judged by the contract.

use std::error::Error as _;

use fanfare_checker::judge_dir;

use crate::args::Verify;
use crate::failure::Failure;
use crate::output;

pub fn run(args: &Verify) -> Result<(), Failure> {
    let report = judge_dir(&args.dir).map_err(|error| {
        let source = error.source().map(|source| format!(": {source}"));
        Failure::Usage(format!("{error}{}", source.unwrap_or_default()))
    })?;
    if args.json {
        let text = serde_json::to_string(&report);
        output::line(&text.map_err(|error| Failure::Usage(error.to_string()))?)?;
    } else {
        output::text(&report.to_string())?;
    }
    let broken: u64 = report.verdicts.values().sum();
    if broken > 0 {
        let text = format!("{broken} broken promises in {}", args.dir.display());
        return Err(Failure::No(text));
    }
    Ok(())
}
