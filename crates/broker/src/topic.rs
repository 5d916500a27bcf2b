//! The actor of one attended topic: it follows the topic in the shard like any reader, from a
//! position, and offers what it finds to the audience; or it holds an ephemeral stream itself.

use std::sync::Arc;
use std::time::Duration;

use fanfare_core::attach::{Listeners, Scene};
use fanfare_core::code::Code;
use fanfare_core::ephemeral::Ephemeral;
use fanfare_core::gap::{GapReason, Page, Policy, Standing};
use fanfare_core::id::ShardId;
use fanfare_core::link::{AttachId, Ended, NoRead, PageRequest, Run, StandRequest};
use fanfare_core::name::TopicName;
use fanfare_core::position::{Epoch, Position};
use fanfare_core::rule::Class;
use fanfare_core::shard::Unread;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::attended::Bell;
use crate::audience::Audience;
use crate::deliver::{DeliveryLink, Wish};
use crate::fate::{self, refusal};
use crate::ledger::Account;
use crate::metrics::Metrics;
use crate::publish::Work;
use crate::reign::Reign;
use crate::shard::{self, ShardRef};

pub(crate) type TopicRef = ActorRef<Msg>;

pub(crate) enum Msg {
    /// Begin an attachment and answer it in the link's outbox.
    Attach(Arc<DeliveryLink>, Wish),
    /// The attachment is over.
    Detach(fanfare_core::attach::LinkId, AttachId),
    /// Something was placed, made or ended: look.
    News,
    /// Sequence a draft of the ephemeral stream.
    Publish(Box<Work>),
    /// Tell the standing, or a page, of the ephemeral stream.
    Stand(StandRequest, oneshot::Sender<Result<Standing, NoRead>>),
    Page(PageRequest, oneshot::Sender<Result<Page, NoRead>>),
    /// The rules changed.
    Rules,
    /// Drop so many bytes of the ephemeral stream, for the node's budget.
    GiveBack(u64),
    /// Send all away and stop.
    End(Ended),
    /// The time to linger has passed.
    Idle,
}

pub(crate) struct Args {
    pub(crate) topic: TopicName,
    pub(crate) reign: Arc<Reign>,
    pub(crate) shard: ShardRef,
    /// Who waited for the topic before it had an actor.
    pub(crate) audience: Audience,
    /// The stream, if the topic is ephemeral.
    pub(crate) stream: Option<Ephemeral>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: TaskTracker,
    /// How long the actor stays without audience and stream.
    pub(crate) linger: Duration,
}

pub(crate) struct State {
    topic: TopicName,
    reign: Arc<Reign>,
    shard: ShardRef,
    audience: Audience,
    source: Source,
    /// Of what the ephemeral stream retains.
    account: Account,
    policy: Policy,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    linger: Duration,
    /// Messages of the shard's actor so far: an idle actor goes only if none is under way.
    received: u64,
    /// `received` when the timer was set, if one is.
    timer: Option<u64>,
}

/// Where the messages are.
enum Source {
    /// In the shard: all up to this position was offered. The epoch is that of the stream, if the
    /// topic exists.
    Shard { at: Position, stream: Option<Epoch> },
    /// Here.
    Stream(Box<Ephemeral>),
}

/// Rings at the actor. Made for each actor, known to the shard's machine.
pub(crate) fn bell(topic: &TopicRef) -> Arc<Bell> {
    let topic = topic.clone();
    Arc::new(Bell::new(Box::new(move || {
        // An actor that has stopped has no audience.
        topic.cast(Msg::News).ok();
    })))
}

/// The actor. Its bell is set once it has one.
pub(crate) struct TopicActor {
    pub(crate) bell: Arc<std::sync::OnceLock<Arc<Bell>>>,
}

impl Actor for TopicActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, _: TopicRef, args: Args) -> Result<State, ActorProcessingErr> {
        let Args {
            topic,
            reign,
            shard,
            audience,
            stream,
            metrics,
            tasks,
            linger,
        } = args;
        let (source, policy) = match stream {
            Some(stream) => {
                let policy = stream.policy();
                (Source::Stream(Box::new(stream)), policy)
            }
            None => {
                let shard = reign.replica.read();
                let head = shard.head(&topic).unwrap_or_default();
                let at = audience.lowest().unwrap_or(head).min(head);
                let stream = shard.get(&topic).map(|info| info.head.epoch);
                (
                    Source::Shard { at, stream },
                    Policy::from(&shard.rules_of(&topic)),
                )
            }
        };
        metrics.topics.inc();
        let account = Account::new(Arc::clone(&reign.ledger), topic.clone());
        let (received, timer) = (0, None);
        Ok(State {
            topic,
            reign,
            shard,
            audience,
            source,
            account,
            policy,
            metrics,
            tasks,
            linger,
            received,
            timer,
        })
    }

    async fn handle(
        &self,
        me: TopicRef,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let counted = !matches!(msg, Msg::News | Msg::Idle);
        state.received += u64::from(counted);
        match msg {
            Msg::Attach(link, wish) => state.attach(&link, wish),
            Msg::Detach(link, id) => state.audience.detach(link, id),
            Msg::News => {
                if let Some(bell) = self.bell.get() {
                    bell.answer();
                }
                state.look();
            }
            Msg::Publish(work) => state.publish(*work),
            // A reader that has gone needs no answer.
            Msg::Stand(wish, reply) => drop(reply.send(state.stand(&wish))),
            Msg::Page(wish, reply) => drop(reply.send(state.page(&wish))),
            Msg::Rules => state.rules_changed(),
            Msg::GiveBack(bytes) => state.give_back(bytes),
            Msg::End(why) => {
                state.audience.end_all(&why);
                me.stop(None);
                return Ok(());
            }
            Msg::Idle => state.on_timer(),
        }
        state.settle_account();
        state.set_timer(&me);
        Ok(())
    }

    async fn post_stop(&self, _: TopicRef, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.metrics.topics.dec();
        Ok(())
    }
}

impl State {
    fn attach(&mut self, link: &Arc<DeliveryLink>, wish: Wish) {
        if !self.reign.serves() {
            let ended = Ended::NotLeader(self.reign.redirect());
            return link.put(|outbox| outbox.end(wish.attach.id, ended));
        }
        self.look();
        let shard_id: ShardId = self.reign.shard;
        let term = self.reign.term;
        let (limit, bytes) = Listeners::CATCH_UP;
        let after = wish.attach.after;
        match &mut self.source {
            Source::Stream(stream) => {
                stream.tick(self.reign.running_ms());
                let history = stream.history();
                let (head, start) = (history.head(), history.start());
                let policy = stream.policy();
                let scene = Scene {
                    term,
                    head,
                    start,
                    exists: true,
                    policy,
                };
                let page = after.map(|after| stream.page(after, limit, bytes));
                self.audience.attach(link, shard_id, wish, &scene, page);
            }
            Source::Shard { .. } => {
                let read = read_scene(&self.reign, &self.topic, after);
                match read {
                    Ok((scene, page)) => {
                        self.audience.attach(link, shard_id, wish, &scene, page);
                    }
                    Err(why) => link.put(|outbox| outbox.end(wish.attach.id, ended_by(why))),
                }
            }
        }
    }

    /// Offers what has come since the last look. What ends a stream ends its audience.
    fn look(&mut self) {
        loop {
            let Source::Shard { at, stream } = &mut self.source else {
                return;
            };
            let (epoch, page) = {
                let shard = self.reign.replica.read();
                let epoch = shard.get(&self.topic).map(|info| info.head.epoch);
                let limit = u32::try_from(Run::MAX_MESSAGES).unwrap_or(u32::MAX);
                (epoch, shard.page(&self.topic, *at, limit, Run::MAX_BYTES))
            };
            let same = stream.is_none() || *stream == epoch;
            *stream = epoch;
            let Ok(page) = page else {
                return self.audience.end_all(&Ended::StreamEnded);
            };
            let broken = page
                .gap
                .filter(|gap| !matches!(gap.reason, GapReason::Trimmed(_)));
            if !same || broken.is_some() || page.head < *at {
                *at = page.head;
                return self.audience.end_all(&Ended::StreamEnded);
            }
            if let Some(gap) = page.gap {
                *at = gap.to;
                self.audience.trimmed(page.start);
            }
            let Some(last) = page.messages.last() else {
                return;
            };
            *at = last.position;
            self.audience.offer(&page.messages);
        }
    }

    fn publish(&mut self, work: Work) {
        // A pause may lie between admission and here (R2, R12), or the end of its run.
        let Source::Stream(stream) = &mut self.source else {
            return self.give_draft_back(work);
        };
        if !self.reign.holds() || work.ticket.run_closed() {
            return self.give_draft_back(work);
        }
        if !self.reign.group.hears_majority() {
            return work.ticket.refuse(fate::no_quorum());
        }
        let (now, wall) = (self.reign.running_ms(), self.reign.clock.wall_ms());
        let draft = fate::aged(&work, self.reign.clock.now());
        let appended = stream.append(&draft, now, wall);
        if let Some(message) = appended.message {
            self.metrics.ephemeral.inc();
            self.audience.offer(&[message]);
        }
        drop(fate::answer(work, &appended.fate, Class::Ephemeral));
    }

    fn give_draft_back(&self, work: Work) {
        // A shard's actor that has stopped has answered all it had: then dropping sends it back.
        self.shard.cast(shard::Msg::Returned(Box::new(work))).ok();
    }

    fn stand(&mut self, wish: &StandRequest) -> Result<Standing, NoRead> {
        let Source::Stream(stream) = &mut self.source else {
            return Err(NoRead::Refused(refusal(
                Code::NotReady,
                "the topic's class has changed",
            )));
        };
        if !self.reign.serves() {
            return Err(NoRead::Reroute(self.reign.redirect()));
        }
        stream.tick(self.reign.running_ms());
        Ok(stream.stand(wish.since, self.reign.term))
    }

    fn page(&mut self, wish: &PageRequest) -> Result<Page, NoRead> {
        let Source::Stream(stream) = &mut self.source else {
            return Err(NoRead::Refused(refusal(
                Code::NotReady,
                "the topic's class has changed",
            )));
        };
        if !self.reign.serves() {
            return Err(NoRead::Reroute(self.reign.redirect()));
        }
        stream.tick(self.reign.running_ms());
        Ok(stream.page(wish.after, wish.limit, wish.bytes))
    }

    /// Edges learn a policy when they attach, so another one sends them to attach again.
    fn rules_changed(&mut self) {
        let rules = self.reign.replica.read().rules_of(&self.topic);
        let policy = Policy::from(&rules);
        if let Source::Stream(stream) = &mut self.source {
            stream.set_rules(rules, self.reign.running_ms());
        }
        if policy != self.policy {
            self.policy = policy;
            self.audience.end_all(&Ended::StreamEnded);
        }
    }

    fn give_back(&mut self, bytes: u64) {
        if let Source::Stream(stream) = &mut self.source {
            let dropped = stream.give_back(bytes);
            let start = stream.history().start();
            self.audience.trimmed(start);
            self.metrics.budget_trims.inc();
            self.metrics.budget_trimmed.add(dropped);
        }
    }

    fn settle_account(&mut self) {
        if let Source::Stream(stream) = &self.source {
            self.account.note(stream.history().bytes());
        }
    }

    fn on_timer(&mut self) {
        let quiet = self.timer.take() == Some(self.received);
        let spent = match &mut self.source {
            Source::Shard { .. } => true,
            Source::Stream(stream) => {
                stream.tick(self.reign.running_ms());
                stream.is_spent()
            }
        };
        if quiet && spent && self.audience.is_empty() {
            let idle = shard::Msg::TopicIdle {
                topic: self.topic.clone(),
                received: self.received,
            };
            // A shard's actor that has stopped ends this one.
            self.shard.cast(idle).ok();
        }
    }

    fn set_timer(&mut self, me: &TopicRef) {
        if self.timer.is_some() || !self.audience.is_empty() {
            return;
        }
        self.timer = Some(self.received);
        let (me, reign, linger) = (me.clone(), Arc::clone(&self.reign), self.linger);
        self.tasks.spawn(async move {
            tokio::select! { biased;
                () = reign.over.cancelled() => {}
                () = reign.clock.sleep(linger) => drop(me.cast(Msg::Idle)),
            }
        });
    }
}

/// How a durable topic stands, with the page after a position, read under one lock.
pub(crate) fn read_scene(
    reign: &Reign,
    topic: &TopicName,
    after: Option<Position>,
) -> Result<(Scene, Option<Page>), Unread> {
    let shard = reign.replica.read();
    let head = shard.head(topic)?;
    let info = shard.get(topic);
    let start = info.as_ref().map_or(head.next(), |info| info.start);
    let policy = Policy::from(&shard.rules_of(topic));
    let scene = Scene {
        term: reign.term,
        head,
        start,
        exists: info.is_some(),
        policy,
    };
    let (limit, bytes) = Listeners::CATCH_UP;
    let page = match after {
        Some(after) if after != head => Some(shard.page(topic, after, limit, bytes)?),
        Some(_) | None => None,
    };
    Ok((scene, page))
}

/// What an edge is told that cannot attach.
pub(crate) fn ended_by(why: Unread) -> Ended {
    match why {
        Unread::TopicNotFound => Ended::TopicNotFound,
        Unread::Ephemeral | Unread::NotBegun => Ended::StreamEnded,
    }
}
