//! The topics of a shard that somebody attends, as the broker has them: each follows its topic in
//! the shard's rows like any reader, or holds an ephemeral stream itself.

use fanfare_core::attach::{LinkId, Listener, Listeners, Scene, Told};
use fanfare_core::code::Code;
use fanfare_core::ephemeral::Ephemeral;
use fanfare_core::gap::{GapReason, Page, Policy};
use fanfare_core::id::{NodeId, ShardId};
use fanfare_core::link::{Attach, AttachId, Ended, Run, Verdict};
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::rule::{Class, CreatePolicy};
use fanfare_core::shard::{Fate, Secret, Unread};

use crate::reign::{Reign, Work};
use crate::sabotage::Sabotage;
use crate::world::World;

/// An attended topic.
pub(crate) struct Seat {
    pub(crate) listeners: Listeners,
    pub(crate) source: Source,
    pub(crate) policy: Policy,
    /// Something was placed, made or ended: look.
    pub(crate) news: bool,
}

/// Where the messages are.
pub(crate) enum Source {
    /// In the rows: all up to `at` was offered; the epoch of the stream, if there is one.
    Rows {
        at: Position,
        stream: Option<Epoch>,
    },
    Stream(Box<Ephemeral>),
}

/// What waits for the shard's beginning or for epochs.
pub(crate) enum Parked {
    Attach(LinkId, Attach),
    Publish(Work),
}

impl Seat {
    fn class(&self) -> Class {
        match self.source {
            Source::Rows { .. } => Class::Durable,
            Source::Stream(_) => Class::Ephemeral,
        }
    }
}

impl World {
    /// An edge wants to follow a topic.
    pub(crate) fn on_attach(&mut self, node: NodeId, link: LinkId, attach: Attach) {
        let shard = attach.shard;
        let serves = self.hears(shard, node);
        let mut slot = Some(attach);
        self.with_reign(shard, node, |world, reign| {
            if serves && let Some(attach) = slot.take() {
                world.attach_seat(node, reign, link, attach);
            }
        });
        if let Some(attach) = slot {
            let redirect = self.redirect(shard, node);
            self.end_attachment(node, link, attach.id, Ended::NotLeader(redirect));
        }
    }

    fn attach_seat(&mut self, node: NodeId, reign: &mut Reign, link: LinkId, attach: Attach) {
        let (shard, topic, id) = (attach.shard, attach.topic.clone(), attach.id);
        if !reign.begun {
            return reign.parked.push(Parked::Attach(link, attach));
        }
        let rows = &self.groups[&shard].replicas[&node].rows;
        let explicit = rows.create_policy() == CreatePolicy::Explicit;
        if explicit && rows.get(&topic).is_none() {
            return self.end_attachment(node, link, id, Ended::TopicNotFound);
        }
        let class = rows.class_of(&topic);
        if !self.seat(shard, node, reign, &topic, class) {
            return reign.parked.push(Parked::Attach(link, attach));
        }
        self.look(shard, node, reign, &topic);
        let running_ms = self.running_ms(reign, shard, node);
        let term = reign.term;
        let Some(seat) = reign.seats.get_mut(&topic) else {
            return;
        };
        let (limit, bytes) = Listeners::CATCH_UP;
        let read = match &mut seat.source {
            Source::Stream(stream) => {
                stream.tick(running_ms);
                let scene = Scene {
                    term,
                    head: stream.history().head(),
                    start: stream.history().start(),
                    exists: true,
                    policy: stream.policy(),
                };
                let page = attach.after.map(|after| stream.page(after, limit, bytes));
                Ok((scene, page))
            }
            Source::Rows { .. } => self.read_scene(shard, node, reign, &topic, attach.after),
        };
        match read {
            Ok((scene, page)) => {
                let who = Listener { link, id };
                let Some(seat) = reign.seats.get_mut(&topic) else {
                    return;
                };
                let attached = seat.listeners.attach(who, attach.after, &scene, page);
                if let Some(link) = self.link_at(node, link) {
                    link.outbox.attached(shard, topic.hash64(), attached);
                }
            }
            Err(Unread::TopicNotFound) => {
                self.end_attachment(node, link, id, Ended::TopicNotFound);
            }
            Err(Unread::Ephemeral | Unread::NotBegun) => {
                self.end_attachment(node, link, id, Ended::StreamEnded);
            }
        }
    }

    fn read_scene(
        &self,
        shard: ShardId,
        node: NodeId,
        reign: &Reign,
        topic: &TopicName,
        after: Option<Position>,
    ) -> Result<(Scene, Option<Page>), Unread> {
        let rows = &self.groups[&shard].replicas[&node].rows;
        let head = rows.head(topic)?;
        let info = rows.get(topic);
        let scene = Scene {
            term: reign.term,
            head,
            start: info.as_ref().map_or(head.next(), |info| info.start),
            exists: info.is_some(),
            policy: Policy::from(&rows.rules_of(topic)),
        };
        let (limit, bytes) = Listeners::CATCH_UP;
        let page = match after {
            Some(after) if after != head => Some(rows.page(topic, after, limit, bytes)?),
            Some(_) | None => None,
        };
        Ok((scene, page))
    }

    /// Sees to it that somebody sits there; false if a stream must wait for an epoch.
    pub(crate) fn seat(
        &mut self,
        shard: ShardId,
        node: NodeId,
        reign: &mut Reign,
        topic: &TopicName,
        class: Class,
    ) -> bool {
        let seated = reign.seats.get(topic);
        if seated.is_some_and(|seat| seat.class() != class) {
            self.unseat(node, reign, topic, &Ended::StreamEnded);
        }
        if reign.seats.contains_key(topic) {
            return true;
        }
        let rows = &self.groups[&shard].replicas[&node].rows;
        let rules = rows.rules_of(topic);
        let policy = Policy::from(&rules);
        let source = match class {
            Class::Durable => Source::Rows {
                at: rows.head(topic).unwrap_or_default(),
                stream: rows.get(topic).map(|info| info.head.epoch),
            },
            Class::Ephemeral => {
                let kept = self.oracle.truth(topic).epoch;
                let keeps = self.sabotage == Some(Sabotage::KeepEphemeralEpoch);
                let epoch = match keeps && kept > Epoch(0) {
                    true => Some(kept),
                    false => reign.next_epoch(),
                };
                let Some(epoch) = epoch else {
                    reign.wants_epochs = true;
                    return false;
                };
                let leads = self.groups[&shard].term == reign.term;
                self.oracle.begun(topic, epoch, leads);
                self.trace(|| format!("{node} begins {topic} with epoch {}", epoch.0));
                let stream = Ephemeral::new(topic.clone(), epoch, rules, Secret([9; 32]));
                Source::Stream(Box::new(stream))
            }
        };
        let seat = Seat {
            listeners: Listeners::default(),
            source,
            policy,
            news: false,
        };
        reign.seats.insert(topic.clone(), seat);
        true
    }

    fn unseat(&mut self, node: NodeId, reign: &mut Reign, topic: &TopicName, why: &Ended) {
        if let Some(mut seat) = reign.seats.remove(topic) {
            let told = seat.listeners.end_all(why);
            self.tell(node, &mut seat.listeners, told);
        }
    }

    /// Offers what has come since the last look. What ends a stream ends its audience.
    fn look(&mut self, shard: ShardId, node: NodeId, reign: &mut Reign, topic: &TopicName) {
        let Some(seat) = reign.seats.get_mut(topic) else {
            return;
        };
        seat.news = false;
        loop {
            let Source::Rows { at, stream } = &mut seat.source else {
                return;
            };
            let rows = &self.groups[&shard].replicas[&node].rows;
            let epoch = rows.get(topic).map(|info| info.head.epoch);
            let limit = u32::try_from(Run::MAX_MESSAGES).expect("a small number");
            let page = rows.page(topic, *at, limit, Run::MAX_BYTES);
            let same = stream.is_none() || *stream == epoch;
            *stream = epoch;
            let Ok(page) = page else {
                let told = seat.listeners.end_all(&Ended::StreamEnded);
                return self.tell(node, &mut seat.listeners, told);
            };
            let trimmed = |gap: &_| matches!(gap, GapReason::Trimmed(_));
            let broken = page.gap.is_some_and(|gap| !trimmed(&gap.reason));
            if !same || broken || page.head < *at {
                *at = page.head;
                let told = seat.listeners.end_all(&Ended::StreamEnded);
                return self.tell(node, &mut seat.listeners, told);
            }
            let mut told = Vec::new();
            if let Some(gap) = page.gap {
                *at = gap.to;
                told.extend(seat.listeners.trimmed(page.start));
            }
            let last = page.messages.last().map(|message| message.position);
            *at = last.unwrap_or(*at);
            told.extend(seat.listeners.offer(&page.messages));
            self.tell(node, &mut seat.listeners, told);
            if last.is_none() {
                return;
            }
        }
    }

    /// Topics were made or ended, the rules are others, or what waited may go on.
    pub(crate) fn on_news(&mut self, shard: ShardId, node: NodeId) {
        self.with_reign(shard, node, |world, reign| {
            for topic in std::mem::take(&mut reign.changed) {
                let seat = reign.seats.get(&topic);
                if seat.is_some_and(|seat| seat.class() == Class::Ephemeral) {
                    world.unseat(node, reign, &topic, &Ended::StreamEnded);
                }
            }
            if std::mem::take(&mut reign.rules_changed) {
                world.on_rules(shard, node, reign);
            }
            let rung = reign.seats.iter().filter(|(_, seat)| seat.news);
            let rung: Vec<TopicName> = rung.map(|(topic, _)| topic.clone()).collect();
            for topic in rung {
                world.look(shard, node, reign, &topic);
            }
            reign.retry = false;
            if reign.begun {
                for parked in std::mem::take(&mut reign.parked) {
                    match parked {
                        Parked::Attach(link, attach) => {
                            world.attach_seat(node, reign, link, attach);
                        }
                        Parked::Publish(work) if work.deadline <= world.now => {
                            world.refuse(shard, node, &work, Code::DeadlineExceeded);
                        }
                        Parked::Publish(work) => {
                            world.publish_ephemeral(shard, node, reign, work);
                        }
                    }
                }
            }
        });
    }

    fn on_rules(&mut self, shard: ShardId, node: NodeId, reign: &mut Reign) {
        let running_ms = self.running_ms(reign, shard, node);
        for topic in reign.seats.keys().cloned().collect::<Vec<_>>() {
            let rows = &self.groups[&shard].replicas[&node].rows;
            let (class, rules) = (rows.class_of(&topic), rows.rules_of(&topic));
            let gone = rows.create_policy() == CreatePolicy::Explicit && rows.get(&topic).is_none();
            let Some(seat) = reign.seats.get_mut(&topic) else {
                continue;
            };
            if seat.class() != class || gone {
                self.unseat(node, reign, &topic, &Ended::StreamEnded);
                continue;
            }
            let policy = Policy::from(&rules);
            if let Source::Stream(stream) = &mut seat.source {
                stream.set_rules(rules, running_ms);
            }
            if policy != seat.policy {
                seat.policy = policy;
                let told = seat.listeners.end_all(&Ended::StreamEnded);
                self.tell(node, &mut seat.listeners, told);
            }
        }
    }

    /// Hands a draft to its topic's ephemeral stream.
    pub(crate) fn publish_ephemeral(
        &mut self,
        shard: ShardId,
        node: NodeId,
        reign: &mut Reign,
        work: Work,
    ) {
        let topic = work.draft.topic.clone();
        let rows = &self.groups[&shard].replicas[&node].rows;
        let explicit = rows.create_policy() == CreatePolicy::Explicit;
        if explicit && rows.get(&topic).is_none() {
            return self.refuse(shard, node, &work, Code::TopicNotFound);
        }
        if rows.class_of(&topic) == Class::Durable {
            return self.refuse(shard, node, &work, Code::Overloaded);
        }
        // What waits already comes first (C3).
        let waits = |parked: &Parked| matches!(parked, Parked::Publish(first) if first.draft.topic == topic);
        let passes = self.sabotage == Some(Sabotage::PassWaiting);
        if (!passes && reign.parked.iter().any(waits))
            || !self.seat(shard, node, reign, &topic, Class::Ephemeral)
        {
            return reign.parked.push(Parked::Publish(work));
        }
        if !self.hears(shard, node) {
            return self.refuse(shard, node, &work, Code::NoQuorum);
        }
        let running_ms = self.running_ms(reign, shard, node);
        let mut draft = work.draft.clone();
        if draft.key.is_some() {
            let held = self.now.saturating_sub(work.arrived);
            draft.key_age_ms += crate::reign::millis(held);
        }
        let Some(seat) = reign.seats.get_mut(&topic) else {
            return;
        };
        let Source::Stream(stream) = &mut seat.source else {
            let redirect = self.redirect(shard, node);
            return self.verdict(shard, node, &work, Verdict::Reroute(redirect));
        };
        let appended = stream.append(&draft, running_ms, 0);
        self.oracle.trimmed(&topic, stream.history().start());
        if let Some(message) = appended.message {
            let window = match &appended.fate {
                Fate::Placed {
                    dedup_remaining_ms, ..
                } => *dedup_remaining_ms,
                Fate::Duplicate { .. } | Fate::Refused(_) | Fate::Ephemeral => None,
            };
            self.oracle
                .placed(&topic, &message, false, running_ms, window);
            let told = seat.listeners.offer(&[message]);
            self.tell(node, &mut seat.listeners, told);
        }
        self.fate(shard, node, &work, &appended.fate, Class::Ephemeral);
    }

    /// Streams that hold nothing and that nobody follows end.
    pub(crate) fn forget_idle(&mut self, shard: ShardId, node: NodeId) {
        self.with_reign(shard, node, |world, reign| {
            let running_ms = world.running_ms(reign, shard, node);
            reign.seats.retain(|_, seat| {
                let spent = match &mut seat.source {
                    Source::Rows { .. } => true,
                    Source::Stream(stream) => {
                        stream.tick(running_ms);
                        stream.is_spent()
                    }
                };
                !spent || !seat.listeners.is_empty()
            });
        });
    }

    /// Puts what listeners are told into the boxes of their links.
    pub(crate) fn tell(&mut self, node: NodeId, listeners: &mut Listeners, told: Vec<Told>) {
        for told in told {
            match told {
                Told::Run(who, run) => {
                    let pushed = self
                        .link_at(node, who.link)
                        .map(|link| link.outbox.run(who.id, run));
                    if pushed != Some(fanfare_core::attach::Pushed::Queued) {
                        listeners.detach(who);
                    }
                }
                Told::Ended(who, why) => self.end_attachment(node, who.link, who.id, why),
            }
        }
    }

    pub(crate) fn end_attachment(&mut self, node: NodeId, link: LinkId, id: AttachId, why: Ended) {
        if let Some(link) = self.link_at(node, link) {
            link.outbox.end(id, why);
        }
    }
}
