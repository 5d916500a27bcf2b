//! One replica of a cluster of four moved at a time, as a story wants it, and what must be true when
//! it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::view::{Command, Outcome, Placement, View};
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::{Plan, Traffic};
use fanfare_tests::wait;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::stage::{Stage, Stop};

pub const SOON: Duration = Duration::from_secs(120);
pub const NODES: usize = 4;
/// 18 replicas on four nodes: two have five, two have four. A move from one of the former to one of
/// the latter leaves it so, and the metadata leader has nothing to even out.
const SHARDS: u32 = 6;

/// One replica on its way: the source has it, the target has none of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub shard: ShardId,
    pub source: usize,
    pub target: usize,
    /// The node that leads the metadata group, none of these two.
    pub planner: usize,
    /// The fourth node. It has a replica, as the planner has.
    pub other: usize,
}

/// A cluster under load whose replicas move, and every replica id it has ever given.
pub struct Ring<'a> {
    pub cluster: &'a Cluster,
    pub stage: &'a Stage,
    pub traffic: &'a Traffic,
    given: BTreeMap<ReplicaId, (ShardId, NodeId)>,
    /// Of the ids given before the present move the last.
    newest: ReplicaId,
}

/// Four nodes under load, and a stage. Everything acked is judged at the end, by the contract.
pub fn story(tell: impl AsyncFnOnce(&mut Ring<'_>) -> Result<()>) -> Result<()> {
    let setup = Setup {
        shards: SHARDS,
        ..Setup::of(NODES)
    };
    story_of(setup, tell)
}

/// The same, with nodes that are set up so.
pub fn story_of(setup: Setup, tell: impl AsyncFnOnce(&mut Ring<'_>) -> Result<()>) -> Result<()> {
    let stage = Arc::new(Stage::default());
    let setup = Setup {
        barriers: stage.barriers(NODES),
        ..setup
    };
    let mut plan = Plan::story();
    (plan.rate, plan.topics, plan.subscribers, plan.streams) = (40, 6, 6, 2);
    Cluster::run_with(setup, async |cluster| {
        let nodes: Vec<_> = (0..NODES).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan, &nodes).await?;
        traffic.acks(20, SOON).await?;
        let mut ring = Ring {
            cluster,
            stage: &stage,
            traffic: &traffic,
            given: BTreeMap::new(),
            newest: ReplicaId(0),
        };
        tell(&mut ring).await?;
        stage.release_until(None);
        traffic.acks(20, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(outcome.report.gaps == 0, "{outcome}");
        Ok(())
    })
}

/// The place of a node, which is named after it.
pub fn place_of(view: &View, node: NodeId) -> Result<usize> {
    let row = view.nodes.get(&node).context("no such node")?;
    Ok(row.name.trim_start_matches('n').parse::<usize>()? - 1)
}

/// The node at a place.
pub fn node_at(view: &View, at: usize) -> Result<NodeId> {
    let name = format!("n{}", at + 1);
    let row = view.nodes.values().find(|node| node.name == name);
    Ok(row.with_context(|| format!("no {name}"))?.id)
}

/// The view that a node has.
pub fn view(cluster: &Cluster, at: usize) -> Result<Arc<View>> {
    cluster.inner().view(at)
}

/// Which of these nodes leads the metadata group, as all of them say.
pub async fn planner(cluster: &Cluster, of: &[usize]) -> Result<usize> {
    wait::until("a leader of the metadata that all know", SOON, || async {
        let view = view(cluster, of[0])?;
        let leader = cluster.inner().metadata_leader(of[0])?;
        for at in of {
            let told = cluster.inner().metadata_leader(*at)?;
            ensure!(told == leader, "{told} or {leader}");
        }
        let place = place_of(&view, leader)?;
        ensure!(of.contains(&place), "n{} that does not run", place + 1);
        Ok(place)
    })
    .await
}

impl Ring<'_> {
    /// Draws a move that leaves the load even, between two nodes that do not lead the metadata.
    pub async fn draw(&self, rng: &mut StdRng) -> Result<Move> {
        let planner = planner(self.cluster, &[0, 1, 2, 3]).await?;
        let view = view(self.cluster, planner)?;
        let mut held = [0; NODES];
        for replica in view.shards.iter().flat_map(|row| &row.replicas) {
            held[place_of(&view, replica.node)?] += 1;
        }
        let of = |count: usize| -> Vec<usize> {
            let nodes = (0..NODES).filter(|at| *at != planner && held[*at] == count);
            nodes.collect()
        };
        let most = SHARDS as usize * 3 / NODES + 1;
        let source = *of(most).choose(rng).context("no node has more")?;
        let target = *of(most - 1).choose(rng).context("no node has less")?;
        let (from, to) = (node_at(&view, source)?, node_at(&view, target)?);
        let movable = view.shards.iter();
        let movable = movable.filter(|row| row.on(from).is_some() && row.on(to).is_none());
        let movable: Vec<ShardId> = movable.map(|row| row.id).collect();
        let shard = *movable.choose(rng).context("no shard to move")?;
        let other = (0..NODES).find(|at| ![source, target, planner].contains(at));
        Ok(Move {
            shard,
            source,
            target,
            planner,
            other: other.context("no fourth node")?,
        })
    }

    /// Has the metadata place the move; whoever leads the shard carries it out.
    pub async fn begin(&mut self, of: Move) -> Result<()> {
        let before = view(self.cluster, of.planner)?;
        self.note(&before)?;
        self.newest = ReplicaId(before.next_replica - 1);
        wait::until("the placement", SOON, || async {
            let view = view(self.cluster, of.planner)?;
            let (from, to) = (node_at(&view, of.source)?, node_at(&view, of.target)?);
            let row = view.shard(of.shard).context("no such shard")?;
            let instead = |node: NodeId| if node == from { to } else { node };
            let place = Command::Place {
                base: view.version,
                rows: vec![Placement {
                    shard: of.shard,
                    nodes: row.replicas.iter().map(|r| instead(r.node)).collect(),
                    preferred: row.preferred.map(instead),
                }],
            };
            let inner = Arc::clone(self.cluster.inner());
            let proposed = tokio::task::spawn_blocking(move || inner.propose(of.planner, &place));
            match proposed.await?? {
                Outcome::Done { .. } | Outcome::Added { .. } => Ok(()),
                Outcome::Refused(refusal) => bail!("{refusal}"),
            }
        })
        .await
    }

    /// Notes the replica ids of a view: none may ever be of another shard or node.
    fn note(&mut self, view: &View) -> Result<()> {
        for row in &view.shards {
            for replica in row.present() {
                let (id, node) = (replica.id, replica.node);
                let known = *self.given.entry(id).or_insert((row.id, node));
                ensure!(
                    known == (row.id, node),
                    "replica {id} was given twice: {known:?}, and for {} on {node}",
                    row.id
                );
            }
        }
        Ok(())
    }

    /// Waits until a node's view says that the move is done: the target has a replica under an id
    /// that was never seen, the source is let go.
    pub async fn done(&mut self, of: Move, seen_by: usize) -> Result<()> {
        let newest = self.newest;
        let found = wait::until("the move to be done", SOON, || async {
            let view = view(self.cluster, seen_by)?;
            let row = view.shard(of.shard).context("no such shard")?;
            let new = row.on(node_at(&view, of.target)?);
            let new = new.with_context(|| format!("not placed: {row:?}"))?;
            ensure!(new > newest, "replica {new} is no newer than {newest}");
            ensure!(row.on(node_at(&view, of.source)?).is_none(), "{row:?}");
            ensure!(row.leaving.is_empty(), "{row:?}");
            Ok(view)
        })
        .await?;
        self.note(&found)
    }

    /// Waits until somebody stands still at the armed barrier; `None` if the move was done without,
    /// as it may be where another node than was wished for came to lead the shard.
    pub async fn stopped(&self, of: Move) -> Result<Option<Stop>> {
        wait::until("somebody to be stopped", SOON, || async {
            if let Some(stop) = self.stage.now() {
                return Ok(Some(stop));
            }
            let view = view(self.cluster, of.planner)?;
            let row = view.shard(of.shard).context("no such shard")?;
            let gone = row
                .present()
                .all(|r| Some(r.node) != node_at(&view, of.source).ok());
            ensure!(gone, "nobody stopped, and {row:?}");
            // What is behind the view's part of the move is still to come.
            let stored = stored(&self.cluster.data(of.source))?;
            ensure!(
                stored.iter().all(|(shard, _)| *shard != of.shard.0),
                "{stored:?}"
            );
            Ok(None)
        })
        .await
    }

    /// Waits until all nodes see the same calm cluster: every shard is led and has three replicas on
    /// three nodes, none leaves, none lags; and each disk has the replicas of the view and no other.
    pub async fn calm(&mut self) -> Result<()> {
        let found = wait::until("calm", SOON, || async {
            let found = view(self.cluster, 0)?;
            for at in 1..NODES {
                let told = view(self.cluster, at)?.version;
                ensure!(told == found.version, "views {told}, {}", found.version);
            }
            for row in &found.shards {
                let on: BTreeSet<NodeId> = row.present().map(|replica| replica.node).collect();
                ensure!(row.leaving.is_empty(), "{row:?}");
                ensure!(on.len() == 3 && row.replicas.len() == 3, "{row:?}");
            }
            for at in 0..NODES {
                let node = node_at(&found, at)?;
                let rows = found.shards.iter();
                let planned: BTreeSet<(u32, u64)> = rows
                    .filter_map(|row| Some((row.id.0, row.on(node)?.0)))
                    .collect();
                let stored = stored(&self.cluster.data(at))?;
                ensure!(stored == planned, "n{}: {stored:?}, {planned:?}", at + 1);
            }
            self.traffic.calm().await?;
            Ok(found)
        })
        .await?;
        self.note(&found)
    }
}

/// Shard and id of each replica that has something on a node's disk.
fn stored(data: &Path) -> Result<BTreeSet<(u32, u64)>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(data.join("replicas"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((shard, id)) = name.strip_prefix("shard-").and_then(|s| s.split_once('-')) {
            found.insert((shard.parse()?, id.parse()?));
        }
    }
    Ok(found)
}
