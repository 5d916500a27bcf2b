//! Made-up runs: a good one has no verdict, and each kind of damage to it is named.

use super::*;

const NEWS: usize = 0;

fn at(offset: u64) -> Position {
    Position { epoch: 7, offset }
}

/// One topic, and alice, who was attached at its beginning.
struct Run {
    watch: Watch,
    alice: Reading,
}

impl Run {
    fn begin() -> Self {
        Self::with_slots(1 << 10)
    }

    fn with_slots(slots: usize) -> Self {
        let mut run = Self {
            watch: Watch::with_slots(vec!["news".to_owned()], slots),
            alice: Reading::default(),
        };
        run.attach("latest", None, 0);
        run
    }

    fn attach(&mut self, answer: &str, from: Option<u64>, head: u64) {
        let from = from.map(at);
        let reading = &mut self.alice;
        self.watch
            .attached(NEWS, "alice", reading, answer, from, Some(at(head)));
    }

    /// Draft `n` is acked at slot `n`.
    fn ack(&self, offsets: std::ops::RangeInclusive<u64>) {
        offsets.for_each(|n| self.watch.acked(NEWS, at(n), 100 + n));
    }

    fn get(&mut self, n: u64) {
        let reading = &mut self.alice;
        self.watch
            .message(NEWS, "alice", reading, at(n), Some(100 + n));
    }

    fn resume(&mut self, from: u64, head: u64) {
        self.alice.closed();
        self.attach("recovered", Some(from), head);
    }

    /// Verdicts after the end, each with its count.
    fn end(self) -> Vec<(Verdict, u64)> {
        self.watch.finish(NEWS, "alice", &self.alice);
        let report = self.watch.report();
        for (verdict, witness) in &report.first {
            assert!(!witness.proof.is_empty(), "{verdict} has no proof");
        }
        report.verdicts.into_iter().collect()
    }
}

#[test]
fn a_subscriber_that_gets_everything_over_two_sessions_is_well_served() {
    let mut run = Run::begin();
    run.ack(1..=6);
    (1..=4).for_each(|n| run.get(n));
    // The cursor it presents is older than what it processed: what comes again is no fault.
    run.resume(2, 6);
    (3..=6).for_each(|n| run.get(n));
    assert_eq!(run.end(), []);
}

#[test]
fn what_was_acked_and_never_came_is_lost() {
    let mut run = Run::begin();
    run.ack(1..=6);
    (1..=5).for_each(|n| run.get(n));
    assert_eq!(run.end(), [(Verdict::Lost, 1)]);
}

#[test]
fn nothing_at_all_is_lost_too_but_not_to_one_who_was_never_there() {
    let run = Run::begin();
    run.ack(1..=1);
    assert_eq!(run.end(), [(Verdict::Lost, 1)]);
    let mut run = Run::begin();
    run.alice = Reading::default();
    run.ack(1..=1);
    assert_eq!(run.end(), []);
}

#[test]
fn a_told_gap_is_no_loss() {
    let mut run = Run::begin();
    run.ack(1..=6);
    run.get(1);
    run.watch.gap(&mut run.alice, "trimmed", at(5));
    run.get(6);
    assert_eq!(run.watch.report().gaps, 1);
    assert_eq!(run.end(), []);
}

#[test]
fn a_slot_left_out_is_a_skip() {
    let mut run = Run::begin();
    run.ack(1..=3);
    [1, 3].into_iter().for_each(|n| run.get(n));
    assert_eq!(run.end(), [(Verdict::Skip, 1)]);
}

#[test]
fn a_slot_again_or_before_is_repeated() {
    let mut run = Run::begin();
    run.ack(1..=2);
    [1, 2, 2, 1].into_iter().for_each(|n| run.get(n));
    assert_eq!(run.end(), [(Verdict::Repeated, 2)]);
}

#[test]
fn a_resume_beyond_what_was_processed_is_an_unsignalled_gap() {
    let mut run = Run::begin();
    run.ack(1..=6);
    run.get(1);
    run.resume(4, 6);
    (5..=6).for_each(|n| run.get(n));
    assert_eq!(run.end(), [(Verdict::GapUnsignalled, 2)]);
}

#[test]
fn one_slot_with_two_payloads_has_diverged() {
    let mut run = Run::begin();
    run.ack(1..=1);
    run.watch
        .message(NEWS, "alice", &mut run.alice, at(1), Some(999));
    assert_eq!(run.end(), [(Verdict::Diverged, 1)]);
}

#[test]
fn one_draft_in_two_slots_is_duplicated() {
    let mut run = Run::begin();
    run.ack(1..=1);
    run.get(1);
    run.watch
        .message(NEWS, "alice", &mut run.alice, at(2), Some(101));
    assert_eq!(run.end(), [(Verdict::Duplicated, 1)]);
}

#[test]
fn memory_is_a_window_of_the_newest_slots() {
    let mut run = Run::with_slots(16);
    run.ack(1..=1_000);
    let (slots, drafts) = {
        let state = lock(&run.watch.topics[NEWS]);
        (state.slots.len(), state.drafts.len())
    };
    assert_eq!((slots, drafts), (16, 16));
    // An old slot is not compared any more, a new one is.
    let strange = Some(5);
    (1..=999).for_each(|n| run.get(n));
    run.watch
        .message(NEWS, "alice", &mut run.alice, at(1_000), strange);
    assert_eq!(run.end(), [(Verdict::Diverged, 1)]);
}

#[test]
fn a_stream_is_placed_in_its_order() {
    let mut order = StreamOrder::default();
    assert_eq!(order.on_acked(NEWS, 1, at(10)), None);
    assert_eq!(order.on_acked(NEWS, 3, at(30)), None);
    assert_eq!(
        order.on_acked(NEWS, 2, at(20)),
        None,
        "acks come in any order"
    );
    assert_eq!(order.on_acked(1, 4, at(1)), None, "topics are independent");
    assert!(order.on_acked(NEWS, 5, at(29)).is_some());
    let mut order = StreamOrder::default();
    order.on_acked(NEWS, 3, at(30));
    assert!(order.on_acked(NEWS, 2, at(31)).is_some());
}

#[test]
fn what_was_sent_again_says_nothing_of_order() {
    let mut order = StreamOrder::default();
    order.on_acked(NEWS, 1, at(10));
    order.on_sent_again(4);
    assert_eq!(order.on_acked(NEWS, 3, at(9)), None);
    assert_eq!(order.on_acked(NEWS, 4, at(11)), None);
    assert!(order.on_acked(NEWS, 5, at(8)).is_some());
}
