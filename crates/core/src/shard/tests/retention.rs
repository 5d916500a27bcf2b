//! What is kept, for how long, and by which limit it went.

use super::*;

fn trimmed(by: TrimmedBy, from: Position, to: Position) -> Gap {
    Gap {
        reason: GapReason::Trimmed(by),
        from,
        to,
        missed: Some(to.offset.0 - from.offset.0),
    }
}

#[test]
fn beyond_the_count_the_oldest_go() {
    let mut world = World::new();
    world.create("news", retain(3)).unwrap();
    (0..5).for_each(|_| {
        world.publish("news");
    });
    let gap = trimmed(TrimmedBy::Count, pos(101, 1), pos(101, 2));
    assert_eq!(world.gap("news", pos(101, 1)), gap);
    let standing = world.stand("news", Since::After(pos(101, 2)));
    assert_eq!(standing.answer, Answer::Recovered(pos(101, 2)));
    assert_eq!((standing.start, standing.head), (pos(101, 3), pos(101, 5)));
}

#[test]
fn beyond_the_bytes_the_oldest_go() {
    let mut world = World::new();
    let own = RuleLayer {
        retain_bytes: Some(2 * content("hi").cost()),
        ..RuleLayer::default()
    };
    world.create("news", own).unwrap();
    (0..3).for_each(|_| {
        world.publish("news");
    });
    let gap = trimmed(TrimmedBy::Bytes, pos(101, 0), pos(101, 1));
    assert_eq!(world.gap("news", pos(101, 0)), gap);
    assert_eq!(world.shard.bytes(), 2 * content("hi").cost());
}

#[test]
fn age_is_running_time_and_a_tick_lets_it_act() {
    let mut world = World::new();
    world.publish("news");
    world.later(HOUR - 1);
    world.publish("news");
    assert!(!world.shard.needs_tick(world.now));
    world.later(1);
    assert!(world.shard.needs_tick(world.now));
    world.apply(Command::Tick);
    let gap = trimmed(TrimmedBy::Age, pos(101, 0), pos(101, 1));
    assert_eq!(world.gap("news", pos(101, 0)), gap);
    assert!(!world.shard.needs_tick(world.now));
    world.later(HOUR).apply(Command::Tick);
    let standing = world.stand("news", Since::Earliest);
    assert_eq!(standing.answer, Answer::Recovered(pos(101, 2)));
    assert_eq!(standing.start, pos(101, 3));
    assert_eq!(world.shard.bytes(), 0);
}

#[test]
fn running_time_never_goes_back() {
    let mut world = World::new();
    world.later(HOUR);
    world.publish("news");
    world.now = 0;
    world.publish("news");
    assert_eq!(world.shard.running_ms(), HOUR);
    assert!(!world.shard.needs_tick(2 * HOUR - 1));
    assert!(world.shard.needs_tick(2 * HOUR));
}

#[test]
fn a_night_without_a_leader_costs_no_history() {
    let mut world = World::new();
    world.publish("news");
    // Only running time counts, and it stood still.
    world.apply(Command::Tick);
    let standing = world.stand("news", Since::After(pos(101, 0)));
    assert_eq!(standing.answer, Answer::Recovered(pos(101, 0)));
}

#[test]
fn new_rules_bind_topics_that_nobody_publishes_to() {
    let mut world = World::new();
    for _ in 0..3 {
        world.publish("news");
        world.publish("chat");
    }
    world.rules("news", retain(1));
    let gap = trimmed(TrimmedBy::Count, pos(101, 0), pos(101, 2));
    assert_eq!(world.gap("news", pos(101, 0)), gap);
    assert_eq!(world.stand("chat", Since::Earliest).start, pos(102, 1));
}

#[test]
fn a_shorter_age_is_noticed_by_the_clock() {
    let mut world = World::new();
    world.publish("news");
    let own = RuleLayer {
        retain_age: Some(Duration::from_secs(60)),
        ..RuleLayer::default()
    };
    world.later(MINUTE / 2).rules("news", own);
    assert!(!world.shard.needs_tick(MINUTE - 1));
    assert!(world.shard.needs_tick(MINUTE));
}

#[test]
fn new_rules_reach_many_topics_little_by_little() {
    let mut world = World::new();
    let topics = 2_500;
    for n in 0..topics {
        world.publish(&format!("t{n}"));
        world.publish(&format!("t{n}"));
    }
    let kept = |world: &World| world.shard.bytes() / content("hi").cost();
    world.rules(">", retain(1));
    assert_eq!(kept(&world), 2 * topics - 1_024);
    while world.shard.needs_tick(world.now) {
        world.apply(Command::Tick);
    }
    assert_eq!(kept(&world), topics);
}

#[test]
fn the_budget_trims_the_largest_topic_and_is_named() {
    let mut world = World::new();
    (0..10).for_each(|_| {
        world.publish("large");
    });
    world.publish("small");
    let one = content("hi").cost();
    assert_eq!(world.shard.trim_for(11 * one), None);
    let trim = world.shard.trim_for(9 * one).unwrap();
    world.apply(trim);
    assert_eq!(world.shard.bytes(), 9 * one);
    let gap = trimmed(TrimmedBy::Budget, pos(101, 0), pos(101, 2));
    assert_eq!(world.gap("large", pos(101, 0)), gap);
    while let Some(trim) = world.shard.trim_for(one) {
        let before = world.shard.bytes();
        world.apply(trim);
        assert!(world.shard.bytes() < before);
    }
    assert_eq!(world.shard.bytes(), one);
}

#[test]
fn a_trim_of_a_stream_that_is_over_does_nothing() {
    let mut world = World::new();
    world.publish("news");
    let trim = world.shard.trim_for(0).unwrap();
    world.delete("news").unwrap();
    world.publish("news");
    world.apply(trim);
    assert_eq!(world.stand("news", Since::Earliest).start, pos(103, 1));
}
