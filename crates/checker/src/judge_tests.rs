//! A good history has no verdict; each kind of damage to it is named.

use super::*;
use crate::observation::{AckLevel, Row, SinceText};
use crate::verdict::Verdict;

/// One publisher places six messages of `news`; alice reads them in two sessions, the second at
/// another node; three nodes hold all at the end.
fn good_history() -> Vec<Event> {
    let mut events = Vec::new();
    for op in 1..=6 {
        events.push(Event::Publish {
            op,
            draft: format!("d{op}"),
            topic: "news".to_owned(),
            stream: "s1".to_owned(),
            key: None,
            ack: AckLevel::Committed,
            hash: format!("h{op}"),
            node: "n1".to_owned(),
        });
        events.push(Event::Acked {
            op,
            topic: "news".to_owned(),
            epoch: 7,
            offset: op,
            class: "durable".to_owned(),
            reached: Reached::Durable,
            duplicate: false,
        });
    }
    events.push(subscribe("a1", "earliest"));
    events.push(attached("a1", "recovered", "7-0"));
    events.extend((1..=3).map(|n| message("a1", n)));
    events.push(closed("a1"));
    events.push(subscribe("a2", "7-3"));
    events.push(attached("a2", "recovered", "7-3"));
    events.extend((4..=6).map(|n| message("a2", n)));
    events.extend((1..=3).map(|node| dump(node, 1..=6)));
    events
}

fn subscribe(session: &str, since: &str) -> Event {
    Event::Subscribe {
        sub: "alice".to_owned(),
        session: session.to_owned(),
        transport: "ws".to_owned(),
        node: "n1".to_owned(),
        topic: "news".to_owned(),
        since: SinceText(since.to_owned()),
    }
}

fn attached(session: &str, answer: &str, from: &str) -> Event {
    Event::Attached {
        session: session.to_owned(),
        topic: "news".to_owned(),
        answer: answer.to_owned(),
        from: Some(from.parse().unwrap()),
        head: Some(Position {
            epoch: 7,
            offset: 6,
        }),
    }
}

fn message(session: &str, n: u64) -> Event {
    Event::Message {
        session: session.to_owned(),
        topic: "news".to_owned(),
        epoch: 7,
        offset: n,
        draft: format!("d{n}"),
        hash: format!("h{n}"),
    }
}

fn gap(session: &str, from: &str, to: &str) -> Event {
    Event::Gap {
        session: session.to_owned(),
        topic: "news".to_owned(),
        reason: "trimmed".to_owned(),
        trimmed_by: Some("count".to_owned()),
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        missed: None,
    }
}

fn closed(session: &str) -> Event {
    Event::Closed {
        session: session.to_owned(),
        code: String::new(),
        why: String::new(),
    }
}

fn dump(node: u64, offsets: std::ops::RangeInclusive<u64>) -> Event {
    Event::Final {
        node: format!("n{node}"),
        topic: "news".to_owned(),
        class: "durable".to_owned(),
        epoch: 7,
        start: 1,
        head: 6,
        chain: String::new(),
        rows: offsets
            .map(|offset| Row {
                offset,
                hash: format!("h{offset}"),
                draft: format!("d{offset}"),
            })
            .collect(),
    }
}

fn judged(events: &[Event]) -> Report {
    let mut judge = Judge::new(3);
    for (t, event) in events.iter().enumerate() {
        let line = Line {
            t: t as u64,
            wall: 0,
            by: "c1".to_owned(),
            event: event.clone(),
        };
        judge.see(&line);
    }
    judge.finish()
}

/// Damages the good history and expects exactly this verdict.
fn expect(verdict: Verdict, damage: impl FnOnce(&mut Vec<Event>)) {
    let mut events = good_history();
    damage(&mut events);
    let report = judged(&events);
    assert!(
        report.count(verdict) > 0,
        "{verdict} is not named:\n{report}"
    );
    for other in Verdict::ALL.into_iter().filter(|v| *v != verdict) {
        assert_eq!(report.count(other), 0, "{other} is named too:\n{report}");
    }
}

fn at(events: &[Event], wanted: &Event) -> usize {
    events.iter().position(|event| event == wanted).unwrap()
}

#[test]
fn a_good_history_has_no_verdict() {
    let report = judged(&good_history());
    assert!(report.is_clean(), "{report}");
    assert_eq!(
        (report.acked_durable, report.messages, report.sessions),
        (6, 6, 2)
    );
}

#[test]
fn a_dropped_message_is_a_skip() {
    expect(Verdict::Skip, |events| {
        events.remove(at(events, &message("a2", 5)));
    });
}

#[test]
fn a_message_twice_or_a_step_back_is_repeated() {
    expect(Verdict::Repeated, |events| {
        let five = at(events, &message("a2", 5));
        events.insert(five, message("a2", 5));
    });
    expect(Verdict::Repeated, |events| {
        let six = at(events, &message("a2", 6));
        events.insert(six + 1, message("a2", 4));
    });
}

#[test]
fn a_told_gap_is_no_skip() {
    let mut events = good_history();
    let four = at(&events, &message("a2", 4));
    events.splice(four..=four + 1, [gap("a2", "7-3", "7-5")]);
    assert!(judged(&events).is_clean());
}

#[test]
fn a_resume_that_begins_too_late_is_unsignalled() {
    expect(Verdict::GapUnsignalled, |events| {
        let answer = at(events, &attached("a2", "recovered", "7-3"));
        events[answer] = attached("a2", "recovered", "7-4");
        events.remove(at(events, &message("a2", 4)));
    });
}

#[test]
fn a_cursor_that_followed_the_counter_of_an_absent_topic_missed_nothing() {
    let events = [
        subscribe("a1", "6-2"),
        attached("a1", "gap", "6-2"),
        gap("a1", "6-2", "7-0"),
        closed("a1"),
        subscribe("a2", "9-0"),
        attached("a2", "recovered", "9-0"),
    ];
    let report = judged(&events);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_repeat_after_the_presented_cursor_is_fine() {
    let mut events = good_history();
    let answer = at(&events, &attached("a2", "recovered", "7-3"));
    events[answer] = attached("a2", "recovered", "7-2");
    let four = at(&events, &message("a2", 4));
    events.insert(four, message("a2", 3));
    assert!(judged(&events).is_clean());
}

#[test]
fn an_acked_message_on_a_minority_is_lost() {
    expect(Verdict::Lost, |events| {
        for node in 2..=3 {
            let dumped = at(events, &dump(node, 1..=6));
            events[dumped] = dump(node, 1..=5);
        }
    });
}

#[test]
fn an_acked_message_on_a_majority_is_not_lost() {
    let mut events = good_history();
    let dumped = at(&events, &dump(3, 1..=6));
    events[dumped] = dump(3, 1..=5);
    assert!(judged(&events).is_clean());
}

#[test]
fn an_ack_alone_without_any_row_is_lost() {
    expect(Verdict::Lost, |events| {
        for node in 1..=3 {
            let dumped = at(events, &dump(node, 1..=6));
            events[dumped] = dump(node, 1..=5);
        }
        events.remove(at(events, &message("a2", 6)));
    });
}

#[test]
fn two_values_of_a_slot_diverge() {
    expect(Verdict::Diverged, |events| {
        let five = at(events, &message("a2", 5));
        events[five] = Event::Message {
            session: "a2".to_owned(),
            topic: "news".to_owned(),
            epoch: 7,
            offset: 5,
            draft: "other".to_owned(),
            hash: "h5".to_owned(),
        };
    });
}

#[test]
fn a_streams_drafts_in_the_wrong_order_are_named_and_resent_ones_are_not() {
    let swapped = |events: &mut Vec<Event>| {
        for event in events.iter_mut() {
            if let Event::Publish {
                op, draft, hash, ..
            } = event
            {
                if *op == 2 || *op == 3 {
                    let other = 5 - *op;
                    *draft = format!("d{other}");
                    *hash = format!("h{other}");
                }
            } else if let Event::Acked { op, offset, .. } = event
                && (*op == 2 || *op == 3)
            {
                *offset = 5 - *op;
            }
        }
    };
    expect(Verdict::PublisherOrder, swapped);

    let mut events = good_history();
    swapped(&mut events);
    events.insert(
        0,
        Event::Publish {
            op: 99,
            draft: "d2".to_owned(),
            topic: "news".to_owned(),
            stream: "s2".to_owned(),
            key: Some("k".to_owned()),
            ack: AckLevel::Committed,
            hash: "h2".to_owned(),
            node: "n2".to_owned(),
        },
    );
    assert!(judged(&events).is_clean());
}

#[test]
fn a_directory_is_judged_in_the_order_of_time_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let (mut publishers, mut subscribers) = (String::new(), String::new());
    for (t, event) in good_history().into_iter().enumerate() {
        let publishing = matches!(event, Event::Publish { .. } | Event::Acked { .. });
        let line = Line {
            t: t as u64,
            wall: 0,
            by: "c1".to_owned(),
            event,
        };
        let text = serde_json::to_string(&line).unwrap() + "\n";
        if publishing {
            &mut publishers
        } else {
            &mut subscribers
        }
        .push_str(&text);
    }
    for (name, text) in [("b-pub.jsonl", publishers), ("a-sub.jsonl", subscribers)] {
        let mut file = std::fs::File::create_new(dir.path().join(name)).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    let report = judge_dir(dir.path(), 3).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acked_durable, 6);
}
