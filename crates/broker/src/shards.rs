//! The supervisor of the node's shards: it follows the view, starts a group for each replica placed
//! here, and an actor for each reign of one.

mod repair;
mod upkeep;
mod wakes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{Group, GroupId, InitializeError, SnapshotError, StartError};
use fanfare_core::barrier::Barrier;
use fanfare_core::id::{ReplicaId, ShardId, Term};
use fanfare_core::view::{ShardRow, View};
use futures_util::future::join_all;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::confirm::{Confirmer, Round};
use crate::court::Court;
use crate::directory::Local;
use crate::machine::{Replica, ShardMachine};
use crate::parts::Parts;
use crate::reign::Reign;
use crate::shard::{self, ShardActor};
use crate::snapshots::Snapshots;
use repair::{begin_anew, drop_source};
use wakes::{find_stored, follow_role, follow_view, tick};

pub(crate) type ShardsRef = ActorRef<Msg>;

/// Ticks between two rounds of upkeep: a second.
const UPKEEP_TICKS: u32 = 4;
/// How long a reign that was handed over waits for the heir's name, to send its edges there.
const NAMED_WITHIN: Duration = Duration::from_millis(500);
/// Failures of actors of one shard in one term, after which the node must be looked at.
const MAX_FAILURES: u32 = 5;

pub(crate) enum Msg {
    /// The view is another.
    View,
    /// A group has started, or not.
    Started(
        ShardId,
        ReplicaId,
        Arc<Replica>,
        Box<Result<Group<ShardMachine>, StartError>>,
    ),
    /// The role of a shard's replica is another.
    Role(ShardId),
    Tick,
    /// A step of a move has been taken, or not.
    Moved(ShardId, bool),
    /// Replicas that had something on the disk when the node started.
    Stored(Vec<(ShardId, ReplicaId)>),
    /// A snapshot has been written, or not.
    Written(Result<u64, SnapshotError>),
    /// A replica has stopped for good.
    Retired(ShardId, ReplicaId),
    /// End all reigns, stop all groups.
    Shutdown(oneshot::Sender<()>),
}

pub(crate) struct State {
    parts: Arc<Parts>,
    /// Replicas that start or run.
    placed: BTreeMap<ShardId, ReplicaId>,
    reigns: BTreeMap<ShardId, Sitting>,
    /// Of these, those that did not start.
    failed: BTreeSet<ReplicaId>,
    /// Shards of which a step of a move is out.
    moving: BTreeSet<ShardId>,
    /// Last index of each led shard when it was looked after last.
    paces: BTreeMap<ShardId, u64>,
    stored: Vec<(ShardId, ReplicaId)>,
    snapshots: Snapshots,
    ticks: u32,
    stopping: bool,
}

/// A reign's actor.
struct Sitting {
    term: Term,
    actor: ActorId,
    court: Court,
    ended: JoinHandle<()>,
    /// When it began.
    since: Duration,
    /// Since when it is over, handed to an heir that is not named yet.
    unnamed: Option<Duration>,
    failures: u32,
}

/// The actor.
pub(crate) struct ShardSupervisor;

impl Actor for ShardSupervisor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arc<Parts>;

    async fn pre_start(
        &self,
        me: ShardsRef,
        parts: Arc<Parts>,
    ) -> Result<State, ActorProcessingErr> {
        follow_view(&parts, &me);
        tick(&parts, &me);
        find_stored(&parts, &me);
        let (placed, reigns) = (BTreeMap::new(), BTreeMap::new());
        let mut state = State {
            parts,
            placed,
            reigns,
            failed: BTreeSet::new(),
            moving: BTreeSet::new(),
            paces: BTreeMap::new(),
            stored: Vec::new(),
            snapshots: Snapshots::default(),
            ticks: 0,
            stopping: false,
        };
        state.on_view(&me);
        Ok(state)
    }

    async fn handle(
        &self,
        me: ShardsRef,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match msg {
            Msg::View => state.on_view(&me),
            Msg::Started(shard, id, replica, started) => {
                state.on_started(shard, id, replica, *started, &me);
            }
            Msg::Role(shard) => state.on_role(shard, &me).await,
            Msg::Tick => state.on_tick(&me).await,
            Msg::Moved(shard, taken) => state.on_moved(shard, taken, &me),
            Msg::Stored(replicas) => state.stored = replicas,
            Msg::Written(written) => state.on_written(&written, &me),
            Msg::Retired(shard, id) => state.on_retired(shard, id, &me),
            Msg::Shutdown(done) => state.shutdown(done),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ShardsRef,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(child, cause) => {
                state.on_failed(child.get_id(), &cause, &me).await?;
            }
            SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl State {
    /// Starts what is placed here and does not run. What is placed here no more goes on until its
    /// group has let it go: the view says where replicas should be, the group where they are.
    fn on_view(&mut self, me: &ShardsRef) {
        if self.stopping {
            return;
        }
        // New rules are proposed at once.
        for sitting in self.reigns.values() {
            // An actor that has failed is replaced.
            sitting.court.actor.cast(shard::Msg::Tick).ok();
        }
        let view = Arc::clone(&self.parts.view.borrow());
        for row in &view.shards {
            // One that leaves votes until its group has let it go.
            let mut present = row.present();
            let here = present.find(|replica| replica.node == self.parts.node);
            match (here, self.placed.get(&row.id).copied()) {
                (Some(replica), None) => self.start(&view, row.id, replica.id, me),
                (Some(replica), Some(old)) if old != replica.id && self.failed.remove(&old) => {
                    match row.is_over(old) {
                        true => self.start(&view, row.id, replica.id, me),
                        false => self.remove(row.id, old, None, me),
                    }
                }
                (Some(_) | None, Some(_)) | (None, None) => {}
            }
        }
    }

    fn start(&mut self, view: &View, shard: ShardId, id: ReplicaId, me: &ShardsRef) {
        self.placed.insert(shard, id);
        let shards = u32::try_from(view.shards.len()).unwrap_or(u32::MAX);
        let replica = Arc::new(Replica::new(shards));
        let (parts, me) = (Arc::clone(&self.parts), me.clone());
        let config = parts.options.group(GroupId::Shard(shard), id);
        let anew = view.shard(shard).and_then(|row| row.repaired);
        let anew = anew.filter(|repaired| repaired.to == id);
        self.parts.groups.tasks.spawn(async move {
            if let Some(repaired) = anew
                && let Err(error) = begin_anew(&parts, shard, repaired, shards).await
            {
                let failed = Box::new(Err(error));
                me.cast(Msg::Started(shard, id, replica, failed)).ok();
                return;
            }
            let machine = ShardMachine::new(Arc::clone(&replica), Arc::clone(&parts.blocks));
            let entries = Arc::clone(&parts.entries);
            let started = Group::start(config, &parts.groups, machine, entries).await;
            let barriers = &parts.barriers;
            barriers.pass(Barrier::ReplicaStarted, Some(shard)).await;
            let runs = started.is_ok();
            // A supervisor that has stopped starts nothing.
            let started = Box::new(started);
            me.cast(Msg::Started(shard, id, replica, started)).ok();
            if let Some(repaired) = anew.filter(|_| runs) {
                drop_source(&parts, shard, repaired).await;
            }
        });
    }

    fn on_started(
        &mut self,
        shard: ShardId,
        id: ReplicaId,
        replica: Arc<Replica>,
        started: Result<Group<ShardMachine>, StartError>,
        me: &ShardsRef,
    ) {
        let group = match started {
            Ok(group) => group,
            Err(error) => {
                // It stays placed until the view has another in its place: it must be rebuilt.
                self.failed.insert(id);
                tracing::error!(%shard, replica = %id, %error, "a replica did not start");
                return;
            }
        };
        if self.stopping {
            self.parts
                .groups
                .tasks
                .spawn(async move { group.stop().await });
            return;
        }
        let role = group.role();
        follow_role(&self.parts, shard, role.clone(), me);
        self.parts.directory.put(
            shard,
            Local {
                id,
                group,
                replica,
                role,
                court: None,
                porch: Arc::default(),
            },
        );
        self.initialize(shard);
    }

    /// Makes the group's first members, while the view says that it has not begun and this
    /// replica's log is empty. Every planned replica does; the group takes it once.
    fn initialize(&self, shard: ShardId) {
        let view = Arc::clone(&self.parts.view.borrow());
        let Some(row) = view.shard(shard).filter(|row| !row.begun) else {
            return;
        };
        let Some(local) = self.parts.directory.get(shard) else {
            return;
        };
        let planned = row.replicas.iter().any(|replica| replica.id == local.id);
        if !planned || !local.group.is_empty() {
            return;
        }
        let members = members(row);
        self.parts.groups.tasks.spawn(async move {
            match local.group.initialize(members).await {
                Ok(()) | Err(InitializeError::NotEmpty) => {}
                Err(error) => tracing::warn!(%shard, %error, "a shard was not initialised"),
            }
        });
    }

    /// Begins a reign when the replica serves, and ends it when it does not.
    async fn on_role(&mut self, shard: ShardId, me: &ShardsRef) {
        let Some(local) = self.parts.directory.get(shard) else {
            return;
        };
        let role = local.role.borrow().clone();
        let same = self
            .reigns
            .get(&shard)
            .is_some_and(|reign| reign.term == role.term);
        if role.serves && same {
            return;
        }
        let now = self.parts.groups.clock.now();
        let sitting = self.reigns.get_mut(&shard);
        if let Some(sitting) = sitting.filter(|sitting| sitting.court.reign.is_handing_over())
            && role.leader.is_none()
        {
            // What it holds goes the right way at once when it ends with the heir's name.
            let since = *sitting.unnamed.get_or_insert(now);
            if now.saturating_sub(since) < NAMED_WITHIN && !self.stopping {
                return;
            }
        }
        if !role.leads {
            self.parts.directory.clear_porches();
        }
        drop(self.end_reign(shard));
        if role.serves && !self.stopping {
            self.begin_reign(shard, role.term, 0, me).await;
        }
    }

    async fn begin_reign(&mut self, shard: ShardId, term: Term, failures: u32, me: &ShardsRef) {
        let parts = Arc::clone(&self.parts);
        let Some(local) = parts.directory.get(shard) else {
            return;
        };
        let reign = Arc::new(Reign::new(
            shard,
            term,
            local.group.clone(),
            Arc::clone(&local.replica),
            parts.view.clone(),
            parts.full.clone(),
            Arc::clone(&parts.groups.clock),
        ));
        let args = shard::Args {
            reign: Arc::clone(&reign),
            metrics: Arc::clone(&parts.metrics),
            rng: Arc::clone(&parts.rng),
            tasks: parts.groups.tasks.clone(),
            history_budget: parts.options.history_budget,
            linger: parts.options.linger,
            mark_begun: Arc::clone(&parts.mark_begun),
        };
        let spawned = Actor::spawn_linked(None, ShardActor, args, me.get_cell()).await;
        let (actor, ended) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                tracing::error!(%shard, %term, %error, "a shard's actor did not start");
                return;
            }
        };
        let id = actor.get_id();
        let since = parts.groups.clock.now();
        let group = local.group.clone();
        let round: Round = Arc::new(move || {
            let group = group.clone();
            Box::pin(async move { group.confirm(Confirmer::WITHIN).await.map(drop) })
        });
        let tasks = parts.groups.tasks.clone();
        let confirmer = Arc::new(Confirmer::new(round, tasks, Arc::clone(&parts.metrics)));
        let room = Arc::new(Semaphore::new(parts.options.shard_bytes));
        let metrics = Arc::clone(&parts.metrics);
        let court = Court {
            reign,
            actor,
            room,
            confirmer,
            metrics,
        };
        parts.directory.open_court(shard, court.clone());
        parts.metrics.reigns.inc();
        tracing::info!(%shard, %term, replica = %local.id, "leads a shard");
        self.reigns.insert(
            shard,
            Sitting {
                term,
                actor: id,
                court,
                ended,
                since,
                unnamed: None,
                failures,
            },
        );
    }

    /// Ends a reign, if there is one; what it gives ends with the reign's actor.
    fn end_reign(&mut self, shard: ShardId) -> Option<JoinHandle<()>> {
        let Sitting {
            term, court, ended, ..
        } = self.reigns.remove(&shard)?;
        self.parts.directory.close_court(shard);
        court.reign.replica.attend(None);
        // An actor that has failed has answered all it had.
        court.actor.cast(shard::Msg::Abdicate).ok();
        self.parts.metrics.abdications.inc();
        tracing::info!(%shard, %term, "leads a shard no more");
        Some(ended)
    }

    /// A failed shard's actor is made anew from the replica; not for ever.
    async fn on_failed(
        &mut self,
        child: ActorId,
        cause: &ActorProcessingErr,
        me: &ShardsRef,
    ) -> Result<(), ActorProcessingErr> {
        let failed = self
            .reigns
            .iter()
            .find(|(_, sitting)| sitting.actor == child);
        let Some((shard, failures)) = failed.map(|(s, sitting)| (*s, sitting.failures)) else {
            return Ok(());
        };
        tracing::error!(%shard, %cause, "a shard's actor failed");
        self.parts.metrics.restarts.inc();
        if failures >= MAX_FAILURES {
            return Err(format!("the actor of shard {shard} fails again and again").into());
        }
        if let Some(sitting) = self.reigns.remove(&shard) {
            sitting.court.reign.over.cancel();
            self.parts.directory.close_court(shard);
            if sitting.court.reign.holds() {
                self.begin_reign(shard, sitting.term, failures + 1, me)
                    .await;
            }
        }
        Ok(())
    }

    async fn on_tick(&mut self, me: &ShardsRef) {
        let unnamed = self.reigns.iter().filter(|(_, s)| s.unnamed.is_some());
        let unnamed: Vec<_> = unnamed.map(|(shard, _)| *shard).collect();
        for shard in unnamed {
            self.on_role(shard, me).await;
        }
        self.parts.directory.clear_porches();
        for sitting in self.reigns.values() {
            // An actor that has failed is replaced.
            sitting.court.actor.cast(shard::Msg::Tick).ok();
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(UPKEEP_TICKS) && !self.stopping {
            self.upkeep(me);
        }
    }

    fn shutdown(&mut self, done: oneshot::Sender<()>) {
        self.stopping = true;
        self.parts.stop.cancel();
        let shards: Vec<_> = self.reigns.keys().copied().collect();
        let reigns: Vec<_> = shards
            .into_iter()
            .filter_map(|s| self.end_reign(s))
            .collect();
        let parts = Arc::clone(&self.parts);
        self.parts.groups.tasks.spawn(async move {
            // A join error is that of an actor that failed: it has ended too.
            drop(join_all(reigns).await);
            parts.links.cancel();
            let stops = parts.directory.all().into_iter().map(|(shard, local)| {
                let directory = Arc::clone(&parts.directory);
                async move {
                    local.group.stop().await;
                    directory.remove(shard);
                }
            });
            join_all(stops).await;
            // Nobody else waits if the caller does not.
            done.send(()).ok();
        });
    }
}

fn members(row: &ShardRow) -> BTreeSet<ReplicaId> {
    row.replicas.iter().map(|replica| replica.id).collect()
}
