//! The rolling upgrade: nodes of an older binary are replaced one by one under load, the feature
//! level is raised, and the older binary does not start any more.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::operate::Operator;
use super::operation::Operation;
use super::plan::Plan;
use super::sight;
use crate::operator;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::{self, pb};

impl Operator<'_> {
    /// All steps. No stream of a topic may have another epoch afterwards.
    pub(super) async fn upgrade(&mut self) -> Result<()> {
        let old = self.plan.old_binary.clone();
        let old = old.context("`upgrade` needs --old-binary")?;
        let before = self.epochs().await?;
        for at in 0..self.cluster.nodes.len() {
            self.cluster.nodes[at].runs(None);
            self.again(Operation::Upgrade, at).await?;
        }
        self.raise().await?;
        // The shards follow by entries of their own, under load.
        self.calm().await?;
        let after = self.epochs().await?;
        ensure!(before == after, "epochs {before:?} became {after:?}");
        let last = self.cluster.nodes.len() - 1;
        self.cluster.nodes[last].runs(Some(old));
        self.refuses_to_start(last).await?;
        self.cluster.nodes[last].runs(None);
        self.cluster.nodes[last].start()?;
        self.cluster.nodes[last].ready().await?;
        self.calm().await?;
        let end = self.epochs().await?;
        ensure!(before == end, "epochs {before:?} became {end:?}");
        Ok(())
    }

    /// Raises the level until the binary knows no higher one.
    async fn raise(&self) -> Result<()> {
        let doors = sight::doors(self.cluster);
        let args = ["cluster", "upgrade", "--json"];
        let mut raised = 0;
        loop {
            let said = operator::fanfare(&args, &doors, self.limit())
                .await?
                .done()?;
            let told: serde_json::Value = serde_json::from_str(&said.stdout)?;
            if told["raised"] != true {
                ensure!(told["level"] == told["known"], "{said}");
                break;
            }
            raised += 1;
        }
        ensure!(raised > 0, "the older binary knew the highest level");
        super::operate::tell(&format!("the level was raised by {raised}"));
        Ok(())
    }

    /// Stops a node in order; what is started in its place must end by itself with an error.
    async fn refuses_to_start(&mut self, at: usize) -> Result<()> {
        let limit = self.limit();
        let node = &mut self.cluster.nodes[at];
        node.signal("TERM")?;
        node.exited(limit).await?;
        node.start()?;
        let code = node.exited(limit).await?;
        ensure!(
            code.is_some_and(|code| code != 0),
            "the older binary ended with {code:?}:\n{}",
            node.tail()
        );
        let why = node.tail();
        let why = why.lines().last().unwrap_or_default();
        super::operate::tell(&format!("the older binary does not start: {why}"));
        Ok(())
    }

    /// The epoch of each topic of the load.
    async fn epochs(&self) -> Result<BTreeMap<String, u64>> {
        let door = sight::doors(self.cluster);
        let door = door.first().context("no node runs")?;
        let mut admin = ClusterAdminClient::new(grpc::channel(door).await?);
        let topics = (0..self.plan.topics).map(Plan::topic).collect();
        let sample = admin.sample(pb::SampleRequest { topics }).await?;
        let samples = sample.into_inner().samples.into_iter();
        Ok(samples.map(|row| (row.topic, row.epoch)).collect())
    }
}
