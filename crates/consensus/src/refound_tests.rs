//! A group that lost its majority begins anew from the copy that is left.

use std::sync::Arc;

use fanfare_core::id::{ReplicaId, Term};

use super::*;
use crate::testing::{Cluster, Counter, GROUP, Numbers};

const FIRST: Term = Term(0);
const FRESH: ReplicaId = ReplicaId(70);

/// Two of three are gone, for ever; what the third has, and the term it knew.
async fn survivor(cluster: &mut Cluster) -> (ReplicaId, Term) {
    let (leader, term) = cluster.leader(FIRST).await;
    for number in 1..=5 {
        cluster.members[&leader].propose(number).await;
    }
    let left = ReplicaId(leader.0 % 3 + 1);
    cluster.members[&left].holds(&[1, 2, 3, 4, 5]).await;
    for other in [leader, ReplicaId(left.0 % 3 + 1)] {
        cluster.stop(other).await;
    }
    (left, term)
}

async fn refounded(cluster: &Cluster, from: ReplicaId, at: u64) -> Result<Founded, RefoundError> {
    let found = move |counter: &mut Counter, place: LogPosition| {
        counter.apply(place, Some(&at));
        Ok(FRESH)
    };
    let (deps, codec) = (cluster.deps(from), Arc::new(Numbers));
    refound(&deps, GROUP, from, Counter::default(), codec, found).await
}

#[tokio::test]
async fn a_new_group_has_all_that_the_copy_had_and_grows_again() {
    let mut cluster = Cluster::of(3).await;
    let (left, term) = survivor(&mut cluster).await;
    cluster.member(left.0).group.stop().await;
    let founded = refounded(&cluster, left, 99).await.unwrap();
    assert_eq!(founded.replica, FRESH);
    assert!(founded.at.term > term);

    cluster.run(left, FRESH).await;
    let role = cluster.member(FRESH.0).until(|role| role.serves).await;
    assert!(role.term > founded.at.term, "{role:?}");
    let first = cluster.member(FRESH.0);
    first.holds(&[1, 2, 3, 4, 5, 99]).await;
    assert_eq!(first.group.status().voters, [FRESH]);
    assert_eq!(first.propose(6).await, 7);

    // After a restart it is the same group.
    cluster.member(FRESH.0).group.stop().await;
    cluster.run(left, FRESH).await;
    cluster.member(FRESH.0).until(|role| role.serves).await;
    let first = cluster.member(FRESH.0);
    first.holds(&[1, 2, 3, 4, 5, 99, 6]).await;
}

#[tokio::test]
async fn what_was_not_committed_is_carried_over_too() {
    let mut cluster = Cluster::of(3).await;
    let (leader, term) = cluster.leader(FIRST).await;
    cluster.members[&leader].propose(1).await;
    for other in (1..=3).map(ReplicaId).filter(|id| *id != leader) {
        cluster.stop(other).await;
    }
    let group = cluster.members[&leader].group.clone();
    // In the log here and nowhere else: it may have been acked, for all this copy knows.
    let before = group.last_entry().unwrap().index;
    let proposal = group.submit(term, 2).await.unwrap();
    cluster.logged(leader, before + 1).await;
    group.stop().await;
    drop(proposal);
    refounded(&cluster, leader, 99).await.unwrap();
    cluster.run(leader, FRESH).await;
    cluster.member(FRESH.0).holds(&[1, 2, 99]).await;
}

#[tokio::test]
async fn a_replica_that_runs_or_has_nothing_is_no_beginning() {
    let cluster = Cluster::of(1).await;
    cluster.leader(FIRST).await;
    let running = refounded(&cluster, ReplicaId(1), 9).await;
    assert!(matches!(running, Err(RefoundError::Running(ReplicaId(1)))));
    let deps = cluster.deps(ReplicaId(1));
    let found = |_: &mut Counter, _: LogPosition| Ok(FRESH);
    let from = ReplicaId(8);
    let nothing = refound(
        &deps,
        GROUP,
        from,
        Counter::default(),
        Arc::new(Numbers),
        found,
    )
    .await;
    assert!(matches!(nothing, Err(RefoundError::Nothing(ReplicaId(8)))));
}
