//! Stories of one subscription, and a model of many: a leader's log, a relay that follows it and
//! loses it, sessions that read at their own pace. No skip, no repeat, no gap unsaid.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::gap::{Answer, GapReason, TrimmedBy};
use crate::id::Term;
use crate::message::{Content, Message, Meta};
use crate::position::Epoch;
use crate::relay::{Misfit, Tail};

#[path = "subscription_world.rs"]
mod world;

type Numbers = Arc<Vec<Position>>;

fn at(epoch: u64, offset: u64) -> Position {
    Position::new(epoch, offset)
}

/// What a subscriber got, judged as it comes.
#[derive(Default)]
struct Reader {
    at: Position,
    room: u32,
    messages: Vec<Position>,
    gaps: Vec<Gap>,
    wrong: Option<String>,
}

impl Reader {
    fn with_room(room: u32) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }
}

impl Sink<Numbers> for Reader {
    fn run(&mut self, _span: &Span, run: &Numbers, skip: u32) -> u32 {
        let mut taken = 0;
        for position in run.iter().skip(skip as usize) {
            if self.room == 0 {
                break;
            }
            let born = self.at.offset == Offset(0) && position.offset == Offset(1);
            let follows = *position == self.at.next() || (born && position.epoch >= self.at.epoch);
            if !follows {
                self.wrong = Some(format!("{position:?} after {:?}", self.at));
            }
            self.at = *position;
            self.messages.push(*position);
            self.room -= 1;
            taken += 1;
        }
        taken
    }

    fn gap(&mut self, gap: &Gap) -> bool {
        if self.room == 0 {
            return false;
        }
        if gap.from != self.at || (gap.to <= gap.from && gap.reason != GapReason::PositionAhead) {
            self.wrong = Some(format!("{gap:?} after {:?}", self.at));
        }
        self.at = gap.to;
        self.gaps.push(*gap);
        self.room -= 1;
        true
    }
}

fn numbers(positions: &[Position]) -> Option<(Span, Numbers)> {
    let first = *positions.first()?;
    let count = u32::try_from(positions.len()).ok()?;
    Some((
        Span {
            after: first.before(),
            first,
            count,
        },
        Arc::new(positions.to_vec()),
    ))
}

fn standing(answer: Answer, head: Position, slow: Slow) -> Standing {
    let policy = Policy {
        slow,
        slow_lag: 3,
        ..Policy::default()
    };
    Standing {
        answer,
        start: at(7, 1),
        head,
        exists: true,
        policy,
        term: Term(1),
    }
}

/// A live tail after 7-0 with one run of `count` messages.
fn tail_of(count: u64) -> Tail<Numbers> {
    let mut tail = Tail::default();
    tail.reset(at(7, 0));
    push(&mut tail, 1, count);
    tail
}

fn push(tail: &mut Tail<Numbers>, first: u64, last: u64) -> Option<Block<Numbers>> {
    let positions: Vec<_> = (first..=last).map(|n| at(7, n)).collect();
    let (span, run) = numbers(&positions)?;
    tail.push_run(span, run.clone(), 1).unwrap();
    Some(Block::Run(span, run))
}

#[test]
fn a_subscription_at_head_gets_the_run_from_the_relays_hand() {
    let (mut tail, mut reader) = (tail_of(2), Reader::with_room(9));
    reader.at = at(7, 2);
    let mut subscription = Subscription::default();
    subscription.begin(&standing(Answer::Latest, at(7, 2), Slow::CatchUp));
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    let block = push(&mut tail, 3, 4).unwrap();
    assert!(!subscription.offer(&block, &mut reader));
    assert_eq!(
        (subscription.phase(), subscription.at()),
        (Phase::Live, at(7, 4))
    );
    // The same block again is no news, and a later one shows that something was missed.
    assert!(!subscription.offer(&block, &mut reader));
    let later = Block::Run(
        Span {
            after: at(7, 5),
            first: at(7, 6),
            count: 1,
        },
        Numbers::default(),
    );
    assert!(subscription.offer(&later, &mut reader));
    assert_eq!(subscription.phase(), Phase::Behind);
    assert_eq!(reader.messages, [at(7, 3), at(7, 4)]);
}

#[test]
fn a_blocked_subscription_is_behind_and_goes_on_inside_the_run() {
    let (mut tail, mut reader) = (tail_of(0), Reader::with_room(2));
    reader.at = at(7, 0);
    let mut subscription = Subscription::default();
    subscription.begin(&standing(Answer::Latest, at(7, 0), Slow::CatchUp));
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    let block = push(&mut tail, 1, 3).unwrap();
    assert!(subscription.offer(&block, &mut reader));
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Blocked);
    reader.room = 9;
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    assert_eq!(reader.messages, [at(7, 1), at(7, 2), at(7, 3)]);
}

#[test]
fn a_gap_of_the_answer_is_the_first_item() {
    let gap = Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: at(6, 9),
        to: at(7, 1),
        missed: None,
    };
    let (tail, mut reader) = (tail_of(3), Reader::with_room(9));
    reader.at = at(6, 9);
    let mut subscription = Subscription::default();
    assert_eq!(
        subscription.begin(&standing(Answer::Gap(gap), at(7, 3), Slow::CatchUp)),
        at(6, 9)
    );
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    assert_eq!(
        (reader.gaps, reader.messages),
        (vec![gap], vec![at(7, 2), at(7, 3)])
    );
}

#[test]
fn a_slow_session_of_a_conflating_topic_skips_to_the_newest() {
    let (mut tail, mut reader) = (tail_of(0), Reader::with_room(0));
    reader.at = at(7, 0);
    let mut subscription = Subscription::default();
    subscription.begin(&standing(Answer::Latest, at(7, 0), Slow::Conflate));
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    let block = push(&mut tail, 1, 8).unwrap();
    assert!(subscription.offer(&block, &mut reader));
    reader.room = 9;
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    let gap = Gap {
        reason: GapReason::Conflated,
        from: at(7, 0),
        to: at(7, 7),
        missed: Some(7),
    };
    assert_eq!((reader.gaps, reader.messages), (vec![gap], vec![at(7, 8)]));
}

#[test]
fn a_slow_session_follows_its_topics_changed_rules() {
    let (mut tail, mut reader) = (tail_of(0), Reader::with_room(0));
    reader.at = at(7, 0);
    let mut subscription = Subscription::default();
    subscription.begin(&standing(Answer::Latest, at(7, 0), Slow::CatchUp));
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    let block = push(&mut tail, 1, 8).unwrap();
    assert!(subscription.offer(&block, &mut reader));
    subscription.set_policy(Policy {
        slow: Slow::Conflate,
        ..subscription.policy()
    });
    reader.room = 9;
    assert_eq!(subscription.drain(&tail, &mut reader), Drained::Head);
    assert_eq!((reader.gaps.len(), reader.messages), (1, vec![at(7, 8)]));
}

#[test]
fn a_page_that_does_not_fit_is_not_taken() {
    let mut subscription = Subscription::<Numbers>::default();
    subscription.begin(&standing(
        Answer::Recovered(at(7, 2)),
        at(7, 9),
        Slow::CatchUp,
    ));
    let page = Page {
        gap: None,
        messages: vec![],
        head: at(7, 9),
        start: at(7, 1),
    };
    assert_eq!(
        subscription.on_page(&page, numbers(&[at(7, 4)])),
        Paged::Nothing
    );
    assert_eq!(subscription.on_page(&page, None), Paged::Nothing);
    assert_eq!(
        subscription.on_page(&page, numbers(&[at(7, 3)])),
        Paged::Progress
    );
}
