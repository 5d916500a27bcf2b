//! Stories of nodes that come back: who is let in and who is refused.

use super::world::{World, until};
use super::{THREE, policy};
use crate::StartError;
use fanfare_core::id::{Generation, NodeId};
use fanfare_core::view::{NodeState, Outcome, StoreState};
use fanfare_host::{Disk as _, RealDisk};

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
