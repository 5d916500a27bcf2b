//! A node is killed at each named point of a move, under load: who moves, whence, whither, or who
//! planned it. The move goes on, or is planned again, and nothing acked is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fanfare_core::barrier::{Barrier, Barriers};
use fanfare_core::id::ShardId;
use fanfare_tests::cluster::{Cluster, Setup};
use fanfare_tests::load::Traffic;
use fanfare_tests::wait;
use fanfare_tests::wire::grpc::pb;
use tokio::sync::watch;

use super::membership::{admin, holds, id, plan, settled, setup, until};

const SOON: Duration = Duration::from_secs(120);

/// Where a node was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stop {
    node: usize,
    barrier: Barrier,
    shard: Option<ShardId>,
}

/// Stops the first node that passes the armed barrier, until it is released.
#[derive(Default)]
struct Stage {
    armed: Mutex<Option<Barrier>>,
    stop: watch::Sender<Option<Stop>>,
    /// Who planned a placement last.
    planner: Mutex<Option<usize>>,
}

impl Stage {
    /// The barriers of so many nodes.
    fn barriers(self: &Arc<Self>, nodes: usize) -> Vec<Barriers> {
        let of = |node| {
            let stage = Arc::clone(self);
            Barriers::new(move |barrier, shard| {
                let stage = Arc::clone(&stage);
                async move {
                    let stop = Stop {
                        node,
                        barrier,
                        shard,
                    };
                    stage.pass(stop).await;
                }
            })
        };
        (0..nodes).map(of).collect()
    }

    async fn pass(&self, stop: Stop) {
        if stop.barrier == Barrier::Planned {
            *lock(&self.planner) = Some(stop.node);
        }
        {
            let mut armed = lock(&self.armed);
            if *armed != Some(stop.barrier) {
                return;
            }
            *armed = None;
            self.stop.send_replace(Some(stop));
        }
        let mut stops = self.stop.subscribe();
        // An error: the story is over.
        drop(stops.wait_for(|now| *now != Some(stop)).await);
    }

    /// Lets who is stopped go on. The next who passes `barrier` is stopped.
    fn release_until(&self, barrier: Option<Barrier>) {
        *lock(&self.armed) = barrier;
        self.stop.send_replace(None);
    }

    async fn stopped(&self) -> Result<Stop> {
        let mut stops = self.stop.subscribe();
        let stopped = stops.wait_for(Option::is_some);
        let stop = *wait::soon("somebody to be stopped", SOON, stopped).await??;
        stop.context("nobody stopped")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whom a story kills.
#[derive(Clone, Copy, Debug)]
enum Victim {
    /// Who was stopped.
    Itself,
    /// The node with the old replica.
    Source,
    /// The node with the new one.
    Target,
    /// The leader of the metadata group.
    Planner,
}

/// The place of the victim among the nodes.
async fn find(cluster: &Cluster, stage: &Stage, stop: Stop, victim: Victim) -> Result<usize> {
    let planner = *lock(&stage.planner);
    let at = match (victim, stop.shard) {
        (Victim::Itself, _) | (_, None) => return Ok(stop.node),
        (Victim::Planner, _) => return planner.context("nobody planned"),
        (Victim::Source | Victim::Target, Some(shard)) => usize::try_from(shard.0)?,
    };
    let view = cluster.view().await?;
    let row = view.shards.get(at).context("no such shard")?;
    let newest = row.replicas.iter().max_by_key(|replica| replica.id);
    let replica = match victim {
        Victim::Source => row.leaving.first(),
        Victim::Target | Victim::Itself | Victim::Planner => newest,
    };
    let Some(replica) = replica else {
        return Ok(stop.node);
    };
    let node = view.nodes.iter().find(|node| node.id == replica.node);
    let name = &node.context("no such node")?.name;
    Ok(name.trim_start_matches('n').parse::<usize>()? - 1)
}

/// For each barrier, one after the other: stops somebody there, kills the victim, lets the others go
/// on, starts it again. The next barrier is there before anybody may go on, so that no move passes
/// it unseen.
async fn kill_at_each(
    cluster: &Cluster,
    stage: &Stage,
    traffic: &Traffic,
    kills: &[(Barrier, Victim)],
) -> Result<()> {
    let next = |at: usize| kills.get(at).map(|(barrier, _)| *barrier);
    stage.release_until(next(0));
    for (nth, (barrier, victim)) in kills.iter().copied().enumerate() {
        let killed = async {
            let stop = stage.stopped().await?;
            let at = find(cluster, stage, stop, victim).await?;
            traffic.fault("kill", &format!("{victim:?} n{} at {barrier:?}", at + 1));
            cluster.kill(at).await?;
            stage.release_until(next(nth + 1));
            traffic.acks(10, SOON).await?;
            cluster.start_node(at).await
        };
        killed
            .await
            .with_context(|| format!("{victim:?} at {barrier:?}"))?;
    }
    Ok(())
}

fn story(tell: impl AsyncFnOnce(&Cluster, &Stage, &Traffic) -> Result<()>) -> Result<()> {
    let stage = Arc::new(Stage::default());
    let setup = Setup {
        barriers: stage.barriers(4),
        ..setup(12)
    };
    Cluster::run_with(setup, async |cluster| {
        let nodes: Vec<_> = (0..3).map(|at| cluster.node(at).clone()).collect();
        let traffic = Traffic::start(&plan(), &nodes).await?;
        traffic.acks(50, SOON).await?;
        tell(cluster, &stage, &traffic).await?;
        stage.release_until(None);
        traffic.acks(50, SOON).await?;
        let (outcome, _) = traffic.finish().await?;
        ensure!(outcome.is_clean(), "{outcome}");
        ensure!(outcome.report.gaps == 0, "{outcome}");
        Ok(())
    })
}

/// A fourth node joins while nodes are killed.
fn join(kills: &[(Barrier, Victim)]) -> Result<()> {
    story(async |cluster, stage, traffic| {
        cluster.start_node(3).await?;
        traffic.doors().open(cluster.node(3).clone());
        kill_at_each(cluster, stage, traffic, kills).await?;
        settled(cluster, 0, "n4").await.map(drop)
    })
}

#[test]
fn a_join_survives_deaths_until_the_new_replica_has_caught_up() -> Result<()> {
    join(&[
        (Barrier::Planned, Victim::Itself),
        (Barrier::Placed, Victim::Planner),
        (Barrier::ReplicaStarted, Victim::Target),
        (Barrier::LearnerChosen, Victim::Itself),
        (Barrier::LearnerAdded, Victim::Target),
    ])
}

#[test]
fn a_join_survives_deaths_until_the_old_replica_is_out() -> Result<()> {
    join(&[
        (Barrier::CaughtUp, Victim::Itself),
        (Barrier::CaughtUp, Victim::Source),
        (Barrier::VotersChanged, Victim::Target),
        (Barrier::OldRemoved, Victim::Itself),
    ])
}

#[test]
fn a_join_survives_deaths_until_the_old_replica_is_deleted() -> Result<()> {
    join(&[
        (Barrier::ViewRecorded, Victim::Planner),
        (Barrier::Stopped, Victim::Itself),
        (Barrier::FilesDeleted, Victim::Itself),
    ])
}

#[test]
fn a_removal_survives_the_death_of_who_carries_it_out() -> Result<()> {
    story(async |cluster, stage, traffic| {
        cluster.start_node(3).await?;
        let view = settled(cluster, 0, "n4").await?;
        let first = id(&view, "n1")?;
        traffic.doors().open(cluster.node(3).clone());
        traffic.doors().close(cluster.node(0));
        let remove = pb::RemoveNodeRequest {
            node: "n1".to_owned(),
            ..Default::default()
        };
        // The first barrier is passed once, soon after the wish: it must be there before.
        stage.release_until(Some(Barrier::MetaVoters));
        admin(cluster, 1).await?.remove_node(remove).await?;
        let kills = [
            (Barrier::MetaVoters, Victim::Itself),
            (Barrier::VotersChanged, Victim::Itself),
            (Barrier::Emptied, Victim::Itself),
        ];
        kill_at_each(cluster, stage, traffic, &kills).await?;
        let view = until(cluster, 1, "the removal", |view| {
            let row = view.nodes.iter().find(|node| node.id == first);
            match row.map(pb::Node::state) {
                None | Some(pb::NodeState::Gone) => Ok(()),
                Some(other) => bail!("n1 is {other:?}"),
            }
        })
        .await?;
        ensure!(!view.shards.iter().any(|row| holds(row, first)), "{view:?}");
        Ok(())
    })
}
