//! The actor of one reign over a shard: drafts are admitted, batched, proposed and answered with
//! the result of apply. Attachments are in `hall`, its own proposals in `chores`, the way to an heir
//! in `handover`.

mod chores;
mod hall;
mod handover;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{HandOverError, LogPosition, ProposeError};
use fanfare_core::attach::LinkId;
use fanfare_core::code::Code;
use fanfare_core::gap::{Page, Standing};
use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_core::link::{AttachId, Ended, NoRead, PageRequest, StandRequest};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::Class;
use fanfare_core::shard::{Command, Entry, Fate, Outcome};
use fanfare_host::Rng;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::attended::Attended;
use crate::deliver::{DeliveryLink, Wish};
use crate::fate;
use crate::intake::{BatchId, Closed, Expired, Intake, Settled};
use crate::metrics::Metrics;
use crate::publish::Work;
use crate::reign::Reign;
use chores::Chores;
use hall::Hall;
use handover::Handover;

pub(crate) type ShardRef = ActorRef<Msg>;

type BatchResult = Result<(LogPosition, Outcome), ProposeError>;

pub(crate) enum Msg {
    /// A draft, with the permits for its bytes.
    Publish(Box<Work>),
    /// A draft that its topic's actor could not take.
    Returned(Box<Work>),
    /// The result of a batch.
    Settled(BatchId, BatchResult),
    Attach(Arc<DeliveryLink>, Wish),
    Detach(LinkId, Vec<(TopicName, AttachId)>),
    /// Reads of ephemeral topics.
    Stand(StandRequest, oneshot::Sender<Result<Standing, NoRead>>),
    Page(PageRequest, oneshot::Sender<Result<Page, NoRead>>),
    /// Apply has news of attended topics.
    News,
    /// A quarter of a second has passed.
    Tick,
    /// A proposal of the shard's own has ended.
    ChoreDone(Result<(), ProposeError>),
    /// A topic's actor has nothing to do; `received` says up to which message.
    TopicIdle {
        topic: TopicName,
        received: u64,
    },
    /// Hand the leadership over, once nothing is pending.
    Transfer(ReplicaId),
    /// The heir was asked to take over, or nothing was sent.
    HandedOver(Result<(), HandOverError>),
    /// The reign is over: answer all, end all, stop.
    Abdicate,
}

pub(crate) struct Args {
    pub(crate) reign: Arc<Reign>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) tasks: TaskTracker,
    /// Bytes of history this node may hold over all shards.
    pub(crate) history_budget: u64,
    /// How long a topic's actor stays when idle.
    pub(crate) linger: Duration,
    pub(crate) mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
}

pub(crate) struct State {
    reign: Arc<Reign>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    intake: Intake<BatchResult>,
    proposer: mpsc::Sender<(BatchId, Entry, Duration)>,
    hall: Hall,
    chores: Chores,
    /// Came back from topics' actors since this node leads no more; answered when the reign ends.
    returned: Vec<Work>,
    handover: Option<Handover>,
    /// Who should take over when it can, and until when that is waited for.
    wish: Option<(ReplicaId, Duration)>,
    /// No handover is tried before this.
    handover_at: Duration,
    /// True once the reign is over and only the topics' actors are waited for.
    closing: bool,
    /// False until the shard has begun and has its rules: until then drafts wait.
    begun: bool,
}

/// The actor.
pub(crate) struct ShardActor;

impl Actor for ShardActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, me: ShardRef, args: Args) -> Result<State, ActorProcessingErr> {
        let Args {
            reign,
            metrics,
            rng,
            tasks,
            history_budget,
            linger,
            mark_begun,
        } = args;
        let ring = me.clone();
        let news = Arc::new(Attended::new(
            reign.term,
            // An actor that has stopped hears no news.
            Box::new(move || drop(ring.cast(Msg::News))),
        ));
        reign.replica.attend(Some(Arc::clone(&news)));
        let (proposer, closed) = mpsc::channel(4);
        tasks.spawn(propose_in_order(
            Arc::clone(&reign),
            closed,
            me.clone(),
            tasks.clone(),
        ));
        let hall = Hall::new(
            Arc::clone(&reign),
            news,
            &metrics,
            tasks.clone(),
            linger,
            &*rng,
        );
        let chores = Chores::new(history_budget, mark_begun, rng, Arc::clone(&metrics));
        let mut state = State {
            reign,
            metrics,
            tasks,
            intake: Intake::new(),
            proposer,
            hall,
            chores,
            returned: Vec::new(),
            handover: None,
            wish: None,
            handover_at: Duration::ZERO,
            closing: false,
            begun: false,
        };
        state.begun = state.hall.begun();
        state.do_chores(&me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ShardRef,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.closing {
            state.refuse(msg);
            return Ok(());
        }
        match msg {
            Msg::Publish(work) => state.on_draft(*work, &me).await,
            Msg::Returned(work) => state.on_returned(*work, &me).await,
            Msg::Settled(id, result) => {
                state.intake.settle(id, result);
                state.on_settled(&me).await;
            }
            Msg::Attach(link, wish) => state.on_attach(link, wish, &me).await,
            Msg::Detach(link, gone) => state.on_detach(link, gone),
            Msg::Stand(wish, reply) => state.hall.stand(wish, reply, &me).await,
            Msg::Page(wish, reply) => state.hall.page(wish, reply, &me).await,
            Msg::News => state.hall.on_news(&me).await,
            Msg::Tick => state.on_tick(&me).await,
            Msg::ChoreDone(done) => state.on_chore_done(done, &me).await,
            Msg::TopicIdle { topic, received } => state.hall.on_idle(&topic, received),
            Msg::Transfer(heir) => state.on_transfer(heir, &me),
            Msg::HandedOver(done) => state.on_handed_over(done, &me).await,
            Msg::Abdicate => {
                state.abdicate();
                if state.hall.is_empty() {
                    me.stop(None);
                }
            }
        }
        if state.hall.wants_epochs() && !state.closing {
            state.do_chores(&me);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ShardRef,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                tracing::error!(shard = %state.reign.shard, %cause, "a topic's actor failed");
                state.metrics.restarts.inc();
                state.metrics.topics.dec();
                state.hall.on_gone(child.get_id());
            }
            SupervisionEvent::ActorTerminated(child, ..) => state.hall.on_gone(child.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        if state.closing && state.hall.is_empty() {
            me.stop(None);
        }
        Ok(())
    }
}

impl State {
    async fn on_draft(&mut self, mut work: Work, me: &ShardRef) {
        if work.ticket.run_closed() {
            return work.ticket.reroute(self.reign.redirect());
        }
        if let Some(handover) = &mut self.handover {
            return handover.hold_draft(work);
        }
        if !self.reign.holds() {
            return work.ticket.reroute(self.reign.redirect());
        }
        if !self.reign.group.hears_majority() {
            return work.ticket.refuse(fate::no_quorum());
        }
        if !self.begun {
            return self.intake.admit(work);
        }
        let age = fate::aged(&work, self.reign.clock.now()).key_age_ms;
        let (class, past) = {
            let shard = self.reign.replica.read();
            let past = work.draft.key.is_some() && shard.key_is_past(&work.draft.topic, age);
            work.rules = shard.rules_version();
            (shard.class_of(&work.draft.topic), past)
        };
        if past {
            let code = Code::IdempotencyExpired;
            let refusal = Refusal::of_publish(code, code.title()).topic(work.draft.topic.clone());
            return work.ticket.refuse(refusal);
        }
        match class {
            // An earlier draft of the topic may be on its way through the log, by rules that made
            // the topic durable, and would come after this one (C3).
            Class::Ephemeral
                if self
                    .intake
                    .oldest_rules()
                    .is_some_and(|oldest| oldest < work.rules) =>
            {
                work.ticket.refuse(fate::rules_changing());
            }
            Class::Ephemeral => self.hall.publish(work, me).await,
            Class::Durable if !self.reign.has_room() => {
                self.metrics.storage_full.inc();
                work.ticket.refuse(fate::storage_full());
            }
            Class::Durable => {
                self.intake.admit(work);
                self.propose();
            }
        }
    }

    /// A topic's actor could not take a draft. It is answered here, where those of its stream that
    /// were proposed after it are known: a draft sent back closes the run, and so says that none of
    /// them is in the log.
    async fn on_returned(&mut self, work: Work, me: &ShardRef) {
        if work.ticket.run_closed() {
            work.ticket.reroute(self.reign.redirect());
        } else if self.reign.holds() {
            self.hall.publish(work, me).await;
        } else {
            self.returned.push(work);
        }
    }

    /// Proposes what may be proposed now.
    fn propose(&mut self) {
        if !self.begun {
            return;
        }
        let (now, wall) = (self.reign.clock.now(), self.reign.clock.wall_ms());
        let mut late = Vec::new();
        while let Some(closed) = self.intake.close(now, wall, &mut late) {
            let Closed { id, batch, within } = closed;
            self.metrics.batches.inc();
            self.metrics.batched_drafts.add(batch.drafts.len() as u64);
            let running_ms = self.reign.running_ms();
            let entry = Entry {
                running_ms,
                command: Command::Place(batch),
            };
            if self.proposer.try_send((id, entry, within)).is_err() {
                // The proposer ends with the node's tasks; what it never took is not in the log.
                self.intake.settle(id, Err(ProposeError::Stopped));
            }
        }
        for work in late {
            work.ticket.refuse(fate::too_late());
        }
    }

    async fn on_settled(&mut self, me: &ShardRef) {
        while let Some(Settled { works, result }) = self.intake.next_settled() {
            let mut again = Vec::new();
            // Between commit and here may lie a pause, and another leader's term (R2).
            let own = |at: &LogPosition| at.term == self.reign.term && self.reign.holds();
            match result {
                Ok((at, Outcome::Placed(fates))) if own(&at) && fates.len() == works.len() => {
                    for (work, fate) in works.into_iter().zip(fates) {
                        if let Some(work) = work {
                            again.extend(answer(work, &fate));
                        }
                    }
                }
                Ok(_) => unknown(works, "committed, but this node leads no more"),
                Err(ProposeError::Unknown) => unknown(works, "proposed, and no result in time"),
                Err(ProposeError::NoQuorum) => {
                    for work in works.into_iter().flatten() {
                        work.ticket.refuse(fate::no_quorum());
                    }
                }
                Err(ProposeError::NotLeader { .. } | ProposeError::Stopped) => {
                    for work in works.into_iter().flatten() {
                        work.ticket.reroute(self.reign.redirect());
                    }
                }
            }
            for work in again {
                self.hall.publish(work, me).await;
            }
        }
        self.propose();
        self.advance_handover(me);
    }

    async fn on_tick(&mut self, me: &ShardRef) {
        let now = self.reign.clock.now();
        // Looking at the clock keeps the running time going.
        self.reign.running_ms();
        let Expired { waiting, proposed } = self.intake.expire(now);
        for work in waiting {
            work.ticket.refuse(fate::too_late());
        }
        unknown(
            proposed.into_iter().map(Some).collect(),
            "proposed, and no result in time",
        );
        self.hall.on_tick(now, me).await;
        self.check_handover(now, me).await;
        self.readmit(me).await;
        self.chores.on_tick();
        self.do_chores(me);
        self.propose();
    }

    async fn on_chore_done(&mut self, done: Result<(), ProposeError>, me: &ShardRef) {
        let ok = done.is_ok();
        self.chores.done(self.reign.clock.now(), done, &self.reign);
        if ok {
            self.hall.retry(me).await;
            self.readmit(me).await;
            self.do_chores(me);
        }
    }

    /// Once the shard has begun, what waited for it is judged as if it had just come.
    async fn readmit(&mut self, me: &ShardRef) {
        if self.begun || !self.hall.begun() {
            return;
        }
        self.begun = true;
        for work in self.intake.take_waiting() {
            self.on_draft(work, me).await;
        }
    }

    /// After the reign: works and reads are sent on, news is no news.
    fn refuse(&self, msg: Msg) {
        let redirect = self.reign.redirect();
        match msg {
            Msg::Publish(work) | Msg::Returned(work) => work.ticket.reroute(redirect),
            Msg::Attach(link, wish) => {
                link.put(|outbox| outbox.end(wish.attach.id, Ended::NotLeader(redirect)));
            }
            // A reader that has gone needs no answer.
            Msg::Stand(_, reply) => drop(reply.send(Err(NoRead::Reroute(redirect)))),
            Msg::Page(_, reply) => drop(reply.send(Err(NoRead::Reroute(redirect)))),
            Msg::Settled(..)
            | Msg::Detach(..)
            | Msg::News
            | Msg::Tick
            | Msg::ChoreDone(_)
            | Msg::TopicIdle { .. }
            | Msg::Transfer(_)
            | Msg::HandedOver(_)
            | Msg::Abdicate => {}
        }
    }

    fn abdicate(&mut self) {
        self.closing = true;
        self.reign.over.cancel();
        let redirect = self.reign.redirect();
        let Expired { waiting, proposed } = self.intake.abandon();
        unknown(
            proposed.into_iter().map(Some).collect(),
            "the leader lost its shard",
        );
        let returned = std::mem::take(&mut self.returned);
        for work in returned.into_iter().chain(waiting) {
            work.ticket.reroute(redirect);
        }
        self.end_handover(redirect);
        self.hall.close(&Ended::NotLeader(redirect));
    }
}

/// Answers with the result of apply; gives back a draft whose topic is ephemeral.
fn answer(mut work: Work, fate: &Fate) -> Option<Work> {
    if *fate == Fate::Ephemeral {
        work.ticket.not_proposed();
    }
    fate::answer(work, fate, Class::Durable)
}

fn unknown(works: Vec<Option<Work>>, why: &str) {
    for work in works.into_iter().flatten() {
        work.ticket.unknown(why);
    }
}

/// Submits batches in their order, so that a stream's drafts are placed in theirs (C3), and waits
/// for their outcomes meanwhile.
async fn propose_in_order(
    reign: Arc<Reign>,
    mut closed: mpsc::Receiver<(BatchId, Entry, Duration)>,
    shard: ShardRef,
    tasks: TaskTracker,
) {
    while let Some((id, entry, within)) = closed.recv().await {
        let shard = shard.clone();
        match reign.group.submit(reign.term, entry).await {
            Ok(proposal) => drop(tasks.spawn(async move {
                // A stopped actor has answered its drafts already.
                shard
                    .cast(Msg::Settled(id, proposal.outcome(within).await))
                    .ok();
            })),
            Err(error) => drop(shard.cast(Msg::Settled(id, Err(error)))),
        }
    }
}

/// Topics by name, of whatever kind of row.
type Rows<T> = BTreeMap<TopicName, T>;
