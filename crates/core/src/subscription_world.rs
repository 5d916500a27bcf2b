//! A log, its tail at an edge and slow readers, in any order of events: nothing is skipped or
//! repeated, and what is left out is told.

use super::*;

/// The topic as its leader has it.
struct Log {
    epoch: Epoch,
    head: u64,
    start: u64,
    exists: bool,
    /// Heads `c-0` from here on stand before the stream's first message (C27).
    vouched: Epoch,
}

impl Log {
    fn head(&self) -> Position {
        Position {
            epoch: self.epoch,
            offset: Offset(self.head),
        }
    }

    fn standing(&self, answer: Answer, policy: Policy) -> Standing {
        Standing {
            answer,
            start: Position {
                epoch: self.epoch,
                offset: Offset(self.start),
            },
            head: self.head(),
            exists: self.exists,
            policy,
            term: Term(1),
        }
    }

    /// A page as a replica would give it, and its messages.
    fn page(&self, after: Position, limit: u64) -> (Page, Option<(Span, Numbers)>) {
        let base = Position {
            epoch: self.epoch,
            offset: Offset(self.start - 1),
        };
        let unborn = after.offset == Offset(0)
            && (self.vouched..self.epoch).contains(&after.epoch)
            && self.start == 1;
        let gap = if after == self.head() || unborn || (after >= base && after <= self.head()) {
            None
        } else if after > self.head() {
            Some((GapReason::PositionAhead, self.head()))
        } else if after.epoch == self.epoch {
            Some((GapReason::Trimmed(TrimmedBy::Count), base))
        } else {
            Some((GapReason::EpochChanged, base))
        };
        let gap = gap.map(|(reason, to)| Gap {
            reason,
            from: after,
            to,
            missed: None,
        });
        let begin = gap.map_or(if unborn { base } else { after }, |gap| gap.to);
        let last = self.head.min(begin.offset.0 + limit);
        let positions: Vec<_> = (begin.offset.0 + 1..=last)
            .map(|n| Position {
                epoch: self.epoch,
                offset: Offset(n),
            })
            .collect();
        let mut run = numbers(&positions);
        if let (Some((span, _)), None) = (&mut run, gap) {
            span.after = after;
        }
        let messages = positions
            .iter()
            .map(|position| {
                let content = Content {
                    payload: bytes::Bytes::new(),
                    meta: Arc::new(Meta::default()),
                };
                Arc::new(Message {
                    position: *position,
                    wall_ms: 0,
                    content,
                })
            })
            .collect();
        (
            Page {
                gap,
                messages,
                head: self.head(),
                start: base.next(),
            },
            run,
        )
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u64),
    Trim(u64),
    Recreate,
    /// The relay takes up to so much of what it lacks, and tells everybody.
    Relay(u64),
    /// The relay lost its place and begins at the head.
    Reset,
    TrimTail(u64),
    Room(usize, u32),
    Drain(usize),
    Page(usize, u64),
    Leave(usize),
    Join(usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6_u64).prop_map(Step::Publish),
        1 => (0..6_u64).prop_map(Step::Trim),
        1 => Just(Step::Recreate),
        6 => (1..6_u64).prop_map(Step::Relay),
        1 => Just(Step::Reset),
        2 => (0..40_u64).prop_map(Step::TrimTail),
        4 => (0..4_usize, 0..9_u32).prop_map(|(who, room)| Step::Room(who, room)),
        8 => (0..4_usize).prop_map(Step::Drain),
        6 => (0..4_usize, 1..5_u64).prop_map(|(who, limit)| Step::Page(who, limit)),
        1 => (0..4_usize).prop_map(Step::Leave),
        2 => (0..4_usize, 0..9_u64).prop_map(|(who, back)| Step::Join(who, back)),
    ];
    prop::collection::vec(step, 1..160)
}

struct World {
    log: Log,
    tail: Tail<Numbers>,
    readers: Vec<(Subscription<Numbers>, Reader)>,
    policy: Policy,
}

impl World {
    fn new(policy: Policy) -> Self {
        let log = Log {
            epoch: Epoch(3),
            head: 0,
            start: 1,
            exists: false,
            vouched: Epoch(3),
        };
        let readers = (0..4)
            .map(|_| (Subscription::default(), Reader::with_room(0)))
            .collect();
        Self {
            log,
            tail: Tail::default(),
            readers,
            policy,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish(count) => {
                if !self.log.exists {
                    self.log.epoch.0 += 1;
                    self.log.exists = true;
                }
                self.log.head += count;
            }
            Step::Trim(keep) => {
                self.log.start = self.log.start.max((self.log.head + 1).saturating_sub(keep));
            }
            // Anybody who stood in the old stream is told so.
            Step::Recreate => {
                self.log.epoch.0 += 2;
                self.log.vouched = self.log.epoch;
                (self.log.head, self.log.start, self.log.exists) = (1, 1, true);
            }
            Step::Relay(limit) => self.relay(limit),
            Step::Reset => {
                self.tail.reset(self.log.head());
                self.readers
                    .iter_mut()
                    .for_each(|(subscription, _)| subscription.doubt());
            }
            Step::TrimTail(limit) => self.tail.trim(limit),
            Step::Room(who, room) => self.readers[who].1.room = room,
            Step::Drain(who) => {
                let (subscription, reader) = &mut self.readers[who];
                subscription.drain(&self.tail, reader);
            }
            Step::Page(who, limit) => {
                let (subscription, reader) = &mut self.readers[who];
                if let Drained::Page(after) = subscription.drain(&self.tail, reader) {
                    let (page, run) = self.log.page(after, limit);
                    subscription.on_page(&page, run);
                }
            }
            Step::Leave(who) => self.readers[who].0.detach(),
            Step::Join(who, back) => self.join(who, back),
        }
    }

    fn relay(&mut self, limit: u64) {
        let Some(last) = self.tail.last() else {
            return self.tail.reset(self.log.head());
        };
        let (page, run) = self.log.page(last, limit);
        if let Some(gap) = page.gap {
            self.tail.push_gap(gap);
            self.offer(&Block::Gap(gap));
        }
        if let Some((span, run)) = run {
            assert_ne!(self.tail.push_run(span, run.clone(), 10), Err(Misfit::Hole));
            self.offer(&Block::Run(span, run));
        }
    }

    fn offer(&mut self, block: &Block<Numbers>) {
        for (subscription, reader) in &mut self.readers {
            let _wake = subscription.offer(block, reader);
        }
    }

    /// A subscriber comes back with what it processed, or begins a little behind the head.
    fn join(&mut self, who: usize, back: u64) {
        let (subscription, reader) = &mut self.readers[who];
        *subscription = Subscription::default();
        let at = if reader.at == Position::NONE {
            let offset = Offset(self.log.head.saturating_sub(back).max(self.log.start - 1));
            Position {
                epoch: self.log.epoch,
                offset,
            }
        } else {
            reader.at
        };
        let answer = match self.log.page(at, 0).0.gap {
            Some(gap) => Answer::Gap(gap),
            None => Answer::Recovered(at),
        };
        let begin = subscription.begin(&self.log.standing(answer, self.policy));
        // An unborn topic's counter moves on without an item.
        reader.at = begin;
    }

    /// Faults are over: everybody gets room and pages until nothing moves.
    fn settle(&mut self) {
        while self.tail.last() != Some(self.log.head()) {
            self.relay(4);
        }
        for (subscription, reader) in &mut self.readers {
            reader.room = u32::MAX;
            for _ in 0..1_000 {
                // Nobody looks after one that is Live.
                if subscription.phase() == Phase::Live {
                    break;
                }
                match subscription.drain(&self.tail, reader) {
                    Drained::Page(_) | Drained::Wait { ahead: true } => {
                        let (page, run) = self.log.page(subscription.at(), 4);
                        subscription.on_page(&page, run);
                    }
                    Drained::Head | Drained::Idle => break,
                    Drained::Blocked | Drained::Wait { ahead: false } => {}
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn whatever_happens_nothing_is_skipped_or_repeated_in_silence(
        steps in steps(),
        conflating in any::<bool>(),
    ) {
        let slow = if conflating { Slow::Conflate } else { Slow::CatchUp };
        let mut world = World::new(Policy { slow, slow_lag: 6, ..Policy::default() });
        for step in steps {
            world.step(&step);
            for (_, reader) in &world.readers {
                prop_assert_eq!(&reader.wrong, &None, "{:?}", step);
            }
        }
        world.settle();
        for (subscription, reader) in &world.readers {
            prop_assert_eq!(&reader.wrong, &None);
            let attached = matches!(subscription.phase(), Phase::Live | Phase::Behind);
            let there = subscription.at() == world.log.head() || subscription.at().offset == Offset(0) && world.log.head == 0;
            prop_assert!(!attached || there, "{:?} {:?} {:?}", subscription, world.log.head(), world.tail);
        }
    }
}
