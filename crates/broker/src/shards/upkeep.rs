//! What the supervisor looks after once a second: snapshots, moves of replicas, who leads, and
//! replicas that are placed here no more.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{ChangeError, Group, GroupId};
use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_core::view::{NodeState, View};

use super::{Msg, ShardsRef, State};
use crate::directory::Local;
use crate::machine::ShardMachine;
use crate::moves::{Step, has_left, next_step, preferred};
use crate::shard;

/// Moves of this node's shards at a time.
const MAX_MOVES: usize = 2;
/// How long a step is waited for; later it is taken again.
const STEP_WITHIN: Duration = Duration::from_secs(30);
/// How long a node whose disk is full leads before it gives a shard away.
const FULL_AFTER: Duration = Duration::from_secs(10);
/// Leaderships given away in one round by a node that is leaving; else it is one.
const LEAVING: usize = 8;

impl State {
    pub(super) fn upkeep(&mut self, me: &ShardsRef) {
        let view = Arc::clone(&self.parts.view.borrow());
        let now = self.parts.groups.clock.now();
        for shard in self.placed.keys() {
            self.initialize(*shard);
        }
        self.snapshot(now);
        self.move_replicas(&view, me);
        self.balance(&view, now);
        self.retire(&view, me);
    }

    fn snapshot(&mut self, now: Duration) {
        let parts = Arc::clone(&self.parts);
        let (log_bytes, _) = parts.groups.store.log().bytes();
        let due = self
            .snapshots
            .next(&parts.directory, &parts.options, log_bytes, now);
        if let Some(local) = due {
            self.parts.groups.tasks.spawn(async move {
                if let Err(error) = local.group.snapshot().await {
                    tracing::warn!(replica = %local.id, %error, "no snapshot of a shard");
                }
            });
        }
    }

    /// Takes a step for each led shard that is not where the view wants it.
    fn move_replicas(&mut self, view: &View, me: &ShardsRef) {
        for shard in self.reigns.keys() {
            if self.moving.len() >= MAX_MOVES {
                return;
            }
            let (Some(row), Some(local)) = (view.shard(*shard), self.parts.directory.get(*shard))
            else {
                continue;
            };
            let step = next_step(row, &local.group.status(), local.id);
            let Some(step) = step.filter(|_| !self.moving.contains(shard)) else {
                continue;
            };
            self.moving.insert(*shard);
            let (shard, me) = (*shard, me.clone());
            let clock = Arc::clone(&self.parts.groups.clock);
            self.parts.groups.tasks.spawn(async move {
                let time = clock.sleep(STEP_WITHIN);
                let taken = tokio::select! { biased;
                    taken = take(&local, step.clone()) => taken,
                    () = time => Err(ChangeError::Unknown),
                };
                match taken {
                    Ok(()) => tracing::info!(%shard, ?step, "a shard's replicas changed"),
                    Err(error) => tracing::debug!(%shard, ?step, %error, "no change of replicas"),
                }
                // A supervisor that has stopped moves nothing.
                me.cast(Msg::Moved(shard)).ok();
            });
        }
    }

    /// Gives leaderships to the preferred nodes, one a round and only in calm; a node that is
    /// leaving gives all away.
    fn balance(&self, view: &View, now: Duration) {
        let node = self.parts.node;
        let leaving = view
            .nodes
            .get(&node)
            .is_some_and(|row| row.state != NodeState::Active);
        let mut left = if leaving { LEAVING } else { 1 };
        for (shard, sitting) in &self.reigns {
            let group = &sitting.court.reign.group;
            let reigned = now.saturating_sub(sitting.since);
            // R15: who has no room for drafts does not lead, unless nobody has.
            let full = !group.has_room() && reigned >= FULL_AFTER;
            let away = leaving || full;
            let calm = away || reigned >= self.parts.options.calm;
            let Some(row) = view.shard(*shard).filter(|_| calm && left > 0) else {
                continue;
            };
            let status = group.status();
            let heir = preferred(row, &status, node).or_else(|| {
                let heirs = row.replicas.iter().filter(|_| away);
                let mut heirs = heirs.map(|replica| (replica.id, Some(replica.node)));
                let mut wish = row.clone();
                heirs.find_map(|(_, to)| {
                    wish.preferred = to;
                    preferred(&wish, &status, node)
                })
            });
            if let Some(to) = heir {
                left -= 1;
                // An actor that has failed is replaced; the next round asks again.
                sitting.court.actor.cast(shard::Msg::Transfer(to)).ok();
            }
        }
    }

    /// Stops and removes what is placed here no more: once its group has let it go, or at once if
    /// another replica takes its place on this node.
    fn retire(&mut self, view: &View, me: &ShardsRef) {
        let node = self.parts.node;
        let mut gone: Vec<(ShardId, Local)> = Vec::new();
        for (shard, id) in &self.placed {
            let Some(row) = view.shard(*shard) else {
                continue;
            };
            let here = row.replicas.iter().find(|replica| replica.node == node);
            let Some(local) = self.parts.directory.get(*shard) else {
                continue;
            };
            let replaced = here.is_some_and(|replica| replica.id != *id);
            let left = here.is_none() && has_left(&local.group.status(), *id);
            if replaced || left {
                gone.push((*shard, local));
            }
        }
        for (shard, local) in gone {
            drop(self.end_reign(shard));
            self.parts.directory.remove(shard);
            self.remove(shard, local.id, Some(local.group), me);
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
            match parts.groups.store.remove(GroupId::Shard(shard), id).await {
                Ok(()) => tracing::info!(%shard, replica = %id, "a replica is removed"),
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

async fn take(local: &Local, step: Step) -> Result<(), ChangeError> {
    let group: &Group<ShardMachine> = &local.group;
    match step {
        Step::Learn(replica) => group.add_learner(replica).await,
        Step::Vote(voters) => group.change_voters(voters).await,
        Step::Leave(gone) => group.remove_learners(gone).await,
        Step::HandOver(to) => match &local.court {
            // An actor that has failed is replaced; the next round asks again.
            Some(court) => court
                .actor
                .cast(shard::Msg::Transfer(to))
                .map_err(|_| ChangeError::Stopped),
            None => Err(ChangeError::Stopped),
        },
    }
}
