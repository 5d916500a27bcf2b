//! Snapshots between replicas: who was away too long comes back by one, what is broken on the way
//! is refused, and a crash at any step of writing or installing leaves a replica that is right.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::id::{ReplicaId, Term};
use fanfare_host::Operation;
use tokio::sync::mpsc;

use crate::format::{Reply, chunk, offer, read_reply};
use crate::raft_types::{LeaderId, Vote};
use crate::testing::{Cluster, GROUP, SOON};
use crate::{Due, Route, SnapshotError, WireError};

const FIRST: Term = Term(0);

async fn soon(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(SOON, waiting).await;
    assert!(in_time.is_ok(), "{what} did not happen");
}

/// Proposes numbers through a replica, many at a time.
async fn propose(cluster: &Cluster, id: ReplicaId, numbers: std::ops::Range<u64>) {
    let group = &cluster.members[&id].group;
    let term = group.role().borrow().term;
    let mut proposals = Vec::new();
    for number in numbers {
        proposals.push(group.submit(term, number).await.unwrap());
    }
    for proposal in proposals {
        proposal.outcome(SOON).await.unwrap();
    }
}

/// The last entry that a replica's log has no more.
fn purged(cluster: &Cluster, id: ReplicaId) -> Option<u64> {
    let extent = cluster.members[&id].store.log().extent(id.0);
    extent.purged.map(|at| at.index)
}

/// Three replicas of which one was away while the others went on and purged what it needs: the
/// leader, the one away, and how many numbers there are.
async fn one_left_behind() -> (Cluster, ReplicaId, ReplicaId, u64) {
    let mut cluster = Cluster::of(3).await;
    let (leader, _) = cluster.leader(FIRST).await;
    propose(&cluster, leader, 0..10).await;
    let away = ReplicaId(leader.0 % 3 + 1);
    cluster.members[&away].holds(&numbers(10)).await;
    let had = cluster.members[&away].group.last_entry().unwrap().index;
    cluster.stop(away).await;
    propose(&cluster, leader, 10..600).await;
    compact(&cluster, leader, had).await;
    (cluster, leader, away, 600)
}

/// Writes a snapshot, and waits until the log up to `least` is gone.
async fn compact(cluster: &Cluster, id: ReplicaId, least: u64) {
    let index = cluster.members[&id].group.snapshot(Due::Full).await;
    assert!(index.unwrap() > least);
    soon("the purge", || purged(cluster, id) > Some(least)).await;
}

fn numbers(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[tokio::test]
async fn who_was_away_too_long_comes_back_by_a_snapshot_and_can_lead() {
    let (mut cluster, leader, away, count) = one_left_behind().await;
    cluster.start(away).await;
    let member = &cluster.members[&away];
    member.holds(&numbers(count)).await;
    soon("the place of the snapshot", || {
        purged(&cluster, away) > Some(10)
    })
    .await;
    propose(&cluster, leader, count..count + 5).await;
    member.holds(&numbers(count + 5)).await;
    let leading = &cluster.members[&leader].group;
    soon("the heir's readiness", || leading.could_take_over(away, 10)).await;
    leading.hand_over(away, SOON).await.unwrap();
    member.until(|role| role.serves).await;
    propose(&cluster, away, count + 5..count + 6).await;
    // And from its own disk: the snapshot that came, and the log behind it.
    cluster.kill(away).await;
    cluster.start(away).await;
    cluster.members[&away].holds(&numbers(count + 6)).await;
}

#[tokio::test]
async fn a_new_replica_learns_by_a_snapshot() {
    let (mut cluster, leader, _, count) = one_left_behind().await;
    let new = ReplicaId(4);
    cluster.start(new).await;
    let group = &cluster.members[&leader].group;
    group.add_learner(new).await.unwrap();
    cluster.members[&new].holds(&numbers(count)).await;
    let group = &cluster.members[&leader].group;
    let is_near = || {
        let behind = group.status().behind;
        behind.iter().any(|(id, behind)| *id == new && *behind < 10)
    };
    soon("the learner's progress", is_near).await;
    assert_eq!(cluster.members[&new].group.status().learners, [new]);
}

#[tokio::test]
async fn a_replica_that_is_a_little_behind_needs_no_snapshot() {
    let mut cluster = Cluster::of(3).await;
    let (leader, _) = cluster.leader(FIRST).await;
    propose(&cluster, leader, 0..10).await;
    let away = ReplicaId(leader.0 % 3 + 1);
    cluster.stop(away).await;
    propose(&cluster, leader, 10..20).await;
    let group = &cluster.members[&leader].group;
    group.snapshot(Due::Grown(0)).await.unwrap();
    cluster.start(away).await;
    cluster.members[&away].holds(&numbers(20)).await;
    assert_eq!(purged(&cluster, leader), None, "a last stretch stays");
    assert_eq!(cluster.files(away), Vec::<String>::new());
}

#[tokio::test]
async fn a_snapshot_that_is_broken_on_the_way_is_sent_again() {
    let (mut cluster, _, away, count) = one_left_behind().await;
    let mut pieces = 0;
    cluster.pieces(move |piece| {
        pieces += 1;
        match pieces {
            // The first way breaks off behind the offer, on the second a bit flips.
            2 => None,
            4 => {
                let mut bad = piece.to_vec();
                *bad.last_mut().unwrap() ^= 1;
                Some(Bytes::from(bad))
            }
            _ => Some(piece),
        }
    });
    cluster.start(away).await;
    cluster.members[&away].holds(&numbers(count)).await;
    soon("an end without leftovers", || {
        cluster.files(away).len() == 1
    })
    .await;
}

/// Offers the bytes of a file to a replica as if a leader did, and tells how that ended.
async fn give(cluster: &Cluster, to: ReplicaId, pieces: Vec<Bytes>) -> Result<Reply, WireError> {
    let route = Route {
        group: GROUP,
        from: ReplicaId(9),
        to,
    };
    let (bodies, from_here) = mpsc::channel(pieces.len() + 1);
    for piece in pieces {
        bodies.send(piece).await.unwrap();
    }
    drop(bodies);
    let (answers, mut said) = mpsc::channel(64);
    cluster
        .door(to)
        .serve_snapshot(route, from_here, answers)
        .await;
    let mut last = Err(WireError::Timeout);
    while let Some(answer) = said.recv().await {
        last = answer.map(|body| read_reply(body).unwrap());
    }
    last
}

#[tokio::test]
async fn what_is_not_a_whole_snapshot_is_refused_and_changes_nothing() {
    let (mut cluster, leader, away, _) = one_left_behind().await;
    let file = cluster.members[&leader]
        .group
        .snapshots()
        .current()
        .unwrap();
    let bytes = file.read(0, file.length).unwrap();
    // No leader: nobody but this test sends.
    for id in cluster.members.keys().copied().collect::<Vec<_>>() {
        cluster.stop(id).await;
    }
    cluster.start(away).await;
    let term = 1_000;
    let vote = |term| Vote {
        leader_id: LeaderId { term, voted_for: 9 },
        committed: true,
    };
    let open = |term| offer(&vote(term), &file.meta, file.length);
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    let at = half.len() as u64;
    let mut flipped = bytes.to_vec();
    flipped[bytes.len() / 2] ^= 1;
    let bad: Vec<Vec<Bytes>> = vec![
        vec![],
        vec![open(term)],
        vec![open(term), chunk(GROUP, 0, half)],
        vec![open(term), chunk(GROUP, at, rest)],
        vec![open(term), chunk(crate::GroupId::Meta, 0, &bytes)],
        vec![open(term), chunk(GROUP, 0, &bytes), chunk(GROUP, 0, half)],
        vec![open(term), chunk(GROUP, 0, &flipped)],
        vec![chunk(GROUP, 0, &bytes)],
    ];
    for (nth, pieces) in bad.into_iter().enumerate() {
        // A piece too many comes after the end.
        let ends_well = nth == 5;
        let ended = give(&cluster, away, pieces).await;
        if ends_well {
            assert!(matches!(ended, Ok(Reply::Done(_))), "{ended:?}");
            break;
        }
        let refused = matches!(ended, Err(_) | Ok(Reply::Corrupt(_) | Reply::Taken(_)));
        assert!(refused, "pieces {nth}: {ended:?}");
        assert_eq!(cluster.members[&away].counter.numbers(), numbers(10));
        assert_eq!(cluster.files(away), Vec::<String>::new(), "pieces {nth}");
    }
}

#[tokio::test]
async fn a_snapshot_that_rots_on_the_senders_disk_is_found_and_written_anew() {
    let (mut cluster, leader, away, count) = one_left_behind().await;
    cluster.rot(leader);
    assert_eq!(cluster.members[&leader].group.due(), None);
    cluster.start(away).await;
    let group = cluster.members[&leader].group.clone();
    soon("the damage", || group.due() == Some(Due::Damaged)).await;
    assert_eq!(cluster.members[&away].counter.numbers(), numbers(10));
    group.snapshot(Due::Damaged).await.unwrap();
    assert_eq!(group.due(), None);
    cluster.members[&away].holds(&numbers(count)).await;
}

#[tokio::test]
async fn a_sender_of_an_old_term_is_told_so() {
    let (mut cluster, leader, away, _) = one_left_behind().await;
    let file = cluster.members[&leader]
        .group
        .snapshots()
        .current()
        .unwrap();
    cluster.start(away).await;
    cluster.members[&away]
        .until(|role| role.leader.is_some())
        .await;
    let old = Vote {
        leader_id: LeaderId {
            term: 0,
            voted_for: 9,
        },
        committed: true,
    };
    let pieces = vec![offer(&old, &file.meta, file.length)];
    let ended = give(&cluster, away, pieces).await;
    assert!(
        matches!(ended, Ok(Reply::Done(vote)) if vote.leader_id.term > 0),
        "{ended:?}"
    );
}

const STEPS: [Operation; 6] = [
    Operation::Create,
    Operation::Write,
    Operation::Sync,
    Operation::Rename,
    Operation::SyncDir,
    Operation::Remove,
];

#[tokio::test]
async fn a_full_volume_at_any_step_ends_a_snapshot_and_never_the_node() {
    let cluster = Cluster::of(1).await;
    let (id, _) = cluster.leader(FIRST).await;
    propose(&cluster, id, 0..100).await;
    let (mut count, mut refused) = (100, 0);
    for step in STEPS {
        for nth in 1..4 {
            let power = cluster.power(id);
            power.faults.fail(step, nth, io::ErrorKind::StorageFull);
            let before = purged(&cluster, id);
            let group = &cluster.members[&id].group;
            match group.snapshot(Due::Full).await {
                Ok(_) => {}
                Err(SnapshotError::NoRoom) => {
                    refused += 1;
                    assert_eq!(purged(&cluster, id), before, "{step:?} {nth}");
                }
                Err(other) => panic!("{step:?} {nth}: {other}"),
            }
            assert!(!power.poisoned.load(Ordering::SeqCst), "{step:?} {nth}");
            power.faults.forgive();
            propose(&cluster, id, count..count + 1).await;
            count += 1;
        }
    }
    assert!(refused >= 6, "{refused} were refused");
    cluster.members[&id]
        .group
        .snapshot(Due::Full)
        .await
        .unwrap();
    assert_eq!(cluster.files(id).len(), 1);
}

#[tokio::test]
async fn a_crash_at_any_step_of_writing_leaves_everything() {
    let mut cluster = Cluster::of(1).await;
    let (id, mut term) = cluster.leader(FIRST).await;
    let mut count = 0;
    for step in STEPS {
        for nth in 1..4 {
            propose(&cluster, id, count..count + 50).await;
            count += 50;
            let power = cluster.power(id);
            power.faults.fail(step, nth, io::ErrorKind::Other);
            // Whatever it says: the power goes there.
            drop(cluster.members[&id].group.snapshot(Due::Full).await);
            cluster.kill(id).await;
            cluster.start(id).await;
            (_, term) = cluster.leader(term).await;
            cluster.members[&id].holds(&numbers(count)).await;
        }
    }
}

#[tokio::test]
async fn a_crash_at_any_step_of_installing_leaves_a_replica_that_comes_back() {
    let (mut cluster, leader, away, mut count) = one_left_behind().await;
    let mut crashed = 0;
    for step in STEPS {
        cluster.start(away).await;
        let power = cluster.power(away);
        power.faults.fail(step, 1, io::ErrorKind::Other);
        let member = &cluster.members[&away];
        let all = numbers(count);
        soon("the end of an installation", || {
            power.poisoned.load(Ordering::SeqCst)
                || !member.group.is_running()
                || member.counter.numbers() == all
        })
        .await;
        crashed += u64::from(member.counter.numbers() != all);
        cluster.kill(away).await;
        cluster.start(away).await;
        cluster.members[&away].holds(&all).await;
        let had = cluster.members[&away].group.last_entry().unwrap().index;
        cluster.stop(away).await;
        propose(&cluster, leader, count..count + 200).await;
        count += 200;
        compact(&cluster, leader, had).await;
    }
    assert!(crashed >= 5, "{crashed} crashes");
}
