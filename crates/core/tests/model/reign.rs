//! The shell of a shard's leader, as the broker has it: drafts are admitted, batched, proposed and
//! answered with the result of apply; and what the leader proposes of its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{Ended, Redirect, Verdict};
use fanfare_core::message::Draft;
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::Class;
use fanfare_core::shard::{Batch, Command, Effects, Entry, EpochBlock, Fate, Outcome};

use crate::sabotage::Sabotage;
use crate::seats::{Parked, Seat};
use crate::world::World;

/// A draft, and whom to answer.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) draft: Draft,
    pub(crate) edge: NodeId,
    pub(crate) link: u64,
    pub(crate) seq: u64,
    pub(crate) stream: u64,
    pub(crate) run: u32,
    pub(crate) arrived: Duration,
    pub(crate) deadline: Duration,
}

/// One reign.
pub(crate) struct Reign {
    pub(crate) term: Term,
    pub(crate) passed: Duration,
    pub(crate) looked: Duration,
    pub(crate) seats: BTreeMap<TopicName, Seat>,
    /// Attended topics that were made or ended, and whether the rules are others.
    pub(crate) changed: BTreeSet<TopicName>,
    pub(crate) rules_changed: bool,
    pub(crate) block: Option<EpochBlock>,
    pub(crate) wants_epochs: bool,
    pub(crate) parked: Vec<Parked>,
    /// Something happened for which parked work may have waited.
    pub(crate) retry: bool,
    pub(crate) chore: Option<usize>,
    pub(crate) retention_at: Duration,
    pub(crate) open: VecDeque<Work>,
    /// Batches by their place in the log; those that can never be committed at the end.
    pub(crate) out: BTreeMap<usize, Vec<Option<Work>>>,
    pub(crate) begun: bool,
}

/// Batches between proposal and result.
const MAX_OUT: usize = 2;
/// Epochs set aside at once: few, so that they run out.
pub(crate) const EPOCHS: u32 = 3;

impl Reign {
    fn new(term: Term, running_ms: u64, now: Duration) -> Self {
        Self {
            term,
            passed: Duration::from_millis(running_ms),
            looked: now,
            seats: BTreeMap::new(),
            changed: BTreeSet::new(),
            rules_changed: false,
            block: None,
            wants_epochs: false,
            parked: Vec::new(),
            retry: false,
            chore: None,
            retention_at: now,
            open: VecDeque::new(),
            out: BTreeMap::new(),
            begun: false,
        }
    }

    pub(crate) fn may_propose(&self) -> bool {
        self.begun && !self.open.is_empty() && self.out.len() < MAX_OUT
    }

    /// True if a draft of this topic is on its way through the log.
    fn holds(&self, topic: &TopicName) -> bool {
        let out = self.out.values().flatten().flatten();
        let mut works = self.open.iter().chain(out);
        works.any(|work| work.draft.topic == *topic)
    }

    pub(crate) fn has_news(&self) -> bool {
        self.rules_changed
            || !self.changed.is_empty()
            || (self.retry && !self.parked.is_empty())
            || self.seats.values().any(|seat| seat.news)
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    pub(crate) fn begin_reign(&mut self, shard: ShardId, node: NodeId, term: Term) {
        let now = self.now;
        if let Some(replica) = self.group(shard).replicas.get_mut(&node) {
            let running_ms = replica.rows.running_ms();
            replica.reign = Some(Box::new(Reign::new(term, running_ms, now)));
        }
        self.trace(|| format!("{node} begins to serve {shard} in term {}", term.0));
        self.readmit(shard, node);
    }

    /// Does something with a reign; it is not in the world meanwhile.
    pub(crate) fn with_reign<T>(
        &mut self,
        shard: ShardId,
        node: NodeId,
        act: impl FnOnce(&mut Self, &mut Reign) -> T,
    ) -> Option<T> {
        let replica = self.group(shard).replicas.get_mut(&node);
        let mut reign = replica.and_then(|replica| replica.reign.take())?;
        let done = act(self, &mut reign);
        if let Some(replica) = self.group(shard).replicas.get_mut(&node) {
            replica.reign = Some(reign);
        }
        Some(done)
    }

    /// The shard's running time at its leader; at rest while no majority is heard.
    pub(crate) fn running_ms(&self, reign: &mut Reign, shard: ShardId, node: NodeId) -> u64 {
        let step = self.now.saturating_sub(reign.looked);
        reign.looked = self.now;
        if self.hears(shard, node) {
            reign.passed += step;
        }
        millis(reign.passed)
    }

    pub(crate) fn redirect(&self, shard: ShardId, node: NodeId) -> Redirect {
        let group = &self.groups[&shard];
        group
            .replicas
            .get(&node)
            .map_or_else(Redirect::default, |replica| replica.follows)
    }

    /// A draft came, or may be judged now.
    pub(crate) fn on_draft(&mut self, shard: ShardId, node: NodeId, work: Work) {
        let redirect = self.redirect(shard, node);
        let closed = self
            .publish_links
            .get(&(work.edge, node))
            .filter(|link| link.id == work.link)
            .and_then(|link| link.closed.get(&(shard, work.stream)));
        if closed.is_some_and(|closed| work.run <= *closed) {
            return self.verdict(shard, node, &work, Verdict::Reroute(redirect));
        }
        let hears = self.hears(shard, node);
        let passes = self.sabotage == Some(Sabotage::PassLog);
        let mut slot = Some(work);
        self.with_reign(shard, node, |world, reign| {
            let Some(work) = slot.take() else { return };
            if !hears {
                return world.refuse(shard, node, &work, Code::NoQuorum);
            }
            if !reign.begun {
                return reign.open.push_back(work);
            }
            let draft = world.aged(&work);
            let rows = &world.groups[&shard].replicas[&node].rows;
            if draft.key.is_some() && rows.key_is_past(&draft.topic, draft.key_age_ms) {
                return world.refuse(shard, node, &work, Code::IdempotencyExpired);
            }
            match rows.class_of(&draft.topic) {
                // Drafts of a topic that was durable a moment ago come first (C3).
                Class::Ephemeral if passes || !reign.holds(&draft.topic) => {
                    world.publish_ephemeral(shard, node, reign, work);
                }
                Class::Ephemeral | Class::Durable => reign.open.push_back(work),
            }
        });
        if let Some(work) = slot {
            self.verdict(shard, node, &work, Verdict::Reroute(redirect));
        }
    }

    fn aged(&self, work: &Work) -> Draft {
        let mut draft = work.draft.clone();
        if draft.key.is_some() {
            draft.key_age_ms += millis(self.now.saturating_sub(work.arrived));
        }
        draft
    }

    /// Closes the open batch and proposes it.
    pub(crate) fn propose_batch(&mut self, shard: ShardId, node: NodeId) {
        let most = 1 + self.chance.below(6);
        let early = self.sabotage == Some(Sabotage::AckAtPropose);
        self.with_reign(shard, node, |world, reign| {
            if !reign.may_propose() {
                return;
            }
            let (mut works, mut drafts) = (Vec::new(), Vec::new());
            while let Some(work) = reign.open.pop_front() {
                if work.deadline <= world.now {
                    world.refuse(shard, node, &work, Code::DeadlineExceeded);
                    continue;
                }
                drafts.push(world.aged(&work));
                works.push(Some(work));
                if works.len() >= most {
                    break;
                }
            }
            if drafts.is_empty() {
                return;
            }
            if early {
                world.ack_guessed(shard, node, &mut works);
            }
            let running_ms = world.running_ms(reign, shard, node);
            let batch = Batch { wall_ms: 0, drafts };
            let command = Command::Place(batch);
            let place = world.propose(
                shard,
                node,
                Entry {
                    running_ms,
                    command,
                },
            );
            let never = usize::MAX - usize::try_from(world.fresh()).unwrap_or(0);
            reign.out.insert(place.unwrap_or(never), works);
        });
    }

    /// B2: the position is a guess.
    fn ack_guessed(&mut self, shard: ShardId, node: NodeId, works: &mut [Option<Work>]) {
        let mut ahead: BTreeMap<TopicName, Position> = BTreeMap::new();
        for slot in works {
            let Some(work) = slot.take() else { continue };
            let topic = work.draft.topic.clone();
            let head = self.groups[&shard].replicas[&node].rows.head(&topic);
            let at = ahead.entry(topic).or_insert(head.unwrap_or_default());
            *at = at.next();
            let fate = Fate::Placed {
                position: *at,
                dedup_remaining_ms: None,
            };
            self.fate(shard, node, &work, &fate, Class::Durable);
        }
    }

    /// What an applied entry means for the oracle.
    pub(crate) fn applied(
        &mut self,
        shard: ShardId,
        node: NodeId,
        outcome: &Outcome,
        effects: &Effects,
        first: bool,
    ) {
        if effects.rules_changed || self.now > Duration::from_secs(70_000) {
            self.oracle.forget();
        }
        if first {
            for (topic, counter) in &effects.deleted {
                self.oracle.deleted(topic, *counter);
            }
            for topic in &effects.created {
                let info = self.groups[&shard].replicas[&node].rows.get(topic);
                // The epoch of an ephemeral topic's row is no stream's.
                if let Some(info) = info.filter(|info| info.rules.class == Class::Durable) {
                    self.oracle.made(topic, info.head.epoch);
                }
            }
            let mut windows: BTreeMap<Position, u64> = BTreeMap::new();
            if let Outcome::Placed(fates) = outcome {
                for fate in fates {
                    if let Fate::Placed {
                        position,
                        dedup_remaining_ms: Some(window),
                    } = fate
                    {
                        windows.insert(*position, *window);
                    }
                }
            }
            let now_ms = self.groups[&shard].replicas[&node].rows.running_ms();
            for (topic, messages) in &effects.placed {
                for message in messages {
                    let window = windows.get(&message.position).copied();
                    self.oracle.placed(topic, message, true, now_ms, window);
                }
            }
        }
        let rows = &self.groups[&shard].replicas[&node].rows;
        for info in rows.list(None, None, usize::MAX) {
            let dense = info.start.offset <= info.head.offset.next();
            self.oracle.inside(dense, "HOLE", || format!("{info:?}"));
            if info.rules.class == Class::Durable {
                self.oracle.trimmed(&info.name, info.start);
            }
        }
    }

    /// What an applied entry means for the leader.
    pub(crate) fn on_applied(
        &mut self,
        shard: ShardId,
        node: NodeId,
        place: usize,
        term: Term,
        outcome: Outcome,
        effects: &Effects,
    ) {
        self.with_reign(shard, node, |world, reign| {
            reign.note(term, effects);
            if reign.chore == Some(place) {
                reign.chore = None;
                reign.retry = true;
            }
            let Some(works) = reign.out.remove(&place) else {
                return;
            };
            let Outcome::Placed(fates) = outcome else {
                return;
            };
            for (work, fate) in works.into_iter().zip(fates) {
                let Some(work) = work else { continue };
                if fate == Fate::Ephemeral {
                    world.publish_ephemeral(shard, node, reign, work);
                } else {
                    world.fate(shard, node, &work, &fate, Class::Durable);
                }
            }
        });
        self.readmit(shard, node);
    }

    /// Once the shard has begun, what waited for it is judged as if it had just come.
    fn readmit(&mut self, shard: ShardId, node: NodeId) {
        let group = &self.groups[&shard];
        let rows = &group.replicas[&node].rows;
        let begun = rows.begun() && rows.rules_version() > 0;
        let waiting = self.with_reign(shard, node, |_, reign| {
            if reign.begun || !begun {
                return VecDeque::new();
            }
            reign.begun = true;
            std::mem::take(&mut reign.open)
        });
        for work in waiting.unwrap_or_default() {
            self.on_draft(shard, node, work);
        }
    }

    /// The reign is over: what was proposed is unknown, the rest is sent on.
    pub(crate) fn abdicate(&mut self, shard: ShardId, node: NodeId, reign: Reign) {
        let redirect = self.redirect(shard, node);
        for work in reign.out.into_values().flatten().flatten() {
            self.refuse(shard, node, &work, Code::OutcomeUnknown);
        }
        for work in reign.open {
            self.verdict(shard, node, &work, Verdict::Reroute(redirect));
        }
        for mut seat in reign.seats.into_values() {
            let told = seat.listeners.end_all(&Ended::NotLeader(redirect));
            self.tell(node, &mut seat.listeners, told);
        }
        for parked in reign.parked {
            match parked {
                Parked::Attach(link, attach) => {
                    self.end_attachment(node, link, attach.id, Ended::NotLeader(redirect));
                }
                Parked::Publish(work) => {
                    self.verdict(shard, node, &work, Verdict::Reroute(redirect));
                }
            }
        }
    }

    pub(crate) fn fate(
        &mut self,
        shard: ShardId,
        node: NodeId,
        work: &Work,
        fate: &Fate,
        class: Class,
    ) {
        let (position, duplicate, dedup_remaining_ms) = match *fate {
            Fate::Placed {
                position,
                dedup_remaining_ms,
            } => (position, false, dedup_remaining_ms),
            Fate::Duplicate {
                position,
                dedup_remaining_ms,
            } => (position, true, Some(dedup_remaining_ms)),
            Fate::Refused(refused) => return self.refuse(shard, node, work, refused.code),
            Fate::Ephemeral => return self.refuse(shard, node, work, Code::Overloaded),
        };
        let receipt = Receipt {
            topic: work.draft.topic.clone(),
            position: Some(position),
            class,
            reached: match class {
                Class::Durable => Reached::Durable,
                Class::Ephemeral => Reached::Ephemeral,
            },
            duplicate,
            dedup_remaining_ms,
        };
        self.verdict(shard, node, work, Verdict::Placed(receipt));
    }

    pub(crate) fn refuse(&mut self, shard: ShardId, node: NodeId, work: &Work, code: Code) {
        let refusal = Refusal::of_publish(code, code.title());
        self.verdict(shard, node, work, Verdict::Refused(refusal));
    }
}

impl Reign {
    fn note(&mut self, term: Term, effects: &Effects) {
        if effects.block_ended {
            self.block = None;
        }
        if effects.reserved.is_some() && term == self.term {
            self.block = effects.reserved;
            self.wants_epochs = false;
        }
        let ended = effects.deleted.iter().map(|(topic, _)| topic);
        for topic in effects.created.iter().chain(ended) {
            if let Some(seat) = self.seats.get_mut(topic) {
                seat.news = true;
                self.changed.insert(topic.clone());
            }
        }
        for topic in effects.placed.keys() {
            if let Some(seat) = self.seats.get_mut(topic) {
                seat.news = true;
            }
        }
        self.rules_changed |= effects.rules_changed;
        if effects.repaired {
            self.seats.values_mut().for_each(|seat| seat.news = true);
        }
    }

    pub(crate) fn next_epoch(&mut self) -> Option<Epoch> {
        let EpochBlock { first, last } = self.block.take()?;
        if first < last {
            let first = Epoch(first.0 + 1);
            self.block = Some(EpochBlock { first, last });
        }
        Some(first)
    }
}
