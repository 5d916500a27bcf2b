//! Two of three disks destroyed: everything stays closed until an operator accepts the loss; then the
//! copy that is left begins anew, readers are told of the loss, and new nodes make it whole.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::wait::{soon, until};
use fanfare_tests::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use fanfare_tests::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use fanfare_tests::wire::grpc::{self, pb};
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};
use tonic::transport::Channel;

const SOON: Duration = Duration::from_secs(120);
const SHARDS: u32 = 4;
const DURABLE: &str = "orders";
/// What is published while no majority is there may be in the log that is left, and so come later.
const PROBE: &str = "probe";
const EPHEMERAL: &str = "cursors.a";

async fn admin(cluster: &Cluster) -> Result<ClusterAdminClient<Channel>> {
    let channel = grpc::channel(&cluster.node(0).grpc).await?;
    Ok(ClusterAdminClient::new(channel))
}

async fn look(cluster: &Cluster, shard: u32) -> Result<pb::RepairResponse> {
    let asked = pb::RepairShardRequest {
        shard,
        ..Default::default()
    };
    Ok(admin(cluster)
        .await?
        .repair_shard(asked)
        .await?
        .into_inner())
}

fn lost() -> Vec<String> {
    vec!["n2".to_owned(), "n3".to_owned()]
}

/// Accepts the loss of n2 and n3 for the metadata, then for every shard.
async fn repair_all(cluster: &Cluster) -> Result<()> {
    let asked = pb::RepairMetadataRequest {
        accept_data_loss: true,
        lost: lost(),
    };
    let told = admin(cluster).await?.repair_metadata(asked).await?;
    let told = told.into_inner();
    ensure!(told.done, "{told:?}");
    for shard in 0..SHARDS {
        until("the metadata leader to take a repair", SOON, || async {
            let asked = pb::RepairShardRequest {
                shard,
                accept_data_loss: true,
                lost: Vec::new(),
            };
            let told = admin(cluster).await?.repair_shard(asked).await?;
            let told = told.into_inner();
            ensure!(told.done, "{told:?}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The cursor of a reader that has read `count` messages.
async fn read(cluster: &Cluster, topic: &str, count: u64) -> Result<String> {
    let begin = Begin::From("earliest".to_owned());
    let mut session = Session::open(Transport::Sse, cluster.node(0), &[topic], &begin).await?;
    for _ in 0..count {
        soon("a message", SOON, session.message()).await??;
    }
    while session.cursor().is_none() {
        soon("the cursor", SOON, session.next()).await??;
    }
    Ok(session.cursor().context("no cursor")?.to_owned())
}

/// What a reader that begins so is told first: the reason of its gap.
async fn gap(cluster: &Cluster, topic: &str, begin: Begin) -> Result<(Session, String)> {
    let mut session = Session::open(Transport::Sse, cluster.node(0), &[topic], &begin).await?;
    loop {
        match soon("the gap", SOON, session.next()).await?? {
            Some(Seen::Gap(gap)) => return Ok((session, gap.reason)),
            Some(Seen::Attached(_)) => {}
            other => anyhow::bail!("no gap but {other:?}"),
        }
    }
}

async fn published(cluster: &Cluster, topic: &str, text: &str) -> Result<()> {
    let edge = &cluster.node(0).edge;
    let path = format!("/v1/publish?topic={topic}");
    // With a key, so that a sending of unknown fate may be repeated.
    let headers = [("content-type", "text/plain"), ("idempotency-key", text)];
    until("an ack", SOON, || async {
        let answer =
            http::send(edge, ::http::Method::POST, &path, &headers, text.to_owned()).await?;
        ensure!(answer.status.is_success(), "{}", answer.text());
        Ok(())
    })
    .await
}

#[test]
fn two_lost_disks_of_three_close_all_until_an_operator_accepts_the_loss() -> Result<()> {
    let setup = Setup {
        spare: 2,
        ..Setup::of(3)
    };
    Cluster::run_with(setup, async |cluster| {
        cluster.publish(0, DURABLE, 1..=5).await?;
        let rule = pb::PutRuleRequest {
            pattern: "cursors.*".to_owned(),
            rules: Some(pb::Rules {
                class: pb::Class::Ephemeral.into(),
                ..Default::default()
            }),
        };
        let channel = grpc::channel(&cluster.node(0).grpc).await?;
        TopicAdminClient::new(channel).put_rule(rule).await?;
        cluster.publish(0, EPHEMERAL, 1..=2).await?;
        let durable = cluster.position(DURABLE, 3).await?;
        let ephemeral = read(cluster, EPHEMERAL, 2).await?;
        let working = look(cluster, 0).await?;
        ensure!(
            working.verdict() == pb::RepairVerdict::Serves && !working.done,
            "{working:?}"
        );

        for at in [1, 2] {
            cluster.kill(at).await?;
            std::fs::remove_dir_all(cluster.data(at))?;
        }
        // Whoever led a shard here leads nobody now: an operator sees no leader.
        until("no shard to have a leader", SOON, || async {
            let view = cluster.view().await?;
            let led = view.shards.iter().filter(|shard| shard.leader.is_some());
            let led = led.count();
            ensure!(led == 0, "{led} shards have a leader");
            Ok(())
        })
        .await?;
        // Closed, and it says so: a publish is refused for good, and nothing repairs itself.
        until("a definite refusal", SOON, || async {
            let answer = http::post(
                &cluster.node(0).edge,
                &format!("/v1/publish?topic={PROBE}"),
                "text/plain",
                "lost",
            )
            .await?;
            let problem = answer.json()?;
            ensure!(problem["code"] == "no_quorum", "{problem}");
            ensure!(problem["outcome"] == "not_placed", "{problem}");
            Ok(())
        })
        .await?;
        let shard = cluster_shard(DURABLE)?;
        let closed = look(cluster, shard).await?;
        ensure!(
            closed.verdict() == pb::RepairVerdict::MayComeBack,
            "{closed:?}"
        );
        ensure!((closed.voters, closed.copies.len()) == (3, 1), "{closed:?}");
        ensure!(closed.silent.len() == 2, "{closed:?}");
        // Without the metadata a shard cannot begin anew, and without the word nothing does.
        let early = pb::RepairShardRequest {
            shard,
            accept_data_loss: true,
            lost: lost(),
        };
        let refused = admin(cluster).await?.repair_shard(early).await;
        ensure!(refused.is_err(), "{refused:?}");

        repair_all(cluster).await?;

        // The copy serves alone: who had read is told of the loss, and then gets what survived.
        let (mut session, reason) = gap(cluster, DURABLE, Begin::From(durable)).await?;
        ensure!(reason == "data_loss", "{reason}");
        for text in ["4", "5"] {
            let message = soon("what survived", SOON, session.message()).await??;
            ensure!(
                message.text() == text,
                "{} instead of {text}",
                message.text()
            );
        }
        published(cluster, DURABLE, "6").await?;
        let message = soon("what is new", SOON, session.message()).await??;
        ensure!(message.text() == "6", "{}", message.text());
        published(cluster, EPHEMERAL, "3").await?;
        let (_session, reason) = gap(cluster, EPHEMERAL, Begin::Cursor(ephemeral)).await?;
        ensure!(reason == "data_loss", "{reason}");
        read(cluster, DURABLE, 6).await?;

        // New nodes make every shard whole again.
        cluster.start_node(3).await?;
        cluster.start_node(4).await?;
        until("three replicas of each shard", SOON, || async {
            let view = cluster.view().await?;
            for (id, shard) in view.shards.iter().enumerate() {
                let near = shard.replicas.iter().filter(|r| r.behind.is_some()).count();
                ensure!(shard.replicas.len() == 3, "shard {id}: {shard:?}");
                ensure!(near == 3 && shard.leader.is_some(), "shard {id}: {shard:?}");
            }
            Ok(())
        })
        .await?;
        published(cluster, DURABLE, "7").await?;
        cluster.kill(3).await?;
        published(cluster, DURABLE, "8").await?;
        read(cluster, DURABLE, 8).await?;
        Ok(())
    })
}

fn cluster_shard(topic: &str) -> Result<u32> {
    let name: fanfare_core::name::TopicName = topic.parse()?;
    Ok(name.shard(SHARDS).0)
}
