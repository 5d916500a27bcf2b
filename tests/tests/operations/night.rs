//! Planned operations under load, judged: what `fanfare-load --operations` does, at a small size.

use std::time::Duration;

use anyhow::{Result, ensure};
use fanfare_tests::load::{Operation, Operations, Plan, run};

/// How long the story may take.
const STORY: Duration = Duration::from_secs(900);

#[test]
fn a_node_comes_and_another_leaves_under_load_and_nothing_is_lost_or_repeated() -> Result<()> {
    let mut plan = Plan::story();
    (plan.topics, plan.streams) = (12, 3);
    (plan.rate, plan.subscribers) = (100, 24);
    plan.operations = Some(Operations(vec![
        Operation::Join,
        Operation::Drain,
        Operation::Remove,
        Operation::Transfer,
    ]));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async { tokio::time::timeout(STORY, run(&plan)).await })??;
    ensure!(outcome.is_clean(), "{outcome}");
    // Transfers are one window a shard, the rest one each, after one in which nothing was done.
    ensure!(outcome.pauses.len() == 8, "{outcome}");
    Ok(())
}
