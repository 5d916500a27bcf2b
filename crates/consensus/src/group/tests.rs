//! Three replicas elect, replicate, lose their leader, restart; and what a leader alone says.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_core::id::{ReplicaId, Term};

use crate::testing::{Cluster, SOON};
use crate::{ConfirmError, Due, ProposeError};

const FIRST: Term = Term(0);

#[tokio::test]
async fn what_a_leader_places_every_replica_applies() {
    let cluster = Cluster::of(3).await;
    let (leader, term) = cluster.leader(FIRST).await;
    let leader = &cluster.members[&leader];
    let mut last = None;
    for number in 1..=20 {
        let placed = leader.group.propose(term, number, SOON).await;
        let (at, count) = placed.unwrap();
        assert_eq!((at.term, count as u64), (term, number));
        assert!(last < Some(at));
        last = Some(at);
    }
    let all: Vec<u64> = (1..=20).collect();
    for member in cluster.members.values() {
        member.holds(&all).await;
    }
    let heard = async {
        while !leader.group.hears_majority() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let heard = tokio::time::timeout(SOON, heard).await;
    assert!(heard.is_ok(), "a leader that hears nobody");
    assert!(!leader.group.is_empty());
    let status = leader.group.status();
    assert_eq!(status.voters, [1, 2, 3].map(ReplicaId));
    assert_eq!(Some(status.applied), last.map(|at| at.index));
}

#[tokio::test]
async fn a_follower_and_a_wrong_term_refuse_definitely() {
    let cluster = Cluster::of(3).await;
    let (id, term) = cluster.leader(FIRST).await;
    let follower = cluster
        .members
        .iter()
        .find(|(other, _)| **other != id)
        .unwrap()
        .1;
    follower.until(|role| role.leader == Some(id)).await;
    let refused = follower.group.propose(term, 1, SOON).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(id) }));
    let refused = follower.group.confirm(SOON).await;
    assert_eq!(refused, Err(ConfirmError::NotLeader { leader: Some(id) }));
    assert!(!follower.group.hears_majority());
    let leader = &cluster.members[&id];
    let refused = leader.group.propose(Term(term.0 + 1), 1, SOON).await;
    assert!(
        matches!(refused, Err(ProposeError::NotLeader { .. })),
        "{refused:?}"
    );
    assert_eq!(leader.propose(7).await, 1);
}

#[tokio::test]
async fn a_stopped_leader_is_followed_by_one_that_has_all() {
    let mut cluster = Cluster::of(3).await;
    let (old, term) = cluster.leader(FIRST).await;
    for number in [1, 2, 3] {
        cluster.members[&old].propose(number).await;
    }
    let stopped = cluster.members[&old].group.clone();
    cluster.stop(old).await;
    assert_eq!(
        stopped.propose(term, 9, SOON).await,
        Err(ProposeError::Stopped)
    );
    let (new, _) = cluster.leader(term).await;
    assert_eq!(cluster.members[&new].propose(4).await, 4);
    cluster.start(old).await;
    cluster.members[&old].holds(&[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn a_group_that_stopped_as_a_whole_goes_on_from_its_disks() {
    let mut cluster = Cluster::of(3).await;
    let (leader, term) = cluster.leader(FIRST).await;
    let all: Vec<u64> = (1..=50).collect();
    for &number in &all {
        cluster.members[&leader].propose(number).await;
    }
    for id in [1, 2, 3].map(ReplicaId) {
        cluster.stop(id).await;
    }
    for id in [1, 2, 3].map(ReplicaId) {
        cluster.start(id).await;
        assert!(!cluster.members[&id].group.is_empty());
    }
    let (leader, _) = cluster.leader(term).await;
    assert_eq!(cluster.members[&leader].propose(51).await, 51);
    for member in cluster.members.values() {
        member.holds(&(1..=51).collect::<Vec<_>>()).await;
    }
}

#[tokio::test]
async fn a_leader_alone_does_not_know_and_then_refuses() {
    let cluster = Cluster::of(3).await;
    let (id, term) = cluster.leader(FIRST).await;
    let leader = &cluster.members[&id];
    leader.propose(1).await;
    cluster.cut(id);
    let brief = Duration::from_millis(100);
    assert_eq!(
        leader.group.propose(term, 2, brief).await,
        Err(ProposeError::Unknown)
    );
    let refused = async {
        loop {
            match leader.group.propose(term, 3, brief).await {
                Err(ProposeError::Unknown) => {}
                other => break other,
            }
        }
    };
    let refused = tokio::time::timeout(SOON, refused).await.unwrap();
    assert_eq!(refused, Err(ProposeError::NoQuorum));
    assert!(!leader.group.hears_majority());
    assert_eq!(
        leader.group.confirm(brief).await,
        Err(ConfirmError::NoQuorum)
    );
    // The others go on, and what the lone leader could not place gives way to theirs.
    let others = cluster.members.iter().filter(|(other, _)| **other != id);
    let serving = others.map(|(_, other)| Box::pin(other.until(|role| role.serves)));
    let (_, nth, _) = futures_util::future::select_all(serving).await;
    let new = cluster
        .members
        .iter()
        .filter(|(other, _)| **other != id)
        .nth(nth)
        .unwrap()
        .1;
    assert_eq!(new.propose(10).await, 2);
    cluster.heal();
    leader.until(|role| !role.leads && role.term > term).await;
    leader.holds(&[1, 10]).await;
}

#[tokio::test]
async fn a_confirmed_leader_has_applied_all_that_was_placed_before() {
    let cluster = Cluster::of(3).await;
    let (id, term) = cluster.leader(FIRST).await;
    let leader = &cluster.members[&id];
    let (placed, _) = leader.group.propose(term, 5, SOON).await.unwrap();
    assert!(leader.group.confirm(SOON).await.unwrap() >= placed);
    assert_eq!(leader.counter.numbers(), [5]);
}

#[tokio::test]
async fn a_new_replica_learns_votes_and_replaces_another() {
    let mut cluster = Cluster::of(3).await;
    let (id, term) = cluster.leader(FIRST).await;
    cluster.members[&id].propose(1).await;
    cluster.start(ReplicaId(4)).await;
    assert!(cluster.member(4).group.is_empty());
    let leader = &cluster.members[&id];
    leader.group.add_learner(ReplicaId(4)).await.unwrap();
    cluster.member(4).holds(&[1]).await;
    assert_eq!(leader.group.status().learners, [ReplicaId(4)]);
    let out = ReplicaId(id.0 % 3 + 1);
    let voters: BTreeSet<ReplicaId> = (1..=4)
        .map(ReplicaId)
        .filter(|replica| *replica != out)
        .collect();
    leader.group.change_voters(voters.clone()).await.unwrap();
    let status = leader.group.status();
    assert_eq!(status.voters, voters.into_iter().collect::<Vec<_>>());
    cluster.stop(out).await;
    let leader = &cluster.members[&id];
    let placed = leader.group.propose(term, 2, SOON).await;
    assert_eq!(placed.unwrap().1, 2);
    cluster.member(4).holds(&[1, 2]).await;
}

#[tokio::test]
async fn a_snapshot_takes_the_place_of_the_log_it_covers() {
    let mut cluster = Cluster::of(1).await;
    let (id, term) = cluster.leader(FIRST).await;
    let all: Vec<u64> = (1..=1500).collect();
    let leader = &cluster.members[&id];
    let mut proposals = Vec::new();
    for &number in &all {
        proposals.push(leader.group.submit(term, number).await.unwrap());
    }
    let outcomes = proposals.into_iter().map(|proposal| proposal.outcome(SOON));
    for (placed, number) in futures_util::future::join_all(outcomes)
        .await
        .into_iter()
        .zip(&all)
    {
        assert_eq!(placed.unwrap().1 as u64, *number);
    }
    let index = leader.group.snapshot(Due::Grown(0)).await.unwrap();
    assert_eq!(leader.group.status().snapshot, index);
    leader.propose(7).await;
    cluster.stop(id).await;
    cluster.start(id).await;
    let (_, _) = cluster.leader(term).await;
    let member = &cluster.members[&id];
    assert!(member.group.status().snapshot >= 1500);
    member.holds(&[all, vec![7]].concat()).await;
    assert_eq!(member.propose(8).await, 1502);
}

#[tokio::test]
async fn a_removed_replica_leaves_nothing_on_the_disk() {
    let mut cluster = Cluster::of(3).await;
    let (id, _) = cluster.leader(FIRST).await;
    cluster.members[&id].propose(1).await;
    let out = cluster.members.remove(&id).unwrap();
    out.group.stop().await;
    let group = out.group.group();
    assert_eq!(out.store.replicas().unwrap(), [(group, id)]);
    out.store.remove(group, id).await.unwrap();
    assert_eq!(out.store.replicas().unwrap(), []);
    out.store.close().await;
    cluster.start(id).await;
    assert!(cluster.members[&id].group.is_empty());
}

#[tokio::test]
async fn a_disk_that_forgot_what_it_acknowledged_is_named_and_its_leader_goes_on() {
    for empty in [false, true] {
        let mut cluster = Cluster::lasting(3).await;
        let (leader, term) = cluster.leader(FIRST).await;
        let away = ReplicaId(leader.0 % 3 + 1);
        cluster.members[&leader].propose(1).await;
        cluster.members[&away].holds(&[1]).await;
        cluster.stop(away).await;
        let image = cluster.image(away);
        cluster.start(away).await;
        cluster.members[&leader].propose(2).await;
        cluster.members[&away].holds(&[1, 2]).await;
        cluster.stop(away).await;
        let forgot = match empty {
            true => fanfare_host::MemDisk::new(),
            false => image,
        };
        cluster.put_disk(away, forgot);
        cluster.start(away).await;
        let group = &cluster.members[&leader].group;
        let named = async {
            while group.went_back() != [away] {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let named = tokio::time::timeout(SOON, named).await;
        assert!(named.is_ok(), "{:?}", group.went_back());
        let (at, count) = group.propose(term, 3, SOON).await.unwrap();
        assert_eq!((at.term, count), (term, 3), "the same reign");
    }
}
