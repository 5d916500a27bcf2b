//! Stories of a cluster's nodes, with real groups in one process.

mod begin;
mod change;
mod comeback;
mod levels;
mod members;
mod snapshots;
mod stored;
mod world;

use fanfare_core::rule::CreatePolicy;
use fanfare_core::view::Command;

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn policy(max_topics: u64) -> Command {
    Command::SetCreatePolicy {
        create: CreatePolicy::Explicit,
        max_topics,
    }
}
