//! Every command of docs/operations.md, run in the order of the page against processes of this
//! machine. What the page calls hosts, ports, paths and services is set out once, in `world.rs`.

mod night;
mod page;
mod world;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use page::Page;
use world::World;

/// How long one block may take.
const BLOCK: Duration = Duration::from_secs(600);
/// Blocks below which the page was not read as it is written.
const BLOCKS: usize = 30;

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    if let Err(why) = page_holds() {
        panic!("{why:#}");
    }
}

fn page_holds() -> Result<()> {
    let page = Page::read(include_str!("../../../docs/operations.md"))?;
    let shown = page.steps.len();
    ensure!(
        shown >= BLOCKS,
        "{shown} blocks: is the page still read as it is written?"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let world = World::new(&page)?;
    for step in &page.steps {
        let said = runtime.block_on(world.run(&step.script, BLOCK));
        let place = || {
            format!(
                "docs/operations.md:{}, {}:\n{}\n{}",
                step.line,
                step.heading,
                step.script,
                world.logs()
            )
        };
        let said = said.with_context(place)?;
        ensure!(
            said.code == Some(step.code),
            "{}\nexit code {} is expected of:\n{said}",
            place(),
            step.code
        );
        if let Some(line) = step.missing(&said.stdout) {
            anyhow::bail!(
                "{}\nthe page says `{line}`, which is not in:\n{said}",
                place()
            );
        }
    }
    Ok(())
}
