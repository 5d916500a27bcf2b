//! The judge: reads observations in the order of their time and gives verdicts. Memory grows with
//! the messages of the run, compactly, time linearly.

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::delivery::{Answered, Asked, Delivery, Due, Told};
use crate::drafts::{DraftId, Drafts, TopicId, number};
use crate::finals::{self, Dump, Finals};
use crate::gaps::Gaps;
use crate::keys::Keys;
use crate::merge::{Merge, ReadError};
use crate::observation::{Event, Line, Position, Row};
use crate::order::Order;
use crate::run::Run;
use crate::slots::Slots;
use crate::verdict::{Report, Verdict};

/// Everything known of one topic.
#[derive(Debug)]
struct Topic {
    id: TopicId,
    name: String,
    /// By the first ack or dump that said it.
    durable: Option<bool>,
    slots: Slots,
    delivery: Delivery,
    order: Order,
    keys: Keys,
    gaps: Gaps,
    finals: Finals,
    /// The highest position acked durable so far.
    acked: Option<Position>,
    /// It was deleted, or a loss of it was accepted.
    broken: bool,
    /// The last ack, and the last sending that failed though it should not have: when it was sent.
    served: Option<u64>,
    failed: Option<(u64, String)>,
}

/// Judges one run.
#[derive(Debug)]
pub struct Judge {
    run: Run,
    names: BTreeMap<String, TopicId>,
    topics: Vec<Topic>,
    drafts: Drafts,
    /// Topics of a session.
    sessions: BTreeMap<String, BTreeSet<TopicId>>,
    /// Nodes that samples and dumps come from.
    samplers: BTreeMap<String, u32>,
    dumped: BTreeSet<String>,
    /// Losses accepted for all topics, and the last moment of a fault and of a client.
    accepted: bool,
    fault: Option<u64>,
    begun: Option<u64>,
    end: u64,
    report: Report,
}

impl Judge {
    /// A judge of a run whose durable topics have `replicas` replicas, all else by default.
    pub fn new(replicas: usize) -> Self {
        Self::of(Run::with_replicas(replicas))
    }

    /// A judge of such a run.
    pub fn of(run: Run) -> Self {
        Self {
            run,
            names: BTreeMap::new(),
            topics: Vec::new(),
            drafts: Drafts::default(),
            sessions: BTreeMap::new(),
            samplers: BTreeMap::new(),
            dumped: BTreeSet::new(),
            accepted: false,
            fault: None,
            begun: None,
            end: 0,
            report: Report::default(),
        }
    }

    /// Sees one line. Lines come by `t`; those of one writer in its order.
    pub fn see(&mut self, line: &Line) {
        self.report.lines += 1;
        self.begun.get_or_insert(line.t);
        let run = matches!(
            line.event,
            Event::Fault { .. } | Event::Sample { .. } | Event::Final { .. }
        );
        if !run {
            self.end = self.end.max(line.t);
        }
        match &line.event {
            Event::Publish { .. } => self.publish(line),
            Event::Acked { .. } => self.acked(line),
            Event::Refused { op, code, outcome } => self.refused(line, *op, code, outcome),
            Event::Unknown { op, .. } => self.unknown(line, *op),
            Event::Subscribe { .. } => self.subscribe(line),
            Event::Attached { .. } => self.attached(line),
            Event::Closed { session, .. } => {
                for id in self.sessions.remove(session).unwrap_or_default() {
                    self.split(id).0.delivery.closed(session);
                }
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
                let id = self.placed(topic, at, number(hash), draft);
                let (topic, report) = self.split(id);
                report.messages += 1;
                if let Ok(slot) = topic.slots.seen(at, number(hash), DraftId::of(draft)) {
                    slot.delivered = true;
                }
                topic.slots.sighted(at.epoch, line.t);
                topic.delivery.message(&topic.name, session, at, report);
            }
            Event::Gap { .. } => self.gap(line),
            Event::Sample {
                node,
                topic,
                epoch,
                start,
                ..
            } => {
                let next = u32::try_from(self.samplers.len()).unwrap_or(u32::MAX);
                let node = *self.samplers.entry(node.clone()).or_insert(next);
                let start = Position {
                    epoch: *epoch,
                    offset: *start,
                };
                let id = self.id(topic);
                self.split(id).0.gaps.sample(line.t, node, start);
            }
            Event::Fault { fault, target, .. } => {
                self.report.faults += 1;
                self.fault = self.fault.max(Some(line.t));
                match (fault.as_str(), target.as_str()) {
                    ("accept_data_loss", "" | "*") => self.accepted = true,
                    ("accept_data_loss" | "delete_topic", topic) => {
                        let id = self.id(topic);
                        self.split(id).0.broken = true;
                    }
                    _ => {}
                }
            }
            Event::Final { .. } => self.dump(line),
        }
    }

    /// All was seen: the report.
    pub fn finish(mut self) -> Report {
        let until = self.end.saturating_sub(self.run.heal());
        let last = self.fault.or(self.begun).unwrap_or(0);
        let healed = last.saturating_add(self.run.heal());
        self.doubles();
        let ended = self.end;
        let Self {
            run,
            topics,
            drafts,
            report,
            accepted,
            dumped,
            ..
        } = &mut self;
        for topic in topics {
            let durable = topic.durable.unwrap_or(true);
            let broken = topic.broken || *accepted;
            let name = topic.name.as_str();
            let id = (topic.id, name);
            topic.slots.judge(id, durable, broken, drafts, report);
            topic.order.judge(name, drafts, report);
            let held = &topic.finals;
            let majority = run.replicas.max(held.dumps.len()) / 2 + 1;
            // Without the dumps of a majority nothing can be said of what it holds.
            if dumped.len() >= majority {
                held.judge(name, majority, broken, &topic.slots, drafts, report);
            }
            let heads = held.heads();
            let gaps = &mut topic.gaps;
            gaps.judge(name, run, &heads, &topic.slots, drafts, report);
            let due = Due {
                slots: &topic.slots,
                until,
                durable,
                head: head(&topic.slots, drafts, until).filter(|_| durable),
            };
            if ended > healed {
                topic.delivery.judge(name, &due, report);
            }
            if let Some((sent, why)) = &topic.failed
                && *sent > healed
                && topic.served.is_none_or(|served| served < *sent)
            {
                report.give(Verdict::NotLive, name, || {
                    format!(
                        "what was sent at {sent} ended with {why}, and nothing after it was acked"
                    )
                });
            }
        }
        self.report
    }

    fn subscribe(&mut self, line: &Line) {
        let Event::Subscribe {
            sub,
            session,
            topic,
            since,
            ..
        } = &line.event
        else {
            return;
        };
        self.report.sessions += 1;
        let id = self.id(topic);
        self.sessions.entry(session.clone()).or_default().insert(id);
        let topic = self.split(id).0;
        topic.delivery.subscribed(&Asked {
            session,
            sub,
            since,
            acked_before: topic.acked,
        });
    }

    fn attached(&mut self, line: &Line) {
        let Event::Attached {
            session,
            topic,
            answer,
            from,
            head,
        } = &line.event
        else {
            return;
        };
        let id = self.id(topic);
        let (topic, report) = self.split(id);
        let told = Answered {
            answer,
            from: *from,
            head: *head,
        };
        let delivery = &mut topic.delivery;
        delivery.attached(&topic.name, session, line.t, &told, report);
    }

    fn gap(&mut self, line: &Line) {
        let Event::Gap {
            session,
            topic,
            reason,
            trimmed_by,
            from,
            to,
            ..
        } = &line.event
        else {
            return;
        };
        self.report.gaps += 1;
        let id = self.id(topic);
        let accepted = self.accepted;
        let (topic, report) = self.split(id);
        match reason.as_str() {
            "trimmed" => topic
                .gaps
                .trimmed(line.t, *to, trimmed_by.as_deref(), session),
            "epoch_changed" => topic.gaps.taken(*from, *to),
            _ => {}
        }
        let told = Told {
            reason,
            from: *from,
            to: *to,
        };
        let explained = accepted || topic.broken;
        let delivery = &mut topic.delivery;
        delivery.gap(&topic.name, session, &told, explained, report);
    }

    fn dump(&mut self, line: &Line) {
        let Event::Final {
            node,
            topic,
            class,
            epoch,
            start,
            head,
            chain,
            rows,
        } = &line.event
        else {
            return;
        };
        self.report.finals += 1;
        self.dumped.insert(node.clone());
        let id = self.id(topic);
        let state = self.split(id).0;
        let durable = class.eq_ignore_ascii_case("durable");
        state.durable.get_or_insert(durable);
        let bit = finals::bit(state.finals.dumps.len());
        let offsets = rows.iter().map(|row| row.offset);
        state.finals.dumps.push(Dump {
            node: node.clone(),
            epoch: *epoch,
            start: *start,
            head: *head,
            chain: number(chain),
            rows: offsets.clone().min().zip(offsets.max()),
        });
        for Row {
            offset,
            hash,
            draft,
        } in rows
        {
            let at = Position {
                epoch: *epoch,
                offset: *offset,
            };
            let id = self.placed(topic, at, number(hash), draft);
            let slots = &mut self.split(id).0.slots;
            if let Ok(slot) = slots.seen(at, number(hash), DraftId::of(draft)) {
                slot.holders |= bit;
            }
        }
    }

    /// Somebody saw a draft in a slot.
    fn placed(&mut self, topic: &str, at: Position, hash: u128, draft: &str) -> TopicId {
        let id = self.id(topic);
        let seen = self.split(id).0.slots.seen(at, hash, DraftId::of(draft));
        if let Err(other) = seen.map(|_| ()) {
            self.diverged(id, at, other, draft);
        }
        self.drafts.placed(DraftId::of(draft), id, at);
        id
    }

    fn diverged(&mut self, id: TopicId, at: Position, other: DraftId, draft: &str) {
        let other = self.drafts.name(other);
        let (topic, report) = self.split(id);
        report.give(Verdict::Diverged, &topic.name, || {
            format!("slot {at} is draft {other} and draft {draft}, or has two payloads")
        });
    }

    fn id(&mut self, name: &str) -> TopicId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = TopicId(u32::try_from(self.topics.len()).unwrap_or(u32::MAX));
        self.names.insert(name.to_owned(), id);
        self.topics.push(Topic {
            id,
            name: name.to_owned(),
            durable: None,
            slots: Slots::default(),
            delivery: Delivery::default(),
            order: Order::default(),
            keys: Keys::default(),
            gaps: Gaps::default(),
            finals: Finals::default(),
            acked: None,
            broken: false,
            served: None,
            failed: None,
        });
        id
    }

    fn split(&mut self, id: TopicId) -> (&mut Topic, &mut Report) {
        (&mut self.topics[id.0 as usize], &mut self.report)
    }
}

/// The highest position that nodes hold of what was first sent before a moment.
fn head(slots: &Slots, drafts: &Drafts, until: u64) -> Option<Position> {
    let held = slots.iter().filter(|(_, slot)| {
        let sent = drafts.get(slot.draft).map(|draft| draft.first);
        slot.holders > 0 && sent.is_some_and(|sent| sent <= until)
    });
    held.map(|(at, _)| at).max()
}

/// Judges all `*.jsonl` files of a directory, merged by time, with what its `run.json` says of the
/// run, if there is one.
pub fn judge_dir(dir: &Path) -> Result<Report, ReadError> {
    let mut judge = Judge::of(Run::read(dir)?.unwrap_or_default());
    let mut lines = Merge::dir(dir)?;
    while let Some(line) = lines.next()? {
        judge.see(&line);
    }
    Ok(judge.finish())
}

#[cfg(test)]
mod tests;
