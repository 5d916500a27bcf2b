//! What the leader of the metadata group does about the view: records which shards have begun and
//! keeps the metadata group's own members as the view says, places shards anew when a node came,
//! leaves, lost its data or is away, and removes departing nodes that hold nothing any more. Moving
//! the replicas is the work of their shards' leaders.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{ChangeError, Group, Status};
use fanfare_core::barrier::Barrier;
use fanfare_core::id::{Generation, NodeId, ReplicaId, ShardId};
use fanfare_core::level;
use fanfare_core::placement;
use fanfare_core::view::{Command, Node, Outcome, StoreState, View};
use fanfare_rpc::members::{HandOver, ReplicaStatus};
use tokio::task::JoinHandle;

use crate::MetaMachine;
use crate::ask::within;
use crate::balance::{Balance, World};
use crate::cluster::Shared;
use crate::moves;

/// Entries a learner may be behind to become a voter.
const CAUGHT_UP: u64 = 1_000;

/// Next step towards the members the view wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Learn(ReplicaId),
    Vote(BTreeSet<ReplicaId>),
    Leave(BTreeSet<ReplicaId>),
    /// Hand the leadership over: the leader itself is to leave.
    HandOver(ReplicaId),
}

/// How long an heir may take to have all of the log.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Before a leader has listened for a while it takes nobody for away.
static NOBODY: BTreeSet<NodeId> = BTreeSet::new();

/// Works in rounds until it is cancelled; all but snapshots only while this node leads.
pub(crate) async fn control(shared: Arc<Shared>) {
    let mut away: BTreeSet<NodeId> = BTreeSet::new();
    let mut led_since: Option<Duration> = None;
    let mut writing: Option<JoinHandle<()>> = None;
    let mut balance = Balance::new(shared.config.times.calm);
    loop {
        shared.deps.clock().sleep(shared.config.times.round).await;
        // None while the group begins anew; at the node's stop this task is cancelled.
        let Some(group) = shared.group() else {
            continue;
        };
        let view = Arc::clone(&shared.views.borrow());
        let may_write = view.level >= level::SNAPSHOTS;
        if may_write && writing.as_ref().is_none_or(JoinHandle::is_finished) {
            writing = write_snapshot(&shared, &group);
        }
        if !group.role().borrow().serves || !view.is_bootstrapped() {
            away.clear();
            led_since = None;
            balance.reset();
            shared.hand_over.send_replace(None);
            continue;
        }
        shared.record_begun(&view).await;
        let mut status = group.status();
        status.pass_over(|id| group.could_take_over(id, CAUGHT_UP));
        if let Some(step) = next_step(&view, &status, group.replica()) {
            if let Step::Vote(_) = step {
                shared.deps.barriers.pass(Barrier::MetaVoters, None).await;
            }
            let taking = Box::pin(take(&group, step.clone()));
            let time = shared.config.times.propose;
            let taken = within(&**shared.deps.clock(), time, taking).await;
            match taken.unwrap_or(Err(ChangeError::Unknown)) {
                Ok(()) => tracing::info!(?step, "metadata group changed"),
                Err(error) => tracing::debug!(?step, %error, "metadata group not changed"),
            }
        }
        let now = shared.deps.clock().now();
        let now_away = shared.detector().away(now);
        for node in now_away.difference(&away) {
            tracing::warn!(%node, "node is away; its replicas are made anew where there is room");
        }
        let since = *led_since.get_or_insert(now);
        let calm = now.saturating_sub(since) >= shared.config.times.calm;
        let rebuilt = if calm { &now_away } else { &NOBODY };
        shared.place(&view, rebuilt).await;
        shared.remove_empty(&view, &status).await;
        shared.balance(&mut balance, &view);
        away = now_away;
    }
}

/// Writes a snapshot of this node's replica if one is due, beside the rounds.
fn write_snapshot(shared: &Shared, group: &Group<MetaMachine>) -> Option<JoinHandle<()>> {
    let why = group.due()?;
    let group = group.clone();
    Some(shared.deps.groups.tasks.spawn(async move {
        if let Err(error) = group.snapshot(why).await {
            tracing::warn!(%error, ?why, "no snapshot of the metadata group");
        }
    }))
}

impl Shared {
    /// What this node and those that are heard say of their shard replicas.
    fn reports(&self) -> Vec<ReplicaStatus> {
        let mut reports = self.deps.replicas.borrow().clone();
        let now = self.deps.clock().now();
        let detector = self.detector().clone();
        for (node, beat) in self.beats().iter() {
            if detector.is_alive(*node, now) {
                reports.extend(beat.replicas.iter().cloned());
            }
        }
        reports
    }

    /// Places shards anew, as far as it is their turn.
    async fn place(&self, view: &View, away: &BTreeSet<NodeId>) {
        let silent = self.silent(view);
        let plan = placement::plan_around(view, away, &silent);
        if plan.is_empty() {
            return;
        }
        let rows = moves::due(view, plan, &self.reports(), away);
        if rows.is_empty() {
            return;
        }
        let shards: Vec<u32> = rows.iter().map(|row| row.shard.0).collect();
        let moved: Vec<ShardId> = rows.iter().map(|row| row.shard).collect();
        for shard in &moved {
            self.deps
                .barriers
                .pass(Barrier::Planned, Some(*shard))
                .await;
        }
        let place = Command::Place {
            base: view.version,
            rows,
        };
        // A stale plan is refused; the next round makes another.
        match self.propose(&place, self.config.times.propose).await {
            Ok(Outcome::Done { .. } | Outcome::Added { .. }) => {
                tracing::info!(?shards, "shards placed anew");
                for shard in moved {
                    self.deps.barriers.pass(Barrier::Placed, Some(shard)).await;
                }
            }
            Ok(Outcome::Refused(refusal)) => tracing::debug!(%refusal, "not placed"),
            Err(error) => tracing::debug!(%error, "not placed"),
        }
    }

    /// Says which leadership should go back to its preferred node now, if one should.
    fn balance(&self, balance: &mut Balance, view: &View) {
        let world = World {
            view,
            reports: &self.reports(),
            silent: &self.silent(view),
            full: &self.full(),
        };
        let wish = balance.round(self.deps.clock().now(), &world);
        if let Some(HandOver { shard, heir, .. }) = wish {
            tracing::info!(%shard, %heir, "a shard goes back to its preferred node");
        }
        self.hand_over.send_replace(wish);
        self.ask(wish);
    }

    /// Nodes of the view that are not heard now.
    fn silent(&self, view: &View) -> BTreeSet<NodeId> {
        let me = self.member().map(|me| me.node);
        let (now, detector) = (self.deps.clock().now(), self.detector().clone());
        let silent = |id: &NodeId| Some(*id) != me && !detector.is_alive(*id, now);
        view.living().map(|node| node.id).filter(silent).collect()
    }

    /// Removes departing nodes that have no replica of a shard and no vote any more.
    async fn remove_empty(&self, view: &View, status: &Status) {
        for node in view.departing.keys().copied() {
            let votes = view
                .meta_on(node)
                .is_some_and(|r| status.voters.contains(&r));
            if view.holds_replicas(node) || votes || status.joint {
                continue;
            }
            self.deps.barriers.pass(Barrier::Emptied, None).await;
            let remove = Command::RemoveNode { node };
            match self.propose(&remove, self.config.times.propose).await {
                Ok(Outcome::Done { .. } | Outcome::Added { .. }) => {
                    tracing::info!(%node, "a departing node is removed");
                }
                Ok(Outcome::Refused(refusal)) => tracing::warn!(%node, %refusal, "not removed"),
                Err(error) => tracing::debug!(%node, %error, "not removed"),
            }
        }
    }

    /// Records the shards whose groups are led and have applied an entry, by what nodes report.
    async fn record_begun(&self, view: &View) {
        let begun: BTreeSet<ShardId> = self
            .reports()
            .into_iter()
            .filter(|report| report.leads && report.applied > 0)
            .filter(|report| {
                let row = view.shard(report.shard);
                row.is_some_and(|row| {
                    !row.begun && row.replicas.iter().any(|r| r.id == report.replica)
                })
            })
            .map(|report| report.shard)
            .collect();
        for shard in begun {
            // The next round says it again if it must.
            if self
                .propose(&Command::ShardBegun { shard }, self.config.times.propose)
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// One change at a time: learners are added first, then voters changed, then who has no place any
/// more is removed.
fn next_step(view: &View, status: &Status, me: ReplicaId) -> Option<Step> {
    let counts = |node: &Node| node.store == StoreState::ReadWrite;
    let wanted: BTreeSet<ReplicaId> = view
        .living()
        .filter(|node| counts(node))
        .filter_map(|node| view.meta_on(node.id))
        .collect();
    let have: BTreeSet<ReplicaId> = status
        .voters
        .iter()
        .chain(&status.learners)
        .copied()
        .collect();
    if let Some(missing) = wanted.difference(&have).next() {
        return Some(Step::Learn(*missing));
    }
    let voters: BTreeSet<ReplicaId> = placement::meta_voters(view).iter().map(|r| r.id).collect();
    let now: BTreeSet<ReplicaId> = status.voters.iter().copied().collect();
    let behind = |id: &ReplicaId| status.behind.iter().find(|(r, _)| r == id).map(|(_, n)| *n);
    // A node whose first start is not recorded has promised nothing yet that it could keep.
    let started = |id: &ReplicaId| {
        let node = view.node_of(*id).and_then(|node| view.nodes.get(&node));
        node.is_some_and(|node| node.generation > Generation(0))
    };
    let caught_up = |id: &ReplicaId| started(id) && behind(id).is_some_and(|n| n < CAUGHT_UP);
    let can_vote = |id: &ReplicaId| now.contains(id) || caught_up(id);
    // A change that its leader did not bring to the end is said again.
    if (voters != now || status.joint) && !voters.is_empty() && voters.iter().all(can_vote) {
        // Who leads goes last, and as a follower.
        let mut with_me = voters.clone();
        with_me.insert(me);
        if voters.contains(&me) || with_me != now || status.joint {
            return Some(Step::Vote(with_me));
        }
        let near = |id: &&ReplicaId| behind(id).is_some_and(|n| n < CAUGHT_UP);
        return voters.iter().find(near).copied().map(Step::HandOver);
    }
    let gone: BTreeSet<ReplicaId> = status
        .learners
        .iter()
        .copied()
        .filter(|id| !wanted.contains(id))
        .collect();
    (!gone.is_empty()).then_some(Step::Leave(gone))
}

async fn take(group: &Group<MetaMachine>, step: Step) -> Result<(), ChangeError> {
    match step {
        Step::Learn(replica) => group.add_learner(replica).await,
        Step::Vote(voters) => group.change_voters(voters).await,
        Step::Leave(gone) => group.remove_learners(gone).await,
        Step::HandOver(to) => {
            let handed = group.hand_over(to, HAND_OVER).await;
            handed.map_err(|error| ChangeError::Refused(error.to_string()))
        }
    }
}

#[cfg(test)]
mod tests;
