//! A cluster whose nodes have little room for history: all replicas forget the same, and whoever
//! comes from before is told how much it missed and why.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wait::{soon, until};
use fanfare_tests::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use fanfare_tests::wire::grpc::pb::topic_admin_client::TopicAdminClient;
use fanfare_tests::wire::grpc::{self, pb};
use fanfare_tests::wire::http;
use fanfare_tests::wire::seen::Seen;
use fanfare_tests::wire::session::{Begin, Session, Transport};

const SOON: Duration = Duration::from_secs(120);
/// Of each node; with four shards on each node a shard has a quarter of it.
const BUDGET: u64 = 256 << 10;
const SHARE: u64 = BUDGET / 4;
const MESSAGES: u64 = 300;
/// Bytes of a payload; with what stands around it a message counts for more.
const PAYLOAD: usize = 512;

/// The topic as the i-th node's replica has it.
async fn dump(cluster: &Cluster, at: usize, topic: &str) -> Result<pb::TopicDump> {
    let shard = cluster.shard_of(topic).await?;
    let mut admin = ClusterAdminClient::new(grpc::channel(&cluster.node(at).grpc).await?);
    let asked = admin.dump_shard(pb::DumpShardRequest { shard }).await?;
    let mut stream = asked.into_inner();
    while let Some(part) = stream.message().await? {
        if part.topic == topic {
            return Ok(part);
        }
    }
    bail!("node {at} has no {topic}")
}

/// The replicas' rows once they are equal and within the shard's share.
async fn settled(cluster: &Cluster, topic: &str) -> Result<pb::TopicDump> {
    until("equal replicas within the share", SOON, || async {
        // As the leader counts, so that it trims nothing more.
        let mut admin = TopicAdminClient::new(grpc::channel(&cluster.node(0).grpc).await?);
        let name = topic.to_owned();
        let told = admin.get(pb::GetTopicRequest { name }).await?.into_inner();
        ensure!(told.bytes <= SHARE, "{} bytes are retained", told.bytes);
        let first = dump(cluster, 0, topic).await?;
        ensure!(first.start == told.start, "node 0 has yet to trim");
        for at in 1..3 {
            let other = dump(cluster, at, topic).await?;
            ensure!(
                (&first.start, &first.head, &first.chain, &first.rows)
                    == (&other.start, &other.head, &other.chain, &other.rows),
                "node {at} differs"
            );
        }
        Ok(first)
    })
    .await
}

#[test]
fn what_is_beyond_the_budget_is_forgotten_everywhere_and_told() -> Result<()> {
    Cluster::run_with_history(3, BUDGET, async |cluster| {
        let payload = "x".repeat(PAYLOAD);
        for _ in 0..MESSAGES {
            http::publish(&cluster.node(0).edge, "news", &payload).await?;
        }
        let kept = settled(cluster, "news").await?;
        let start = grpc::position(kept.start)?.offset.0;
        ensure!(start > 1, "nothing was trimmed");
        ensure!(
            (kept.rows.len() * PAYLOAD) as u64 > SHARE / 2,
            "far more was trimmed than needed"
        );
        let begin = Begin::From(cluster.position("news", 0).await?);
        for (at, transport) in Transport::ALL.into_iter().enumerate() {
            let node = cluster.node(at % 3);
            let mut session = Session::open(transport, node, &["news"], &begin).await?;
            let answer = soon("the answer", SOON, session.next()).await??;
            let Some(Seen::Attached(answer)) = answer else {
                bail!("{transport}: {answer:?}");
            };
            assert_eq!(answer.answer, "gap", "{transport}");
            let gap = soon("the gap", SOON, session.next()).await??;
            let Some(Seen::Gap(gap)) = gap else {
                bail!("{transport}: {gap:?}");
            };
            assert_eq!(
                (gap.reason.as_str(), gap.by.as_deref()),
                ("trimmed", Some("budget")),
                "{transport}"
            );
            assert_eq!(gap.missed, Some(start - 1), "{transport}");
            let next = soon("a message", SOON, session.message()).await??;
            assert_eq!(next.position.offset.0, start, "{transport}");
        }
        counted(cluster, start - 1).await
    })
}

/// Waits until the leaders have counted what was trimmed, which is after the replicas have trimmed.
async fn counted(cluster: &Cluster, messages: u64) -> Result<()> {
    until("the trims to be counted", SOON, || async {
        let mut sum = 0.0;
        for at in 0..3 {
            let text = http::get(cluster.ops(at), "/metrics").await?.text();
            let metrics = http::metrics(&text);
            let of_node = metrics.get("fanfare_budget_trimmed_total");
            sum += of_node.context("no fanfare_budget_trimmed_total")?;
        }
        ensure!(sum == messages as f64, "{sum} counted, {messages} missed");
        Ok(())
    })
    .await
}

#[test]
fn a_rule_that_no_shard_can_hold_is_refused_with_what_would_fit() -> Result<()> {
    Cluster::run_with_history(3, BUDGET, async |cluster| {
        let rules = |retain_bytes| pb::Rules {
            retain_bytes: Some(retain_bytes),
            ..pb::Rules::default()
        };
        // The budgets are in the view soon after the nodes have started.
        until("a refusal", SOON, || async {
            let mut admin = TopicAdminClient::new(grpc::channel(&cluster.node(1).grpc).await?);
            let request = pb::PutRuleRequest {
                pattern: "big.>".to_owned(),
                rules: Some(rules(SHARE + 1)),
            };
            let status = admin.put_rule(request).await;
            let status = status.err().context("the rule was taken")?;
            let named = status.message().contains("retain_bytes");
            let fits = status.message().contains(&SHARE.to_string());
            ensure!(named && fits, "{}", status.message());
            Ok(())
        })
        .await?;
        cluster.put_rule("big.>", rules(SHARE)).await
    })
}
