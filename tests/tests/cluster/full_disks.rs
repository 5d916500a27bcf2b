//! Followers whose disks are full: one is done without and catches up when it has room, two end
//! every publish with a refusal that is for certain. What was acked is on a majority of the disks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_host::{Faults, Space};
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::wait::until;
use fanfare_tests::wire::http;

const SOON: Duration = Duration::from_secs(120);
const SHARDS: u32 = 2;
const TOPIC: &str = "news";

/// Three nodes, all shards led by the first, and the faults of their disks.
fn story(tell: impl AsyncFnOnce(&Cluster, &[Faults]) -> Result<()>) -> Result<()> {
    let faults = vec![Faults::default(), Faults::default(), Faults::default()];
    let setup = Setup {
        faults: faults.clone(),
        shards: SHARDS,
        ..Setup::of(3)
    };
    Cluster::run_with(setup, async |cluster| {
        for shard in 0..SHARDS {
            cluster.transfer(shard, 0).await?;
        }
        tell(cluster, &faults).await
    })
}

/// Fills disks, or gives them room, and waits until the first node knows.
async fn fill(cluster: &Cluster, disks: &[&Faults], full: bool, count: usize) -> Result<()> {
    for disk in disks {
        disk.set_space(full.then_some(Space {
            free: 1 << 20,
            total: 1 << 40,
        }));
    }
    until("the disks to be known as they are", SOON, || async {
        let view = cluster.view().await?;
        let known = view.nodes.iter().filter(|node| node.full).count();
        ensure!(known == count, "{known} are full");
        Ok(())
    })
    .await
}

async fn publish(cluster: &Cluster, at: usize, body: &str) -> Result<http::Answer> {
    let path = format!("/v1/publish?topic={TOPIC}");
    http::post(&cluster.node(at).edge, &path, "text/plain", body.to_owned()).await
}

/// True if the node's log has the text, as its disk has it after a power cut.
fn has(data: &Path, text: &str) -> Result<bool> {
    for entry in std::fs::read_dir(data.join("log"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "wal") {
            let bytes = std::fs::read(&path)?;
            if bytes.windows(text.len()).any(|w| w == text.as_bytes()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Publishes through a node; what is acked is on two disks by then.
async fn acked(cluster: &Cluster, at: usize, body: &str) -> Result<()> {
    until("an ack", SOON, || async {
        let answer = publish(cluster, at, body).await?;
        ensure!(answer.status.is_success(), "{body}: {}", answer.text());
        Ok(())
    })
    .await?;
    let mut disks = 0;
    for at in 0..3 {
        disks += usize::from(has(&cluster.data(at), body)?);
    }
    ensure!(disks >= 2, "{body} was acked and is on {disks} disks");
    Ok(())
}

/// The topic as a node tells it: exactly these, in order.
async fn reads(cluster: &Cluster, at: usize, wanted: &[String]) -> Result<()> {
    until("all that was acked to be read", SOON, || async {
        let path = format!("/v1/poll?topic={TOPIC}&from=earliest&limit=100");
        let text = http::get(&cluster.node(at).edge, &path).await?.text();
        let mut rest = text.as_str();
        for body in wanted {
            let at = rest.find(body.as_str());
            let at = at.with_context(|| format!("{body} is not where it should be: {text}"))?;
            rest = &rest[at + body.len()..];
        }
        ensure!(!text.contains("refused"), "{text}");
        Ok(())
    })
    .await
}

#[test]
fn a_follower_with_a_full_disk_is_done_without_and_catches_up_when_it_has_room() -> Result<()> {
    story(async |cluster, faults| {
        let mut all = Vec::new();
        let mut say = |n: u64| {
            all.push(format!("said-{n:03}."));
            all[all.len() - 1].clone()
        };
        for n in 0..3 {
            acked(cluster, 0, &say(n)).await?;
        }
        fill(cluster, &[&faults[2]], true, 1).await?;
        // Refusing began with what the node was told next; from then on it takes nothing.
        let mut n = 3;
        let missing = loop {
            let body = say(n);
            n += 1;
            acked(cluster, 0, &body).await?;
            if !has(&cluster.data(2), &body)? {
                break body;
            }
            ensure!(n < 100, "the full disk takes everything");
        };
        for n in n..n + 5 {
            let at = usize::try_from(n % 3)?;
            acked(cluster, at, &say(n)).await?;
        }
        ensure!(
            !has(&cluster.data(2), &missing)?,
            "a full disk took {missing}"
        );
        fill(cluster, &[&faults[2]], false, 0).await?;
        until("the follower to catch up", SOON, || async {
            for body in &all {
                ensure!(has(&cluster.data(2), body)?, "it lacks {body}");
            }
            Ok(())
        })
        .await?;
        for at in 0..3 {
            reads(cluster, at, &all).await?;
        }
        Ok(())
    })
}

#[test]
fn with_two_full_followers_nothing_is_acked_and_every_refusal_is_for_certain() -> Result<()> {
    story(async |cluster, faults| {
        let all = ["said-001.", "said-002."].map(str::to_owned);
        for body in &all {
            acked(cluster, 0, body).await?;
        }
        let followers = [&faults[1], &faults[2]];
        fill(cluster, &followers, true, 2).await?;
        until("refusals for certain at every node", SOON, || async {
            for at in 0..3 {
                let answer = publish(cluster, at, "unsure").await?;
                let text = answer.text();
                ensure!(!answer.status.is_success(), "acked by one disk: {text}");
                if !(text.contains("storage_full") && text.contains("not_placed")) {
                    bail!("{} {text}", answer.status);
                }
            }
            Ok(())
        })
        .await?;
        for n in 0..12 {
            let answer = publish(cluster, n % 3, "refused").await?;
            let text = answer.text();
            ensure!(answer.status.as_u16() == 507, "{} {text}", answer.status);
            ensure!(text.contains("not_placed"), "{text}");
        }
        // What is there is read.
        reads(cluster, 0, &all).await?;
        fill(cluster, &followers, false, 0).await?;
        until("publishing to heal", SOON, || async {
            let answer = publish(cluster, 1, "healed").await?;
            ensure!(answer.status.is_success(), "{}", answer.text());
            Ok(())
        })
        .await?;
        let [first, second] = all;
        for at in 0..3 {
            reads(
                cluster,
                at,
                &[first.clone(), second.clone(), "healed".to_owned()],
            )
            .await?;
        }
        Ok(())
    })
}
