//! The judge: reads observations in the order of their time and gives verdicts. Memory grows with
//! the messages of the run, time linearly.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::delivery::Delivery;
use crate::observation::{Event, Line, Position, Reached};
use crate::order::Order;
use crate::slots::Slots;
use crate::verdict::Report;

/// What a sending said of itself.
#[derive(Debug)]
struct Sending {
    draft: String,
    hash: String,
}

#[derive(Debug, Default)]
struct Topic {
    slots: Slots,
    delivery: Delivery,
    order: Order,
}

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    topics: BTreeMap<String, Topic>,
    /// By (who, op): an op is unique only within its writer.
    sendings: BTreeMap<(String, u64), (u64, Sending)>,
    next_sending: u64,
    replicas: usize,
    report: Report,
}

impl Judge {
    /// A judge of a run whose durable topics have `replicas` replicas.
    pub fn new(replicas: usize) -> Self {
        Self {
            topics: BTreeMap::new(),
            sendings: BTreeMap::new(),
            next_sending: 0,
            replicas,
            report: Report::default(),
        }
    }

    /// Sees one line. Lines of one writer come in its order; over writers, by `t`.
    pub fn see(&mut self, line: &Line) {
        self.report.lines += 1;
        match &line.event {
            Event::Publish {
                op,
                draft,
                topic,
                stream,
                hash,
                ..
            } => {
                self.report.sendings += 1;
                let id = self.next_sending;
                self.next_sending += 1;
                let sending = Sending {
                    draft: draft.clone(),
                    hash: hash.clone(),
                };
                self.sendings.insert((line.by.clone(), *op), (id, sending));
                self.topic(topic)
                    .order
                    .sent(&format!("{}/{stream}", line.by), id, draft);
            }
            Event::Acked {
                op,
                topic,
                epoch,
                offset,
                reached,
                ..
            } => {
                let at = Position {
                    epoch: *epoch,
                    offset: *offset,
                };
                self.acked(&line.by, *op, topic, at, *reached);
            }
            Event::Refused { .. } => self.report.refused += 1,
            Event::Unknown { .. } => self.report.unknown += 1,
            Event::Subscribe {
                sub,
                session,
                topic,
                ..
            } => {
                self.report.sessions += 1;
                self.topic(topic).delivery.subscribed(session, sub);
            }
            Event::Attached {
                session,
                topic,
                answer,
                from,
                head,
            } => {
                let (state, report) = self.split(topic);
                state
                    .delivery
                    .attached(topic, session, answer, *from, *head, report);
            }
            Event::Message {
                session,
                topic,
                epoch,
                offset,
                draft,
                hash,
            } => {
                let at = Position {
                    epoch: *epoch,
                    offset: *offset,
                };
                let (state, report) = self.split(topic);
                report.messages += 1;
                state.slots.seen(topic, at, hash, draft, report);
                state.delivery.message(topic, session, at, report);
            }
            Event::Gap {
                session,
                topic,
                reason,
                to,
                ..
            } => {
                self.report.gaps += 1;
                self.topic(topic).delivery.gap(session, reason, *to);
            }
            Event::Closed { session, .. } => {
                for topic in self.topics.values_mut() {
                    topic.delivery.closed(session);
                }
            }
            Event::Final {
                topic,
                epoch,
                start,
                rows,
                ..
            } => {
                let (state, report) = self.split(topic);
                report.finals += 1;
                state.slots.dumped(topic, *epoch, *start, rows, report);
            }
            Event::Sample { .. } | Event::Fault { .. } => {}
        }
    }

    /// All was seen: the report.
    pub fn finish(mut self) -> Report {
        for (name, topic) in &self.topics {
            topic.slots.judge(name, self.replicas, &mut self.report);
            topic.order.judge(name, &mut self.report);
        }
        self.report
    }

    fn acked(&mut self, by: &str, op: u64, topic: &str, at: Position, reached: Reached) {
        let Some((id, sending)) = self.sendings.get(&(by.to_owned(), op)) else {
            return;
        };
        let (id, draft, hash) = (*id, sending.draft.clone(), sending.hash.clone());
        let (state, report) = self.split(topic);
        state.order.acked(id, at);
        state.slots.seen(topic, at, &hash, &draft, report);
        if reached == Reached::Durable {
            report.acked_durable += 1;
            state.slots.acked_durable(at);
        }
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        self.split(name).0
    }

    fn split(&mut self, name: &str) -> (&mut Topic, &mut Report) {
        (
            self.topics.entry(name.to_owned()).or_default(),
            &mut self.report,
        )
    }
}

/// Judges all `*.jsonl` files of a directory, merged by time.
#[expect(
    clippy::disallowed_methods,
    reason = "observations are files of the harness, not a node's"
)]
pub fn judge_dir(dir: &Path, replicas: usize) -> std::io::Result<Report> {
    let mut lines: Vec<Line> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "jsonl") {
            for text in BufReader::new(File::open(&path)?).lines() {
                lines.push(serde_json::from_str(&text?)?);
            }
        }
    }
    lines.sort_by_key(|line| line.t);
    let mut judge = Judge::new(replicas);
    lines.iter().for_each(|line| judge.see(line));
    Ok(judge.finish())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
