//! Stories of a cluster's nodes: how it begins, who comes back, who is refused.

mod world;

use fanfare_core::id::{ClusterId, Generation, NodeId, ShardId, Term};
use fanfare_core::rule::CreatePolicy;
use fanfare_core::view::{Command, NodeState, Outcome, StoreState};
use fanfare_host::{Disk as _, RealDisk};
use fanfare_rpc::members::{Beat, CallError, Envelope, ProposeError, ReplicaStatus, Stage};

use crate::{AdmitError, InitError, ProposeFailed, StartError};
use world::{SOON, World, reached, ready, until};

const THREE: [&str; 3] = ["n1", "n2", "n3"];

fn policy(max_topics: u64) -> Command {
    Command::SetCreatePolicy {
        create: CreatePolicy::Explicit,
        max_topics,
    }
}

#[tokio::test]
async fn one_act_makes_a_cluster_and_every_node_holds_its_view() {
    let world = World::of(&THREE, 1);
    let nodes = world.found(4).await;
    for (node, handle) in &nodes {
        let view = until(handle, |view| {
            view.nodes
                .values()
                .all(|node| node.generation == Generation(1))
        })
        .await;
        assert_eq!(view.shards.len(), 4);
        assert!(view.shards.iter().all(|row| row.replicas.len() == 3));
        let me = &view.nodes[&handle.identity().node];
        assert_eq!(
            (me.name.as_str(), me.disk),
            (node.name.as_str(), handle.identity().disk)
        );
        assert_eq!(view.cluster, handle.identity().cluster);
        assert_eq!(handle.status().voters.len(), 3);
    }
}

#[tokio::test]
async fn a_node_alone_is_a_cluster() {
    let world = World::of(&[], 2);
    let node = world.boot("solo");
    let (handle, made) = tokio::join!(node.start(), node.init(16));
    let handle = handle.unwrap();
    let view = ready(&handle).await.unwrap();
    assert_eq!(view.cluster, made.unwrap());
    assert_eq!(view.shards.len(), 16);
    let done = handle.propose(&policy(9)).await;
    assert!(matches!(done, Ok(Outcome::Done { .. })), "{done:?}");
    node.kill(Some(handle)).await;

    let handle = world.boot("solo").join().await;
    assert_eq!(handle.identity().generation, Generation(2));
    assert_eq!(
        until(&handle, |view| view.is_bootstrapped())
            .await
            .rules
            .max_topics,
        9
    );
}

#[tokio::test]
async fn of_five_nodes_three_vote_and_all_hold_the_view() {
    let world = World::of(&["n1", "n2", "n3", "n4", "n5"], 3);
    let nodes = world.found(8).await;
    let (_, last) = &nodes[4];
    assert_eq!(last.status().voters.len(), 3);
    let Ok(Outcome::Done { version }) = last.propose(&policy(5)).await else {
        panic!("a node that only learns must be able to propose");
    };
    for (_, handle) in &nodes {
        until(handle, |view| view.version >= version).await;
    }
}

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
async fn a_restarted_node_comes_back_with_the_next_generation() {
    let world = World::of(&THREE, 6);
    let mut nodes = world.found(2).await;
    let (node, handle) = nodes.remove(1);
    let id = handle.identity().node;
    node.kill(Some(handle)).await;
    let again = world.boot("n2");
    let handle = again.join().await;
    assert_eq!(
        (handle.identity().node, handle.identity().generation),
        (id, Generation(2))
    );
    for (_, other) in &nodes {
        until(other, |view| view.nodes[&id].generation == Generation(2)).await;
    }
}

#[tokio::test]
async fn a_cluster_that_stopped_as_a_whole_finds_itself_again() {
    let world = World::of(&THREE, 7);
    let nodes = world.found(2).await;
    let done = nodes[2].1.propose(&policy(77)).await;
    assert!(matches!(done, Ok(Outcome::Done { .. })), "{done:?}");
    for (node, handle) in nodes {
        node.kill(Some(handle)).await;
    }
    let nodes = THREE.map(|name| world.boot(name));
    let handles = futures_util::future::join_all(nodes.iter().map(|node| node.join())).await;
    for handle in &handles {
        let view = until(handle, |view| {
            view.nodes
                .values()
                .all(|node| node.generation == Generation(2))
        });
        assert_eq!(view.await.rules.max_topics, 77);
    }
}

#[tokio::test]
async fn a_node_with_a_wiped_disk_says_so_and_does_not_start() {
    let world = World::of(&THREE, 8);
    let mut nodes = world.found(2).await;
    let (node, handle) = nodes.remove(1);
    let id = handle.identity().node;
    node.kill(Some(handle)).await;
    world.wipe("n2");
    for attempt in ["recorded", "known"] {
        let node = world.boot("n2");
        match node.start().await {
            Err(StartError::DataLoss { node: lost, .. }) => assert_eq!(lost, id, "{attempt}"),
            Err(other) => panic!("{attempt}: {other}"),
            Ok(_) => panic!("{attempt}: a node that lost its data started"),
        }
        node.kill(None).await;
    }
    for (_, other) in &nodes {
        until(other, |view| view.nodes[&id].store == StoreState::DataLoss).await;
    }
}

#[tokio::test]
async fn a_node_that_lost_its_log_alone_does_not_start_either() {
    let world = World::of(&THREE, 9);
    let mut nodes = world.found(2).await;
    let (node, handle) = nodes.remove(2);
    let id = handle.identity().node;
    node.kill(Some(handle)).await;
    std::fs::remove_dir_all(world.dir("n3").join("store")).unwrap();
    let node = world.boot("n3");
    let refused = node.start().await;
    assert!(
        matches!(refused, Err(StartError::LogLost { .. })),
        "{:?}",
        refused.err()
    );
    until(&nodes[0].1, |view| {
        view.nodes[&id].store == StoreState::DataLoss
    })
    .await;
}

#[tokio::test]
async fn a_log_without_its_marker_is_not_touched() {
    let world = World::of(&THREE, 10);
    let mut nodes = world.found(1).await;
    let (node, handle) = nodes.remove(0);
    node.kill(Some(handle)).await;
    let dir = world.dir("n1");
    for path in RealDisk.list(&dir).unwrap() {
        if path.is_file() {
            RealDisk.remove(&path).unwrap();
        }
    }
    let refused = world.boot("n1").start().await;
    assert!(
        matches!(refused, Err(StartError::MarkerLost { .. })),
        "{:?}",
        refused.err()
    );
}

#[tokio::test]
async fn a_node_with_the_disk_of_another_does_not_start() {
    let world = World::of(&THREE, 11);
    let mut nodes = world.found(2).await;
    for _ in 0..2 {
        let (node, handle) = nodes.pop().unwrap();
        node.kill(Some(handle)).await;
    }
    let swapped = world.boot_on("n2", "n3");
    match swapped.start().await {
        Err(StartError::AnotherNode { name, found, .. }) => {
            assert_eq!((name.as_str(), found.as_str()), ("n2", "n3"));
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("n2 started on the disk of n3"),
    }
    swapped.kill(None).await;
    // The right disks still work: nothing was recorded or changed.
    let (n2, n3) = (world.boot("n2"), world.boot("n3"));
    let (second, _third) = tokio::join!(n2.join(), n3.join());
    assert_eq!(second.identity().generation, Generation(2));
}

#[tokio::test]
async fn a_second_node_of_a_living_name_is_refused_and_harms_nobody() {
    let world = World::of(&["n1", "n2"], 12);
    let nodes = world.found(1).await;
    // Under the name of n2, but elsewhere: the seeds still answer for the real one.
    let twin = world.twin_of("n2");
    let refused = twin.start().await;
    let Err(StartError::NameInUse { node, .. }) = refused else {
        panic!("{:?}", refused.err())
    };
    assert_eq!(node, nodes[1].1.identity().node);
    let view = nodes[0].1.view().borrow().clone();
    assert!(
        view.nodes
            .values()
            .all(|node| node.store == StoreState::ReadWrite)
    );
}

#[tokio::test]
async fn init_wants_all_seeds_empty_and_awake() {
    let world = World::of(&THREE, 13);
    let (n1, n2) = (world.boot("n1"), world.boot("n2"));
    let (s1, s2) = (n1.start(), n2.start());
    let alone = async {
        let refused = n1.init(4).await;
        assert!(
            matches!(&refused, Err(InitError::SeedSilent { seed, .. }) if seed == "n3:7070"),
            "{refused:?}"
        );
        assert!(matches!(n1.init(0).await, Err(InitError::Shards { .. })));
        assert_eq!(
            n1.cluster.stage(),
            Some(Stage::Empty),
            "nothing is left of it"
        );
        let n3 = world.boot("n3");
        let (s3, made) = tokio::join!(n3.start(), n1.init(4));
        made.unwrap();
        (n3, s3)
    };
    let (_s1, _s2, (_n3, _s3)) = tokio::join!(s1, s2, alone);
    let again = n1.init(4).await;
    assert!(matches!(again, Err(InitError::Member { .. })), "{again:?}");

    let late = world.boot("n4");
    let (ended, refused) = tokio::join!(late.cluster.start(), async {
        let refused = late.init(4).await;
        late.stop();
        refused
    });
    assert!(matches!(ended, Err(StartError::Stopped)));
    assert!(
        matches!(refused, Err(InitError::SeedTaken { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_init_that_was_cut_short_is_taken_up_again() {
    let world = World::of(&THREE, 14);
    let nodes = THREE.map(|name| world.boot(name));
    world.net.lose_adoptions("n3", true);
    let starting = futures_util::future::join_all(nodes.iter().map(|node| node.start()));
    let making = async {
        let cut = nodes[0].init(4).await;
        assert!(
            matches!(&cut, Err(InitError::Adopt { name, .. }) if name == "n3"),
            "{cut:?}"
        );
        world.net.lose_adoptions("n3", false);
        nodes[0].init(4).await.unwrap()
    };
    let (handles, cluster) = tokio::join!(starting, making);
    for handle in handles {
        let view = ready(&handle.unwrap()).await.unwrap();
        assert_eq!((view.cluster, view.nodes.len()), (cluster, 3));
    }
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
async fn a_shard_that_is_led_is_recorded_as_begun() {
    let world = World::of(&THREE, 16);
    let nodes = world.found(3).await;
    let view = nodes[0].1.view().borrow().clone();
    let row = view.shard(ShardId(1)).unwrap();
    let home = row.replicas[0];
    let led = |leads, applied| ReplicaStatus {
        shard: row.id,
        replica: home.id,
        term: Term(1),
        leads,
        applied,
        behind: Vec::new(),
    };
    let at = nodes
        .iter()
        .find(|(_, h)| h.identity().node == home.node)
        .unwrap();
    at.0.replicas.send_replace(vec![led(true, 2)]);
    for (_, handle) in &nodes {
        let view = until(handle, |view| view.shards[1].begun).await;
        assert!(!view.shards[0].begun && !view.shards[2].begun);
    }
}

#[tokio::test]
async fn a_drain_is_seen_by_all_and_ends_with_the_next_start() {
    let world = World::of(&THREE, 17);
    let mut nodes = world.found(1).await;
    let (node, handle) = nodes.remove(0);
    let id: NodeId = handle.identity().node;
    handle.drain().await.unwrap();
    until(&nodes[0].1, |view| {
        view.nodes[&id].state == NodeState::Draining
    })
    .await;
    node.kill(Some(handle)).await;
    let _again = world.boot("n1").join().await;
    until(&nodes[0].1, |view| {
        view.nodes[&id].state == NodeState::Active
    })
    .await;
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
