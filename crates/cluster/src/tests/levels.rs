//! Stories of upgrades: what a node tells of itself, when the level rises, which binary starts.

use super::world::{World, reached, ready, until};
use super::{THREE, policy};
use crate::{StartError, hint};
use fanfare_core::level::KNOWN;
use fanfare_core::view::{Command, Outcome, Refusal};

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "what lies on a disk is changed from outside"
)]
async fn the_level_rises_with_the_last_node_and_an_older_binary_says_so_and_does_not_start() {
    let mut world = World::of(&THREE, 21);
    let mut nodes = world.found(2).await;
    let raise = Command::SetLevel { level: KNOWN + 1 };
    world.level = KNOWN + 1;
    let hint = hint::path(&world.dir("n1"));
    let mut stale = Vec::new();
    for (at, name) in THREE.into_iter().enumerate() {
        let (node, handle) = nodes.remove(0);
        let id = handle.identity().node;
        node.kill(Some(handle)).await;
        let node = world.boot(name);
        let handle = node.join().await;
        until(&handle, |view| view.nodes[&id].level == KNOWN + 1).await;
        stale = std::fs::read(&hint).unwrap();
        let said = handle.propose(&raise).await.unwrap();
        match at {
            2 => assert!(matches!(said, Outcome::Done { .. }), "{said:?}"),
            _ => assert!(
                matches!(
                    said,
                    Outcome::Refused(Refusal::NodeBelow { level: KNOWN, .. })
                ),
                "{said:?}"
            ),
        }
        nodes.push((node, handle));
    }
    for (_, handle) in &nodes {
        until(handle, |view| view.level == KNOWN + 1).await;
    }
    let (node, handle) = nodes.remove(0);
    let hinted = || node.cluster.shared.hint().map(|hint| hint.view.level);
    reached(|| hinted() == Some(KNOWN + 1)).await;
    node.kill(Some(handle)).await;
    world.level = KNOWN;
    let old = world.boot("n1");
    too_old(&old.start().await.map(drop));
    old.kill(None).await;
    // A node killed before that file was written is told by the group, and must exit all the same.
    std::fs::write(&hint, stale).unwrap();
    let old = world.boot("n1");
    match old.start().await {
        Ok(handle) => {
            too_old(&ready(&handle).await.map(drop));
            old.kill(Some(handle)).await;
        }
        refused @ Err(_) => {
            too_old(&refused.map(drop));
            old.kill(None).await;
        }
    }
    // Without it the others go on.
    let done = nodes[1].1.propose(&policy(5)).await;
    assert!(matches!(done, Ok(Outcome::Done { .. })), "{done:?}");
}

fn too_old(said: &Result<(), StartError>) {
    assert!(
        matches!(said, Err(StartError::BinaryTooOld { level, known })
            if *level == KNOWN + 1 && *known == KNOWN),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_cluster_of_the_first_level_is_told_nothing_that_its_binaries_cannot_read() {
    let mut world = World::of(&THREE, 22);
    world.level = 1;
    world.history_budget = 7_000;
    let mut nodes = world.found(2).await;
    world.level = KNOWN;
    for name in THREE {
        let (node, handle) = nodes.remove(0);
        node.kill(Some(handle)).await;
        let node = world.boot(name);
        let handle = node.join().await;
        let view = handle.view().borrow().clone();
        assert_eq!(view.level, 1);
        assert!(view.nodes.values().all(|node| node.history_budget == 0));
        let stay = Command::Stay {
            node: handle.identity().node,
        };
        let said = handle.propose(&stay).await.unwrap();
        let below = Refusal::LevelBelow { needs: 2, level: 1 };
        assert_eq!(said, Outcome::Refused(below));
        nodes.push((node, handle));
    }
    let raise = Command::SetLevel { level: 2 };
    let said = nodes[0].1.propose(&raise).await.unwrap();
    assert!(matches!(said, Outcome::Done { .. }), "{said:?}");
    // Now the nodes tell what waited for it.
    for (_, handle) in &nodes {
        until(handle, |view| {
            view.nodes.values().all(|node| node.history_budget == 7_000)
        })
        .await;
    }
}
