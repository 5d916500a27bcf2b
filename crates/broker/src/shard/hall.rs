//! The topics of a shard that somebody attends: their actors, who waits for a topic that does not
//! exist yet (C27), and what waits until a new stream has an epoch.

mod news;
mod parked;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_core::attach::LinkId;
use fanfare_core::code::Code;
use fanfare_core::ephemeral::Ephemeral;
use fanfare_core::gap::{Page, Policy, Standing};
use fanfare_core::link::{AttachId, Ended, NoRead, PageRequest, StandRequest};
use fanfare_core::name::TopicName;
use fanfare_core::rule::{Class, CreatePolicy};
use fanfare_core::shard::Secret;
use fanfare_host::Rng;
use ractor::ActorId;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::parked::{Parked, Parking};
use super::chores::secret;
use super::{Rows, ShardRef};
use crate::attended::{Attended, Seat};
use crate::audience::Audience;
use crate::deliver::{DeliveryLink, Wish};
use crate::fate::{self, refusal};
use crate::metrics::Metrics;
use crate::publish::Work;
use crate::reign::Reign;
use crate::topic::{self, TopicActor, TopicRef, ended_by, read_scene};

/// Topics of one shard that may have an actor.
const MAX_TOPICS: usize = 100_000;
/// Topics that do not exist and have listeners, a shard.
const MAX_ABSENT: usize = 1_000_000;

pub(super) struct Hall {
    reign: Arc<Reign>,
    attended: Arc<Attended>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    linger: Duration,
    /// Keys the hashes of ephemeral streams.
    secret: Secret,
    topics: Rows<Seated>,
    names: HashMap<ActorId, TopicName>,
    absent: Rows<Absent>,
    /// What waits until the shard has begun, or a stream has an epoch.
    parked: Parking,
    wants_epochs: bool,
}

/// A topic with an actor.
struct Seated {
    actor: TopicRef,
    class: Class,
    /// Messages sent to it, but news.
    sent: u64,
}

/// A topic that does not exist, with the policy its listeners were told.
struct Absent {
    audience: Audience,
    policy: Policy,
}

/// Why a topic has no actor.
enum NoSeat {
    /// Its stream has no epoch yet.
    NoEpoch,
    NoRoom,
}

impl Hall {
    pub(super) fn new(
        reign: Arc<Reign>,
        attended: Arc<Attended>,
        metrics: &Arc<Metrics>,
        tasks: TaskTracker,
        linger: Duration,
        rng: &dyn Rng,
    ) -> Self {
        Self {
            reign,
            attended,
            metrics: Arc::clone(metrics),
            tasks,
            linger,
            secret: secret(rng),
            topics: Rows::new(),
            names: HashMap::new(),
            absent: Rows::new(),
            parked: Parking::default(),
            wants_epochs: false,
        }
    }

    /// True once the shard has begun and goes by some rules of the cluster, if there are any: a
    /// topic made before would have another class than the rules say, for ever.
    pub(super) fn begun(&self) -> bool {
        let ruled = self.reign.view().rules.version > 0;
        let shard = self.reign.replica.read();
        shard.begun() && (shard.rules_version() > 0 || !ruled)
    }

    /// True if a block of epochs must be reserved.
    pub(super) fn wants_epochs(&self) -> bool {
        self.wants_epochs
    }

    pub(super) async fn attach(&mut self, link: Arc<DeliveryLink>, wish: Wish, me: &ShardRef) {
        let id = wish.attach.id;
        if !self.reign.serves() {
            let ended = Ended::NotLeader(self.reign.redirect());
            return link.put(|outbox| outbox.end(id, ended));
        }
        if !self.begun() {
            return self.parked.push(Parked::Attach(link, wish));
        }
        let topic = wish.attach.topic.clone();
        let (class, exists, explicit) = {
            let shard = self.reign.replica.read();
            let explicit = shard.create_policy() == CreatePolicy::Explicit;
            (
                shard.class_of(&topic),
                shard.get(&topic).is_some(),
                explicit,
            )
        };
        if explicit && !exists {
            return link.put(|outbox| outbox.end(id, Ended::TopicNotFound));
        }
        if class == Class::Durable && !exists && !self.topics.contains_key(&topic) {
            return self.attach_absent(&link, wish);
        }
        match self.seat(&topic, class, me).await {
            Ok(seated) => seated.tell(topic::Msg::Attach(link, wish)),
            Err(NoSeat::NoEpoch) => self.parked.push(Parked::Attach(link, wish)),
            Err(NoSeat::NoRoom) => link.put(|outbox| outbox.end(id, Ended::Overloaded)),
        }
    }

    fn attach_absent(&mut self, link: &Arc<DeliveryLink>, wish: Wish) {
        let topic = wish.attach.topic.clone();
        if self.absent.len() >= MAX_ABSENT && !self.absent.contains_key(&topic) {
            return link.put(|outbox| outbox.end(wish.attach.id, Ended::Overloaded));
        }
        // Seated before it is read: a topic made in between is news.
        self.attended.seat(topic.clone(), Seat::Shard);
        match read_scene(&self.reign, &topic, wish.attach.after) {
            Ok((scene, page)) => {
                let fresh = || Absent {
                    audience: Audience::new(Arc::clone(&self.metrics)),
                    policy: scene.policy,
                };
                let absent = self.absent.entry(topic.clone()).or_insert_with(fresh);
                absent
                    .audience
                    .attach(link, self.reign.shard, wish, &scene, page);
            }
            Err(why) => link.put(|outbox| outbox.end(wish.attach.id, ended_by(why))),
        }
        self.forget_if_idle(&topic);
    }

    pub(super) fn detach(&mut self, link: LinkId, gone: Vec<(TopicName, AttachId)>) {
        for (topic, id) in gone {
            self.parked.detach(link, id);
            if let Some(seated) = self.topics.get_mut(&topic) {
                seated.tell(topic::Msg::Detach(link, id));
            }
            if let Some(absent) = self.absent.get_mut(&topic) {
                absent.audience.detach(link, id);
                self.forget_if_idle(&topic);
            }
        }
    }

    fn forget_if_idle(&mut self, topic: &TopicName) {
        if self
            .absent
            .get(topic)
            .is_none_or(|absent| absent.audience.is_empty())
        {
            self.absent.remove(topic);
            if !self.topics.contains_key(topic) {
                self.attended.leave(topic);
            }
        }
    }

    /// Hands a draft to its topic's ephemeral stream.
    pub(super) async fn publish(&mut self, work: Work, me: &ShardRef) {
        let topic = work.draft.topic.clone();
        let (class, unmade) = {
            let shard = self.reign.replica.read();
            let explicit = shard.create_policy() == CreatePolicy::Explicit;
            (
                shard.class_of(&topic),
                explicit && shard.get(&topic).is_none(),
            )
        };
        if unmade {
            let code = Code::TopicNotFound;
            return work
                .ticket
                .refuse(refusal(code, code.title()).as_publish().topic(topic));
        }
        if class == Class::Durable {
            // The class changed twice within a batch: the next sending finds it as it is.
            return work.ticket.refuse(fate::overloaded());
        }
        if self.parked.holds_draft_of(&topic) {
            return self.parked.push(Parked::Publish(Box::new(work)));
        }
        match self.seat(&topic, class, me).await {
            Ok(seated) => seated.tell(topic::Msg::Publish(Box::new(work))),
            Err(NoSeat::NoEpoch) => self.parked.push(Parked::Publish(Box::new(work))),
            Err(NoSeat::NoRoom) => work.ticket.refuse(fate::overloaded()),
        }
    }

    pub(super) async fn stand(
        &mut self,
        wish: StandRequest,
        reply: oneshot::Sender<Result<Standing, NoRead>>,
        me: &ShardRef,
    ) {
        match self.reader(&wish.topic, me).await {
            Ok(seated) => seated.tell(topic::Msg::Stand(wish, reply)),
            Err(None) => self.parked.push(Parked::Stand(wish, reply)),
            // A reader that has gone needs no answer.
            Err(Some(no)) => drop(reply.send(Err(no))),
        }
    }

    pub(super) async fn page(
        &mut self,
        wish: PageRequest,
        reply: oneshot::Sender<Result<Page, NoRead>>,
        me: &ShardRef,
    ) {
        match self.reader(&wish.topic, me).await {
            Ok(seated) => seated.tell(topic::Msg::Page(wish, reply)),
            Err(None) => self.parked.push(Parked::Page(wish, reply)),
            // A reader that has gone needs no answer.
            Err(Some(no)) => drop(reply.send(Err(no))),
        }
    }

    /// The actor of an ephemeral topic that is read; `None`: it must wait.
    async fn reader(
        &mut self,
        topic: &TopicName,
        me: &ShardRef,
    ) -> Result<&mut Seated, Option<NoRead>> {
        if !self.begun() {
            return Err(None);
        }
        let (class, unmade) = {
            let shard = self.reign.replica.read();
            let explicit = shard.create_policy() == CreatePolicy::Explicit;
            (
                shard.class_of(topic),
                explicit && shard.get(topic).is_none(),
            )
        };
        if unmade {
            let code = Code::TopicNotFound;
            return Err(Some(NoRead::Refused(
                refusal(code, code.title()).topic(topic.clone()),
            )));
        }
        if class == Class::Durable {
            let why = "the topic's class has just changed";
            return Err(Some(NoRead::Refused(refusal(Code::NotReady, why))));
        }
        match self.seat(topic, class, me).await {
            Ok(seated) => Ok(seated),
            Err(NoSeat::NoEpoch) => Err(None),
            Err(NoSeat::NoRoom) => {
                let why = "no room for more ephemeral topics on this node";
                Err(Some(NoRead::Refused(refusal(Code::Overloaded, why))))
            }
        }
    }

    /// The actor of a topic, made if there is none.
    async fn seat(
        &mut self,
        topic: &TopicName,
        class: Class,
        me: &ShardRef,
    ) -> Result<&mut Seated, NoSeat> {
        if self
            .topics
            .get(topic)
            .is_some_and(|seated| seated.class != class)
        {
            self.unseat(topic, Ended::StreamEnded);
        }
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= MAX_TOPICS {
                return Err(NoSeat::NoRoom);
            }
            let stream = match class {
                Class::Durable => None,
                Class::Ephemeral => Some(self.begin_stream(topic)?),
            };
            self.spawn(topic, class, stream, me).await?;
        }
        self.topics.get_mut(topic).ok_or(NoSeat::NoRoom)
    }

    fn begin_stream(&mut self, topic: &TopicName) -> Result<Ephemeral, NoSeat> {
        // Under the shard's lock, and seated first: a delete is seen by one of both.
        self.attended.seat(topic.clone(), Seat::Shard);
        let shard = self.reign.replica.read();
        let rules = shard.rules_of(topic);
        match self.attended.next_epoch() {
            Some(epoch) => {
                let stream = Ephemeral::new(topic.clone(), epoch, rules, self.secret);
                Ok(stream.after_loss(shard.repaired()))
            }
            None => {
                self.attended.leave(topic);
                self.wants_epochs = true;
                Err(NoSeat::NoEpoch)
            }
        }
    }

    async fn spawn(
        &mut self,
        topic: &TopicName,
        class: Class,
        stream: Option<Ephemeral>,
        me: &ShardRef,
    ) -> Result<(), NoSeat> {
        let waited = self.absent.remove(topic);
        let mut audience =
            waited.map_or_else(|| Audience::new(Arc::clone(&self.metrics)), |a| a.audience);
        if class == Class::Ephemeral {
            audience.end_all(&Ended::StreamEnded);
        }
        let args = topic::Args {
            topic: topic.clone(),
            reign: Arc::clone(&self.reign),
            shard: me.clone(),
            audience,
            stream,
            metrics: Arc::clone(&self.metrics),
            tasks: self.tasks.clone(),
            linger: self.linger,
        };
        let slot = Arc::new(OnceLock::new());
        let actor = TopicActor {
            bell: Arc::clone(&slot),
        };
        let spawned = ractor::Actor::spawn_linked(None, actor, args, me.get_cell()).await;
        let Ok((actor, _)) = spawned else {
            return Err(NoSeat::NoRoom);
        };
        let bell = Arc::clone(slot.get_or_init(|| topic::bell(&actor)));
        let seat = match class {
            Class::Durable => Seat::Reader(Arc::clone(&bell)),
            Class::Ephemeral => Seat::Shard,
        };
        self.attended.seat(topic.clone(), seat);
        // What came before it was seated is looked for at once.
        bell.ring();
        self.names.insert(actor.get_id(), topic.clone());
        self.topics.insert(
            topic.clone(),
            Seated {
                actor,
                class,
                sent: 0,
            },
        );
        Ok(())
    }

    fn unseat(&mut self, topic: &TopicName, why: Ended) {
        if let Some(mut seated) = self.topics.remove(topic) {
            seated.tell(topic::Msg::End(why));
            self.names.remove(&seated.actor.get_id());
            self.attended.leave(topic);
        }
    }

    /// Takes up again what waited for the beginning or for epochs.
    pub(super) async fn retry(&mut self, me: &ShardRef) {
        if !self.begun() {
            return;
        }
        self.wants_epochs = false;
        for parked in self.parked.take() {
            match parked {
                Parked::Attach(link, wish) => self.attach(link, wish, me).await,
                Parked::Publish(work) => self.publish(*work, me).await,
                Parked::Stand(wish, reply) => self.stand(wish, reply, me).await,
                Parked::Page(wish, reply) => self.page(wish, reply, me).await,
            }
        }
    }

    pub(super) async fn on_tick(&mut self, now: Duration, me: &ShardRef) {
        for work in self.parked.expire(now) {
            work.ticket.refuse(fate::too_late());
        }
        if !self.wants_epochs && !self.parked.is_empty() {
            self.retry(me).await;
        }
    }

    pub(super) fn on_idle(&mut self, topic: &TopicName, received: u64) {
        if self
            .topics
            .get(topic)
            .is_some_and(|seated| seated.sent == received)
        {
            self.unseat(topic, Ended::StreamEnded);
        }
    }

    /// Has an ephemeral stream drop so many bytes.
    pub(super) fn give_back(&mut self, topic: &TopicName, bytes: u64) {
        if let Some(seated) = self.topics.get_mut(topic) {
            seated.tell(topic::Msg::GiveBack(bytes));
        }
    }

    /// An actor is gone; if it failed, its audience was sent away when its state was dropped.
    pub(super) fn on_gone(&mut self, actor: ActorId) {
        if let Some(topic) = self.names.remove(&actor) {
            self.topics.remove(&topic);
            self.attended.leave(&topic);
        }
    }

    /// True if no topic has an actor.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The reign is over: all are sent away. The actors end by themselves.
    pub(super) fn close(&mut self, why: &Ended) {
        for (_, mut seated) in std::mem::take(&mut self.topics) {
            seated.tell(topic::Msg::End(why.clone()));
        }
        for (_, mut absent) in std::mem::take(&mut self.absent) {
            absent.audience.end_all(why);
        }
        let redirect = self.reign.redirect();
        for parked in self.parked.take() {
            match parked {
                Parked::Attach(link, wish) => {
                    link.put(|outbox| outbox.end(wish.attach.id, why.clone()));
                }
                Parked::Publish(work) => work.ticket.reroute(redirect),
                // A reader that has gone needs no answer.
                Parked::Stand(_, reply) => drop(reply.send(Err(NoRead::Reroute(redirect)))),
                Parked::Page(_, reply) => drop(reply.send(Err(NoRead::Reroute(redirect)))),
            }
        }
    }
}

impl Seated {
    fn tell(&mut self, msg: topic::Msg) {
        self.sent += 1;
        // An actor that has just failed has sent its audience away; works answer when dropped.
        self.actor.cast(msg).ok();
    }
}
