//! Stories of tails: what serves whom, what is forgotten, what is refused.

use super::*;
use crate::gap::TrimmedBy;

fn span(after: (u64, u64), first: (u64, u64), count: u32) -> Span {
    Span {
        after: Position::new(after.0, after.1),
        first: Position::new(first.0, first.1),
        count,
    }
}

fn at(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

/// A live tail at 7-40 that took 41, 42–43 and 44.
fn tail() -> Tail<&'static str> {
    let mut tail = Tail::default();
    tail.reset(at(7, 40));
    tail.set_live(true);
    tail.push_run(span((7, 40), (7, 41), 1), "41", 10).unwrap();
    tail.push_run(span((7, 41), (7, 42), 2), "42-43", 20)
        .unwrap();
    tail.push_run(span((7, 43), (7, 44), 1), "44", 10).unwrap();
    tail
}

fn found(tail: &Tail<&'static str>, position: Position) -> &'static str {
    match tail.next(position) {
        Next::Block(Block::Run(_, run)) => run,
        Next::Block(Block::Gap(_)) => "gap",
        Next::Head => "head",
        Next::Ahead => "ahead",
        Next::Below => "below",
        Next::Unknown => "unknown",
    }
}

#[test]
fn a_reader_finds_the_run_that_holds_what_it_misses() {
    let tail = tail();
    let expected = [
        (39, "below"),
        (40, "41"),
        (41, "42-43"),
        (42, "42-43"),
        (43, "44"),
        (44, "head"),
        (45, "ahead"),
    ];
    for (offset, run) in expected {
        assert_eq!(found(&tail, at(7, offset)), run, "7-{offset}");
    }
    assert_eq!(found(&tail, at(6, 42)), "below");
    assert_eq!(found(&tail, at(8, 42)), "ahead");
}

#[test]
fn a_trimmed_tail_keeps_its_newest_run() {
    let mut tail = tail();
    tail.trim(30);
    assert_eq!(found(&tail, at(7, 40)), "below");
    assert_eq!(found(&tail, at(7, 41)), "42-43");
    tail.trim(0);
    assert_eq!(found(&tail, at(7, 43)), "44");
    assert_eq!(tail.bytes(), 10);
}

#[test]
fn a_tail_takes_what_follows_and_nothing_else() {
    let mut tail = tail();
    let again = tail.push_run(span((7, 41), (7, 42), 2), "again", 1);
    assert_eq!(again, Err(Misfit::Known));
    let later = tail.push_run(span((7, 45), (7, 46), 1), "later", 1);
    assert_eq!(later, Err(Misfit::Hole));
    let newer = tail.push_run(span((8, 0), (8, 1), 1), "newer", 1);
    assert_eq!(newer, Err(Misfit::Hole));
    assert_eq!(
        Tail::default().push_run(span((7, 0), (7, 1), 1), "", 1),
        Err(Misfit::Hole)
    );
}

#[test]
fn a_tail_answers_only_while_it_is_live_and_holds_all() {
    let mut tail = tail();
    assert_eq!(tail.answer(at(7, 42)), Some(Answer::Recovered(at(7, 42))));
    assert_eq!(tail.answer(at(7, 44)), Some(Answer::Recovered(at(7, 44))));
    assert_eq!(tail.answer(at(7, 45)), None);
    assert_eq!(tail.answer(at(7, 39)), None);
    tail.set_live(false);
    assert_eq!(tail.answer(at(7, 42)), None);
}

#[test]
fn a_gap_is_told_to_those_who_stand_before_it_alone() {
    let mut tail = tail();
    let gap = Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: at(7, 44),
        to: at(7, 50),
        missed: Some(6),
    };
    tail.push_gap(gap);
    tail.push_run(span((7, 50), (7, 51), 1), "51", 10).unwrap();
    assert_eq!(found(&tail, at(7, 44)), "gap");
    assert_eq!(found(&tail, at(7, 43)), "below");
    assert_eq!(found(&tail, at(7, 46)), "below");
    assert_eq!(found(&tail, at(7, 50)), "51");
    assert_eq!(tail.answer(at(7, 44)), Some(Answer::Gap(gap)));
}

#[test]
fn a_gap_back_from_a_lost_future_is_told_too() {
    let mut tail = tail();
    let gap = Gap {
        reason: GapReason::PositionAhead,
        from: at(7, 44),
        to: at(7, 42),
        missed: None,
    };
    tail.push_gap(gap);
    assert_eq!(found(&tail, at(7, 44)), "gap");
    assert_eq!(found(&tail, at(7, 42)), "head");
    tail.push_run(span((7, 42), (7, 43), 1), "new 43", 10)
        .unwrap();
    assert_eq!(found(&tail, at(7, 42)), "new 43");
    assert_eq!(found(&tail, at(7, 43)), "head");
}

#[test]
fn every_head_of_a_topic_that_is_not_there_waits_for_its_first_message() {
    let mut tail = Tail::default();
    tail.reset(at(5, 0));
    assert_eq!(found(&tail, at(5, 0)), "head");
    assert_eq!(found(&tail, at(6, 0)), "head");
    tail.push_run(span((5, 0), (9, 1), 2), "born", 10).unwrap();
    for counter in [5, 6, 9] {
        assert_eq!(found(&tail, at(counter, 0)), "born", "{counter}-0");
    }
    assert_eq!(found(&tail, at(4, 0)), "below");
    assert_eq!(found(&tail, at(6, 3)), "below");
}

#[test]
fn two_wrong_digests_in_a_row_or_silence_end_the_trust() {
    let second = Duration::from_secs(1);
    let mut watch = DigestWatch::new(Duration::ZERO);
    assert!(!watch.on_digest(second, false));
    assert!(!watch.on_digest(2 * second, true));
    assert!(!watch.on_digest(3 * second, false));
    assert!(watch.on_digest(4 * second, false));
    assert!(!watch.is_silent(7 * second));
    assert!(watch.is_silent(8 * second));
}
