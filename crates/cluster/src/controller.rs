//! What the leader of the metadata group does about the view: records which shards have begun and
//! keeps the metadata group's own members as the view says, and places shards anew when a node came,
//! left, lost its data or is away. Moving the replicas is the work of their shards' leaders.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::{ChangeError, Group, Status};
use fanfare_core::id::{Generation, NodeId, ReplicaId, ShardId};
use fanfare_core::placement;
use fanfare_core::view::{Command, Node, Outcome, StoreState, View};
use fanfare_rpc::members::ReplicaStatus;

use crate::MetaMachine;
use crate::ask::within;
use crate::cluster::Shared;
use crate::moves;

/// Entries a learner may be behind to become a voter.
const CAUGHT_UP: u64 = 1_000;

/// Entries after which a replica writes a snapshot, so that its log can be purged.
const SNAPSHOT_AFTER: u64 = 100_000;

/// Next step towards the members the view wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Learn(ReplicaId),
    Vote(BTreeSet<ReplicaId>),
    Leave(BTreeSet<ReplicaId>),
}

/// Works in rounds until it is cancelled; all but snapshots only while this node leads.
pub(crate) async fn control(shared: Arc<Shared>) {
    let mut away: BTreeSet<NodeId> = BTreeSet::new();
    let mut led_since: Option<Duration> = None;
    loop {
        shared.deps.clock().sleep(shared.config.times.round).await;
        let Some(group) = shared.group() else { return };
        let status = group.status();
        if status.applied.saturating_sub(status.snapshot) >= SNAPSHOT_AFTER
            && let Err(error) = group.snapshot().await
        {
            tracing::warn!(%error, "no snapshot of the metadata group");
        }
        let view = Arc::clone(&shared.views.borrow());
        if !group.role().borrow().serves || !view.is_bootstrapped() {
            away.clear();
            led_since = None;
            continue;
        }
        shared.record_begun(&view).await;
        let status = group.status();
        if let Some(step) = next_step(&view, &status) {
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
        if now.saturating_sub(since) >= shared.config.times.calm {
            shared.place(&view, &now_away).await;
        }
        away = now_away;
    }
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
        let plan = placement::plan(view, away);
        if plan.is_empty() {
            return;
        }
        let rows = moves::due(view, plan, &self.reports(), away);
        if rows.is_empty() {
            return;
        }
        let shards: Vec<u32> = rows.iter().map(|row| row.shard.0).collect();
        let place = Command::Place {
            base: view.version,
            rows,
        };
        // A stale plan is refused; the next round makes another.
        match self.propose(&place, self.config.times.propose).await {
            Ok(Outcome::Done { .. } | Outcome::Added { .. }) => {
                tracing::info!(?shards, "shards placed anew");
            }
            Ok(Outcome::Refused(refusal)) => tracing::debug!(%refusal, "not placed"),
            Err(error) => tracing::debug!(%error, "not placed"),
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
fn next_step(view: &View, status: &Status) -> Option<Step> {
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
        return Some(Step::Vote(voters));
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
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::DiskId;
    use fanfare_core::view::{Addresses, Bootstrap, NewNode, Replica};

    use super::*;

    fn view(nodes: u64) -> View {
        let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let node = |id: &NodeId| NewNode {
            id: *id,
            name: format!("n{id}"),
            disk: DiskId(u128::from(id.0)),
            level: 1,
            addresses: Addresses {
                peer: format!("n{id}:1"),
                ..Addresses::default()
            },
        };
        let mut view = View::empty();
        view.apply(&Command::Bootstrap(Bootstrap {
            cluster: fanfare_core::id::ClusterId(1),
            level: 1,
            payload_limit: 65_536,
            nodes: ids.iter().map(node).collect(),
            meta: ids
                .iter()
                .map(|id| Replica {
                    id: ReplicaId(id.0),
                    node: *id,
                })
                .collect(),
            shards: placement::first(&ids, 1),
        }));
        for node in ids {
            view.apply(&started(node));
        }
        assert_eq!(view.version, 1 + nodes);
        view
    }

    fn started(node: NodeId) -> Command {
        Command::NodeStarted {
            node,
            generation: Generation(1),
            disk: DiskId(u128::from(node.0)),
            level: 1,
            addresses: Addresses {
                peer: format!("n{node}:1"),
                ..Addresses::default()
            },
        }
    }

    fn status(voters: &[u64], learners: &[u64], behind: &[(u64, u64)]) -> Status {
        let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
        Status {
            voters: ids(voters),
            learners: ids(learners),
            behind: behind.iter().map(|(id, n)| (ReplicaId(*id), *n)).collect(),
            ..Status::default()
        }
    }

    fn ids(ids: &[u64]) -> BTreeSet<ReplicaId> {
        ids.iter().copied().map(ReplicaId).collect()
    }

    #[test]
    fn every_node_learns_and_three_vote() {
        let view = view(5);
        let step = next_step(&view, &status(&[1, 2, 3], &[], &[]));
        assert_eq!(step, Some(Step::Learn(ReplicaId(4))));
        let step = next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 9_999)]));
        assert_eq!(step, Some(Step::Learn(ReplicaId(5))));
        assert_eq!(next_step(&view, &status(&[1, 2, 3], &[4, 5], &[])), None);
    }

    #[test]
    fn a_lost_voter_is_replaced_once_its_successor_has_caught_up() {
        let mut view = view(4);
        view.apply(&Command::RecordDataLoss { node: NodeId(2) });
        assert_eq!(
            next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 1_000)])),
            None
        );
        assert_eq!(
            next_step(&view, &status(&[1, 2, 3], &[4], &[])),
            None,
            "lag not known"
        );
        let step = next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 999)]));
        assert_eq!(step, Some(Step::Vote(ids(&[1, 3, 4]))));
    }

    #[test]
    fn a_node_that_was_never_seen_to_start_does_not_vote() {
        let mut view = view(2);
        view.apply(&Command::AddNode {
            name: "new".to_owned(),
            disk: DiskId(3),
            level: 1,
            addresses: Addresses {
                peer: "new:1".to_owned(),
                ..Addresses::default()
            },
        });
        let replica = view.meta_on(NodeId(3)).unwrap().0;
        let caught_up = status(&[1, 2], &[replica], &[(replica, 0)]);
        assert_eq!(next_step(&view, &caught_up), None);
        view.apply(&started(NodeId(3)));
        assert_eq!(
            next_step(&view, &caught_up),
            Some(Step::Vote(ids(&[1, 2, replica])))
        );
    }

    #[test]
    fn a_replica_on_a_lost_disk_is_let_go_though_none_takes_its_place() {
        let mut view = view(3);
        view.apply(&Command::RecordDataLoss { node: NodeId(2) });
        let step = next_step(&view, &status(&[1, 2, 3], &[], &[]));
        assert_eq!(step, Some(Step::Vote(ids(&[1, 3]))));
        assert_eq!(
            next_step(&view, &status(&[1, 3], &[], &[])),
            None,
            "it is not added again"
        );
    }

    #[test]
    fn a_change_that_was_cut_in_the_middle_is_brought_to_its_end() {
        let joint = Status {
            joint: true,
            ..status(&[1, 2, 3], &[], &[])
        };
        assert_eq!(
            next_step(&view(3), &joint),
            Some(Step::Vote(ids(&[1, 2, 3])))
        );
    }

    #[test]
    fn a_removed_node_leaves_after_it_votes_no_more() {
        let mut view = view(4);
        view.apply(&Command::RemoveNode { node: NodeId(3) });
        let step = next_step(&view, &status(&[1, 2, 3], &[4], &[(4, 0)]));
        assert_eq!(step, Some(Step::Vote(ids(&[1, 2, 4]))));
        let step = next_step(&view, &status(&[1, 2, 4], &[3], &[(4, 0)]));
        assert_eq!(step, Some(Step::Leave(ids(&[3]))));
    }
}
