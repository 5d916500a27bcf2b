//! A good history has no verdict; each of many kinds of damage to it is named, and nothing else.

use super::*;
use crate::observation::Reached;
use crate::run::Rule;

mod history;

use history::{
    History, acked, at, attached, chat, closed, delivered, gap, message, publish, subscribe,
};

#[test]
fn a_good_history_has_no_verdict() {
    let report = History::good().judged();
    assert!(report.is_clean(), "{report}");
    let counts = (report.acked_durable, report.messages, report.gaps);
    assert_eq!(counts, (11, 23, 2), "{report}");
    assert_eq!((report.finals, report.declared_loss), (3, 1), "{report}");
}

/// What damage a history takes, what it must be called, and how it is done.
type Damage = (&'static str, Verdict, fn(&mut History));

const DAMAGES: &[Damage] = &[
    ("a message is dropped", Verdict::Skip, |h| {
        h.remove(&message("a2", 7));
    }),
    ("a message comes twice", Verdict::Repeated, |h| {
        h.after(&message("a2", 7), message("a2", 7));
    }),
    ("a session steps back", Verdict::Repeated, |h| {
        h.after(&message("a2", 9), message("a2", 7));
        h.after(&message("a2", 9), message("a2", 8));
        h.after(&message("a2", 9), message("a2", 9));
    }),
    ("a resume begins too late", Verdict::GapUnsignalled, |h| {
        answer(h, "a2", at(6));
        h.remove(&message("a2", 6));
    }),
    ("a resume gives what the cursor had", Verdict::Stale, |h| {
        answer(h, "a2", at(4));
        h.add_ms(5_950, message("a2", 5));
    }),
    ("a payload is another", Verdict::Diverged, |h| {
        h.edit(|event| {
            if let Event::Message {
                session,
                hash,
                offset: 8,
                ..
            } = event
                && session == "a2"
            {
                "another".clone_into(hash);
            }
        });
    }),
    ("a message is of another topic", Verdict::WrongTopic, |h| {
        h.add_ms(8_050, publish(301, "stray", "chat", "stray"));
        h.relabel(8, "stray");
        h.forget(8);
    }),
    ("a message was never published", Verdict::Phantom, |h| {
        h.relabel(8, "nobody's");
        h.forget(8);
    }),
    ("a refused draft is delivered", Verdict::AbortedRead, |h| {
        h.add_ms(8_050, publish(302, "refused", "news", "refused"));
        h.add_ms(8_060, refused(302, "invalid_payload"));
        h.relabel(8, "refused");
        h.forget(8);
    }),
    ("an acked slot is on one node only", Verdict::Lost, |h| {
        h.edit(|event| {
            if let Event::Final { node, rows, .. } = event
                && node != "n1"
            {
                rows.retain(|row| row.offset != 8);
            }
        });
    }),
    (
        "what was acked and trimmed was another",
        Verdict::Lost,
        |h| {
            chains(h, |_| true);
        },
    ),
    (
        "a replica's running hash is its own",
        Verdict::ReplicaDiverged,
        |h| {
            chains(h, |node| node == "n3");
        },
    ),
    (
        "an ack says less than was asked",
        Verdict::Downgraded,
        |h| {
            h.edit(|event| {
                if let Event::Acked { op: 4, reached, .. } = event {
                    *reached = Reached::Ephemeral;
                }
            });
        },
    ),
    (
        "a draft sent once is in two slots",
        Verdict::Duplicated,
        |h| {
            h.relabel(10, "d9");
            h.forget(10);
        },
    ),
    ("a key is in two slots", Verdict::Duplicated, |h| {
        h.forget(103);
        h.relabel(10, "d3");
        h.forget(10);
        h.again("d3", at(10));
    }),
    (
        "a key is acked for two payloads",
        Verdict::KeyMismatch,
        |h| {
            h.forget(103);
            h.again("another", at(3));
        },
    ),
    (
        "a stream's drafts change places",
        Verdict::PublisherOrder,
        |h| {
            h.swap(8, 9);
        },
    ),
    (
        "placed before what was acked before",
        Verdict::RealtimeOrder,
        |h| {
            h.swap(4, 7);
        },
    ),
    ("an answer is older than an ack", Verdict::StaleHead, |h| {
        h.edit(|event| {
            if let Event::Attached { session, head, .. } = event
                && session == "b2"
            {
                *head = Some(at(9));
            }
        });
        h.add_ms(15_200, message("b2", 10));
    }),
    ("an epoch is shifted", Verdict::EpochBroken, |h| {
        h.another_epoch(17_000);
    }),
    (
        "acked in an epoch that is over",
        Verdict::FenceBroken,
        |h| {
            h.another_epoch(9_500);
            h.add_ms(9_400, fault("delete_topic", "news"));
        },
    ),
    ("a gap is over what was delivered", Verdict::FalseGap, |h| {
        h.after(
            &message("a2", 8),
            gap("a2", "news", at(6), at(8), "conflated"),
        );
    }),
    (
        "what a gap left out comes after it",
        Verdict::FalseGap,
        |h| {
            h.after(
                &gap("g1", "news", at(1), at(2), "trimmed"),
                message("g1", 2),
            );
        },
    ),
    (
        "a gap is over what was still there",
        Verdict::FalseGap,
        |h| {
            h.remove(&gap("g1", "news", at(1), at(2), "trimmed"));
            h.add_ms(16_100, gap("g1", "news", at(1), at(4), "trimmed"));
            h.remove(&message("g1", 3));
            h.remove(&message("g1", 4));
            h.run.rules.clear();
        },
    ),
    ("a gap comes before its rule", Verdict::FalseGap, |h| {
        h.run.rules[0].retain_count = Some(9);
    }),
    (
        "a position is ahead and nothing was lost",
        Verdict::Ahead,
        |h| {
            h.add_ms(17_000, subscribe("helen", "h1", "news", "7-12"));
            h.add_ms(17_001, attached("h1", "news", "gap", at(12), at(10)));
            h.add_ms(17_002, gap("h1", "news", at(12), at(10), "position_ahead"));
            h.add_ms(17_003, closed("h1"));
        },
    ),
    (
        "an open session lacks what was acked",
        Verdict::Unseen,
        |h| {
            h.remove(&message("b1", 10));
        },
    ),
    (
        "an ephemeral message is lost in silence",
        Verdict::LostSilent,
        |h| {
            h.remove(&chat("e1", 4, 2));
        },
    ),
    ("a topic refuses for good", Verdict::NotLive, |h| {
        h.add_ms(39_000, publish(303, "late", "news", "late"));
        h.add_ms(39_500, refused(303, "no_quorum"));
    }),
    (
        "nobody is given what the nodes hold",
        Verdict::NotLive,
        |h| {
            h.add_ms(12_000, publish(304, "late", "news", "late"));
            h.edit(|event| {
                if let Event::Final { head, rows, .. } = event {
                    *head = 11;
                    rows.push(Row {
                        offset: 11,
                        hash: "h-late".to_owned(),
                        draft: "late".to_owned(),
                    });
                }
            });
            h.run.rules.clear();
        },
    ),
];

fn answer(history: &mut History, wanted: &str, after: Position) {
    history.edit(|event| {
        if let Event::Attached { session, from, .. } = event
            && session == wanted
        {
            *from = Some(after);
        }
    });
}

fn chains(history: &mut History, of: fn(&str) -> bool) {
    history.edit(|event| {
        if let Event::Final { node, chain, .. } = event
            && of(node)
        {
            "another".clone_into(chain);
        }
    });
}

fn refused(op: u64, code: &str) -> Event {
    Event::Refused {
        op,
        code: code.to_owned(),
        outcome: "not_placed".to_owned(),
    }
}

fn fault(fault: &str, target: &str) -> Event {
    Event::Fault {
        fault: fault.to_owned(),
        target: target.to_owned(),
        phase: "installed".to_owned(),
    }
}

#[test]
fn each_damage_is_named_and_nothing_else_is() {
    let mut wrong = Vec::new();
    for (what, verdict, damage) in DAMAGES {
        let mut history = History::good();
        damage(&mut history);
        let report = history.judged();
        let named: Vec<Verdict> = report.verdicts.keys().copied().collect();
        if named != [*verdict] {
            wrong.push(format!("{what}: {named:?}, not {verdict}\n{report}"));
        }
    }
    let all = DAMAGES.len();
    let named = all - wrong.len();
    assert!(wrong.is_empty(), "{named} of {all}\n{}", wrong.join("\n"));
    assert!(all >= 20, "{all}");
}

#[test]
fn every_verdict_is_given_for_some_damage() {
    let given: BTreeSet<Verdict> = DAMAGES.iter().map(|(_, verdict, _)| *verdict).collect();
    let all: BTreeSet<Verdict> = Verdict::ALL.iter().copied().collect();
    assert_eq!(given, all);
}

/// What looks like damage and is none.
type Explained = (&'static str, fn(&mut History));

#[test]
fn what_is_explained_is_no_damage() {
    let explained: &[Explained] = &[
        ("a told gap is no skip", |h| {
            h.remove(&message("a2", 7));
            h.after(
                &message("a2", 6),
                gap("a2", "news", at(6), at(7), "conflated"),
            );
        }),
        ("a repeat after the presented cursor", |h| {
            h.remove(&subscribe("alice", "a2", "news", "7-5"));
            h.add_ms(5_800, subscribe("alice", "a2", "news", "7-4"));
            answer(h, "a2", at(4));
            h.add_ms(5_950, message("a2", 5));
        }),
        ("a slot that a majority has", |h| {
            h.edit(|event| {
                if let Event::Final { node, rows, .. } = event
                    && node == "n3"
                {
                    rows.retain(|row| row.offset != 8);
                }
            });
        }),
        ("a second epoch of a deleted topic", |h| {
            h.another_epoch(17_000);
            h.add_ms(16_950, fault("delete_topic", "news"));
        }),
        ("a position ahead after an accepted loss", |h| {
            h.add_ms(16_950, fault("accept_data_loss", "*"));
            h.add_ms(17_000, subscribe("helen", "h1", "news", "7-12"));
            h.add_ms(17_001, attached("h1", "news", "gap", at(12), at(10)));
            h.add_ms(17_002, gap("h1", "news", at(12), at(10), "position_ahead"));
            h.add_ms(17_003, closed("h1"));
        }),
        ("a stream's drafts that were sent again", |h| {
            h.swap(8, 9);
            h.add_ms(14_500, publish(305, "d8", "news", "more"));
        }),
        ("a draft sent twice without a key", |h| {
            h.relabel(10, "d9");
            h.forget(10);
            h.add_ms(10_000, publish(306, "d9", "news", "more"));
        }),
        ("a key used again after its window", |h| {
            h.run.dedup_ms = Some(10_000);
            h.forget(103);
            h.relabel(10, "d3");
            h.forget(10);
            h.again("d3", at(10));
        }),
        ("a refusal that an ack came after", |h| {
            h.add_ms(30_000, publish(307, "late", "chat", "late"));
            h.add_ms(30_100, refused(307, "no_quorum"));
            h.add_ms(30_200, publish(308, "later", "chat", "late"));
            let place = Position {
                epoch: 4,
                offset: 3,
            };
            h.add_ms(30_300, acked(308, "chat", place, Reached::Ephemeral));
            h.add_ms(30_400, delivered("e1", "chat", place, "later"));
        }),
        ("a trim that one node has not made yet", |h| {
            h.edit(|event| {
                if let Event::Sample { node, start, .. } = event
                    && node == "n3"
                {
                    *start = 1;
                }
            });
        }),
        (
            "a cursor that followed the counter of an absent topic",
            |h| {
                let counter = |epoch| Position { epoch, offset: 0 };
                h.add_ms(1, subscribe("zoe", "z1", "absent", "6-2"));
                h.add_ms(
                    2,
                    attached(
                        "z1",
                        "absent",
                        "gap",
                        Position {
                            epoch: 6,
                            offset: 2,
                        },
                        counter(7),
                    ),
                );
                h.add_ms(
                    3,
                    gap(
                        "z1",
                        "absent",
                        Position {
                            epoch: 6,
                            offset: 2,
                        },
                        counter(7),
                        "epoch_changed",
                    ),
                );
                h.add_ms(4, closed("z1"));
                h.add_ms(5, subscribe("zoe", "z2", "absent", "9-0"));
                h.add_ms(
                    6,
                    attached("z2", "absent", "recovered", counter(9), counter(9)),
                );
            },
        ),
    ];
    for (what, change) in explained {
        let mut history = History::good();
        change(&mut history);
        let report = history.judged();
        assert!(report.is_clean(), "{what}:\n{report}");
    }
}

#[test]
fn a_witness_says_where_replicas_lack_a_slot() {
    let mut history = History::good();
    history.edit(|event| {
        if let Event::Final { node, rows, .. } = event {
            rows.retain(|row| match node.as_str() {
                "n2" => row.offset != 8,
                "n3" => row.offset < 8,
                _ => true,
            });
        }
    });
    let report = history.judged();
    let witness = &report.first[&Verdict::Lost];
    assert_eq!(witness.topic, "news");
    assert!(
        witness.proof.contains("n2 lacks it (middle)"),
        "{witness:?}"
    );
    assert!(
        witness.proof.contains("n3 lacks it (postfix)"),
        "{witness:?}"
    );
}

#[test]
fn a_directory_is_judged_in_the_order_of_time_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let History { run, mut lines } = History::good();
    // Threads that share a file write a little out of order, and one was cut off in a line.
    lines.chunks_mut(7).for_each(<[(u64, Event)]>::reverse);
    let (mut publishers, mut others) = (Vec::new(), Vec::new());
    for (t, event) in lines {
        let publishing = matches!(event, Event::Publish { .. } | Event::Acked { .. });
        let file = if publishing {
            &mut publishers
        } else {
            &mut others
        };
        let by = "c1".to_owned();
        serde_json::to_writer(
            &mut *file,
            &Line {
                t,
                wall: 0,
                by,
                event,
            },
        )
        .unwrap();
        file.push(b'\n');
    }
    others.extend(b"{\"t\":4");
    let write = |name: &str, bytes: &[u8]| {
        let mut file = std::fs::File::create_new(dir.path().join(name)).unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
    };
    write("b-pub.jsonl", &publishers);
    write("a-sub.jsonl", &others);
    write("run.json", &serde_json::to_vec(&run).unwrap());
    let report = judge_dir(dir.path()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.acked_durable, 11);
    // Without what the run says of itself the gap is not held against its rule, and T_heal is 30 s.
    write("c.jsonl", b"{}\n");
    let error = judge_dir(dir.path()).unwrap_err().to_string();
    assert!(error.contains("c.jsonl, line 1"), "{error}");
}
