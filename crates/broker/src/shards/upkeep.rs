//! What the supervisor looks after once a second: snapshots, moves of replicas, who leads, and
//! replicas that are placed here no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{ChangeError, Group, GroupId, SnapshotError};
use fanfare_core::barrier::Barrier;
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::level;
use fanfare_core::view::{NodeState, View};

use super::{Msg, ShardsRef, State};
use crate::directory::Local;
use crate::heirs::Heirs;
use crate::machine::ShardMachine;
use crate::moves::{CAUGHT_UP, Step, has_left, left, next_step, temper};
use crate::parts::Parts;
use crate::shard;

/// Moves of this node's shards at a time.
const MAX_MOVES: usize = 2;
/// How long a step is waited for; later it is taken again.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How long a node whose disk is full has led a shard before it gives it away.
const FULL_AFTER: Duration = Duration::from_secs(2);
/// Leaderships given away in one round by a node that is leaving; else it is one.
const LEAVING: usize = 8;
/// Entries an heir may be behind.
const NEAR: u64 = 10;

impl State {
    pub(super) fn upkeep(&mut self, me: &ShardsRef) {
        let view = Arc::clone(&self.parts.view.borrow());
        let now = self.parts.groups.clock.now();
        for shard in self.placed.keys() {
            self.initialize(*shard);
        }
        self.snapshot(now, me);
        self.tell_losses(&view);
        self.move_replicas(&view, me);
        self.give_away(&view, now);
        self.retire(&view, me);
    }

    fn snapshot(&mut self, now: Duration, me: &ShardsRef) {
        if self.parts.view.borrow().level < level::SNAPSHOTS {
            return;
        }
        let due = self.snapshots.next(&self.parts.directory, now);
        if let Some((shard, local, why)) = due {
            let me = me.clone();
            self.parts.groups.tasks.spawn(async move {
                let written = local.group.snapshot(why).await;
                if let Err(error) = &written {
                    tracing::warn!(%shard, replica = %local.id, ?why, %error, "no snapshot of a shard");
                }
                // A supervisor that has stopped writes no other.
                me.cast(Msg::Written(written)).ok();
            });
            self.snapshots.begun(shard, why, now);
        }
    }

    /// The next one follows at once if it is due: logs may grow faster than rounds come.
    pub(super) fn on_written(&mut self, written: &Result<u64, SnapshotError>, me: &ShardsRef) {
        let now = self.parts.groups.clock.now();
        self.snapshots.ended(written, now);
        if !self.stopping {
            self.snapshot(now, me);
        }
    }

    /// A follower whose disk has forgotten what it acknowledged is lost as one whose bytes are bad:
    /// it gets a successor under a fresh id (R6, R8).
    fn tell_losses(&self, view: &View) {
        let mut lost: BTreeMap<NodeId, Vec<ReplicaId>> = BTreeMap::new();
        for (shard, sitting) in &self.reigns {
            let went_back = sitting.court.reign.group.went_back();
            let rows = view.shard(*shard).into_iter();
            let placed = rows.flat_map(|row| &row.replicas);
            for replica in placed.filter(|replica| went_back.contains(&replica.id)) {
                lost.entry(replica.node).or_default().push(replica.id);
            }
        }
        for (node, replicas) in lost {
            (self.parts.mark_lost)(node, replicas);
        }
    }

    /// Takes a step for each led shard that is not where the view wants it, and tells the metadata
    /// whom its group has let go.
    fn move_replicas(&mut self, view: &View, me: &ShardsRef) {
        let led: Vec<ShardId> = self.reigns.keys().copied().collect();
        for shard in &led {
            self.step(view, *shard, me);
        }
        let last = |shard: ShardId| {
            let local = self.parts.directory.get(shard)?;
            Some((shard, local.group.status().last_index))
        };
        self.paces = led.into_iter().filter_map(last).collect();
    }

    /// A step was taken, or not: the next one follows at once.
    pub(super) fn on_moved(&mut self, shard: ShardId, taken: bool, me: &ShardsRef) {
        self.moving.remove(&shard);
        if taken && !self.stopping && self.reigns.contains_key(&shard) {
            let view = Arc::clone(&self.parts.view.borrow());
            self.step(&view, shard, me);
        }
    }

    fn step(&mut self, view: &View, shard: ShardId, me: &ShardsRef) {
        if self.moving.len() >= MAX_MOVES || self.moving.contains(&shard) {
            return;
        }
        let (Some(row), Some(local)) = (view.shard(shard), self.parts.directory.get(shard)) else {
            return;
        };
        let mut status = local.group.status();
        temper(&mut status, self.paces.get(&shard).copied());
        status.pass_over(|id| local.group.could_take_over(id, CAUGHT_UP));
        let left = left(row, &status);
        let step = next_step(row, &status, local.id);
        if left.is_empty() && step.is_none() {
            return;
        }
        self.moving.insert(shard);
        let (parts, me) = (Arc::clone(&self.parts), me.clone());
        let clock = Arc::clone(&parts.groups.clock);
        self.parts.groups.tasks.spawn(async move {
            if !left.is_empty() {
                parts.barriers.pass(Barrier::OldRemoved, Some(shard)).await;
                (parts.mark_left)(shard, left);
            }
            let Some(step) = step else {
                me.cast(Msg::Moved(shard, false)).ok();
                return;
            };
            let time = clock.sleep(STEP_WITHIN);
            let taken = tokio::select! { biased;
                taken = take(&parts, shard, &local, step.clone()) => taken,
                () = time => Err(ChangeError::Unknown),
            };
            match &taken {
                Ok(()) => tracing::info!(%shard, ?step, "a shard's replicas changed"),
                Err(error) => tracing::debug!(%shard, ?step, %error, "no change of replicas"),
            }
            let again = taken.is_ok() && !matches!(step, Step::HandOver(_));
            // A supervisor that has stopped moves nothing.
            me.cast(Msg::Moved(shard, again)).ok();
        });
    }

    /// A node that is leaving, or whose disk is full, gives its shards away.
    fn give_away(&self, view: &View, now: Duration) {
        let node = self.parts.node;
        let row = view.nodes.get(&node);
        let leaving = row.is_some_and(|row| row.state != NodeState::Active)
            || view.departing.contains_key(&node);
        let hurries = leaving || !self.parts.groups.store.log().has_room();
        let mut left = if hurries { LEAVING } else { 1 };
        let roomless = self.parts.full.borrow().clone();
        let mut heirs = Heirs::default();
        for (shard, sitting) in &self.reigns {
            let group = &sitting.court.reign.group;
            let reigned = now.saturating_sub(sitting.since);
            // R15: who has no room for drafts does not lead, unless nobody has.
            let full = !group.has_room() && reigned >= FULL_AFTER;
            let takes = |to: NodeId| leaving || !roomless.contains(&to);
            let Some(row) = view.shard(*shard).filter(|_| (leaving || full) && left > 0) else {
                continue;
            };
            let joint = group.status().joint;
            let near = |id: ReplicaId| {
                let takes = view.node_of(id).is_some_and(takes);
                takes && !joint && group.could_take_over(id, NEAR)
            };
            if let Some(heir) = heirs.of(view, row, node, near) {
                left -= 1;
                // An actor that has failed is replaced; the next round asks again.
                sitting.court.actor.cast(shard::Msg::Transfer(heir)).ok();
            }
        }
    }

    /// Stops and removes what is to be here no more: once its group has let it go, or at once if
    /// another replica takes its place on this node; and what a crash left of such.
    fn retire(&mut self, view: &View, me: &ShardsRef) {
        let node = self.parts.node;
        let mut gone: Vec<(ShardId, Local)> = Vec::new();
        let mut over: Vec<(ShardId, Local)> = Vec::new();
        for (shard, id) in &self.placed {
            let Some(row) = view.shard(*shard).filter(|_| view.has_left(*shard, *id)) else {
                continue;
            };
            let Some(local) = self.parts.directory.get(*shard) else {
                continue;
            };
            let replaced = row.on(node).is_some();
            if row.is_over(*id) {
                over.push((*shard, local));
            } else if replaced || view.keeps_leaving() || has_left(&local.group.status(), *id) {
                gone.push((*shard, local));
            }
        }
        for (shard, local) in over {
            self.set_aside(shard, local, me);
        }
        for (shard, local) in gone {
            drop(self.end_reign(shard));
            self.parts.directory.remove(shard);
            self.stored.retain(|stored| *stored != (shard, local.id));
            self.remove(shard, local.id, Some(local.group), me);
        }
        let running: BTreeSet<_> = self.placed.iter().map(|(s, id)| (*s, *id)).collect();
        let over = |stored: &(ShardId, ReplicaId)| {
            view.keeps_leaving()
                && view.has_left(stored.0, stored.1)
                && view
                    .shard(stored.0)
                    .is_none_or(|row| !row.is_over(stored.1))
                && !running.contains(stored)
        };
        let left: Vec<_> = self.stored.iter().copied().filter(over).collect();
        for stored in left {
            self.stored.retain(|other| *other != stored);
            self.remove(stored.0, stored.1, None, me);
        }
    }

    /// Stops a replica, if it runs, and deletes what it has on the disk.
    pub(super) fn remove(
        &self,
        shard: ShardId,
        id: ReplicaId,
        group: Option<Group<ShardMachine>>,
        me: &ShardsRef,
    ) {
        let (parts, me) = (Arc::clone(&self.parts), me.clone());
        self.parts.groups.tasks.spawn(async move {
            if let Some(group) = group {
                group.stop().await;
            }
            parts.barriers.pass(Barrier::Stopped, Some(shard)).await;
            match parts.groups.store.remove(GroupId::Shard(shard), id).await {
                Ok(()) => {
                    tracing::info!(%shard, replica = %id, "a replica is removed");
                    let barriers = &parts.barriers;
                    barriers.pass(Barrier::FilesDeleted, Some(shard)).await;
                }
                Err(error) => {
                    tracing::error!(%shard, replica = %id, %error, "a replica's files stay");
                }
            }
            // A supervisor that has stopped starts no other.
            me.cast(Msg::Retired(shard, id)).ok();
        });
    }

    pub(super) fn on_retired(&mut self, shard: ShardId, id: ReplicaId, me: &ShardsRef) {
        if self.placed.get(&shard) == Some(&id) {
            self.placed.remove(&shard);
        }
        self.on_view(me);
    }
}

async fn take(parts: &Parts, shard: ShardId, local: &Local, step: Step) -> Result<(), ChangeError> {
    let group: &Group<ShardMachine> = &local.group;
    let pass = |barrier| parts.barriers.pass(barrier, Some(shard));
    match step {
        Step::Learn(replica) => {
            pass(Barrier::LearnerChosen).await;
            group.add_learner(replica).await?;
            pass(Barrier::LearnerAdded).await;
        }
        Step::Vote(voters) => {
            pass(Barrier::CaughtUp).await;
            group.change_voters(voters).await?;
            pass(Barrier::VotersChanged).await;
        }
        Step::Leave(gone) => group.remove_learners(gone).await?,
        Step::HandOver(to) => {
            pass(Barrier::HandingOver).await;
            // As it is now: the reign may have ended meanwhile.
            let court = parts.directory.court(shard).ok_or(ChangeError::Stopped)?;
            // An actor that has failed is replaced; the next round asks again.
            let sent = court.actor.cast(shard::Msg::Transfer(to));
            sent.map_err(|_| ChangeError::Stopped)?;
        }
    }
    Ok(())
}
