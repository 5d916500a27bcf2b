//! An ephemeral stream: slots, keys, expectations, retention; and every read is whole or says what
//! it lacks.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::gap::TrimmedBy;
use crate::message::{Ack, Content, Meta};
use crate::rule::Class;

const EPOCH: u64 = 7;

fn stream(retain_count: u64) -> Ephemeral {
    let rules = Rules {
        class: Class::Ephemeral,
        retain_count,
        retain_age: Duration::from_secs(60),
        dedup_age: Duration::from_secs(10),
        ..Rules::default()
    };
    let name = "cursors".parse().unwrap();
    Ephemeral::new(name, Epoch(EPOCH), rules, Secret([1; 32]))
}

fn draft(payload: &'static str) -> Draft {
    Draft {
        topic: "cursors".parse().unwrap(),
        content: Content {
            payload: Bytes::from_static(payload.as_bytes()),
            meta: Arc::new(Meta::default()),
        },
        key: None,
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

fn keyed(payload: &'static str, key: &'static str) -> Draft {
    let key = Key::new(Bytes::from_static(key.as_bytes())).unwrap();
    Draft {
        key: Some(key),
        ..draft(payload)
    }
}

fn at(offset: u64) -> Position {
    Position::new(EPOCH, offset)
}

fn code(fate: &Fate) -> Option<Code> {
    match fate {
        Fate::Refused(refused) => Some(refused.code),
        Fate::Placed { .. } | Fate::Duplicate { .. } | Fate::Ephemeral => None,
    }
}

#[test]
fn drafts_take_the_slots_in_order() {
    let mut stream = stream(10);
    for offset in 1..=3 {
        let appended = stream.append(&draft("x"), 0, 5);
        let placed = Fate::Placed {
            position: at(offset),
            dedup_remaining_ms: None,
        };
        assert_eq!(appended.fate, placed);
        assert_eq!(appended.message.map(|m| m.position), Some(at(offset)));
    }
    assert_eq!(stream.page(at(1), 10, 1 << 20).messages.len(), 2);
}

#[test]
fn a_key_has_one_slot_for_its_window() {
    let mut stream = stream(10);
    stream.append(&keyed("x", "k"), 1_000, 0);
    stream.append(&draft("y"), 2_000, 0);
    let repeat = stream.append(&keyed("x", "k"), 4_000, 0);
    let first = Fate::Duplicate {
        position: at(1),
        dedup_remaining_ms: 7_000,
    };
    assert_eq!(repeat, Appended::from(first));
    let other = stream.append(&keyed("z", "k"), 4_000, 0);
    assert_eq!(code(&other.fate), Some(Code::IdempotencyMismatch));
    let late = Draft {
        key_age_ms: 10_000,
        ..keyed("x", "old")
    };
    assert_eq!(
        code(&stream.append(&late, 4_000, 0).fate),
        Some(Code::IdempotencyExpired)
    );
    let again = stream.append(&keyed("x", "k"), 20_000, 0);
    assert_eq!(
        again.message.map(|m| m.position),
        Some(at(3)),
        "its window is over"
    );
}

#[test]
fn an_expectation_is_the_head_or_that_there_is_none() {
    let mut stream = stream(10);
    let expecting = |expect| Draft {
        expect: Some(expect),
        ..draft("x")
    };
    assert_eq!(
        code(&stream.append(&expecting(at(1)), 0, 0).fate),
        Some(Code::ExpectationFailed)
    );
    assert!(
        stream
            .append(&expecting(Position::NONE), 0, 0)
            .message
            .is_some()
    );
    assert!(stream.append(&expecting(at(1)), 0, 0).message.is_some());
    let refused = stream.append(&expecting(Position::NONE), 0, 0).fate;
    let head = Refused {
        code: Code::ExpectationFailed,
        head: Some(at(2)),
    };
    assert_eq!(refused, Fate::Refused(head));
}

#[test]
fn a_reader_of_another_stream_is_told() {
    let mut stream = stream(2);
    for _ in 0..5 {
        stream.append(&draft("x"), 0, 0);
    }
    let answer = |after| stream.stand(Since::After(after), Term(1)).answer;
    let gap = |reason, from, to, missed| {
        Answer::Gap(Gap {
            reason,
            from,
            to,
            missed,
        })
    };
    let old = Position::new(EPOCH - 1, 40);
    assert_eq!(answer(old), gap(GapReason::EpochChanged, old, at(3), None));
    assert_eq!(
        answer(at(6)),
        gap(GapReason::PositionAhead, at(6), at(5), None)
    );
    let new = Position::new(EPOCH + 1, 0);
    assert_eq!(answer(new), gap(GapReason::PositionAhead, new, at(5), None));
    let trimmed = GapReason::Trimmed(TrimmedBy::Count);
    assert_eq!(answer(at(1)), gap(trimmed, at(1), at(3), Some(2)));
    assert_eq!(answer(at(3)), Answer::Recovered(at(3)));
    assert_eq!(
        stream.stand(Since::Last(1), Term(1)).answer,
        Answer::Recovered(at(4))
    );
    assert_eq!(
        stream.stand(Since::Last(9), Term(1)).answer,
        Answer::Recovered(at(3))
    );
    assert_eq!(stream.stand(Since::Earliest, Term(1)).begin(), at(3));
    assert_eq!(stream.stand(Since::Latest, Term(1)).begin(), at(5));
}

#[test]
fn messages_and_keys_grow_old_by_running_time() {
    let mut stream = stream(10);
    stream.append(&keyed("x", "k"), 0, 0);
    stream.tick(59_999);
    assert_eq!(stream.history().len(), 1);
    stream.tick(60_000);
    assert!(stream.history().is_empty());
    assert!(stream.keys.is_empty());
    assert_eq!(stream.history().head(), at(1), "the stream goes on");
}

#[test]
fn new_rules_hold_for_what_is_retained() {
    let mut stream = stream(10);
    for _ in 0..5 {
        stream.append(&draft("x"), 0, 0);
    }
    let rules = Rules {
        retain_count: 2,
        ..stream.rules.clone()
    };
    stream.set_rules(rules, 0);
    assert_eq!(stream.history().len(), 2);
}

proptest! {
    #[test]
    fn a_reader_that_pages_to_the_head_sees_every_slot_or_a_gap_over_it(
        retain in 1..50_u64,
        steps in prop::collection::vec((1..30_u64, 1..8_u32, 1..4_000_u64), 1..40),
    ) {
        let mut stream = stream(retain);
        let (mut reader, mut now) = (at(0), 0);
        for (publishes, limit, time) in steps {
            for _ in 0..publishes {
                stream.append(&draft("x"), now, 0);
            }
            now += time;
            stream.tick(now);
            let page = stream.page(reader, limit, 1 << 20);
            if let Some(gap) = page.gap {
                prop_assert_eq!(gap.from, reader);
                prop_assert_eq!(gap.to, page.start.before());
                prop_assert_eq!(gap.missed, Some(gap.to.offset.0 - reader.offset.0));
                reader = gap.to;
            }
            for message in &page.messages {
                prop_assert_eq!(message.position, reader.next());
                reader = message.position;
            }
            let full = page.messages.len() == limit as usize;
            prop_assert!(full || reader == stream.history().head());
        }
    }
}

#[test]
fn who_followed_a_stream_that_an_accepted_loss_ended_is_told_so() {
    let stream = stream(10).after_loss(Epoch(EPOCH - 1));
    let at = |epoch| Position {
        epoch: Epoch(epoch),
        offset: Offset(4),
    };
    let reason = |after| match stream.stand(Since::After(after), Term(1)).answer {
        Answer::Gap(gap) => gap.reason,
        other @ (Answer::Recovered(_) | Answer::Latest) => panic!("{other:?}"),
    };
    assert_eq!(reason(at(EPOCH - 2)), GapReason::DataLoss);
    assert_eq!(reason(at(EPOCH - 1)), GapReason::EpochChanged);
}

#[test]
fn what_is_given_back_for_the_budget_is_named_and_no_more_than_needed() {
    let mut stream = stream(100);
    for _ in 0..10 {
        stream.append(&draft("hi"), 0, 0);
    }
    let one = draft("hi").content.cost();
    assert_eq!(stream.give_back(0), 0);
    assert_eq!(stream.give_back(2 * one + 1), 3);
    assert_eq!(stream.history().bytes(), 7 * one);
    let Answer::Gap(gap) = stream.stand(Since::After(at(1)), Term(1)).answer else {
        panic!("no gap");
    };
    assert_eq!(gap.reason, GapReason::Trimmed(TrimmedBy::Budget));
    assert_eq!((gap.to, gap.missed), (at(3), Some(2)));
    assert_eq!(stream.give_back(u64::MAX), 7);
    assert_eq!(stream.history().head(), at(10));
}
