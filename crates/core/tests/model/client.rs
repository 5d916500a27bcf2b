//! Subscribers: what they keep from session to session, and what the contract lets them expect of
//! each thing they are told.

use fanfare_checker::{Event, hash};
use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, Gap, GapReason, Since, Standing, TrimmedBy};
use fanfare_core::id::NodeId;
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;

use crate::oracle::{seen_at, since_text};
use crate::session::Said;
use crate::world::World;

/// A reader of one topic.
pub(crate) struct Subscriber {
    pub(crate) name: String,
    pub(crate) topic: TopicName,
    /// The last position processed, which it presents.
    pub(crate) at: Option<Position>,
    pub(crate) session: Option<Open>,
    pub(crate) stalled: bool,
    /// Counts the times it began anew.
    lives: u32,
}

/// Its session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) node: NodeId,
    pub(crate) id: u64,
    since: Since,
    /// The highest slot that a publisher knew to be durable when it asked.
    floor: Position,
    /// All up to here was told in this session; `None` before the answer.
    told: Option<Position>,
}

impl Subscriber {
    pub(crate) fn new(number: usize, topic: TopicName) -> Self {
        Self {
            name: format!("s{number}.0"),
            topic,
            at: None,
            session: None,
            stalled: false,
            lives: 0,
        }
    }
}

impl World {
    /// Opens a session, from the position it has or, as a new reader, from anywhere.
    pub(crate) fn subscribe(&mut self, number: usize, anew: bool) {
        let nodes: Vec<NodeId> = self
            .nodes
            .keys()
            .copied()
            .filter(|n| self.is_up(*n))
            .collect();
        let Some(node) = self.chance.pick(&nodes) else {
            return;
        };
        let fresh = match self.chance.below(4) {
            0 | 1 => Since::Latest,
            2 => Since::Earliest,
            _ => Since::Last(2),
        };
        let topics = self.topics.clone();
        let topic = self.chance.pick(&topics);
        let subscriber = &mut self.subscribers[number];
        if subscriber.session.is_some() {
            return;
        }
        if anew {
            subscriber.lives += 1;
            subscriber.name = format!("s{number}.{}", subscriber.lives);
            subscriber.at = None;
            subscriber.topic = topic.unwrap_or(subscriber.topic.clone());
        }
        let since = subscriber.at.map_or(fresh, Since::After);
        let (name, topic) = (subscriber.name.clone(), subscriber.topic.clone());
        let floor = self.oracle.truth(&topic).acked;
        let id = self.open(node, number, &topic, since);
        self.trace(|| format!("{name} opens session {id} at {node}: {topic} {since:?}"));
        self.subscribers[number].session = Some(Open {
            node,
            id,
            since,
            floor,
            told: None,
        });
        let event = Event::Subscribe {
            sub: name.clone(),
            session: id.to_string(),
            transport: "model".to_owned(),
            node: node.to_string(),
            topic: topic.to_string(),
            since: since_text(since),
        };
        self.oracle.see(&name, event);
    }

    /// A subscriber's session breaks; what it has not read is gone.
    pub(crate) fn drop_session(&mut self, number: usize) {
        let Some(open) = self.subscribers[number].session.take() else {
            return;
        };
        self.close(open.node, open.id);
        self.closed(number, open.id, "disconnected");
    }

    fn closed(&mut self, number: usize, id: u64, code: &str) {
        let name = self.subscribers[number].name.clone();
        let event = Event::Closed {
            session: id.to_string(),
            code: code.to_owned(),
            why: String::new(),
        };
        self.oracle.see(&name, event);
    }

    /// A subscriber reads the next thing of its connection.
    pub(crate) fn read(&mut self, number: usize) {
        let Some(open) = self.subscribers[number].session else {
            return;
        };
        let Some(session) = self.edge(open.node).sessions.get_mut(&open.id) else {
            return;
        };
        let Some(said) = session.wire.queue.pop_front() else {
            return;
        };
        session.news = true;
        match said {
            Said::Answer(standing, at) => self.on_answer(number, open, &standing, at),
            Said::Message(message) => self.on_message(number, open, &message),
            Said::Gap(gap) => self.on_gap(number, open, &gap),
            Said::End(code) => self.on_end(number, open, code),
        }
    }

    fn told(&mut self, number: usize, at: Position) {
        let subscriber = &mut self.subscribers[number];
        let truth = self.oracle.truth(&subscriber.topic);
        truth.told = truth.told.max(at.epoch);
        subscriber.at = Some(at);
        if let Some(open) = &mut subscriber.session {
            open.told = Some(at);
        }
    }

    /// C13, C16, C17, C22.
    fn on_answer(&mut self, number: usize, open: Open, standing: &Standing, at: Position) {
        let topic = self.subscribers[number].topic.clone();
        let name = self.subscribers[number].name.clone();
        self.trace(|| format!("{name} is answered {:?}, cursor {at}", standing.answer));
        let id = open.id;
        if open.told.is_some() {
            self.oracle
                .fail("TWO_ANSWERS", format!("session {id} is answered twice"));
        }
        let (answer, from) = match standing.answer {
            Answer::Recovered(from) => ("recovered", Some(from)),
            Answer::Gap(gap) => ("gap", Some(gap.from)),
            Answer::Latest => ("latest", None),
        };
        let event = Event::Attached {
            session: id.to_string(),
            topic: topic.to_string(),
            answer: answer.to_owned(),
            from: from.map(seen_at),
            head: Some(seen_at(standing.head)),
        };
        self.oracle.see(&name, event);
        self.oracle.reach(match standing.answer {
            Answer::Recovered(_) if standing.exists => "answer: recovered",
            Answer::Recovered(_) => "answer: recovered, no topic",
            Answer::Gap(_) => "answer: gap",
            Answer::Latest if standing.exists => "answer: latest",
            Answer::Latest => "answer: latest, no topic",
        });
        let latest = standing.answer == Answer::Latest;
        if latest && standing.exists && standing.head < open.floor {
            let proof = format!(
                "session {id}: latest of {topic} is {}, {} was acked before",
                standing.head, open.floor
            );
            self.oracle.fail("STALE_HEAD", proof);
        }
        if let Since::After(presented) = open.since {
            let honest = match standing.answer {
                Answer::Latest => false,
                Answer::Gap(gap) => gap.from == presented,
                Answer::Recovered(from) => from == presented,
            };
            if !honest {
                let proof = format!("session {id} presented {presented}: {:?}", standing.answer);
                self.oracle.fail("GAP_UNSIGNALLED", proof);
            }
            if at < presented {
                self.oracle
                    .fail("STALE", format!("session {id}: {at} after {presented}"));
            }
        }
        if let Answer::Gap(gap) = standing.answer
            && let Some((verdict, proof)) = self.oracle.lie(&topic, &gap)
        {
            self.oracle.fail(verdict, proof);
        }
        self.told(number, at);
    }

    /// C1, C2, C8, C14, C18, C24.
    fn on_message(&mut self, number: usize, open: Open, message: &Message) {
        let topic = self.subscribers[number].topic.clone();
        let name = self.subscribers[number].name.clone();
        let at = message.position;
        self.trace(|| format!("{name} gets {at}"));
        let draft = self.oracle.shown(&topic, message).unwrap_or(u64::MAX);
        let event = Event::Message {
            session: open.id.to_string(),
            topic: topic.to_string(),
            epoch: at.epoch.0,
            offset: at.offset.0,
            draft: draft.to_string(),
            hash: hash(&message.content.payload),
        };
        self.oracle.see(&name, event);
        let id = open.id;
        match open.told {
            None => {
                self.oracle.fail(
                    "UNANSWERED",
                    format!("session {id} gets {at} before its answer"),
                );
            }
            Some(last) => {
                let begins = last.offset.0 == 0 && at.offset.0 == 1 && at.epoch > last.epoch;
                if at <= last {
                    self.oracle
                        .fail("REPEATED", format!("session {id} gets {at} after {last}"));
                } else if begins && at != last.next() {
                    self.oracle.reach("a topic came to be under its readers");
                } else if at != last.next() {
                    self.oracle
                        .fail("SKIP", format!("session {id} gets {at} after {last}"));
                }
            }
        }
        self.told(number, at);
    }

    /// C15, C16, C17.
    fn on_gap(&mut self, number: usize, open: Open, gap: &Gap) {
        let topic = self.subscribers[number].topic.clone();
        let name = self.subscribers[number].name.clone();
        self.trace(|| format!("{name} gets {gap:?}"));
        self.oracle.reach(match gap.reason {
            GapReason::Trimmed(TrimmedBy::Age) => "gap: trimmed by age",
            GapReason::Trimmed(TrimmedBy::Count) => "gap: trimmed by count",
            GapReason::Trimmed(TrimmedBy::Bytes) => "gap: trimmed by bytes",
            GapReason::Trimmed(TrimmedBy::Budget) => "gap: trimmed by budget",
            GapReason::EpochChanged => "gap: epoch changed",
            GapReason::Conflated => "gap: conflated",
            GapReason::PositionAhead => "gap: ahead",
            GapReason::DataLoss => "gap: loss",
        });
        let (reason, trimmed_by) = match gap.reason {
            GapReason::Trimmed(by) => ("trimmed", Some(format!("{by:?}"))),
            GapReason::EpochChanged => ("epoch_changed", None),
            GapReason::Conflated => ("conflated", None),
            GapReason::PositionAhead => ("position_ahead", None),
            GapReason::DataLoss => ("data_loss", None),
        };
        let event = Event::Gap {
            session: open.id.to_string(),
            topic: topic.to_string(),
            reason: reason.to_owned(),
            trimmed_by,
            from: seen_at(gap.from),
            to: seen_at(gap.to),
            missed: gap.missed,
        };
        self.oracle.see(&name, event);
        let id = open.id;
        // While there is no topic the counter moves on in silence (C27).
        let unborn =
            |last: Position| last.offset.0 == 0 && gap.from.offset.0 == 0 && gap.from >= last;
        let fits = open
            .told
            .is_some_and(|last| gap.from == last || unborn(last));
        if !fits {
            let proof = format!("session {id} gets {gap:?} after {:?}", open.told);
            let skips = open.told.is_some_and(|last| gap.from > last);
            let verdict = if skips { "SKIP" } else { "FALSE_GAP" };
            self.oracle.fail(verdict, proof);
        }
        if let Some((verdict, proof)) = self.oracle.lie(&topic, gap) {
            self.oracle.fail(verdict, proof);
        }
        self.told(number, gap.to);
    }

    fn on_end(&mut self, number: usize, open: Open, code: Code) {
        let (topic, name) = {
            let subscriber = &self.subscribers[number];
            (subscriber.topic.to_string(), subscriber.name.clone())
        };
        self.trace(|| format!("{name}: session {} ends with {code:?}", open.id));
        if open.told.is_none() {
            self.oracle.reach("answer: refused");
            let event = Event::Attached {
                session: open.id.to_string(),
                topic,
                answer: "refused".to_owned(),
                from: None,
                head: None,
            };
            self.oracle.see(&name, event);
        }
        self.subscribers[number].session = None;
        self.close(open.node, open.id);
        self.closed(number, open.id, code.as_str());
    }
}
