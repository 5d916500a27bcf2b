//! How subscribers and polls stand to topics that exist, do not exist yet, or exist no more.

use super::*;
use crate::id::Term;

#[test]
fn since_says_where_a_subscriber_begins() {
    let mut world = World::new();
    (0..4).for_each(|_| {
        world.publish("news");
    });
    let begin = |since| world.stand("news", since).begin();
    assert_eq!(begin(Since::Latest), pos(101, 4));
    assert_eq!(begin(Since::Earliest), pos(101, 0));
    assert_eq!(begin(Since::Last(3)), pos(101, 1));
    assert_eq!(begin(Since::Last(1_000)), pos(101, 0));
    assert_eq!(begin(Since::After(pos(101, 4))), pos(101, 4));
    assert_eq!(world.stand("news", Since::Latest).answer, Answer::Latest);
}

#[test]
fn a_reader_who_waited_gets_the_topic_from_its_first_message() {
    let mut world = World::new();
    let waiting = world.stand("news", Since::Latest);
    assert_eq!(
        (waiting.answer, waiting.head),
        (Answer::Latest, pos(FIRST, 0))
    );
    assert!(!waiting.exists);
    world.publish("other");
    world.publish("news");
    let standing = world.stand("news", Since::After(waiting.head));
    assert_eq!(standing.answer, Answer::Recovered(waiting.head));
    assert_eq!(standing.head, pos(102, 1));
    let page = world
        .shard
        .page(&name("news"), waiting.head, 10, 1_000)
        .unwrap();
    assert_eq!(page.gap, None);
    assert_eq!(page.messages[0].position, pos(102, 1));
}

#[test]
fn a_reader_who_waited_too_long_is_told_what_retention_took() {
    let mut world = World::new();
    let waiting = world.stand("news", Since::Latest).head;
    world.create("news", retain(2)).unwrap();
    (0..5).for_each(|_| {
        world.publish("news");
    });
    let gap = world.gap("news", waiting);
    assert_eq!(gap.reason, GapReason::Trimmed(TrimmedBy::Count));
    assert_eq!((gap.to, gap.missed), (pos(101, 3), Some(3)));
    let page = world.shard.page(&name("news"), waiting, 10, 1_000).unwrap();
    assert_eq!(page.gap, Some(gap));
    assert_eq!(page.messages[0].position, pos(101, 4));
}

#[test]
fn a_topic_that_came_and_went_is_a_gap() {
    let mut world = World::new();
    let waiting = world.stand("news", Since::Latest).head;
    world.publish("news");
    let ended = world.delete("news").unwrap();
    let gap = world.gap("news", waiting);
    assert_eq!(gap.reason, GapReason::EpochChanged);
    assert_eq!((gap.to, gap.missed), (pos(ended.0, 0), None));
    // The head after the gap is a good place to wait.
    let again = world.stand("news", Since::After(gap.to));
    assert_eq!(again.answer, Answer::Recovered(gap.to));
    world.publish("news");
    assert_eq!(world.gap("news", waiting).to, pos(103, 0));
    let again = world.stand("news", Since::After(gap.to));
    assert_eq!(again.answer, Answer::Recovered(gap.to));
}

#[test]
fn another_topics_end_is_nobodys_gap() {
    let mut world = World::new();
    let waiting = world.stand("news", Since::Latest).head;
    world.publish("other");
    world.delete("other").unwrap();
    let standing = world.stand("news", Since::After(waiting));
    assert_eq!(standing.answer, Answer::Recovered(waiting));
    assert_eq!(standing.head, pos(102, 0), "the present counter");
}

#[test]
fn a_reader_of_a_deleted_and_recreated_topic_is_told_so() {
    let mut world = World::new();
    world.publish("news");
    let old = world.publish("news");
    world.delete("news").unwrap();
    world.publish("news");
    let gap = world.gap("news", old);
    assert_eq!(gap.reason, GapReason::EpochChanged);
    assert_eq!((gap.from, gap.to), (old, pos(103, 0)));
    // Its beginning, too, was another stream's.
    assert_eq!(
        world.gap("news", pos(101, 0)).reason,
        GapReason::EpochChanged
    );
}

#[test]
fn after_a_day_the_shard_knows_only_that_it_has_forgotten() {
    let mut world = World::new();
    let waiting = world.stand("news", Since::Latest).head;
    world.publish("other");
    let ended = world.delete("other").unwrap();
    world.later(24 * HOUR - 1).apply(Command::Tick);
    let standing = world.stand("news", Since::After(waiting));
    assert_eq!(standing.answer, Answer::Recovered(waiting));
    assert!(world.shard.needs_tick(world.now + 1));
    world.later(1).apply(Command::Tick);
    let gap = world.gap("news", waiting);
    assert_eq!(
        gap.reason,
        GapReason::EpochChanged,
        "the shard cannot prove that none was"
    );
    let head = pos(ended.0, 0);
    let standing = world.stand("news", Since::After(head));
    assert_eq!(standing.answer, Answer::Recovered(head));
}

#[test]
fn tombstones_are_bounded_and_the_oldest_are_forgotten() {
    let mut world = World::new();
    let waiting = world.stand("b", Since::Latest).head;
    world.publish("a");
    world.delete("a").unwrap();
    for _ in 0..=tombstones::Tombstones::MAX {
        world.create("b", RuleLayer::default()).unwrap();
        world.delete("b").unwrap();
    }
    assert_eq!(world.gap("c", waiting).reason, GapReason::EpochChanged);
    let polled = world.poll("c", Since::Latest).head;
    let again = world.poll("c", Since::After(polled));
    assert_eq!(again.answer, Answer::Recovered(polled));
    // An older stone of a name that has a later one is no loss: `a` alone was forgotten.
    let standing = world.stand("c", Since::After(pos(FIRST + 2, 0)));
    assert_eq!(standing.answer, Answer::Recovered(pos(FIRST + 2, 0)));
}

#[test]
fn a_polls_counter_moves_once_an_hour() {
    let mut world = World::new();
    let first = world.poll("news", Since::Latest).head;
    assert_eq!(first, pos(FIRST, 0));
    world.publish("other");
    let second = world.poll("news", Since::After(first));
    assert_eq!(
        (second.answer, second.head),
        (Answer::Recovered(first), first)
    );
    assert_eq!(world.stand("news", Since::After(first)).head, pos(101, 0));
    world.later(HOUR).publish("another");
    let third = world.poll("news", Since::After(first));
    assert_eq!(
        (third.answer, third.head),
        (Answer::Recovered(first), pos(101, 0))
    );
    // A stream's counter is newer than the hour's; a poll must not take it back.
    let present = world.stand("news", Since::Latest).head;
    assert_eq!(world.poll("news", Since::After(present)).head, present);
}

#[test]
fn a_poll_after_the_end_of_a_topic_is_not_told_of_it_twice() {
    let mut world = World::new();
    let old = world.publish("news");
    let ended = world.delete("news").unwrap();
    world.publish("other");
    let told = world.poll("news", Since::After(old));
    assert!(matches!(told.answer, Answer::Gap(gap) if gap.reason == GapReason::EpochChanged));
    assert_eq!(told.head, pos(ended.0, 0));
    for since in [Since::After(told.begin()), Since::Latest] {
        let head = world.poll("news", since).head;
        let again = world.poll("news", Since::After(head));
        assert_eq!(again.answer, Answer::Recovered(head));
    }
}

#[test]
fn a_position_ahead_is_told_at_once() {
    let mut world = World::new();
    let head = world.publish("news");
    for ahead in [pos(101, 2), pos(102, 0), pos(u64::MAX, u64::MAX)] {
        let gap = world.gap("news", ahead);
        assert_eq!(
            (gap.reason, gap.from, gap.to),
            (GapReason::PositionAhead, ahead, head)
        );
        let page = world.shard.page(&name("news"), ahead, 10, 1_000).unwrap();
        assert_eq!((page.gap, page.messages.len(), page.head), (None, 0, head));
    }
    for ahead in [pos(102, 0), pos(101, 7)] {
        let gap = world.gap("absent", ahead);
        assert_eq!(
            (gap.reason, gap.to),
            (GapReason::PositionAhead, pos(101, 0))
        );
        let polled = world.poll("absent", Since::After(ahead));
        assert_eq!(polled.answer, Answer::Gap(gap));
        let page = world.shard.page(&name("absent"), ahead, 10, 1_000).unwrap();
        assert_eq!((page.gap, page.head), (None, pos(101, 0)));
    }
}

#[test]
fn pages_are_bounded_by_messages_and_by_bytes() {
    let mut world = World::new();
    (0..5).for_each(|_| {
        world.publish("news");
    });
    let offsets = |limit, bytes| {
        let page = world
            .shard
            .page(&name("news"), pos(101, 1), limit, bytes)
            .unwrap();
        let offsets = page.messages.iter().map(|m| m.position.offset.0);
        offsets.collect::<Vec<_>>()
    };
    assert_eq!(offsets(2, 1 << 20), [2, 3]);
    assert_eq!(offsets(9, 1 << 20), [2, 3, 4, 5]);
    assert_eq!(offsets(9, 1), [2]);
    assert_eq!(offsets(9, 3 * content("hi").cost()), [2, 3, 4]);
}

#[test]
fn what_is_ephemeral_is_read_elsewhere() {
    let mut world = World::new();
    world.rules("live.*", ephemeral());
    world.create("ticker", ephemeral()).unwrap();
    for topic in ["live.a", "ticker"] {
        let stand = world
            .shard
            .stand(&name(topic), Since::Latest, false, Term(1));
        assert_eq!(stand, Err(Unread::Ephemeral));
        let page = world.shard.page(&name(topic), pos(1, 1), 1, 1);
        assert_eq!(page, Err(Unread::Ephemeral));
        assert_eq!(world.shard.head(&name(topic)), Err(Unread::Ephemeral));
    }
}

#[test]
fn where_topics_are_explicit_nobody_waits_for_one() {
    let mut world = World::new();
    world.apply(Command::SetRules(explicit()));
    let stand = world
        .shard
        .stand(&name("news"), Since::Latest, false, Term(1));
    assert_eq!(stand, Err(Unread::TopicNotFound));
}

#[test]
fn topics_are_listed_by_name_page_by_page() {
    let mut world = World::new();
    for topic in ["chat.2", "chat.1", "news", "chat.3"] {
        world.publish(topic);
    }
    let list = |pattern: Option<&str>, after: Option<&str>, limit| {
        let pattern = pattern.map(|pattern| pattern.parse().unwrap());
        let after = after.map(name);
        let rows = world.shard.list(pattern.as_ref(), after.as_ref(), limit);
        let names = rows.into_iter().map(|row| row.name.to_string());
        names.collect::<Vec<_>>()
    };
    let chat = Some("chat.*");
    assert_eq!(list(chat, None, 2), ["chat.1", "chat.2"]);
    assert_eq!(list(chat, Some("chat.2"), 2), ["chat.3"]);
    assert_eq!(list(None, Some("chat.2"), 9), ["chat.3", "news"]);
}
