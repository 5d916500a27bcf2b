//! The metadata group's log gives way to snapshots, and who comes later learns from one.

use super::world::{World, reached, until};
use super::{THREE, policy};

#[tokio::test]
async fn a_node_that_joins_late_learns_the_view_by_a_snapshot() {
    let mut world = World::of(&THREE, 31);
    world.snapshot_after = 2 << 10;
    let nodes = world.found(2).await;
    let first = &nodes[0].1;
    for max_topics in 1..=200 {
        first.propose(&policy(max_topics)).await.unwrap();
    }
    let begun = |status: fanfare_consensus::Status| status.purged > 20;
    for (_, handle) in &nodes {
        reached(|| begun(handle.status())).await;
    }
    let new = world.boot("n4");
    let admitting = async {
        reached(|| new.cluster.stage().is_some()).await;
        first.admit("n4:7070").await.unwrap()
    };
    let (handle, _) = tokio::join!(new.join(), admitting);
    let status = handle.status();
    assert!(status.purged > 20, "{status:?}: it read the whole log");
    let wanted = first.view().borrow().version;
    let view = until(&handle, |view| view.version >= wanted).await;
    assert_eq!(view.rules.max_topics, 200);

    // It comes back from what it was sent.
    new.kill(Some(handle)).await;
    let handle = world.boot("n4").join().await;
    let view = until(&handle, |view| view.version >= wanted).await;
    assert_eq!(view.nodes.len(), 4);
}
