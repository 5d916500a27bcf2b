//! A node loses its disk and is replaced by another, with the commands an operator would type; then
//! a node under the old name comes back as a new one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use fanfare_tests::operator::fanfare;
use fanfare_tests::process::Processes;
use fanfare_tests::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use fanfare_tests::wire::grpc::{self, pb};
use fanfare_tests::wire::http;

const SOON: Duration = Duration::from_secs(120);
const STORY: Duration = Duration::from_secs(600);

/// The gRPC doors of the nodes at these places.
fn doors(cluster: &Processes, at: &[usize]) -> Vec<String> {
    let door = |at: &usize| cluster.nodes[*at].node.grpc.clone();
    at.iter().map(door).collect()
}

async fn view(door: &str) -> Result<pb::ClusterView> {
    let mut admin = ClusterAdminClient::new(grpc::channel(door).await?);
    Ok(admin.get_view(pb::GetViewRequest {}).await?.into_inner())
}

#[test]
fn a_lost_node_is_replaced_and_its_name_used_again() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let story = async {
        let dir = tempfile::tempdir()?;
        let mut cluster = Processes::start(3, dir.path(), 4).await?;
        let edge = cluster.nodes[0].node.edge.clone();
        for n in 1..=20 {
            http::publish(&edge, "kept", &n.to_string()).await?;
        }

        let node = &mut cluster.nodes[1];
        node.kill()?;
        std::fs::remove_dir_all(node.data())?;
        node.start()?;
        let code = node.exited(SOON).await?;
        ensure!(code.is_some_and(|code| code != 0), "{code:?}");
        let told = node.tail();
        ensure!(told.contains("fanfare cluster replace n2"), "{told}");

        let others = doors(&cluster, &[0, 2]);
        let early = fanfare(&["cluster", "replace", "n2", "n4"], &others, SOON).await?;
        ensure!(early.code == Some(4), "{early}");
        ensure!(early.stderr.contains("no node is named n4"), "{early}");

        let new = cluster.add("n4")?;
        cluster.nodes[new].ready().await?;
        let args = ["cluster", "replace", "n2", "n4", "--timeout", "60s"];
        let done = fanfare(&args, &others, SOON).await?.done()?;
        ensure!(done.stdout.contains("n2 is gone for ever"), "{done}");

        let now = view(&others[0]).await?;
        let id = |name: &str| now.nodes.iter().find(|n| n.name == name).map(|n| n.id);
        let (old, heir) = (id("n2").context("n2")?, id("n4").context("n4")?);
        for row in &now.shards {
            let on: Vec<u64> = row.replicas.iter().map(|r| r.node).collect();
            ensure!(on.contains(&heir) && !on.contains(&old), "{row:?}");
        }
        let shown = fanfare(&["cluster", "status"], &others, SOON)
            .await?
            .done()?;
        ensure!(shown.stdout.contains("gone"), "{shown}");
        let again = fanfare(&args, &others, SOON).await?;
        ensure!(again.code == Some(4), "{again}");
        ensure!(again.stderr.contains("gone already"), "{again}");

        // The same machine, with its empty disk: from now on it is another node.
        cluster.nodes[1].start()?;
        cluster.nodes[1].ready().await?;
        let now = view(&others[0]).await?;
        let alive = now.nodes.iter().filter(|node| node.name == "n2");
        let ids: Vec<u64> = alive.map(|node| node.id).collect();
        ensure!(ids.len() == 2 && ids[1] > heir, "{:?}", now.nodes);
        let edge = cluster.nodes[new].node.edge.clone();
        let kept = http::get(&edge, "/v1/poll?topic=kept&from=earliest&limit=100").await?;
        ensure!(kept.text().contains("20"), "{}", kept.text());
        Ok(())
    };
    runtime.block_on(async { tokio::time::timeout(STORY, story).await })?
}
