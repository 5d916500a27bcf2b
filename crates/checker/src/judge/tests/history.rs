//! A run in which every promise is kept, line by line, and the ways to damage it.

use super::*;
use crate::finals::chain_step;
use crate::observation::{AckLevel, Reached, SinceText};

/// The run: ten messages of `news` (durable, epoch 7, of which the last eight are kept), five of
/// `chat` (ephemeral, epochs 3 and 4), and who read them.
pub(super) struct History {
    pub(super) run: Run,
    pub(super) lines: Vec<(u64, Event)>,
}

/// A moment of the run, in ms.
const fn ms(ms: u64) -> u64 {
    ms * 1_000_000
}

pub(super) fn at(offset: u64) -> Position {
    Position { epoch: 7, offset }
}

pub(super) fn publish(op: u64, draft: &str, topic: &str, stream: &str) -> Event {
    Event::Publish {
        op,
        draft: draft.to_owned(),
        topic: topic.to_owned(),
        stream: stream.to_owned(),
        key: None,
        ack: AckLevel::Committed,
        hash: format!("h-{draft}"),
        node: "n1".to_owned(),
    }
}

pub(super) fn acked(op: u64, topic: &str, at: Position, reached: Reached) -> Event {
    Event::Acked {
        op,
        topic: topic.to_owned(),
        epoch: at.epoch,
        offset: at.offset,
        class: format!("{reached:?}").to_lowercase(),
        reached,
        duplicate: false,
    }
}

pub(super) fn subscribe(sub: &str, session: &str, topic: &str, since: &str) -> Event {
    Event::Subscribe {
        sub: sub.to_owned(),
        session: session.to_owned(),
        transport: "ws".to_owned(),
        node: "n1".to_owned(),
        topic: topic.to_owned(),
        since: SinceText(since.to_owned()),
    }
}

pub(super) fn attached(
    session: &str,
    topic: &str,
    answer: &str,
    from: Position,
    head: Position,
) -> Event {
    Event::Attached {
        session: session.to_owned(),
        topic: topic.to_owned(),
        answer: answer.to_owned(),
        from: (answer != "latest").then_some(from),
        head: Some(head),
    }
}

/// A message of `news` as it was published.
pub(super) fn message(session: &str, offset: u64) -> Event {
    delivered(session, "news", at(offset), &format!("d{offset}"))
}

/// A message of `chat` as it was published.
pub(super) fn chat(session: &str, epoch: u64, offset: u64) -> Event {
    let draft = format!("c{epoch}-{offset}");
    delivered(session, "chat", Position { epoch, offset }, &draft)
}

pub(super) fn delivered(session: &str, topic: &str, at: Position, draft: &str) -> Event {
    Event::Message {
        session: session.to_owned(),
        topic: topic.to_owned(),
        epoch: at.epoch,
        offset: at.offset,
        draft: draft.to_owned(),
        hash: format!("h-{draft}"),
    }
}

pub(super) fn gap(session: &str, topic: &str, from: Position, to: Position, reason: &str) -> Event {
    Event::Gap {
        session: session.to_owned(),
        topic: topic.to_owned(),
        reason: reason.to_owned(),
        trimmed_by: (reason == "trimmed").then(|| "count".to_owned()),
        from,
        to,
        missed: None,
    }
}

pub(super) fn closed(session: &str) -> Event {
    Event::Closed {
        session: session.to_owned(),
        code: String::new(),
        why: String::new(),
    }
}

fn dump(node: &str) -> Event {
    let hash = |n: u64| number(&format!("h-d{n}"));
    let chain = (1..=2).fold(0, |chain, n| chain_step(chain, n, hash(n)));
    Event::Final {
        node: node.to_owned(),
        topic: "news".to_owned(),
        class: "durable".to_owned(),
        epoch: 7,
        start: 3,
        head: 10,
        chain: format!("{chain:032x}"),
        rows: (3..=10)
            .map(|offset| Row {
                offset,
                hash: format!("h-d{offset}"),
                draft: format!("d{offset}"),
            })
            .collect(),
    }
}

impl History {
    pub(super) fn good() -> Self {
        let run = Run {
            heal_ms: 10_000,
            rules: vec![Rule {
                topic: "news".to_owned(),
                retain_count: Some(8),
                retain_age_ms: None,
            }],
            ..Run::default()
        };
        let mut history = Self {
            run,
            lines: Vec::new(),
        };
        history.published();
        history.read();
        history
    }

    /// One draft a second, but for the eighth and ninth, which one stream sends together.
    fn published(&mut self) {
        for op in 1..=10 {
            let sent = match op {
                9 => ms(8_100),
                _ => ms(op * 1_000),
            };
            let stream = match op {
                8 | 9 => "both".to_owned(),
                _ => format!("s{op}"),
            };
            let mut event = publish(op, &format!("d{op}"), "news", &stream);
            if let Event::Publish { key, .. } = &mut event {
                *key = (op == 3).then(|| "k3".to_owned());
            }
            self.add(sent, event);
            self.add(sent + ms(500), acked(op, "news", at(op), Reached::Durable));
        }
        // The third is sent again, with its key.
        self.again("d3", at(3));
        for (n, epoch, offset) in [(0, 3, 1), (1, 3, 2), (2, 3, 3), (3, 4, 1), (4, 4, 2)] {
            let (op, sent) = (200 + n, ms(11_000 + n * 400));
            let draft = format!("c{epoch}-{offset}");
            self.add(sent, publish(op, &draft, "chat", "c"));
            let place = Position { epoch, offset };
            self.add(sent + ms(100), acked(op, "chat", place, Reached::Ephemeral));
        }
    }

    fn read(&mut self) {
        // Alice reads all, in two sessions; the second stays.
        self.add(ms(100), subscribe("alice", "a1", "news", "earliest"));
        self.add(ms(200), attached("a1", "news", "recovered", at(0), at(0)));
        for n in 1..=5 {
            self.add(ms(n * 1_000 + 600), message("a1", n));
        }
        self.add(ms(5_700), closed("a1"));
        self.add(ms(5_800), subscribe("alice", "a2", "news", "7-5"));
        self.add(ms(5_900), attached("a2", "news", "recovered", at(5), at(5)));
        for n in 6..=10 {
            self.add(ms(n * 1_000 + 600), message("a2", n));
        }
        // Bob begins with what comes, just before the last; Ben after it.
        self.add(ms(9_700), subscribe("bob", "b1", "news", "latest"));
        self.add(ms(9_800), attached("b1", "news", "latest", at(9), at(9)));
        self.add(ms(10_600), message("b1", 10));
        self.add(ms(15_000), subscribe("ben", "b2", "news", "latest"));
        self.add(ms(15_100), attached("b2", "news", "latest", at(10), at(10)));
        // Carol was away, and is told what is not there any more.
        self.add(ms(16_000), subscribe("carol", "g1", "news", "7-1"));
        self.add(ms(16_050), attached("g1", "news", "gap", at(1), at(10)));
        self.add(ms(16_100), gap("g1", "news", at(1), at(2), "trimmed"));
        for n in 3..=10 {
            self.add(ms(16_200 + n), message("g1", n));
        }
        self.add(ms(16_900), closed("g1"));
        // Eve is there when the leader of `chat` changes.
        let (old, new) = (
            |offset| Position { epoch: 3, offset },
            Position {
                epoch: 4,
                offset: 0,
            },
        );
        self.add(ms(300), subscribe("eve", "e1", "chat", "latest"));
        self.add(ms(400), attached("e1", "chat", "latest", old(0), old(0)));
        self.add(ms(11_200), chat("e1", 3, 1));
        self.add(ms(11_600), chat("e1", 3, 2));
        self.add(ms(12_150), gap("e1", "chat", old(2), new, "epoch_changed"));
        self.add(ms(12_400), chat("e1", 4, 1));
        self.add(ms(12_800), chat("e1", 4, 2));
        for node in ["n1", "n2", "n3"] {
            self.sampled(node, ms(16_300));
        }
        // The last a client does.
        self.add(ms(40_000), closed("g1"));
        for node in ["n1", "n2", "n3"] {
            self.add(ms(41_000), dump(node));
        }
    }

    fn sampled(&mut self, node: &str, t: u64) {
        let sample = Event::Sample {
            node: node.to_owned(),
            topic: "news".to_owned(),
            epoch: 7,
            start: 3,
            head: 10,
        };
        self.add(t, sample);
    }

    pub(super) fn add(&mut self, t: u64, event: Event) {
        self.lines.push((t, event));
    }

    pub(super) fn add_ms(&mut self, t: u64, event: Event) {
        self.add(ms(t), event);
    }

    /// A repeat of the third draft's key, at second 14.
    pub(super) fn again(&mut self, draft: &str, place: Position) {
        let mut event = publish(103, draft, "news", "again");
        if let Event::Publish { key, .. } = &mut event {
            *key = Some("k3".to_owned());
        }
        self.add(ms(14_000), event);
        self.add(ms(14_100), acked(103, "news", place, Reached::Durable));
    }

    pub(super) fn remove(&mut self, wanted: &Event) {
        let before = self.lines.len();
        self.lines.retain(|(_, event)| event != wanted);
        assert_eq!(self.lines.len() + 1, before, "{wanted:?} was there once");
    }

    /// Puts events right after one.
    pub(super) fn after(&mut self, wanted: &Event, more: Event) {
        let found = self.lines.iter().find(|(_, event)| event == wanted);
        let t = found.expect("it was there").0;
        self.add(t + 1, more);
    }

    /// Changes every event that `edit` likes to change.
    pub(super) fn edit(&mut self, mut edit: impl FnMut(&mut Event)) {
        self.lines.iter_mut().for_each(|(_, event)| edit(event));
    }

    /// Forgets that a sending ever was.
    pub(super) fn forget(&mut self, gone: u64) {
        self.lines.retain(|(_, event)| {
            !matches!(event, Event::Publish { op, .. } | Event::Acked { op, .. } if *op == gone)
        });
    }

    /// A slot of `news` holds another draft, for readers and nodes alike.
    pub(super) fn relabel(&mut self, slot: u64, name: &str) {
        let (name, payload) = (name.to_owned(), format!("h-{name}"));
        self.edit(|event| {
            if let Event::Message {
                topic,
                offset,
                draft,
                hash,
                ..
            } = event
                && topic == "news"
                && *offset == slot
            {
                (*draft, *hash) = (name.clone(), payload.clone());
            }
            if let Event::Final { rows, .. } = event {
                for row in rows.iter_mut().filter(|row| row.offset == slot) {
                    (row.draft, row.hash) = (name.clone(), payload.clone());
                }
            }
        });
    }

    /// Two drafts of `news` are in each other's slots, and acked so.
    pub(super) fn swap(&mut self, a: u64, b: u64) {
        self.relabel(a, &format!("d{b}"));
        self.relabel(b, &format!("d{a}"));
        self.edit(|event| {
            if let Event::Acked { op, offset, .. } = event {
                *offset = match *op {
                    op if op == a => b,
                    op if op == b => a,
                    _ => *offset,
                };
            }
        });
    }

    /// A stranger is given the first message of epoch 8.
    pub(super) fn another_epoch(&mut self, t: u64) {
        let first = |offset| Position { epoch: 8, offset };
        self.add_ms(t - 3, publish(300, "new", "news", "new"));
        self.add_ms(t - 2, subscribe("xeno", "x1", "news", "latest"));
        self.add_ms(t - 1, attached("x1", "news", "latest", first(0), first(0)));
        self.add_ms(t, delivered("x1", "news", first(1), "new"));
        self.add_ms(t + 1, closed("x1"));
    }

    pub(super) fn judged(mut self) -> Report {
        self.lines.sort_by_key(|(t, _)| *t);
        let mut judge = Judge::of(self.run);
        for (t, event) in self.lines {
            judge.see(&Line {
                t,
                wall: 0,
                by: "c1".to_owned(),
                event,
            });
        }
        judge.finish()
    }
}
