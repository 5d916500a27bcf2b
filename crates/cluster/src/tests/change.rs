//! Stories of a cluster that goes on: proposals, silence, replacements, new nodes.

use super::world::{SOON, World, reached, until};
use super::{THREE, policy};
use crate::{AdmitError, ProposeFailed, StartError};
use fanfare_core::id::{ClusterId, Generation, NodeId, Term};
use fanfare_core::view::{Command, NodeState, Outcome};
use fanfare_rpc::members::{Beat, CallError, Envelope, ProposeError, ReplicaStatus};

#[tokio::test]
async fn a_proposal_finds_the_next_leader_when_the_first_dies() {
    let world = World::of(&THREE, 4);
    let mut nodes = world.found(2).await;
    let leader = nodes[0].1.leader().unwrap();
    let at = nodes
        .iter()
        .position(|(_, h)| h.identity().node == leader)
        .unwrap();
    let (dead, handle) = nodes.remove(at);
    dead.kill(Some(handle)).await;
    for (number, (_, handle)) in (1..).zip(&nodes) {
        let done = handle.propose_within(&policy(number), SOON).await;
        let Ok(Outcome::Done { version }) = done else {
            panic!("{done:?}")
        };
        for (_, other) in &nodes {
            let view = until(other, |view| view.version >= version).await;
            assert!(view.rules.max_topics >= number);
        }
    }
    assert_ne!(nodes[0].1.leader(), Some(leader));
}

#[tokio::test]
async fn a_proposal_whose_answer_is_lost_is_not_made_twice() {
    let world = World::of(&THREE, 22);
    let nodes = world.found(1).await;
    let leader = nodes[0].1.leader().unwrap();
    let (leading, others): (Vec<_>, Vec<_>) = nodes
        .iter()
        .partition(|(_, handle)| handle.identity().node == leader);
    world.net.lose_answers(&leading[0].0.name);
    let (_, other) = others[0];
    let before = until(&leading[0].1, |view| {
        view.nodes.values().all(|n| n.generation.0 == 1)
    });
    let before = before.await.version;
    let lost = other.propose(&policy(8)).await;
    assert_eq!(lost, Err(ProposeFailed::Unknown));
    let view = until(other, |view| view.rules.max_topics == 8).await;
    assert_eq!(view.version, before + 1);
    let next = leading[0].1.propose(&policy(9)).await;
    assert_eq!(
        next,
        Ok(Outcome::Done {
            version: before + 2
        })
    );
}

#[tokio::test]
async fn without_a_majority_a_proposal_fails_and_says_what_may_have_become_of_it() {
    let world = World::of(&THREE, 5);
    let mut nodes = world.found(1).await;
    for _ in 0..2 {
        let (dead, handle) = nodes.remove(0);
        dead.kill(Some(handle)).await;
    }
    let (_, last) = &nodes[0];
    let brief = std::time::Duration::from_millis(500);
    let failed = last.propose_within(&policy(1), brief).await;
    assert!(
        matches!(
            failed,
            Err(ProposeFailed::NoLeader | ProposeFailed::Unknown)
        ),
        "{failed:?}"
    );
    assert_eq!(last.view().borrow().rules.max_topics, 0);
}

#[tokio::test]
async fn a_silent_node_is_suspected_and_told_so_until_it_is_heard_again() {
    let world = World::of(&THREE, 15);
    let mut nodes = world.found(1).await;
    let (node, handle) = nodes.remove(2);
    let id = handle.identity().node;
    let first = &nodes[0].1;
    let alive = || first.seen().get(&id).is_some_and(|seen| seen.alive);
    reached(alive).await;
    node.kill(Some(handle)).await;
    reached(|| !alive()).await;
    assert_eq!(
        first.view().borrow().nodes[&id].state,
        NodeState::Active,
        "it decides nothing"
    );
    let _again = world.boot("n3").join().await;
    reached(alive).await;
}

#[tokio::test]
async fn a_lost_voter_is_replaced_by_a_node_that_learned() {
    let world = World::of(&["n1", "n2", "n3", "n4"], 18);
    let mut nodes = world.found(2).await;
    let (node, handle) = nodes.remove(1);
    let id = handle.identity().node;
    node.kill(Some(handle)).await;
    world.wipe("n2");
    let lost = world.boot("n2").start().await;
    assert!(
        matches!(lost, Err(StartError::DataLoss { .. })),
        "{:?}",
        lost.err()
    );
    let meta = |id: u64| {
        let view = nodes[0].1.view().borrow().clone();
        view.meta_on(NodeId(id)).unwrap()
    };
    let wanted: Vec<_> = (1..=4)
        .map(NodeId)
        .filter(|node| *node != id)
        .map(|n| meta(n.0))
        .collect();
    for (_, handle) in &nodes {
        reached(|| handle.status().voters == wanted).await;
    }
}

#[tokio::test]
async fn a_replacement_under_the_same_name_is_another_node() {
    let world = World::of(&THREE, 19);
    let mut nodes = world.found(2).await;
    let (node, handle) = nodes.remove(1);
    let old = handle.identity();
    node.kill(Some(handle)).await;
    world.wipe("n2");
    let lost = world.boot("n2");
    assert!(matches!(
        lost.start().await,
        Err(StartError::DataLoss { .. })
    ));
    lost.kill(None).await;

    let first = &nodes[0].1;
    let removed = first.propose(&Command::RemoveNode { node: old.node }).await;
    assert!(matches!(removed, Ok(Outcome::Done { .. })), "{removed:?}");
    until(&nodes[1].1, |view| {
        view.nodes[&old.node].state == NodeState::Gone
    })
    .await;
    world.wipe("n2");
    let new = world.boot("n2");
    let admitting = async {
        reached(|| new.cluster.stage().is_some()).await;
        let admitted = first.admit("n2:7070").await.unwrap();
        assert_eq!(
            first.admit("n2:7070").await.unwrap(),
            admitted,
            "said again"
        );
        admitted
    };
    let (handle, admitted) = tokio::join!(new.join(), admitting);
    assert_eq!(handle.identity().node, admitted);
    assert!(admitted > old.node && handle.identity().disk != old.disk);
    let replica = handle.view().borrow().meta_on(admitted).unwrap();
    reached(|| {
        let status = handle.status();
        status.voters.len() == 3 && status.voters.contains(&replica) && !status.joint
    })
    .await;
    // It counts: with it and one of the first, the cluster goes on.
    let (node, gone) = nodes.remove(1);
    node.kill(Some(gone)).await;
    let done = handle.propose_within(&policy(3), SOON).await;
    assert!(matches!(done, Ok(Outcome::Done { .. })), "{done:?}");
}

#[tokio::test]
async fn an_admission_that_was_cut_short_is_taken_up_again() {
    let world = World::of(&["n1"], 20);
    let nodes = world.found(1).await;
    let first = &nodes[0].1;
    let new = world.boot("n2");
    world.net.lose_adoptions("n2", true);
    let admitting = async {
        reached(|| new.cluster.stage().is_some()).await;
        let cut = first.admit("n2:7070").await;
        assert!(matches!(cut, Err(AdmitError::Adopt(_))), "{cut:?}");
        // Known now and silent, it must not take itself for one that has lost its data.
        reached(|| first.seen().get(&NodeId(2)).is_some_and(|seen| !seen.alive)).await;
        world.net.asks_again("n2").await;
        world.net.lose_adoptions("n2", false);
        first.admit("n2:7070").await.unwrap()
    };
    let (handle, admitted) = tokio::join!(new.join(), admitting);
    assert_eq!((handle.identity().node, admitted), (NodeId(2), NodeId(2)));
}

#[tokio::test]
async fn a_call_for_another_or_from_the_past_is_refused() {
    let world = World::of(&THREE, 21);
    let mut nodes = world.found(1).await;
    let (node, handle) = nodes.remove(2);
    let third = handle.identity().node;
    node.kill(Some(handle)).await;
    let _again = world.boot("n3").join().await;
    let (first, handle) = &nodes[0];
    until(handle, |view| {
        view.nodes[&third].generation == Generation(2)
    })
    .await;
    let me = handle.identity();
    let good = Envelope {
        cluster: me.cluster,
        to: me.node,
        from: third,
        generation: Generation(2),
    };
    let members = first.cluster.members();
    assert_eq!(
        members
            .heartbeat(good, Beat::default())
            .await
            .unwrap()
            .generation,
        me.generation
    );

    let not_for_me = CallError::NotForMe {
        cluster: Some(me.cluster),
        node: Some(me.node),
    };
    for envelope in [
        Envelope { to: third, ..good },
        Envelope {
            cluster: ClusterId(1),
            ..good
        },
    ] {
        let refused = members.heartbeat(envelope, Beat::default()).await;
        assert_eq!(refused, Err(not_for_me.clone()));
        let refused = members.propose(envelope, policy(1), SOON).await;
        assert_eq!(refused, Err(ProposeError::NotForMe));
    }
    let old = CallError::OldGeneration {
        known: Generation(2),
    };
    let past = Envelope {
        generation: Generation(1),
        ..good
    };
    assert_eq!(
        members.heartbeat(past, Beat::default()).await,
        Err(old.clone())
    );
    // Without a generation a node may say that its own data are lost, and nothing else.
    let lost = Envelope {
        generation: Generation(0),
        ..good
    };
    assert_eq!(members.heartbeat(lost, Beat::default()).await, Err(old));
    for command in [policy(1), Command::RecordDataLoss { node: me.node }] {
        let refused = members.propose(lost, command, SOON).await;
        assert_eq!(refused, Err(ProposeError::NotForMe));
    }
    assert!(members.view(lost).await.is_ok());
}

#[tokio::test]
async fn a_node_that_is_admitted_gets_shards_once_they_are_led() {
    let world = World::of(&THREE, 23);
    let nodes = world.found(4).await;
    let first = &nodes[0].1;
    let new = world.boot("n4");
    let admitting = async {
        reached(|| new.cluster.stage().is_some()).await;
        first.admit("n4:7070").await.unwrap()
    };
    let (handle, admitted) = tokio::join!(new.join(), admitting);
    let view = handle.view().borrow().clone();
    assert!(
        view.shards.iter().all(|row| row.on(admitted).is_none()),
        "nobody leads them"
    );
    // Each shard is led where its first replica is, and has the others.
    for (node, handle) in &nodes {
        let mine = view
            .shards
            .iter()
            .filter(|row| row.replicas[0].node == handle.identity().node);
        let leads = mine.map(|row| ReplicaStatus {
            shard: row.id,
            replica: row.replicas[0].id,
            term: Term(1),
            leads: true,
            applied: 2,
            behind: row.replicas[1..].iter().map(|r| (r.id, 0)).collect(),
        });
        node.replicas.send_replace(leads.collect());
    }
    let view = until(&handle, |view| {
        view.shards.iter().any(|row| row.on(admitted).is_some())
    })
    .await;
    let moved = view
        .shards
        .iter()
        .filter(|row| row.on(admitted).is_some())
        .count();
    assert!(moved <= 2, "{moved} moves at once");
    let old = view.meta.iter().map(|r| r.id).max().unwrap();
    let fresh = |row: &fanfare_core::view::ShardRow| row.on(admitted).is_none_or(|id| id > old);
    assert!(view.shards.iter().all(fresh));
}
