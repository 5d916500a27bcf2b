//! A cluster whose nodes come and go under load: one joins and gets its share, the first is drained
//! and removed. Nothing is lost, told twice or left out, and no epoch changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_server::dev::Times;
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::wait;
use fanfare_tests::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use fanfare_tests::wire::grpc::{self, pb};

const SOON: Duration = Duration::from_secs(120);

pub fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.rate = 100;
    plan.topics = 12;
    plan.subscribers = 12;
    plan.streams = 2;
    plan
}

/// Three nodes and one that joins later.
pub fn setup(shards: u32) -> Setup {
    Setup {
        spare: 1,
        shards,
        times: Some(Times {
            calm: Duration::from_secs(1),
            round: Duration::from_millis(200),
            ..Times::default()
        }),
        ..Setup::of(3)
    }
}

/// The id of the node of this name.
pub fn id(view: &pb::ClusterView, name: &str) -> Result<u64> {
    let node = view.nodes.iter().find(|node| node.name == name);
    Ok(node.with_context(|| format!("no {name}"))?.id)
}

pub fn holds(shard: &pb::Shard, node: u64) -> bool {
    let mut replicas = shard.replicas.iter().chain(&shard.leaving);
    replicas.any(|replica| replica.node == node)
}

pub async fn admin(
    cluster: &Cluster,
    at: usize,
) -> Result<ClusterAdminClient<tonic::transport::Channel>> {
    Ok(ClusterAdminClient::new(
        grpc::channel(&cluster.node(at).grpc).await?,
    ))
}

/// Waits until the cluster looks like that from a node.
pub async fn until(
    cluster: &Cluster,
    at: usize,
    what: &str,
    like: impl Fn(&pb::ClusterView) -> Result<()>,
) -> Result<pb::ClusterView> {
    wait::until(what, SOON, || async {
        let mut admin = admin(cluster, at).await?;
        let view = admin.get_view(pb::GetViewRequest {}).await?.into_inner();
        like(&view)?;
        Ok::<_, anyhow::Error>(view)
    })
    .await
}

/// Waits until every shard has three replicas and none on its way, and the new node its share.
pub async fn settled(cluster: &Cluster, at: usize, name: &str) -> Result<pb::ClusterView> {
    until(cluster, at, "all moves", |view| {
        let new = id(view, name)?;
        let held = view.shards.iter().filter(|shard| holds(shard, new)).count();
        let share = view.shards.len() * 3 / 4;
        ensure!(held >= share, "{name} has {held} of {share}");
        for (at, shard) in view.shards.iter().enumerate() {
            ensure!(shard.leaving.is_empty(), "{at}: {shard:?}");
            ensure!(shard.replicas.len() == 3, "{at}: {shard:?}");
            ensure!(shard.leader.is_some(), "{at} has no leader");
        }
        Ok(())
    })
    .await
}

/// Names of the shard replicas that have something on a node's disk.
fn stored(data: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(data.join("replicas"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("shard") {
            found.insert(name);
        }
    }
    Ok(found)
}

#[test]
fn a_node_joins_and_another_is_removed_and_nobody_notices() -> Result<()> {
    Cluster::run_with(setup(4), async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(100, SOON).await?;
        ensure!(
            stored(&cluster.data(0))?.len() == 4,
            "a founder has a replica of each shard"
        );

        traffic.fault("join", "n4");
        cluster.start_node(3).await?;
        traffic.doors().open(cluster.node(3).clone());
        let view = settled(cluster, 0, "n4").await?;
        let first = id(&view, "n1")?;
        traffic.acks(50, SOON).await?;

        traffic.fault("drain", "n1");
        traffic.doors().close(cluster.node(0));
        let drain = pb::DrainNodeRequest {
            node: "n1".to_owned(),
        };
        admin(cluster, 1).await?.drain_node(drain).await?;
        until(cluster, 1, "the drain", |view| {
            let led = view.shards.iter().filter(|s| s.leader == Some(first));
            let led = led.count();
            ensure!(led == 0, "n1 leads {led}");
            Ok(())
        })
        .await?;
        traffic.acks(50, SOON).await?;

        traffic.fault("remove", "n1");
        let remove = pb::RemoveNodeRequest {
            node: "n1".to_owned(),
            ..Default::default()
        };
        admin(cluster, 1).await?.remove_node(remove.clone()).await?;
        let view = until(cluster, 1, "the removal", |view| {
            let row = view.nodes.iter().find(|node| node.id == first);
            let gone = row.is_some_and(|node| node.state() == pb::NodeState::Gone);
            ensure!(gone, "{row:?}");
            Ok(())
        })
        .await?;
        ensure!(!view.shards.iter().any(|s| holds(s, first)), "{view:?}");
        settled(cluster, 1, "n4").await?;
        wait::until("the files to be gone", SOON, || async {
            let left = stored(&cluster.data(0))?;
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })
        .await?;
        let again = admin(cluster, 1).await?.remove_node(remove).await;
        let why = again.err().context("a node was removed twice")?;
        ensure!(why.message().contains("gone already"), "{why:?}");

        traffic.acks(100, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(
            outcome.report.gaps == 0,
            "nothing was trimmed, and yet: {outcome}"
        );
        Ok(())
    })
}

#[test]
fn a_dead_node_is_removed_and_its_replicas_are_made_anew() -> Result<()> {
    Cluster::run_with(setup(4), async |cluster| {
        cluster.start_node(3).await?;
        settled(cluster, 0, "n4").await?;
        cluster.publish(0, "kept", 1..=20).await?;
        let position = cluster.position("kept", 20).await?;
        cluster.kill(1).await?;
        let remove = pb::RemoveNodeRequest {
            node: "n2".to_owned(),
            ..Default::default()
        };
        admin(cluster, 0).await?.remove_node(remove).await?;
        let view = until(cluster, 0, "the removal", |view| {
            let row = view.nodes.iter().find(|node| node.name == "n2");
            let gone = row.is_some_and(|node| node.state() == pb::NodeState::Gone);
            ensure!(gone, "{row:?}");
            Ok(())
        })
        .await?;
        let dead = id(&view, "n2")?;
        let view = settled(cluster, 0, "n4").await?;
        ensure!(!view.shards.iter().any(|s| holds(s, dead)), "{view:?}");
        cluster.head(3, "kept", 20).await?;
        ensure!(cluster.position("kept", 20).await? == position, "the epoch");
        let again = cluster.start_node(1).await;
        let why = again.err().context("a removed node started")?;
        ensure!(format!("{why:#}").contains("removed"), "{why:#}");
        Ok(())
    })
}

#[test]
fn what_would_hurt_is_refused_and_says_why() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let refused = async |change: pb::RemoveNodeRequest| -> Result<String> {
            let answer = admin(cluster, 0).await?.remove_node(change).await;
            let status = answer.err().context("it was done")?;
            Ok(status.message().to_owned())
        };
        let remove = |node: &str| pb::RemoveNodeRequest {
            node: node.to_owned(),
            ..Default::default()
        };
        let unknown = refused(remove("n9")).await?;
        ensure!(unknown.contains("the nodes are n1, n2, n3"), "{unknown}");
        let few = refused(remove("n3")).await?;
        ensure!(few.contains("add a node first"), "{few}");

        cluster.kill(2).await?;
        until(cluster, 0, "the loss to be noticed", |view| {
            let alive = view.nodes.iter().filter(|node| node.alive).count();
            ensure!(alive == 2, "{alive} are heard");
            Ok(())
        })
        .await?;
        let now = refused(pb::RemoveNodeRequest {
            fewer_replicas: true,
            ..remove("n2")
        })
        .await?;
        ensure!(now.contains("no majority without n2"), "{now}");
        ensure!(now.contains("start n3 first"), "{now}");
        let drain = pb::DrainNodeRequest {
            node: "n2".to_owned(),
        };
        let drained = admin(cluster, 0).await?.drain_node(drain).await;
        ensure!(drained.is_err(), "a drain that would end in a closed shard");

        // The dead one itself can go: the others are a majority.
        let dead = pb::RemoveNodeRequest {
            fewer_replicas: true,
            ..remove("n3")
        };
        admin(cluster, 0).await?.remove_node(dead).await?;
        until(cluster, 0, "two replicas a shard", |view| {
            for shard in &view.shards {
                ensure!(shard.replicas.len() == 2, "{shard:?}");
                ensure!(shard.leaving.is_empty(), "{shard:?}");
            }
            Ok(())
        })
        .await?;
        cluster.publish(0, "after", 1..=5).await
    })
}
