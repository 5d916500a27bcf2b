//! From where a shard's replicas are to where the view wants them, a step at a time: what the
//! shard's leader does next. A value; every step may be taken again after a crash.

use std::collections::BTreeSet;

use fanfare_consensus::Status;
use fanfare_core::id::ReplicaId;
use fanfare_core::view::ShardRow;

/// Entries a replica may be behind to vote, or to take over.
pub(crate) const CAUGHT_UP: u64 = 1_000;

/// The next step of a shard's leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add a replica that learns.
    Learn(ReplicaId),
    /// Make these the voters.
    Vote(BTreeSet<ReplicaId>),
    /// Remove learners that are planned no more.
    Leave(BTreeSet<ReplicaId>),
    /// Hand the leadership over: the leader's own replica is planned no more.
    HandOver(ReplicaId),
}

/// What the leader, replica `me`, does next; `None`: all is as the view wants it, or who must vote
/// has not caught up.
pub(crate) fn next_step(row: &ShardRow, status: &Status, me: ReplicaId) -> Option<Step> {
    let planned: BTreeSet<_> = row.replicas.iter().map(|replica| replica.id).collect();
    if planned.is_empty() || !row.begun {
        return None;
    }
    let voters: BTreeSet<_> = status.voters.iter().copied().collect();
    let learners: BTreeSet<_> = status.learners.iter().copied().collect();
    let missing = planned
        .iter()
        .find(|id| !voters.contains(*id) && !learners.contains(*id));
    if let Some(missing) = missing {
        return Some(Step::Learn(*missing));
    }
    let mut wanted = planned.clone();
    // The leader goes last, and as a follower.
    wanted.insert(me);
    let can_vote = |id: &ReplicaId| voters.contains(id) || is_near(status, *id);
    if (voters != wanted || status.joint) && wanted.iter().all(can_vote) {
        return Some(Step::Vote(wanted));
    }
    let gone: BTreeSet<_> = learners.difference(&planned).copied().collect();
    if !gone.is_empty() {
        return Some(Step::Leave(gone));
    }
    let done = voters == wanted && !planned.contains(&me);
    let wish = row.preferred.and_then(|node| row.on(node));
    let near = |id: &&ReplicaId| is_near(status, **id);
    let heir = planned
        .iter()
        .filter(near)
        .min_by_key(|id| Some(**id) != wish);
    heir.filter(|_| done).map(|heir| Step::HandOver(*heir))
}

/// A learner that lacks what the leader had when it was looked after last, a second ago, is no
/// nearer than one that lacks everything: it might never get there.
pub(crate) fn temper(status: &mut Status, pace: Option<u64>) {
    for (id, behind) in &mut status.behind {
        let has = status.last_index.saturating_sub(*behind);
        if status.learners.contains(id) && pace.is_none_or(|pace| has < pace) {
            *behind = u64::MAX;
        }
    }
}

/// The replicas of a row that its group has let go for good, as its leader sees it.
pub(crate) fn left(row: &ShardRow, status: &Status) -> Vec<ReplicaId> {
    if status.joint || !status.members_committed || status.voters.is_empty() {
        return Vec::new();
    }
    let ids = row.leaving.iter().map(|replica| replica.id);
    ids.filter(|id| !status.voters.contains(id) && !status.learners.contains(id))
        .collect()
}

/// True if a replica that is not in its group any more may stop: the group knows of others only.
pub(crate) fn has_left(status: &Status, me: ReplicaId) -> bool {
    let known = !status.voters.is_empty();
    known && !status.joint && !status.voters.contains(&me) && !status.learners.contains(&me)
}

fn is_near(status: &Status, replica: ReplicaId) -> bool {
    status
        .behind
        .iter()
        .any(|(id, behind)| *id == replica && *behind < CAUGHT_UP)
}

#[cfg(test)]
mod random;

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::id::{NodeId, ShardId};
    use fanfare_core::view::Replica;

    fn row(replicas: &[u64]) -> ShardRow {
        let replica = |id: &u64| Replica {
            id: ReplicaId(*id),
            node: NodeId(*id),
        };
        ShardRow {
            id: ShardId(0),
            replicas: replicas.iter().map(replica).collect(),
            leaving: Vec::new(),
            repaired: None,
            preferred: None,
            begun: true,
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
    fn a_replica_learns_catches_up_votes_and_the_old_one_leaves() {
        let (row, me) = (row(&[1, 2, 4]), ReplicaId(1));
        let learn = next_step(&row, &status(&[1, 2, 3], &[], &[]), me);
        assert_eq!(learn, Some(Step::Learn(ReplicaId(4))));
        let far = status(&[1, 2, 3], &[4], &[(4, 5_000)]);
        assert_eq!(next_step(&row, &far, me), None, "it has not caught up");
        let near = status(&[1, 2, 3], &[4], &[(4, 10)]);
        assert_eq!(
            next_step(&row, &near, me),
            Some(Step::Vote(ids(&[1, 2, 4])))
        );
        assert_eq!(next_step(&row, &status(&[1, 2, 4], &[], &[]), me), None);
    }

    #[test]
    fn a_leader_that_must_go_hands_over_first() {
        let (row, me) = (row(&[2, 3, 4]), ReplicaId(1));
        let near = status(&[1, 2, 3], &[4], &[(2, 0), (3, 0), (4, 0)]);
        assert_eq!(
            next_step(&row, &near, me),
            Some(Step::Vote(ids(&[1, 2, 3, 4])))
        );
        let all = status(&[1, 2, 3, 4], &[], &[(2, 0), (3, 0), (4, 0)]);
        assert_eq!(
            next_step(&row, &all, me),
            Some(Step::HandOver(ReplicaId(2)))
        );
        let heir = next_step(&row, &all, ReplicaId(2));
        assert_eq!(heir, Some(Step::Vote(ids(&[2, 3, 4]))));
    }

    #[test]
    fn a_leader_that_must_go_passes_over_who_does_not_answer() {
        let mut row = row(&[2, 3, 4]);
        row.preferred = Some(NodeId(3));
        let mut all = status(&[1, 2, 3, 4], &[], &[(2, 0), (3, 0), (4, 0)]);
        all.pass_over(|id| id != ReplicaId(3));
        let step = next_step(&row, &all, ReplicaId(1));
        assert_eq!(step, Some(Step::HandOver(ReplicaId(2))));
        all.pass_over(|_| false);
        assert_eq!(next_step(&row, &all, ReplicaId(1)), None, "nobody answers");
    }

    #[test]
    fn a_change_that_was_left_half_done_is_said_again() {
        let joint = Status {
            joint: true,
            ..status(&[1, 2, 3], &[], &[(2, 0), (3, 0)])
        };
        let step = next_step(&row(&[1, 2, 3]), &joint, ReplicaId(1));
        assert_eq!(step, Some(Step::Vote(ids(&[1, 2, 3]))));
    }

    #[test]
    fn learners_nobody_wants_leave() {
        let stray = status(&[1, 2, 3], &[9], &[]);
        let step = next_step(&row(&[1, 2, 3]), &stray, ReplicaId(1));
        assert_eq!(step, Some(Step::Leave(ids(&[9]))));
    }

    #[test]
    fn a_shard_that_has_not_begun_moves_nothing() {
        let row = ShardRow {
            begun: false,
            ..row(&[1, 2, 4])
        };
        assert_eq!(
            next_step(&row, &status(&[1, 2, 3], &[], &[]), ReplicaId(1)),
            None
        );
    }

    #[test]
    fn who_lacks_what_was_there_a_second_ago_is_not_near() {
        let mut of = status(&[1, 2, 3], &[4], &[(2, 900), (4, 10)]);
        of.last_index = 5_000;
        let behind = |pace| {
            let mut of = of.clone();
            temper(&mut of, pace);
            of.behind
        };
        assert_eq!(behind(Some(4_990))[1].1, 10);
        assert_eq!(behind(Some(4_991))[1].1, u64::MAX);
        assert_eq!(behind(None)[1].1, u64::MAX, "not looked at before");
        assert_eq!(behind(None)[0].1, 900, "it votes already");
    }

    #[test]
    fn a_replica_is_let_go_by_a_committed_change_only() {
        let mut row = row(&[1, 2, 4]);
        row.leaving = vec![Replica {
            id: ReplicaId(3),
            node: NodeId(3),
        }];
        let gone = |members_committed, joint, voters: &[u64]| {
            let status = Status {
                members_committed,
                joint,
                ..status(voters, &[], &[])
            };
            left(&row, &status)
        };
        assert_eq!(gone(true, false, &[1, 2, 4]), [ReplicaId(3)]);
        assert_eq!(gone(false, false, &[1, 2, 4]), []);
        assert_eq!(gone(true, true, &[1, 2, 4]), []);
        assert_eq!(gone(true, false, &[1, 2, 3]), []);
    }

    #[test]
    fn a_replica_has_left_when_its_group_is_of_others_only() {
        assert!(has_left(&status(&[2, 3, 4], &[], &[]), ReplicaId(1)));
        assert!(!has_left(&status(&[1, 2, 3], &[], &[]), ReplicaId(1)));
        assert!(
            !has_left(&status(&[], &[], &[]), ReplicaId(1)),
            "it was never told of a group"
        );
    }
}
