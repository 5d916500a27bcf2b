//! A shard that retains more than its share: what is trimmed is enough, no more than needed, and
//! the same on every replica.

use proptest::prelude::*;

use super::random::any_log;
use super::*;

/// Bytes of what readers could still have.
fn retained(shard: &Shard) -> u64 {
    let frozen = shard.freeze();
    let records = frozen.dump().flat_map(|topic| topic.records);
    records.map(|record| record.message.content.cost()).sum()
}

proptest! {
    #[test]
    fn trims_lead_to_the_share_and_replicas_stay_equal(log in any_log(), share in 0_u64..6_000) {
        let mut leader = Shard::new(SHARDS);
        for (n, entry) in log.iter().enumerate() {
            leader.apply(at(n), entry);
            prop_assert_eq!(leader.bytes(), retained(&leader));
        }
        let blocks: Vec<Block> = leader.freeze().blocks().collect();
        let mut follower = Shard::restore(SHARDS, blocks).unwrap();
        let mut index = log.len();
        while let Some(command) = leader.trim_for(share) {
            let before = leader.bytes();
            let Command::Trim { topic, through, .. } = &command else {
                panic!("{command:?}");
            };
            let info = leader.get(topic).unwrap();
            prop_assert_eq!(info.bytes, leader.largest_bytes(), "of the largest topic");
            prop_assert!(info.start.offset <= *through && *through <= info.head.offset);
            // Without the last message it drops, it would not have been enough.
            let last = leader.page(topic, Position { offset: through.before(), ..info.head }, 1, 1);
            let last = last.unwrap().messages[0].content.cost();
            let excess = (before - share).min(info.bytes / 2).max(1);
            let entry = Entry { running_ms: leader.running_ms(), command };
            leader.apply(at(index), &entry);
            follower.apply(at(index), &entry);
            index += 1;
            let freed = before - leader.bytes();
            prop_assert!(freed >= excess && freed - last < excess);
            prop_assert_eq!(leader.bytes(), retained(&leader));
        }
        prop_assert!(leader.bytes() <= share);
        prop_assert_eq!(leader.chain(), follower.chain());
        prop_assert_eq!(leader.bytes(), follower.bytes());
    }
}

#[test]
fn a_shard_within_its_share_is_left_alone() {
    let mut world = World::new();
    world.publish("news");
    let bytes = world.shard.bytes();
    assert_eq!(world.shard.trim_for(bytes), None);
    assert!(world.shard.trim_for(bytes - 1).is_some());
}

#[test]
fn a_reader_behind_the_trim_is_told_how_much_it_missed() {
    let mut world = World::new();
    (0..10).for_each(|_| {
        world.publish("news");
    });
    let one = content("hi").cost();
    while let Some(trim) = world.shard.trim_for(3 * one) {
        world.apply(trim);
    }
    let Some(Answer::Gap(gap)) = Some(world.stand("news", Since::After(pos(101, 2))).answer) else {
        panic!("no gap");
    };
    assert_eq!(gap.reason, GapReason::Trimmed(TrimmedBy::Budget));
    assert_eq!((gap.to, gap.missed), (pos(101, 7), Some(5)));
}
