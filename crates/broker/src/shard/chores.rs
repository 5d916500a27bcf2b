//! What a leader proposes of its own: the shard's beginning, levels, rules, epochs, retention. One
//! at a time; none repeats before it is due.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::ProposeError;
use fanfare_core::id::ShardId;
use fanfare_core::shard::{Command, Entry, Secret};
use fanfare_core::view::View;
use fanfare_host::Rng;

use super::{Msg, ShardRef, State};
use crate::reign::Reign;

/// Epochs reserved at once for ephemeral streams.
const EPOCHS: u32 = 1_000;
/// At most one `Tick` and one `Trim` in this time.
const RETENTION_EVERY: Duration = Duration::from_secs(1);
/// A row is marked as begun again after this, while the view does not say so.
const MARK_EVERY: Duration = Duration::from_secs(5);
/// How long a proposal may take.
const WITHIN: Duration = Duration::from_secs(10);
/// 2026-01-01 in ms since 1970: the origin of epoch counters.
const EPOCH_ORIGIN_MS: u64 = 1_767_225_600_000;

pub(super) struct Chores {
    history_budget: u64,
    mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
    rng: Arc<dyn Rng>,
    out: bool,
    /// True after a failure, until the next tick.
    rests: bool,
    retention_at: Duration,
    mark_at: Duration,
}

impl Chores {
    pub(super) fn new(
        history_budget: u64,
        mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let (retention_at, mark_at) = (Duration::ZERO, Duration::ZERO);
        let (out, rests) = (false, false);
        Self {
            history_budget,
            mark_begun,
            rng,
            out,
            rests,
            retention_at,
            mark_at,
        }
    }

    pub(super) fn on_tick(&mut self) {
        self.rests = false;
    }

    pub(super) fn done(&mut self, now: Duration, done: Result<(), ProposeError>, reign: &Reign) {
        self.out = false;
        if let Err(error) = done {
            self.rests = true;
            tracing::debug!(shard = %reign.shard, %error, "a proposal of the leader's own failed");
            return;
        }
        self.mark(now, reign);
    }

    /// Has the view marked once the shard has begun.
    fn mark(&mut self, now: Duration, reign: &Reign) {
        let view = reign.view();
        let marked = view.shard(reign.shard).is_none_or(|row| row.begun);
        if !marked && now >= self.mark_at && reign.replica.read().begun() {
            self.mark_at = now + MARK_EVERY;
            (self.mark_begun)(reign.shard);
        }
    }

    /// The most urgent command of all that are due.
    fn next(&mut self, now: Duration, reign: &Reign, wants_epochs: bool) -> Option<Command> {
        let view = reign.view();
        let running_ms = reign.running_ms();
        let shard = reign.replica.read();
        if !shard.begun() {
            let epoch_counter = reign.clock.wall_ms().saturating_sub(EPOCH_ORIGIN_MS).max(1);
            let secret = secret(&*self.rng);
            return Some(Command::Begin {
                epoch_counter,
                secret,
                level: view.level,
            });
        }
        if shard.level() < view.level {
            return Some(Command::SetLevel(view.level));
        }
        if shard.rules_version() < view.rules.version {
            return Some(Command::SetRules(view.rules.clone()));
        }
        if wants_epochs {
            return Some(Command::ReserveEpochs(EPOCHS));
        }
        if now < self.retention_at {
            return None;
        }
        let share = share(&view, reign.shard, self.history_budget);
        let trim = shard.trim_for(share);
        let command = trim.or_else(|| shard.needs_tick(running_ms).then_some(Command::Tick))?;
        self.retention_at = now + RETENTION_EVERY;
        Some(command)
    }
}

impl State {
    /// Proposes what is due, unless something is out or has just failed.
    pub(super) fn do_chores(&mut self, me: &ShardRef) {
        let now = self.reign.clock.now();
        self.chores.mark(now, &self.reign);
        let idle = !self.chores.out && !self.chores.rests && self.handover.is_none();
        if !idle || !self.reign.serves() {
            return;
        }
        let Some(command) = self.chores.next(now, &self.reign, self.hall.wants_epochs()) else {
            return;
        };
        self.chores.out = true;
        let (reign, me) = (Arc::clone(&self.reign), me.clone());
        let entry = Entry {
            running_ms: reign.running_ms(),
            command,
        };
        self.tasks.spawn(async move {
            let done = reign.group.propose(reign.term, entry, WITHIN).await;
            // A stopped actor has no chores.
            me.cast(Msg::ChoreDone(done.map(drop))).ok();
        });
    }
}

/// A key that nobody outside can guess.
pub(super) fn secret(rng: &dyn Rng) -> Secret {
    let mut secret = [0; 32];
    let (low, high) = secret.split_at_mut(16);
    low.copy_from_slice(&rng.next_u128().to_be_bytes());
    high.copy_from_slice(&rng.next_u128().to_be_bytes());
    Secret(secret)
}

/// What a shard may retain: the smallest share of a node's budget over the nodes that hold it.
fn share(view: &View, shard: ShardId, budget: u64) -> u64 {
    let Some(row) = view.shard(shard) else {
        return budget;
    };
    let held = |node| {
        let holds =
            |row: &&fanfare_core::view::ShardRow| row.replicas.iter().any(|r| r.node == node);
        view.shards.iter().filter(holds).count().max(1) as u64
    };
    let most = row
        .replicas
        .iter()
        .map(|replica| held(replica.node))
        .max()
        .unwrap_or(1);
    budget / most
}
