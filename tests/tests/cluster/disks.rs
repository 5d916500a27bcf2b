//! Disks that are full, that rot, that are lost: nothing acked goes with them, and what can heal by
//! itself does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_host::{Faults, Space};
use fanfare_server::dev::Act;
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::wait::until;
use fanfare_tests::wire::grpc::pb;
use fanfare_tests::wire::http;

const SOON: Duration = Duration::from_secs(120);

fn full() -> Option<Space> {
    Some(Space {
        free: 1 << 20,
        total: 1 << 40,
    })
}

fn plan() -> Plan {
    let mut plan = Plan::story();
    plan.rate = 200;
    plan.topics = 12;
    plan.subscribers = 12;
    plan.streams = 3;
    plan
}

/// A story of three nodes and the faults of their disks.
fn story(tell: impl AsyncFnOnce(&Cluster, &[Faults]) -> Result<()>) -> Result<()> {
    let faults = vec![Faults::default(), Faults::default(), Faults::default()];
    let setup = Setup {
        faults: faults.clone(),
        ..Setup::of(3)
    };
    Cluster::run_with(setup, async |cluster| tell(cluster, &faults).await)
}

/// Which nodes the first node that answers takes for full.
async fn full_nodes(cluster: &Cluster) -> Result<usize> {
    let view = cluster.view().await?;
    Ok(view.nodes.iter().filter(|node| node.full).count())
}

async fn publish(cluster: &Cluster, at: usize, topic: &str) -> Result<http::Answer> {
    let path = format!("/v1/publish?topic={topic}");
    http::post(&cluster.node(at).edge, &path, "text/plain", "more").await
}

#[test]
fn a_leader_whose_disk_is_full_gives_its_shards_away_and_takes_them_when_it_has_room() -> Result<()>
{
    story(async |cluster, faults| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(100, SOON).await?;
        let leader = cluster.leader_of("load.0").await?;
        traffic.fault("full disk", "leader");
        faults[leader].set_space(full());
        cluster.new_leader_of("load.0", leader).await?;
        until("the node to be told as full", SOON, || async {
            let count = full_nodes(cluster).await?;
            ensure!(count == 1, "{count} are full");
            let ready = http::get(cluster.ops(leader), "/readyz").await?;
            ensure!(ready.text().contains("disk is full"), "{}", ready.text());
            Ok(())
        })
        .await?;
        // The others go on.
        traffic.acks(200, SOON).await?;
        faults[leader].set_space(None);
        until("room again", SOON, || async {
            let ready = http::get(cluster.ops(leader), "/readyz").await?;
            ensure!(ready.status.is_success(), "{}", ready.text());
            Ok(())
        })
        .await?;
        traffic.acks(200, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        Ok(())
    })
}

#[test]
fn on_three_full_disks_every_publish_is_refused_for_certain_until_there_is_room() -> Result<()> {
    story(async |cluster, faults| {
        cluster.publish(0, "news", 1..=5).await?;
        for disk in faults {
            disk.set_space(full());
        }
        until("all to be full", SOON, || async {
            let count = full_nodes(cluster).await?;
            ensure!(count == 3, "{count} are full");
            Ok(())
        })
        .await?;
        for at in 0..3 {
            until("a refusal for certain", SOON, || async {
                let answer = publish(cluster, at, "news").await?;
                let text = answer.text();
                ensure!(
                    answer.status.as_u16() == 507 && text.contains("storage_full"),
                    "{} {text}",
                    answer.status
                );
                ensure!(text.contains("not_placed"), "{text}");
                Ok(())
            })
            .await?;
        }
        // What is there is read, and nothing was added to it.
        cluster.head(1, "news", 5).await?;
        for disk in faults {
            disk.set_space(None);
        }
        until("publishing to heal", SOON, || async {
            let answer = publish(cluster, 2, "news").await?;
            ensure!(answer.status.is_success(), "{}", answer.text());
            Ok(())
        })
        .await?;
        cluster.head(0, "news", 6).await
    })
}

fn segments(data: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data.join("log"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "wal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Flips a bit in the middle of the first place where a segment holds `text`.
fn flip(data: &Path, text: &str) -> Result<()> {
    for path in segments(data)? {
        let mut bytes = fs::read(&path)?;
        let found = bytes.windows(text.len()).position(|w| w == text.as_bytes());
        if let Some(at) = found {
            bytes[at + text.len() / 2] ^= 4;
            fs::write(&path, bytes)?;
            return Ok(());
        }
    }
    anyhow::bail!("no segment holds {text}")
}

fn replica_of(view: &pb::ClusterView, shard: u32, node: u64) -> Result<u64> {
    let row = view
        .shards
        .get(usize::try_from(shard)?)
        .context("no shard")?;
    let found = row.replicas.iter().find(|replica| replica.node == node);
    Ok(found.context("no replica there")?.id)
}

fn node_named(view: &pb::ClusterView, at: usize) -> Result<u64> {
    let name = format!("n{}", at + 1);
    let found = view.nodes.iter().find(|node| node.name == name);
    Ok(found.context("no such node")?.id)
}

#[test]
fn a_flipped_bit_costs_one_replica_which_is_made_anew_under_a_fresh_id() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let body = "a rather long message that rots on one of three disks";
        for _ in 0..3 {
            let path = "/v1/publish?topic=rot";
            let answer = http::post(&cluster.node(0).edge, path, "text/plain", body).await?;
            ensure!(answer.status.is_success(), "{}", answer.text());
        }
        cluster.publish(0, "other", 1..=20).await?;
        let shard = cluster.shard_of("rot").await?;
        let victim = (cluster.leader_of("rot").await? + 1) % 3;
        let before = cluster.view().await?;
        let node = node_named(&before, victim)?;
        let old = replica_of(&before, shard, node)?;
        // Killed: a clean stop might write a snapshot in the place of these entries.
        until("the victim to have the messages", SOON, || async {
            flip_is_possible(&cluster.data(victim), body)
        })
        .await?;
        cluster.kill(victim).await?;
        flip(&cluster.data(victim), body)?;
        cluster.start_node(victim).await?;
        until("a successor that has caught up", SOON, || async {
            let view = cluster.view().await?;
            let new = replica_of(&view, shard, node)?;
            ensure!(new > old, "still replica {old}");
            let row = &view.shards[usize::try_from(shard)?];
            let behind = row.replicas.iter().find(|r| r.id == new);
            ensure!(behind.and_then(|r| r.behind) == Some(0), "{row:?}");
            ensure!(row.replicas.iter().all(|r| r.id != old), "{row:?}");
            for other in 0..u32::try_from(view.shards.len())? {
                let same = replica_of(&view, other, node)? == replica_of(&before, other, node)?;
                ensure!(same || other == shard, "shard {other} was made anew, too");
            }
            Ok(())
        })
        .await?;
        let aside = fs::read_dir(cluster.data(victim).join("quarantine"))?.count();
        ensure!(aside == 1, "{aside} files are set aside");
        cluster.head(victim, "rot", 3).await?;
        cluster.publish(victim, "rot", 4..=6).await?;
        cluster.head(victim, "rot", 6).await
    })
}

fn flip_is_possible(data: &Path, text: &str) -> Result<()> {
    for path in segments(data)? {
        let bytes = fs::read(&path)?;
        // All three, and a mark of a later buffer behind them.
        let count = bytes
            .windows(text.len())
            .filter(|w| *w == text.as_bytes())
            .count();
        if count >= 3 {
            return Ok(());
        }
    }
    anyhow::bail!("not there yet")
}

#[test]
fn a_truncated_log_refuses_to_start_and_nothing_is_touched() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=20).await?;
        cluster.act(2, Act::Stop).await?;
        let data = cluster.data(2);
        for path in segments(&data)? {
            fs::File::options().write(true).open(&path)?.set_len(100)?;
        }
        let before = listing(&data)?;
        let refused = cluster.start_node(2).await.map_err(|e| format!("{e:#}"));
        let why = refused.err().context("it started on a truncated log")?;
        ensure!(why.contains("is corrupt at byte"), "{why}");
        ensure!(
            why.contains("cluster replace") && why.contains("doctor"),
            "{why}"
        );
        ensure!(listing(&data)? == before, "files came or went");
        // The others serve.
        cluster.publish(0, "news", 21..=30).await?;
        cluster.head(1, "news", 30).await
    })
}

/// Paths and lengths of all files.
fn listing(dir: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(listing(&entry.path())?);
        } else {
            found.push((entry.path(), entry.metadata()?.len()));
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn a_wiped_disk_says_data_loss_and_what_to_do() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=5).await?;
        cluster.kill(2).await?;
        fs::remove_dir_all(cluster.data(2))?;
        let refused = cluster.start_node(2).await.map_err(|e| format!("{e:#}"));
        let why = refused.err().context("it started without its data")?;
        ensure!(
            why.contains("has lost its data") && why.contains("replace"),
            "{why}"
        );
        cluster.publish(0, "news", 6..=10).await?;
        cluster.head(1, "news", 10).await
    })
}
