//! The history ring against a plain `Vec` of everything that was ever placed.

use proptest::prelude::*;

use super::*;
use crate::message::Meta;

fn content(size: usize, fill: u8) -> Content {
    Content {
        payload: Bytes::from(vec![fill; size]),
        meta: Arc::new(Meta::default()),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append { size: usize, after_ms: u64 },
    Trim { count: u64, bytes: u64, age_ms: u64 },
    Cut { through: u64 },
    Restamp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..300, 0_u64..50).prop_map(|(size, after_ms)| Step::Append { size, after_ms }),
        2 => (1_u64..20, 100_u64..4_000, 1_u64..500)
            .prop_map(|(count, bytes, age_ms)| Step::Trim { count, bytes, age_ms }),
        1 => (0_u64..60).prop_map(|through| Step::Cut { through }),
        1 => Just(Step::Restamp),
    ]
}

/// Everything that was placed, and how much of it is gone.
#[derive(Default)]
struct Plain {
    placed: Vec<(Content, u64)>,
    gone: usize,
    by: Option<TrimmedBy>,
}

impl Plain {
    fn cost(&self) -> u64 {
        self.placed[self.gone..].iter().map(|(c, _)| c.cost()).sum()
    }

    fn trim(&mut self, limits: Limits, now: u64) {
        while self.gone < self.placed.len() {
            let kept = (self.placed.len() - self.gone) as u64;
            self.by = Some(if self.placed[self.gone].1 + limits.age_ms <= now {
                TrimmedBy::Age
            } else if kept > limits.count {
                TrimmedBy::Count
            } else if kept > 1 && self.cost() > limits.bytes {
                TrimmedBy::Bytes
            } else {
                return;
            });
            self.gone += 1;
        }
    }

    fn chain(&self, upto: usize) -> u128 {
        let hashed = self.placed[..upto].iter().zip(1..);
        hashed.fold(0, |chain, ((content, _), offset)| {
            chain_step(chain, Offset(offset), payload_hash(&content.payload))
        })
    }
}

proptest! {
    #[test]
    fn a_history_is_the_end_of_all_that_was_placed(
        steps in prop::collection::vec(step(), 1..80),
        limit in 1_usize..10,
        bytes in 1_u64..2_000,
    ) {
        let (mut history, mut plain) = (History::new(Epoch(7)), Plain::default());
        let mut now = 0;
        let mut epoch = 7;
        for step in steps {
            match step {
                Step::Append { size, after_ms } => {
                    now += after_ms;
                    let content = content(size, size as u8);
                    let message = history.append(&content, 1, now);
                    plain.placed.push((content, now));
                    let last = plain.placed.len() as u64;
                    prop_assert_eq!(message.position, Position::new(epoch, last));
                }
                Step::Trim { count, bytes, age_ms } => {
                    let limits = Limits { count, bytes, age_ms };
                    let before = plain.cost();
                    plain.trim(limits, now);
                    prop_assert_eq!(history.trim(limits, now), before - plain.cost());
                }
                Step::Cut { through } => {
                    let through = through as usize;
                    if through > plain.gone && plain.gone < plain.placed.len() {
                        plain.gone = through.min(plain.placed.len());
                        plain.by = Some(TrimmedBy::Budget);
                    }
                    history.cut(Offset(through as u64));
                }
                Step::Restamp => {
                    epoch += 1;
                    history.restamp(Epoch(epoch));
                }
            }
            let (gone, placed) = (plain.gone as u64, plain.placed.len() as u64);
            prop_assert_eq!(history.start(), Position::new(epoch, gone + 1));
            prop_assert_eq!(history.head(), Position::new(epoch, placed));
            prop_assert_eq!(history.bytes(), plain.cost());
            prop_assert_eq!(history.trimmed_by(), plain.by);
            prop_assert_eq!(history.start_chain(), plain.chain(plain.gone));
            prop_assert_eq!(history.head_chain(), plain.chain(plain.placed.len()));
            for after in 0..=placed + 1 {
                let reach = history.reach(Offset(after));
                if after > placed {
                    prop_assert_eq!(reach, Reach::Ahead);
                } else if after >= gone {
                    prop_assert_eq!(reach, Reach::All);
                } else {
                    prop_assert_eq!(reach, Reach::Trimmed(Gap {
                        reason: GapReason::Trimmed(plain.by.unwrap()),
                        from: Position::new(epoch, after),
                        to: Position::new(epoch, gone),
                        missed: Some(gone - after),
                    }));
                }
                let mut cost = 0;
                let wanted: Vec<_> = plain.placed.iter().zip(1_u64..)
                    .filter(|(_, offset)| *offset > after.max(gone))
                    .take(limit)
                    .enumerate()
                    .take_while(|(at, ((content, _), _))| {
                        cost += content.cost();
                        *at == 0 || cost <= bytes
                    })
                    .map(|(_, ((content, _), offset))| (offset, content.payload.clone()))
                    .collect();
                let read: Vec<_> = history.read(Offset(after), limit, bytes).iter()
                    .map(|m| (m.position.offset.0, m.content.payload.clone()))
                    .collect();
                prop_assert_eq!(read, wanted);
            }
        }
    }
}

#[test]
fn the_chain_is_part_of_the_format() {
    let mut history = History::new(Epoch(7));
    history.append(&content(2, b'a'), 0, 0);
    history.append(&content(0, 0), 0, 0);
    let by_hand = |before: u128, offset: u64, payload: &[u8]| {
        let mut bytes = before.to_be_bytes().to_vec();
        bytes.extend(offset.to_be_bytes());
        bytes.extend(xxh3_128(payload).to_be_bytes());
        xxh3_128(&bytes)
    };
    assert_eq!(history.head_chain(), by_hand(by_hand(0, 1, b"aa"), 2, b""));
}

#[test]
fn a_message_above_the_limit_of_bytes_stays_until_the_next_one() {
    let limits = Limits {
        count: 10,
        bytes: 100,
        age_ms: 1_000,
    };
    let mut history = History::new(Epoch(1));
    history.append(&content(500, 1), 0, 0);
    assert_eq!(history.trim(limits, 0), 0);
    history.append(&content(1, 1), 0, 0);
    history.trim(limits, 0);
    assert_eq!(history.start(), Position::new(1, 2));
    assert_eq!(history.trimmed_by(), Some(TrimmedBy::Bytes));
}

#[test]
fn a_kept_payload_does_not_hold_the_frame_it_came_in() {
    let frame = Bytes::from(vec![7_u8; 4_096]);
    let sliced = Content {
        payload: frame.slice(10..20),
        ..content(0, 0)
    };
    let mut history = History::new(Epoch(1));
    let message = history.append(&sliced, 0, 0);
    drop(sliced);
    assert_eq!(message.content.payload, [7; 10].as_slice());
    assert!(frame.try_into_mut().is_ok(), "nobody else holds the frame");
}

#[test]
fn equal_descriptions_are_kept_once() {
    let mut history = History::new(Epoch(1));
    let first = history.append(&content(1, 1), 0, 0);
    let second = history.append(&content(2, 2), 0, 0);
    assert!(Arc::ptr_eq(&first.content.meta, &second.content.meta));
}
