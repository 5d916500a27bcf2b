//! The one binary, `fanfare`: parses what was typed and hands it to the command.

#![expect(
    unreachable_pub,
    reason = "a binary exports nothing: pub is what a module offers the others"
)]

mod args;
mod benchmark;
mod calm;
mod cluster;
mod completions;
mod configure;
mod cursor_file;
mod dev;
mod doctor;
mod errors;
mod failure;
mod health;
mod output;
mod paint;
mod publish;
mod reach;
mod serve;
mod sessions;
mod subscribe;
mod table;
mod top;
mod topic;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Cluster(args) => cluster::run(args),
        Command::Pub(args) => publish::run(args),
        Command::Sub(args) => subscribe::run(args),
        Command::Topic(args) => topic::run(args),
        Command::Sessions(args) => sessions::list(args),
        Command::Disconnect(args) => sessions::disconnect(args),
        Command::Top(args) => top::run(args),
        Command::Bench(args) => benchmark::run(&args),
        Command::Errors(args) => errors::run(&args),
        Command::Config(args) => configure::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Version(args) => output::version(&args),
    }
}
