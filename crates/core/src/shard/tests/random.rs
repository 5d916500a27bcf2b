//! Random logs: one shard applies them whole, others in other ways, and all must be the same.

use proptest::prelude::*;

use super::*;

/// Few topics, few keys, small limits, so that everything meets.
fn any_draft() -> impl Strategy<Value = Draft> {
    let parts = (
        0_u8..4,
        0_u8..3,
        prop::option::of(0_u8..4),
        0_u64..4_000,
        0_u8..6,
    );
    parts.prop_map(|(topic, payload, key, age, expect)| {
        let topic = format!("t{topic}");
        let payload = "p".repeat(usize::from(payload) * 40);
        let draft = match key {
            Some(key) => keyed(&topic, &payload, &key.to_string()),
            None => draft(&topic, &payload),
        };
        Draft {
            key_age_ms: draft.key.as_ref().map_or(0, |_| age),
            expect: match expect {
                0 => Some(Position::NONE),
                1 => Some(pos(101, 2)),
                _ => None,
            },
            ..draft
        }
    })
}

fn any_layer() -> impl Strategy<Value = RuleLayer> {
    let parts = (
        1_u64..6,
        200_u64..2_000,
        1_u64..20_000,
        500_u64..5_000,
        any::<bool>(),
    );
    parts.prop_map(|(count, bytes, age, dedup, live)| RuleLayer {
        class: live.then_some(Class::Ephemeral).filter(|_| count == 1),
        retain_count: Some(count),
        retain_bytes: Some(bytes),
        retain_age: Some(Duration::from_millis(age)),
        dedup_age: Some(Duration::from_millis(dedup)),
        ..RuleLayer::default()
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    let topic = || (0_u8..4).prop_map(|n| name(&format!("t{n}")));
    prop_oneof![
        12 => prop::collection::vec(any_draft(), 1..6).prop_map(place),
        2 => (topic(), any_layer()).prop_map(|(topic, own)| Command::Create { topic, own }),
        2 => topic().prop_map(|topic| Command::Delete { topic, epoch: None }),
        2 => (1_u64..30, any_layer(), 0_u8..3).prop_map(|(version, layer, pattern)| {
            let mut rules = table(version);
            let pattern = ["t1", "*", ">"][usize::from(pattern)];
            assert!(rules.put(pattern.parse().unwrap(), layer));
            Command::SetRules(rules)
        }),
        1 => (topic(), 101_u64..110, 0_u64..10).prop_map(|(topic, epoch, through)| {
            Command::Trim { topic, epoch: Epoch(epoch), through: Offset(through) }
        }),
        1 => (1_u32..10).prop_map(Command::ReserveEpochs),
        4 => Just(Command::Tick),
        1 => Just(Command::Repair),
    ]
}

pub(super) fn any_log() -> impl Strategy<Value = Vec<Entry>> {
    let steps = prop::collection::vec((any_command(), 0_u64..3_000), 1..60);
    steps.prop_map(|steps| {
        let mut running_ms = 0;
        let mut log = vec![Entry {
            running_ms,
            command: begin(),
        }];
        for (command, later) in steps {
            running_ms += later;
            log.push(Entry {
                running_ms,
                command,
            });
        }
        log
    })
}

fn apply(shard: &mut Shard, from: usize, log: &[Entry]) -> Vec<(Outcome, Effects)> {
    let entries = log.iter().enumerate();
    entries
        .map(|(n, entry)| shard.apply(at(from + n), entry))
        .collect()
}

fn blocks(shard: &Shard) -> Vec<Block> {
    shard.freeze().blocks().collect()
}

/// Every read of every topic, from every position that may matter.
fn reads(shard: &Shard) -> Vec<String> {
    let mut all = Vec::new();
    let epochs = [0, 99, 100].into_iter().chain(101..115);
    for (topic, epoch) in (0..5).flat_map(|n| epochs.clone().map(move |e| (format!("t{n}"), e))) {
        for offset in [0, 1, 2, 5, 9] {
            let since = Since::After(pos(epoch, offset));
            let page = shard.page(&name(&topic), pos(epoch, offset), 3, 500);
            all.push(format!("{page:?}"));
            for poll in [false, true] {
                let standing = shard.stand(&name(&topic), since, poll, Term(1));
                all.push(format!("{standing:?}"));
            }
        }
    }
    all
}

/// What holds of a subscriber's answer whatever happened (C13, C15, C18).
fn honest(shard: &Shard, topic: &str, from: Position, poll: bool) -> Result<(), TestCaseError> {
    let topic = name(topic);
    let Ok(standing) = shard.stand(&topic, Since::After(from), poll, Term(1)) else {
        return Ok(());
    };
    prop_assert!(standing.start <= standing.head.next());
    match standing.answer {
        Answer::Recovered(begin) => prop_assert_eq!(begin, from),
        Answer::Gap(gap) => {
            prop_assert_eq!(gap.from, from);
            prop_assert!(gap.to <= standing.head);
            prop_assert_eq!(gap.to < from, gap.reason == GapReason::PositionAhead);
            prop_assert!(gap.to != from);
        }
        Answer::Latest => prop_assert!(false, "a position was presented"),
    }
    // Who begins where the answer says needs no further gap and reads on without a hole.
    let begin = standing.begin();
    let again = shard
        .stand(&topic, Since::After(begin), poll, Term(1))
        .unwrap();
    prop_assert_eq!(again.answer, Answer::Recovered(begin));
    let page = shard.page(&topic, begin, 1_000, u64::MAX).unwrap();
    prop_assert_eq!(page.gap, None);
    let mut last = begin;
    for message in &page.messages {
        let first = last.epoch < message.position.epoch;
        let wanted = if first {
            message.position.stream_start()
        } else {
            last
        };
        prop_assert_eq!(message.position, wanted.next());
        last = message.position;
    }
    if standing.exists {
        prop_assert_eq!(last.max(standing.head), standing.head);
        prop_assert!(page.messages.is_empty() || last == standing.head);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_snapshot_anywhere_changes_nothing(log in any_log(), cut in 0_usize..60) {
        let cut = cut.min(log.len());
        let mut whole = Shard::new(SHARDS);
        let told = apply(&mut whole, 0, &log);
        let mut first = Shard::new(SHARDS);
        apply(&mut first, 0, &log[..cut]);
        let mut second = Shard::restore(SHARDS, blocks(&first)).unwrap();
        let rest = apply(&mut second, cut, &log[cut..]);
        prop_assert_eq!(&told[cut..], &rest[..]);
        prop_assert_eq!(whole.chain(), second.chain());
        prop_assert_eq!(whole.bytes(), second.bytes());
        prop_assert_eq!(blocks(&whole), blocks(&second));
        prop_assert_eq!(reads(&whole), reads(&second));
        let now = whole.running_ms();
        prop_assert_eq!(
            whole.needs_tick(now + 1_000),
            second.needs_tick(now + 1_000)
        );
    }

    #[test]
    fn a_batch_is_its_drafts_one_after_the_other(log in any_log()) {
        let mut whole = Shard::new(SHARDS);
        let mut single = Shard::new(SHARDS);
        for (n, entry) in log.iter().enumerate() {
            let (outcome, effects) = whole.apply(at(n), entry);
            let Command::Place(batch) = &entry.command else {
                prop_assert_eq!(single.apply(at(n), entry), (outcome, effects));
                continue;
            };
            let mut fates = Vec::new();
            let mut placed = std::collections::BTreeMap::<_, Vec<_>>::new();
            for draft in &batch.drafts {
                let one = Entry { command: place(vec![draft.clone()]), ..entry.clone() };
                let (Outcome::Placed(fate), effects) = single.apply(at(n), &one) else {
                    panic!("drafts have fates");
                };
                fates.extend(fate);
                for (topic, run) in effects.placed {
                    placed.entry(topic).or_default().extend(run);
                }
            }
            prop_assert_eq!(outcome, Outcome::Placed(fates));
            prop_assert_eq!(effects.placed, placed);
        }
        let rows = |shard: &Shard| {
            let rows = blocks(shard).into_iter();
            rows.filter(|b| !matches!(b, Block::Header(_) | Block::End(_))).collect::<Vec<_>>()
        };
        prop_assert_eq!(rows(&whole), rows(&single));
        prop_assert_eq!(reads(&whole), reads(&single));
    }

    #[test]
    fn every_answer_is_honest(log in any_log()) {
        let mut shard = Shard::new(SHARDS);
        for (n, entry) in log.iter().enumerate() {
            shard.apply(at(n), entry);
        }
        for (topic, epoch) in (0..5).flat_map(|t| (98..130).map(move |e| (format!("t{t}"), e))) {
            for offset in [0, 1, 2, 3, 8] {
                honest(&shard, &topic, pos(epoch, offset), false)?;
                honest(&shard, &topic, pos(epoch, offset), true)?;
            }
        }
    }

    #[test]
    fn slots_and_keys_are_as_a_plain_list_says(log in any_log()) {
        let mut shard = Shard::new(SHARDS);
        let mut slots = std::collections::BTreeMap::new();
        // (topic, epoch, key): slot, content, end of the promise.
        let mut keys = std::collections::BTreeMap::new();
        let mut heads = std::collections::BTreeMap::<TopicName, Position>::new();
        for (n, entry) in log.iter().enumerate() {
            let (outcome, _) = shard.apply(at(n), entry);
            let now = entry.running_ms;
            let (Command::Place(batch), Outcome::Placed(fates)) = (&entry.command, outcome) else {
                continue;
            };
            for (draft, fate) in batch.drafts.iter().zip(fates) {
                let topic = draft.topic.clone();
                let known = |position: Position| (topic.clone(), position.epoch, draft.key.clone());
                match fate {
                    Fate::Placed { position, dedup_remaining_ms } => {
                        let last = heads.insert(topic.clone(), position);
                        prop_assert!(last.is_none_or(|last| last < position), "C18");
                        let same = last.filter(|last| last.epoch == position.epoch);
                        let next = same.map_or(position, Position::next);
                        prop_assert_eq!(position, next, "dense");
                        let other = slots.insert((topic.clone(), position), draft.content.clone());
                        prop_assert_eq!(other, None, "C1");
                        if let Some(left) = dedup_remaining_ms {
                            let row = (position, draft.content.clone(), now + left);
                            let old = keys.insert(known(position), row);
                            prop_assert!(old.is_none_or(|(_, _, end)| end <= now), "C10");
                        }
                    }
                    Fate::Duplicate { position, .. } => {
                        let (slot, content, _) = &keys[&known(position)];
                        prop_assert_eq!((*slot, content), (position, &draft.content), "C10");
                    }
                    Fate::Refused(_) | Fate::Ephemeral => {}
                }
            }
        }
        for topic in shard.freeze().dump() {
            for record in topic.records {
                let slot = (topic.name.clone(), record.message.position);
                // Repair gives messages a new epoch; all else is where it was placed.
                if let Some(content) = slots.get(&slot) {
                    prop_assert_eq!(content, &record.message.content, "C1 C6");
                }
            }
        }
    }
}
