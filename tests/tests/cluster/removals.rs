//! A node is killed at each named point that only a removal passes, or that its planner alone does:
//! the node that is to go, one that is to take something over, or who leads the metadata.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_core::barrier::Barrier;
use fanfare_core::id::ShardId;
use fanfare_core::placement;
use fanfare_core::view::{NodeState, View};
use fanfare_server::dev::Times;
use fanfare_tests::cluster::Setup;
use fanfare_tests::wait;
use fanfare_tests::wire::grpc::pb;

use super::membership::admin;
use super::moving::{NODES, Ring, SOON, node_at, place_of, planner, story_of, view};
use super::stage::{Armed, Stop};

/// The node that is removed.
const LEAVER: usize = 0;

/// Whom a story kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The node that is to go.
    Leaver,
    /// The node that gets a replica, or a vote.
    Heir,
    /// The leader of the metadata group.
    Planner,
}

use Victim::{Heir, Leaver, Planner};

/// Four nodes, with so many shards.
fn setup(shards: u32) -> Setup {
    Setup {
        shards,
        times: Some(Times {
            round: Duration::from_millis(200),
            ..Times::default()
        }),
        ..Setup::of(NODES)
    }
}

/// Asks for the removal, or takes it back.
async fn remove(ring: &Ring<'_>, stay: bool) -> Result<()> {
    let change = pb::RemoveNodeRequest {
        node: "n1".to_owned(),
        stay,
        ..Default::default()
    };
    wait::until("the removal to be taken up", SOON, || async {
        let mut admin = admin(ring.cluster, 1).await?;
        admin.remove_node(change.clone()).await?;
        Ok::<_, anyhow::Error>(())
    })
    .await
}

/// The only node without a replica of the shard: it will get the leaver's.
fn heir_of(view: &View, shard: ShardId) -> Result<usize> {
    let row = view.shard(shard).context("no such shard")?;
    for at in 1..NODES {
        let node = node_at(view, at)?;
        // Once it is placed, the new replica is the youngest.
        let newest = row.replicas.iter().max_by_key(|replica| replica.id);
        let is_placed = !row.leaving.is_empty() && newest.is_some_and(|r| r.node == node);
        if is_placed || row.on(node).is_none() {
            return Ok(at);
        }
    }
    bail!("all have it: {row:?}")
}

/// Kills the victim of a stop, lets the others go on, and starts it again.
async fn kill(ring: &Ring<'_>, stop: Stop, victim: Victim) -> Result<()> {
    let at = match (victim, stop.shard) {
        (Leaver, _) => LEAVER,
        // Four nodes have three votes: the fourth gets the leaver's.
        (Heir, None) => NODES - 1,
        (Heir, Some(shard)) => heir_of(&*view(ring.cluster, stop.node)?, shard)?,
        // All these are passed by the metadata leader.
        (Planner, _) => stop.node,
    };
    let told = format!("{victim:?} n{} at {:?}", at + 1, stop.barrier);
    ring.traffic.fault("kill", &told);
    ring.cluster.kill(at).await?;
    ring.stage.release_until(None);
    ring.traffic.acks(10, SOON).await?;
    ring.cluster.start_node(at).await
}

async fn each(ring: &Ring<'_>, barrier: Barrier, victims: &[Victim]) -> Result<()> {
    for victim in victims {
        ring.stage.release_until(Some(Armed::from(barrier)));
        let stop = ring.stage.stopped().await?;
        let killed = kill(ring, stop, *victim).await;
        killed.with_context(|| format!("{victim:?} at {stop:?}"))?;
    }
    Ok(())
}

/// Waits until the leaver is removed, as the others see it, and holds nothing any more.
async fn gone(ring: &Ring<'_>) -> Result<()> {
    wait::until("the removal", SOON, || async {
        for at in 1..NODES {
            let view = view(ring.cluster, at)?;
            let named = view.nodes.values().find(|node| node.name == "n1");
            let row = named.context("forgotten")?;
            ensure!(row.state == NodeState::Gone, "n1 is {:?}", row.state);
            ensure!(!view.holds_replicas(row.id), "{:?}", view.shards);
            for row in &view.shards {
                ensure!(row.replicas.len() == 3 && row.leaving.is_empty(), "{row:?}");
            }
        }
        Ok(())
    })
    .await
}

#[test]
fn a_removal_survives_a_death_when_a_placement_is_planned_and_placed() -> Result<()> {
    // Nine replicas are moved away: one for each death, and some to spare.
    story_of(setup(12), async |ring| {
        ring.traffic.doors().close(ring.cluster.node(LEAVER));
        ring.stage.release_until(Some(Barrier::Planned.into()));
        remove(ring, false).await?;
        let all = [Leaver, Heir, Planner];
        each(ring, Barrier::Planned, &all).await?;
        each(ring, Barrier::Placed, &all).await?;
        gone(ring).await
    })
}

/// Waits until exactly these nodes vote for the metadata.
async fn voters(ring: &Ring<'_>, wanted: [usize; 3]) -> Result<()> {
    wait::until("the voters of the metadata", SOON, || async {
        let all: Vec<usize> = (0..NODES).collect();
        let at = planner(ring.cluster, &all).await?;
        let view = view(ring.cluster, at)?;
        let mut planned = Vec::new();
        for replica in placement::meta_voters(&view) {
            planned.push(place_of(&view, replica.node)?);
        }
        ensure!(planned == wanted, "{planned:?} are planned");
        let status = ring.cluster.inner().metadata_status(at)?;
        let mut vote = Vec::new();
        for replica in &status.voters {
            let node = view.node_of(*replica).context("a stray voter")?;
            vote.push(place_of(&view, node)?);
        }
        vote.sort_unstable();
        ensure!(vote == wanted && !status.joint, "{vote:?} vote");
        Ok(())
    })
    .await
}

#[test]
fn a_change_of_the_metadatas_voters_survives_a_death_and_is_taken_back() -> Result<()> {
    story_of(setup(2), async |ring| {
        for victim in [Leaver, Heir, Planner] {
            ring.stage.release_until(Some(Barrier::MetaVoters.into()));
            remove(ring, false).await?;
            let stop = ring.stage.stopped().await?;
            // It would be gone for good once it is empty.
            remove(ring, true).await?;
            let killed = kill(ring, stop, victim).await;
            killed.with_context(|| format!("{victim:?} at {stop:?}"))?;
            voters(ring, [0, 1, 2]).await?;
        }
        Ok(())
    })
}

/// There is no heir here: everything has been taken over.
#[test]
fn an_emptied_node_is_removed_whoever_dies_before() -> Result<()> {
    story_of(setup(2), async |ring| {
        ring.traffic.doors().close(ring.cluster.node(LEAVER));
        ring.stage.release_until(Some(Barrier::Emptied.into()));
        remove(ring, false).await?;
        each(ring, Barrier::Emptied, &[Planner]).await?;
        ring.stage.release_until(Some(Barrier::Emptied.into()));
        ring.stage.stopped().await?;
        ring.cluster.kill(LEAVER).await?;
        ring.stage.release_until(None);
        gone(ring).await?;
        let again = ring.cluster.start_node(LEAVER).await;
        let why = again.err().context("a removed node started")?;
        ensure!(format!("{why:#}").contains("removed"), "{why:#}");
        Ok(())
    })
}
