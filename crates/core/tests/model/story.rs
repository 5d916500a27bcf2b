//! A run of a plan, told; and the shortest one that still fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::oracle::Broken;
use crate::plan::{Plan, Step};
use crate::sabotage::Sabotage;
use crate::world::World;

/// Runs a plan; what it reached, and what it broke.
pub(crate) fn survey(plan: &Plan) -> (BTreeMap<&'static str, u64>, Option<Broken>) {
    let mut world = World::new(plan, None, false);
    play(&mut world, &plan.steps);
    (world.oracle.reached, world.oracle.broken)
}

/// Runs a plan; what it broke, if anything.
pub(crate) fn run(plan: &Plan, sabotage: Option<Sabotage>) -> Option<Broken> {
    let mut world = World::new(plan, sabotage, sabotage.is_some());
    play(&mut world, &plan.steps);
    world.oracle.broken
}

fn play(world: &mut World, steps: &[Step]) {
    for step in steps {
        if world.story.is_some() {
            let told = format!("{:?}", step.kind);
            world
                .story
                .iter_mut()
                .for_each(|story| story.push(told.clone()));
        }
        world.step(*step);
        if world.oracle.broken.is_some() {
            return;
        }
    }
    world.heal();
}

/// Everything that happened in a run, line by line.
pub(crate) fn tell(plan: &Plan, sabotage: Option<Sabotage>) -> Vec<String> {
    let mut world = World::new(plan, sabotage, sabotage.is_some());
    world.story = Some(Vec::new());
    play(&mut world, &plan.steps);
    world.story.unwrap_or_default()
}

/// Leaves out steps while the same promise is broken.
pub(crate) fn shorten(plan: &Plan, sabotage: Option<Sabotage>, broken: &Broken) -> Plan {
    let mut best = plan.clone();
    let mut piece = best.steps.len().div_ceil(2);
    let mut tries = 600;
    while piece > 0 && tries > 0 {
        let mut at = 0;
        while at < best.steps.len() && tries > 0 {
            let mut shorter = best.clone();
            let end = (at + piece).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            tries -= 1;
            if run(&shorter, sabotage).is_some_and(|b| b.verdict == broken.verdict) {
                best = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    best
}

/// What is printed of a seed that fails.
pub(crate) fn report(plan: &Plan, sabotage: Option<Sabotage>, broken: &Broken) -> String {
    let short = shorten(plan, sabotage, broken);
    let proof = run(&short, sabotage).map_or_else(|| broken.proof.clone(), |b| b.proof);
    let mut text = format!(
        "seed {} breaks {}: {proof}\n{:?}\n{} of {} steps are enough:\n",
        plan.seed,
        broken.verdict,
        plan.size,
        short.steps.len(),
        plan.steps.len()
    );
    for line in tell(&short, sabotage) {
        writeln!(text, "{line}").expect("a text takes all");
    }
    writeln!(
        text,
        "repeat: FANFARE_MODEL_FIRST={} FANFARE_MODEL_SEEDS=1 cargo test -p fanfare-core --test model",
        plan.seed
    )
    .expect("a text takes all");
    text
}
