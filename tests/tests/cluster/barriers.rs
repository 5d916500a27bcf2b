//! A node is killed at each named point of a move, under load: whence the replica goes, whither, who
//! leads the metadata, and, where the shard's leader is the one that acts, that one too. Each time
//! the move goes on, nothing acked is lost, and no replica is left over. What only a removal passes
//! is in `removals`.
//!
//! One of them dies at each point, another at the next; `FANFARE_DEATHS=all` (`just barriers`) kills
//! each at each. `FANFARE_SEED` draws other victims, shards, nodes and leaders than usual.

use std::io::Write as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fanfare_core::barrier::Barrier;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::moving::{Move, NODES, Ring, SOON, planner, story};
use super::stage::{Armed, Stop};

/// Whom a story kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    /// The node with the old replica.
    Source,
    /// The node with the new one.
    Target,
    /// The leader of the metadata group.
    Planner,
    /// The leader of the shard, if it is none of these.
    Leader,
}

use Victim::{Leader, Planner, Source, Target};

/// One death: where, whose, and what draws the rest.
#[derive(Clone, Copy, Debug)]
struct Death {
    barrier: Barrier,
    victim: Victim,
    seed: u64,
}

impl Death {
    fn of(barrier: Barrier, victim: Victim) -> Result<Self> {
        let chosen = match std::env::var("FANFARE_SEED") {
            Ok(text) => text.parse().context("FANFARE_SEED is no number")?,
            Err(_) => 0_u64,
        };
        let at = Barrier::ALL.iter().position(|known| *known == barrier);
        let row = u64::try_from(at.context("no such barrier")?)?;
        let seed = chosen * 1_000 + row * 10 + victim as u64;
        Ok(Self {
            barrier,
            victim,
            seed,
        })
    }

    /// Where the victim is.
    fn place(self, of: Move) -> usize {
        match self.victim {
            Source => of.source,
            Target => of.target,
            Planner => of.planner,
            Leader => of.other,
        }
    }

    /// Who is to lead the shard when the move begins. Only a leader that has to go hands over.
    fn leader(self, of: Move, rng: &mut StdRng) -> usize {
        let any = [of.source, of.planner, of.other];
        match (self.barrier, self.victim) {
            (Barrier::HandingOver, _) => of.source,
            (_, Leader) => of.other,
            (_, Source | Target | Planner) => *any.choose(rng).unwrap_or(&of.other),
        }
    }

    /// True if the move comes to its end while the victim is dead. A replica that has not caught up
    /// is waited for.
    fn ends_without_it(self) -> bool {
        self.victim != Target || self.barrier >= Barrier::VotersChanged
    }
}

/// Has one replica move, kills the victim where it is to die, sees the move go on without it, or
/// start anew with it, starts it again, and waits until all is as if nothing had happened.
async fn kill(ring: &mut Ring<'_>, death: Death) -> Result<()> {
    let begun = Instant::now();
    let mut rng = StdRng::seed_from_u64(death.seed);
    loop {
        let of = ring.draw(&mut rng).await?;
        let leader = death.leader(of, &mut rng);
        let told = format!("{death:?}, n{} leads it, {of:?}", leader + 1);
        let lived = live(ring, death, of, leader).await;
        let Some(stop) = lived.with_context(|| told.clone())? else {
            // Elected away from where it was to be led, and so moved past the barrier.
            continue;
        };
        let (by, victim, took) = (stop.node + 1, death.place(of) + 1, begun.elapsed());
        let line = format!("{took:>8.1?}  n{by} stopped, n{victim} killed: {told}");
        // The table is a courtesy: a closed stderr stops nothing.
        drop(writeln!(std::io::stderr(), "{line}"));
        return Ok(());
    }
}

/// The same with this move; `None` if nobody passed the barrier.
async fn live(ring: &mut Ring<'_>, death: Death, of: Move, leader: usize) -> Result<Option<Stop>> {
    ring.cluster.transfer(of.shard.0, leader).await?;
    ring.stage.release_until(Some(Armed {
        barrier: death.barrier,
        shard: Some(of.shard),
    }));
    ring.begin(of).await?;
    let Some(stop) = ring.stopped(of).await? else {
        ring.stage.release_until(None);
        return Ok(None);
    };
    let victim = death.place(of);
    let told = format!("n{} at {:?}", victim + 1, death.barrier);
    ring.traffic.fault("kill", &told);
    ring.cluster.kill(victim).await?;
    ring.stage.release_until(None);
    ring.traffic.acks(10, SOON).await?;
    if death.ends_without_it() {
        let alive: Vec<usize> = (0..NODES).filter(|at| *at != victim).collect();
        let seen_by = planner(ring.cluster, &alive).await?;
        ring.done(of, seen_by).await?;
    }
    ring.cluster.start_node(victim).await?;
    ring.done(of, victim).await?;
    ring.calm().await?;
    Ok(Some(stop))
}

/// Kills all these at the barrier, one move each; by default only the one whose turn it is.
fn row(barrier: Barrier, victims: &[Victim]) -> Result<()> {
    let turn = Death::of(barrier, Source)?.seed / 10;
    let turn = usize::try_from(turn)? % victims.len();
    let victims = match std::env::var("FANFARE_DEATHS") {
        Ok(all) if all == "all" => victims,
        _ => &victims[turn..=turn],
    };
    story(async |ring| {
        for victim in victims {
            kill(ring, Death::of(barrier, *victim)?).await?;
        }
        Ok(())
    })
}

/// Who the move is about, where no other node acts.
const THREE: [Victim; 3] = [Source, Target, Planner];
/// The same, where the shard's leader acts.
const FOUR: [Victim; 4] = [Source, Target, Planner, Leader];

#[test]
fn a_move_survives_a_death_when_the_new_replica_has_started() -> Result<()> {
    row(Barrier::ReplicaStarted, &THREE)
}

#[test]
fn a_move_survives_a_death_when_the_new_replica_is_to_learn() -> Result<()> {
    row(Barrier::LearnerChosen, &FOUR)
}

#[test]
fn a_move_survives_a_death_when_the_new_replica_learns() -> Result<()> {
    row(Barrier::LearnerAdded, &FOUR)
}

#[test]
fn a_move_survives_a_death_when_the_new_replica_has_caught_up() -> Result<()> {
    row(Barrier::CaughtUp, &FOUR)
}

#[test]
fn a_move_survives_a_death_when_the_voters_have_changed() -> Result<()> {
    row(Barrier::VotersChanged, &FOUR)
}

/// The leader that hands over is the source: there is no fourth.
#[test]
fn a_move_survives_a_death_when_its_leader_hands_over() -> Result<()> {
    row(Barrier::HandingOver, &THREE)
}

#[test]
fn a_move_survives_a_death_when_the_old_replica_is_out() -> Result<()> {
    row(Barrier::OldRemoved, &FOUR)
}

#[test]
fn a_move_survives_a_death_when_the_view_has_let_the_old_replica_go() -> Result<()> {
    row(Barrier::ViewRecorded, &FOUR)
}

/// From here on the source alone acts.
#[test]
fn a_move_survives_a_death_when_the_old_replica_has_stopped() -> Result<()> {
    row(Barrier::Stopped, &THREE)
}

#[test]
fn a_move_survives_a_death_when_the_old_files_are_gone() -> Result<()> {
    row(Barrier::FilesDeleted, &THREE)
}
