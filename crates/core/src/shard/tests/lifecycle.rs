//! Topics made, deleted and made again; epochs; rules; accepted loss.

use super::*;

#[test]
fn the_second_begin_changes_nothing() {
    let mut world = World::new();
    let before = world.publish("news");
    world.apply(Command::Begin {
        epoch_counter: 1 << 50,
        secret: Secret([9; 32]),
        level: 9,
    });
    assert_eq!(world.shard.level(), 1);
    assert_eq!(world.publish("news"), before.next());
    assert_eq!(world.publish("chat"), pos(102, 1));
}

#[test]
fn the_level_only_rises() {
    let mut world = World::new();
    world.apply(Command::SetLevel(3));
    world.apply(Command::SetLevel(2));
    assert_eq!(world.shard.level(), 3);
}

#[test]
fn creating_twice_is_one_creation_unless_the_rules_differ() {
    let mut world = World::new();
    let made = world.create("news", retain(5)).unwrap();
    assert_eq!(made.head, pos(101, 0));
    assert_eq!(made.rules.retain_count, 5);
    assert_eq!(world.effects.created, [name("news")]);
    assert_eq!(world.create("news", retain(5)), Ok(made));
    assert!(world.effects.is_empty());
    assert_eq!(
        world.create("news", retain(6)),
        Err(Code::TopicExists.into())
    );
}

#[test]
fn a_stream_made_again_has_a_higher_epoch_and_no_keys() {
    let mut world = World::new();
    world.place(keyed("news", "a", "k"));
    assert_eq!(world.delete("news"), Ok(Epoch(102)));
    assert_eq!(world.effects.deleted, [(name("news"), Epoch(102))]);
    assert_eq!(world.shard.bytes(), 0);
    assert_eq!(world.delete("news"), Err(Code::TopicNotFound.into()));
    let again = world.place(keyed("news", "b", "k"));
    assert!(matches!(again, Fate::Placed { position, .. } if position == pos(103, 1)));
}

#[test]
fn a_stream_that_is_over_is_not_deleted_twice() {
    let mut world = World::new();
    world.publish("news");
    world.delete("news").unwrap();
    world.publish("news");
    let delete = |epoch| Command::Delete {
        topic: name("news"),
        epoch: Some(Epoch(epoch)),
    };
    let stale = world.apply(delete(101));
    assert!(matches!(stale, Outcome::Deleted(Err(refused)) if refused.head == Some(pos(103, 1))));
    assert_eq!(world.apply(delete(103)), Outcome::Deleted(Ok(Epoch(104))));
}

#[test]
fn reserved_epochs_are_nobody_elses() {
    let mut world = World::new();
    let Outcome::Reserved(block) = world.apply(Command::ReserveEpochs(1_000)) else {
        panic!("epochs are reserved");
    };
    assert_eq!((block.first, block.last), (Epoch(101), Epoch(1_100)));
    assert_eq!(world.effects.reserved, Some(block));
    // The end of an ephemeral stream is below the head told for a topic that does not exist.
    let told = world.stand("news", Since::Latest).head;
    assert!(told > pos(block.last.0, u64::MAX));
    assert!(world.publish("news") > told);
    let stale = world.gap("other", pos(block.last.0, 5));
    assert_eq!(stale.reason, GapReason::EpochChanged);
}

#[test]
fn what_ends_the_block_of_a_leader() {
    let mut world = World::new();
    world.create("durable", RuleLayer::default()).unwrap();
    assert!(!world.effects.block_ended);
    world.create("ticker", ephemeral()).unwrap();
    assert!(world.effects.block_ended);
    world.publish("durable");
    assert!(!world.effects.block_ended);
    world.delete("durable").unwrap();
    assert!(world.effects.block_ended);
    world.rules("news", retain(1));
    assert!(world.effects.block_ended && world.effects.rules_changed);
}

#[test]
fn an_ephemeral_topic_made_on_use_can_be_ended() {
    let mut world = World::new();
    world.rules("live.*", ephemeral());
    assert_eq!(world.delete("live.a"), Ok(Epoch(101)));
    assert!(world.effects.block_ended);
}

#[test]
fn rules_never_go_back_and_never_change_a_class() {
    let mut world = World::new();
    world.publish("news");
    let mut rules = table(5);
    assert!(rules.put("news".parse().unwrap(), ephemeral()));
    world.apply(Command::SetRules(rules));
    world.apply(Command::SetRules(table(4)));
    assert!(!world.effects.rules_changed);
    assert_eq!(world.shard.rules_version(), 5);
    assert_eq!(world.shard.class_of(&name("news")), Class::Durable);
    assert_eq!(world.publish("news"), pos(101, 2));
}

#[test]
fn after_an_accepted_loss_streams_go_on_under_new_epochs() {
    let mut world = World::new();
    let read = world.publish("news");
    world.publish("news");
    let waiting = world.stand("absent", Since::Latest).head;
    world.apply(Command::Repair);
    assert!(world.effects.repaired && world.effects.block_ended);
    let raised = 101 + (1 << 32);
    let epoch = raised + 1;
    let loss = |from: Position, to: Position| Gap {
        reason: GapReason::DataLoss,
        from,
        to,
        missed: None,
    };
    // What was read is not delivered again, what survived is.
    assert_eq!(world.gap("news", read), loss(read, pos(epoch, 1)));
    let page = world.shard.page(&name("news"), read, 10, 1_000).unwrap();
    assert_eq!(page.gap, Some(loss(read, pos(epoch, 1))));
    assert_eq!(page.messages[0].position, pos(epoch, 2));
    // Read from the copies that are lost, also in a stream this copy never knew.
    for lost in [pos(101, 9), pos(107, 3)] {
        let gap = world.gap("news", lost);
        assert_eq!(gap.reason, GapReason::DataLoss);
        assert!(gap.to > lost && gap.to <= pos(epoch, 2));
    }
    assert_eq!(world.gap("absent", waiting).reason, GapReason::DataLoss);
    let polled = world.poll("absent", Since::After(waiting));
    assert_eq!(polled.head, pos(epoch, 0));
    assert_eq!(world.publish("news"), pos(epoch, 3));
    let standing = world.stand("news", Since::After(pos(epoch, 1)));
    assert_eq!(standing.answer, Answer::Recovered(pos(epoch, 1)));
}

#[test]
fn keys_end_with_an_accepted_loss() {
    let mut world = World::new();
    world.place(keyed("news", "a", "k"));
    world.apply(Command::Repair);
    let again = world.place(keyed("news", "a", "k"));
    assert!(matches!(again, Fate::Placed { position, .. } if position.offset == Offset(2)));
}

#[test]
fn who_followed_an_ephemeral_stream_is_told_when_the_name_becomes_durable() {
    let follow = || {
        let mut world = World::new();
        world.rules("live.*", ephemeral());
        let Outcome::Reserved(block) = world.apply(Command::ReserveEpochs(10)) else {
            panic!("epochs are reserved");
        };
        (world, pos(block.first.0, 0))
    };
    let durable = RuleLayer {
        class: Some(Class::Durable),
        ..RuleLayer::default()
    };
    let (mut world, began) = follow();
    world.rules("other", RuleLayer::default());
    assert_eq!(world.gap("live.a", began).reason, GapReason::EpochChanged);
    world.publish("live.a");
    assert_eq!(world.gap("live.a", began).reason, GapReason::EpochChanged);

    let (mut world, began) = follow();
    let waiting = world.stand("news", Since::Latest).head;
    world.create("live.a", durable).unwrap();
    assert_eq!(world.gap("live.a", began).reason, GapReason::EpochChanged);
    let standing = world.stand("news", Since::After(waiting));
    assert_eq!(standing.answer, Answer::Recovered(waiting));
}

#[test]
fn replicas_that_did_not_apply_alike_have_other_chains() {
    let chain = |commands: &[Command]| {
        let mut world = World::new();
        for command in commands {
            world.apply(command.clone());
        }
        world.shard.chain()
    };
    let first = place(vec![draft("news", "a")]);
    let one = chain(&[first.clone(), Command::Tick]);
    assert_eq!(one, chain(&[first.clone(), Command::Tick]));
    let delete = Command::Delete {
        topic: name("news"),
        epoch: None,
    };
    let others = [
        vec![place(vec![draft("news", "b")]), Command::Tick],
        vec![place(vec![draft("new", "a")]), Command::Tick],
        vec![first.clone(), Command::Tick, Command::Tick],
        vec![first.clone(), delete],
        vec![first.clone(), first.clone()],
        vec![first, place(vec![draft("other", "a")])],
    ];
    for other in others {
        assert_ne!(one, chain(&other), "{other:?}");
    }
}
