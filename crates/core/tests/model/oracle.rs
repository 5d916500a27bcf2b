//! What clients were told, handed to the checker's judge, and beside it the clauses of the contract
//! that need to know more than a judge is told: what was committed, and when.

use std::collections::BTreeMap;

use fanfare_checker::{AckLevel, Event, Judge, Line, Reached, Run, SinceText, hash};
use fanfare_core::code::{Code, Outcome};
use fanfare_core::gap::Since;
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::receipt::{self, Receipt, Refusal};

use crate::truth::Truth;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) verdict: &'static str,
    pub(crate) proof: String,
}

pub(crate) struct Oracle {
    seen: u64,
    judge: Option<Judge>,
    pub(crate) broken: Option<Broken>,
    /// Only what clients and final dumps show is judged, not how replicas stand on the way.
    pub(crate) outside_only: bool,
    drafts: Vec<DraftRow>,
    ops: Vec<Op>,
    pub(crate) truths: BTreeMap<TopicName, Truth>,
    /// How often what was reached: a world in which nothing happens keeps every promise.
    pub(crate) reached: BTreeMap<&'static str, u64>,
}

/// One draft, by its number.
#[derive(Clone, Debug)]
pub(crate) struct DraftRow {
    pub(crate) topic: TopicName,
    pub(crate) key: Option<String>,
    pub(crate) payload: String,
    pub(crate) expect: Option<Position>,
    /// When it was first sent.
    pub(crate) sent_ms: u64,
    /// True while every sending said how old the key was.
    pub(crate) aged: bool,
    /// The highest slot acked durable, and the highest epoch seen, before it was first sent.
    floor: Position,
    epoch_floor: Epoch,
    ops: Vec<usize>,
}

/// One sending.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) draft: u64,
    publisher: String,
    end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Acked(Position),
    Refused,
    Unknown,
}

impl Oracle {
    pub(crate) fn new(replicas: usize, outside_only: bool) -> Self {
        Self {
            seen: 0,
            // Lines are numbered, not timed: what has to do with lengths of time is judged here.
            judge: Some(Judge::of(Run {
                replicas,
                heal_ms: u64::MAX,
                dedup_ms: None,
                rules: Vec::new(),
            })),
            broken: None,
            outside_only,
            drafts: Vec::new(),
            ops: Vec::new(),
            truths: BTreeMap::new(),
            reached: BTreeMap::new(),
        }
    }

    pub(crate) fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Notes the first broken promise.
    pub(crate) fn fail(&mut self, verdict: &'static str, proof: String) {
        self.broken.get_or_insert(Broken { verdict, proof });
    }

    /// Something about the replicas themselves, which no client sees.
    pub(crate) fn inside(
        &mut self,
        holds: bool,
        verdict: &'static str,
        proof: impl Fn() -> String,
    ) {
        if !holds && !self.outside_only {
            self.fail(verdict, proof());
        }
    }

    pub(crate) fn truth(&mut self, topic: &TopicName) -> &mut Truth {
        self.truths.entry(topic.clone()).or_default()
    }

    pub(crate) fn see(&mut self, by: &str, event: Event) {
        self.seen += 1;
        let line = Line {
            t: self.seen,
            wall: 0,
            by: by.to_owned(),
            event,
        };
        if let Some(judge) = &mut self.judge {
            judge.see(&line);
        }
    }

    /// Somebody asks for the end of a topic: another stream may follow.
    pub(crate) fn delete_asked(&mut self, topic: &TopicName) {
        let event = Event::Fault {
            fault: "delete_topic".to_owned(),
            target: topic.to_string(),
            phase: "installed".to_owned(),
        };
        self.see("run", event);
    }

    /// A new draft; its number is in its payload.
    pub(crate) fn draft(
        &mut self,
        topic: &TopicName,
        keyed: bool,
        expect: Option<Position>,
        now_ms: u64,
    ) -> u64 {
        let id = self.drafts.len() as u64;
        let truth = self.truth(topic);
        let (floor, epoch_floor) = (truth.acked, truth.seen_epoch);
        self.drafts.push(DraftRow {
            topic: topic.clone(),
            key: keyed.then(|| format!("k{id}")),
            payload: format!("{id}:{topic}"),
            expect,
            sent_ms: now_ms,
            aged: true,
            floor,
            epoch_floor,
            ops: Vec::new(),
        });
        id
    }

    pub(crate) fn draft_row(&mut self, id: u64) -> Option<&mut DraftRow> {
        self.drafts.get_mut(usize::try_from(id).ok()?)
    }

    /// The draft a payload belongs to.
    pub(crate) fn draft_of(message: &Message) -> Option<u64> {
        let text = std::str::from_utf8(&message.content.payload).ok()?;
        text.split_once(':')?.0.parse().ok()
    }

    /// A sending leaves.
    pub(crate) fn sent(&mut self, draft: u64, publisher: &str, stream: u64, node: u64) -> usize {
        let op = self.ops.len();
        self.ops.push(Op {
            draft,
            publisher: publisher.to_owned(),
            end: None,
        });
        let Some(row) = self.draft_row(draft) else {
            return op;
        };
        row.ops.push(op);
        let event = Event::Publish {
            op: op as u64,
            draft: draft.to_string(),
            topic: row.topic.to_string(),
            stream: stream.to_string(),
            key: row.key.clone(),
            ack: AckLevel::Committed,
            hash: hash(row.payload.as_bytes()),
            node: node.to_string(),
        };
        self.see(publisher, event);
        op
    }

    pub(crate) fn op(&self, op: usize) -> Option<&Op> {
        self.ops.get(op)
    }

    /// A sending ended: C4, C5, C6, C7, C20.
    pub(crate) fn ended(&mut self, op: usize, result: &Result<Receipt, Refusal>) {
        let Some(Op {
            draft,
            publisher,
            end,
        }) = self.ops.get(op).cloned()
        else {
            return;
        };
        if end.is_some() {
            return self.fail(
                "TWO_ENDS",
                format!("sending {op} of draft {draft} ended twice"),
            );
        }
        match result {
            Ok(receipt) if receipt.duplicate => self.reach("ack: duplicate"),
            Ok(receipt) if receipt.reached == receipt::Reached::Durable => {
                self.reach("ack: durable");
            }
            Ok(_) => self.reach("ack: ephemeral"),
            Err(refusal) => self.reach(refusal.code.as_str()),
        }
        let (end, event) = match result {
            Ok(receipt) => {
                let position = receipt.position.unwrap_or_default();
                self.judge_ack(op, draft, receipt, position);
                let reached = match receipt.reached {
                    receipt::Reached::Durable => Reached::Durable,
                    receipt::Reached::Ephemeral => Reached::Ephemeral,
                    receipt::Reached::None => Reached::None,
                };
                let event = Event::Acked {
                    op: op as u64,
                    topic: receipt.topic.to_string(),
                    epoch: position.epoch.0,
                    offset: position.offset.0,
                    class: format!("{:?}", receipt.class),
                    reached,
                    duplicate: receipt.duplicate,
                };
                (End::Acked(position), event)
            }
            Err(refusal) if refusal.outcome == Outcome::NotPlaced => {
                let event = Event::Refused {
                    op: op as u64,
                    code: refusal.code.as_str().to_owned(),
                    outcome: refusal.outcome.as_str().to_owned(),
                };
                (End::Refused, event)
            }
            Err(refusal) => {
                let why = refusal.detail.clone();
                (End::Unknown, Event::Unknown { op: op as u64, why })
            }
        };
        if let Err(refusal) = result
            && refusal.code == Code::Internal
        {
            self.fail("INTERNAL", format!("sending {op}: {}", refusal.detail));
        }
        self.see(&publisher, event);
        self.ops[op].end = Some(end);
    }

    fn judge_ack(&mut self, op: usize, draft: u64, receipt: &Receipt, at: Position) {
        let Some(row) = self.draft_row(draft).cloned() else {
            return;
        };
        let durable = receipt.reached == receipt::Reached::Durable;
        if receipt.topic != row.topic {
            return self.fail(
                "WRONG_TOPIC",
                format!("sending {op} acked for {}", receipt.topic),
            );
        }
        let honest = match receipt.class {
            fanfare_core::rule::Class::Durable => durable,
            fanfare_core::rule::Class::Ephemeral => receipt.reached == receipt::Reached::Ephemeral,
        };
        if !honest {
            let proof = format!(
                "sending {op}: {:?} reached {:?}",
                receipt.class, receipt.reached
            );
            return self.fail("DOWNGRADED", proof);
        }
        let slot = self.truth(&row.topic).slots.get(&at).copied();
        match slot {
            Some(slot) if slot.draft == draft && slot.durable == durable => {}
            Some(slot) if slot.draft != draft && receipt.duplicate => {
                let proof = format!(
                    "draft {draft} acked at {at}, the slot of draft {}",
                    slot.draft
                );
                return self.fail("KEY_MISMATCH", proof);
            }
            Some(slot) => {
                let proof = format!("draft {draft} acked at {at}, where draft {} is", slot.draft);
                return self.fail("DIVERGED", proof);
            }
            None => {
                let proof = format!("draft {draft} acked at {at}, and nothing is placed there");
                return self.fail("LOST", proof);
            }
        }
        if durable {
            if at <= row.floor {
                let proof = format!(
                    "draft {draft} acked at {at}, sent after {} was acked",
                    row.floor
                );
                return self.fail("REALTIME_ORDER", proof);
            }
            if at.epoch < row.epoch_floor {
                let seen = row.epoch_floor.0;
                let proof =
                    format!("draft {draft} acked at {at}, sent after epoch {seen} was seen");
                return self.fail("FENCE_BROKEN", proof);
            }
            let truth = self.truth(&row.topic);
            truth.acked = truth.acked.max(at);
            truth.seen_epoch = truth.seen_epoch.max(at.epoch);
        }
        if let Some(expect) = row.expect {
            let met = at == expect.next() || (expect == Position::NONE && at.offset.0 == 1);
            if !met {
                self.fail(
                    "EXPECTATION",
                    format!("draft {draft} expected {expect} and is at {at}"),
                );
            }
        }
    }

    /// A message was given to a client: C1, C8.
    pub(crate) fn shown(&mut self, topic: &TopicName, message: &Message) -> Option<u64> {
        let at = message.position;
        let Some(draft) = Self::draft_of(message) else {
            self.fail("PHANTOM", format!("{topic} {at}: not a draft"));
            return None;
        };
        let truth = self.truth(topic);
        let slot = truth.slots.get(&at).copied();
        if let Some(slot) = slot.filter(|slot| slot.durable) {
            truth.seen_epoch = truth.seen_epoch.max(at.epoch);
            let _ = slot;
        }
        match slot {
            Some(slot) if slot.draft == draft => {}
            Some(slot) => {
                let proof = format!(
                    "{topic} {at}: seen draft {draft}, placed draft {}",
                    slot.draft
                );
                self.fail("DIVERGED", proof);
            }
            None => self.fail(
                "PHANTOM",
                format!("{topic} {at}: seen draft {draft}, not placed"),
            ),
        }
        let of_topic = self.draft_row(draft).is_some_and(|row| row.topic == *topic);
        if !of_topic {
            self.fail("WRONG_TOPIC", format!("{topic} {at}: draft {draft}"));
        }
        Some(draft)
    }

    /// All is over: what the judge says, and C9, C10 over all drafts.
    pub(crate) fn finish(&mut self) {
        let mut slots: BTreeMap<u64, Vec<Position>> = BTreeMap::new();
        for truth in self.truths.values() {
            for (at, slot) in &truth.slots {
                slots.entry(slot.draft).or_default().push(*at);
            }
        }
        for (id, row) in self.drafts.clone().iter().enumerate() {
            let placed = slots.get(&(id as u64)).map_or(&[][..], Vec::as_slice);
            let ends = row.ops.iter().map(|op| self.ops[*op].end.clone());
            let ends: Vec<Option<End>> = ends.collect();
            if !placed.is_empty() && ends.iter().all(|end| *end == Some(End::Refused)) {
                let proof = format!("draft {id} was refused for good and is at {placed:?}");
                self.fail("ABORTED_READ", proof);
            }
            let tries = ends
                .iter()
                .filter(|end| **end != Some(End::Refused))
                .count();
            if row.key.is_none() && placed.len() > tries {
                let proof =
                    format!("draft {id}, without a key, was sent {tries} times: {placed:?}");
                self.fail("DUPLICATED", proof);
            }
            if ends.contains(&None) {
                self.fail("NOT_LIVE", format!("a sending of draft {id} got no answer"));
            }
        }
        let report = self.judge.take().map(Judge::finish).unwrap_or_default();
        for (verdict, witness) in &report.first {
            let proof = format!("topic {}: {}", witness.topic, witness.proof);
            self.fail(verdict.as_str(), proof);
        }
    }
}

/// As observations spell it.
pub(crate) fn since_text(since: Since) -> SinceText {
    SinceText(match since {
        Since::Latest => "latest".to_owned(),
        Since::Earliest => "earliest".to_owned(),
        Since::Last(count) => format!("last:{count}"),
        Since::After(at) => at.to_string(),
    })
}

/// As the checker has it.
pub(crate) fn seen_at(at: Position) -> fanfare_checker::Position {
    fanfare_checker::Position {
        epoch: at.epoch.0,
        offset: at.offset.0,
    }
}
