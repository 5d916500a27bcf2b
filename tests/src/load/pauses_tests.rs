//! Pauses read from small runs written by hand.

use fanfare_checker::{AckLevel, Reached};

use super::*;

fn at(ms: u64, event: Event) -> Line {
    Line {
        t: ms * 1_000_000,
        wall: 0,
        by: "p0".to_owned(),
        event,
    }
}

fn sent(ms: u64, op: u64, draft: &str) -> Line {
    let event = Event::Publish {
        op,
        draft: draft.to_owned(),
        topic: "t".to_owned(),
        stream: "s".to_owned(),
        key: None,
        ack: AckLevel::Committed,
        hash: String::new(),
        node: String::new(),
    };
    at(ms, event)
}

fn acked(ms: u64, op: u64) -> Line {
    let event = Event::Acked {
        op,
        topic: "t".to_owned(),
        epoch: 1,
        offset: op,
        class: "durable".to_owned(),
        reached: Reached::Durable,
        duplicate: false,
    };
    at(ms, event)
}

fn window(from: u64, to: u64, touched: &[u32]) -> Window {
    Window {
        operation: Some(Operation::Drain),
        subject: "n1".to_owned(),
        from: Duration::from_millis(from),
        to: Duration::from_millis(to),
        touched: touched.iter().copied().collect(),
    }
}

#[test]
fn a_draft_sent_again_waits_since_its_first_sending() {
    let lines = [sent(10, 1, "a"), sent(400, 2, "a"), acked(500, 2)];
    let pauses = pauses(&lines, &[window(100, 600, &[0])], 1);
    assert_eq!(pauses[0].shards[&0], Duration::from_millis(490));
}

#[test]
fn silence_without_a_waiting_draft_is_no_pause() {
    let lines = [
        sent(0, 1, "a"),
        acked(5, 1),
        sent(900, 2, "b"),
        acked(903, 2),
    ];
    let pauses = pauses(&lines, &[window(0, 1_000, &[0])], 1);
    assert_eq!(pauses[0].shards[&0], Duration::from_millis(5));
}

#[test]
fn a_pause_belongs_to_every_window_it_reaches_into_and_to_no_other() {
    let lines = [
        sent(90, 1, "a"),
        acked(210, 1),
        sent(400, 2, "b"),
        acked(401, 2),
    ];
    let windows = [
        window(0, 100, &[0]),
        window(200, 300, &[0]),
        window(300, 500, &[0]),
    ];
    let longest: Vec<u128> = pauses(&lines, &windows, 1)
        .iter()
        .map(|p| p.shards[&0].as_millis())
        .collect();
    assert_eq!(longest, [120, 120, 1]);
}

#[test]
fn shards_that_were_not_touched_are_told_apart() {
    let lines = [sent(0, 1, "a"), acked(50, 1)];
    let rows = Table::new(&pauses(&lines, &[window(0, 60, &[])], 1)).json();
    assert_eq!(rows[0]["operation"], "drain");
    assert_eq!(rows[0]["touched"], 0);
    assert_eq!(rows[0]["pause_ms"]["max"], 0.0);
    assert_eq!(rows[0]["others_max_ms"], 50.0);
}
