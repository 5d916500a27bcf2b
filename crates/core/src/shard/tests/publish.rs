//! What becomes of drafts: placed, duplicate, refused.

use super::*;

#[test]
fn the_first_draft_makes_the_topic_and_offsets_are_dense() {
    let mut world = World::new();
    assert_eq!(world.publish("news"), pos(101, 1));
    assert_eq!(world.effects.created, [name("news")]);
    let fates = world.apply(place(vec![
        draft("news", "b"),
        draft("chat", "c"),
        draft("news", "d"),
    ]));
    let placed = |position| Fate::Placed {
        position,
        dedup_remaining_ms: None,
    };
    let wanted = [pos(101, 2), pos(102, 1), pos(101, 3)].map(placed);
    assert_eq!(fates, Outcome::Placed(wanted.to_vec()));
    let told = &world.effects.placed[&name("news")];
    let payloads: Vec<_> = told.iter().map(|m| m.content.payload.clone()).collect();
    assert_eq!(payloads, ["b", "d"]);
    assert_eq!(world.effects.created, [name("chat")]);
}

#[test]
fn a_key_takes_one_slot_and_says_how_long_it_is_known() {
    let mut world = World::new();
    let placed = world.place(keyed("news", "a", "k"));
    let position = pos(101, 1);
    assert_eq!(
        placed,
        Fate::Placed {
            position,
            dedup_remaining_ms: Some(2 * MINUTE)
        }
    );
    world.publish("news");
    world.later(MINUTE);
    assert_eq!(
        world.place(keyed("news", "a", "k")),
        Fate::Duplicate {
            position,
            dedup_remaining_ms: MINUTE
        }
    );
    assert!(world.effects.is_empty());
    let mismatch = world.place(keyed("news", "b", "k"));
    assert_eq!(mismatch, refused(Code::IdempotencyMismatch));
    assert!(matches!(
        world.place(keyed("chat", "b", "k")),
        Fate::Placed { .. }
    ));
}

#[test]
fn a_repeat_in_one_batch_is_a_duplicate() {
    let mut world = World::new();
    let twice = vec![keyed("news", "a", "k"), keyed("news", "a", "k")];
    let Outcome::Placed(fates) = world.apply(place(twice)) else {
        panic!("drafts have fates");
    };
    assert!(matches!(fates[0], Fate::Placed { .. }));
    assert!(matches!(fates[1], Fate::Duplicate { position, .. } if position == pos(101, 1)));
}

#[test]
fn a_key_older_than_the_window_takes_no_second_slot_unseen() {
    let mut world = World::new();
    world.place(keyed("news", "a", "k"));
    world.later(3 * MINUTE);
    let late = Draft {
        key_age_ms: 3 * MINUTE,
        ..keyed("news", "a", "k")
    };
    assert_eq!(world.place(late.clone()), refused(Code::IdempotencyExpired));
    let elsewhere = Draft {
        topic: name("other"),
        ..late
    };
    assert_eq!(world.place(elsewhere), refused(Code::IdempotencyExpired));
    assert_eq!(world.shard.get(&name("other")), None);
    // Without its age nobody can tell: at least once (C12).
    let again = world.place(keyed("news", "a", "k"));
    assert!(matches!(again, Fate::Placed { position, .. } if position == pos(101, 2)));
}

#[test]
fn a_key_whose_row_is_known_is_a_duplicate_whatever_its_age() {
    let mut world = World::new();
    world.place(keyed("news", "a", "k"));
    world.later(2 * MINUTE - 1);
    let late = Draft {
        key_age_ms: 2 * MINUTE,
        ..keyed("news", "a", "k")
    };
    assert!(matches!(
        world.place(late),
        Fate::Duplicate {
            dedup_remaining_ms: 1,
            ..
        }
    ));
}

#[test]
fn the_leader_knows_when_a_key_is_too_old_to_propose() {
    let mut world = World::new();
    let shorter = RuleLayer {
        dedup_age: Some(Duration::from_secs(1)),
        ..RuleLayer::default()
    };
    world.create("quick", shorter).unwrap();
    assert!(!world.shard.key_is_past(&name("quick"), 999));
    assert!(world.shard.key_is_past(&name("quick"), 1_000));
    assert!(!world.shard.key_is_past(&name("absent"), 2 * MINUTE - 1));
    assert!(world.shard.key_is_past(&name("absent"), 2 * MINUTE));
}

#[test]
fn a_window_made_longer_does_not_forget_that_it_was_shorter() {
    let mut world = World::new();
    let window = |secs| RuleLayer {
        dedup_age: Some(Duration::from_secs(secs)),
        ..RuleLayer::default()
    };
    world.rules("news", window(1));
    world.place(keyed("news", "a", "k"));
    world.later(5_000).rules("news", window(3_600));
    let late = Draft {
        key_age_ms: 5_000,
        ..keyed("news", "a", "k")
    };
    assert_eq!(world.place(late), refused(Code::IdempotencyExpired));
}

#[test]
fn an_expectation_is_the_head_or_nothing_is_placed() {
    let mut world = World::new();
    let expecting = |expect| Draft {
        expect: Some(expect),
        ..draft("news", "a")
    };
    let failed = |head| {
        Fate::Refused(Refused {
            code: Code::ExpectationFailed,
            head: Some(head),
        })
    };
    assert_eq!(world.place(expecting(pos(101, 1))), failed(Position::NONE));
    assert_eq!(
        world.shard.topic_count(),
        0,
        "a refused draft makes no topic"
    );
    assert!(matches!(
        world.place(expecting(Position::NONE)),
        Fate::Placed { .. }
    ));
    assert_eq!(world.place(expecting(Position::NONE)), failed(pos(101, 1)));
    assert!(matches!(
        world.place(expecting(pos(101, 1))),
        Fate::Placed { .. }
    ));
    assert_eq!(world.place(expecting(pos(101, 1))), failed(pos(101, 2)));
}

#[test]
fn none_is_expected_of_a_topic_without_messages_too() {
    let mut world = World::new();
    world.create("news", RuleLayer::default()).unwrap();
    for expect in [Position::NONE, pos(101, 0)] {
        let mut other = World::new();
        other.create("news", RuleLayer::default()).unwrap();
        let fate = other.place(Draft {
            expect: Some(expect),
            ..draft("news", "a")
        });
        assert!(matches!(fate, Fate::Placed { .. }), "{expect}");
    }
}

#[test]
fn a_draft_placed_as_expected_is_a_duplicate_when_it_comes_again() {
    let mut world = World::new();
    let first = Draft {
        expect: Some(Position::NONE),
        ..keyed("news", "a", "k")
    };
    world.place(first.clone());
    assert!(matches!(world.place(first), Fate::Duplicate { .. }));
}

#[test]
fn a_draft_of_an_ephemeral_topic_is_handed_back() {
    let mut world = World::new();
    world.rules("live.>", ephemeral());
    assert_eq!(world.place(draft("live.a", "x")), Fate::Ephemeral);
    world.create("ticker", ephemeral()).unwrap();
    assert_eq!(world.place(draft("ticker", "x")), Fate::Ephemeral);
    assert!(world.effects.is_empty());
    assert_eq!(world.shard.class_of(&name("live.a")), Class::Ephemeral);
}

#[test]
fn where_topics_are_explicit_use_makes_none() {
    let mut world = World::new();
    world.apply(Command::SetRules(explicit()));
    assert_eq!(
        world.place(draft("news", "a")),
        refused(Code::TopicNotFound)
    );
    world.create("news", RuleLayer::default()).unwrap();
    assert_eq!(world.publish("news"), pos(101, 1));
}

#[test]
fn the_bound_on_topics_is_this_shards_share() {
    let mut world = World::new();
    world.apply(Command::SetRules(at_most(u64::from(SHARDS) * 8)));
    (0..9).for_each(|n| {
        world.publish(&format!("t{n}"));
    });
    assert_eq!(
        world.place(draft("more", "a")),
        refused(Code::LimitExceeded)
    );
    let created = world.create("more", RuleLayer::default());
    assert_eq!(created, Err(Code::LimitExceeded.into()));
    world.delete("t0").unwrap();
    assert!(matches!(
        world.place(draft("more", "a")),
        Fate::Placed { .. }
    ));
}

#[test]
fn nothing_is_placed_before_the_shard_has_begun() {
    let mut shard = Shard::new(SHARDS);
    let entry = Entry {
        running_ms: 0,
        command: place(vec![draft("news", "a")]),
    };
    let (outcome, effects) = shard.apply(at(0), &entry);
    assert_eq!(outcome, Outcome::Placed(vec![refused(Code::NotReady)]));
    assert!(effects.is_empty());
    let read = shard.stand(&name("news"), Since::Latest, false, Term(1));
    assert_eq!(read, Err(Unread::NotBegun));
}
