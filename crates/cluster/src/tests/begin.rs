//! Stories of how a cluster begins.

use super::world::{World, ready, until};
use super::{THREE, policy};
use crate::{InitError, StartError};
use fanfare_core::id::{Generation, ShardId, Term};
use fanfare_core::view::Outcome;
use fanfare_rpc::members::{ReplicaStatus, Stage};

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
