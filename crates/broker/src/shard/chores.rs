//! What a leader proposes of its own: the shard's beginning, levels, rules, epochs, retention. One
//! at a time; none repeats before it is due.

use std::sync::Arc;
use std::time::Duration;

use fanfare_consensus::ProposeError;
use fanfare_core::budget;
use fanfare_core::id::ShardId;
use fanfare_core::name::TopicName;
use fanfare_core::shard::{Command, Entry, Secret, Shard};
use fanfare_core::view::View;
use fanfare_host::Rng;

use super::{Msg, ShardRef, State};
use crate::metrics::Metrics;
use crate::reign::Reign;

/// Epochs reserved at once for ephemeral streams.
const EPOCHS: u32 = 1_000;
/// At most one `Tick` in this time. Trims follow each other until the shard is within its share.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// A row is marked as begun again after this, while the view does not say so.
const MARK_EVERY: Duration = Duration::from_secs(5);
/// How long a proposal may take.
const WITHIN: Duration = Duration::from_secs(10);
/// 2026-01-01 in ms since 1970: the origin of epoch counters.
const EPOCH_ORIGIN_MS: u64 = 1_767_225_600_000;

pub(super) struct Chores {
    history_budget: u64,
    /// The shard's share of the budgets, and the version of the view that says so.
    share: Option<(u64, u64)>,
    metrics: Arc<Metrics>,
    /// Messages that the trim that is out will drop.
    trimming: Option<u64>,
    mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
    rng: Arc<dyn Rng>,
    out: bool,
    /// True after a failure, until the next tick.
    rests: bool,
    tick_at: Duration,
    mark_at: Duration,
}

impl Chores {
    pub(super) fn new(
        history_budget: u64,
        mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
        rng: Arc<dyn Rng>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (tick_at, mark_at) = (Duration::ZERO, Duration::ZERO);
        let (out, rests) = (false, false);
        Self {
            history_budget,
            share: None,
            metrics,
            trimming: None,
            mark_begun,
            rng,
            out,
            rests,
            tick_at,
            mark_at,
        }
    }

    pub(super) fn on_tick(&mut self) {
        self.rests = false;
    }

    pub(super) fn done(&mut self, now: Duration, done: Result<(), ProposeError>, reign: &Reign) {
        self.out = false;
        let trimmed = self.trimming.take();
        if let Err(error) = done {
            self.rests = true;
            tracing::debug!(shard = %reign.shard, %error, "a proposal of the leader's own failed");
            return;
        }
        if let Some(messages) = trimmed {
            self.metrics.budget_trims.inc();
            self.metrics.budget_trimmed.add(messages);
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
    fn next(&mut self, now: Duration, reign: &Reign, wants_epochs: bool) -> Option<Due> {
        let view = reign.view();
        let running_ms = reign.running_ms();
        let shard = reign.replica.read();
        if !shard.begun() {
            let epoch_counter = reign.clock.wall_ms().saturating_sub(EPOCH_ORIGIN_MS).max(1);
            let secret = secret(&*self.rng);
            return Some(Due::Propose(Command::Begin {
                epoch_counter,
                secret,
                level: view.level,
            }));
        }
        if shard.level() < view.level {
            return Some(Due::Propose(Command::SetLevel(view.level)));
        }
        if shard.rules_version() < view.rules.version {
            return Some(Due::Propose(Command::SetRules(view.rules.clone())));
        }
        if wants_epochs {
            return Some(Due::Propose(Command::ReserveEpochs(EPOCHS)));
        }
        if let Some(due) = self.beyond_share(&view, reign, &shard) {
            return Some(due);
        }
        if now < self.tick_at || !shard.needs_tick(running_ms) {
            return None;
        }
        self.tick_at = now + TICK_EVERY;
        Some(Due::Propose(Command::Tick))
    }

    /// What brings the shard, its ephemeral streams included, nearer to its share of the nodes'
    /// budgets: the topic with the most bytes loses its oldest messages.
    fn beyond_share(&mut self, view: &View, reign: &Reign, shard: &Shard) -> Option<Due> {
        let share = match self.share {
            Some((version, share)) if version == view.version => share,
            Some(_) | None => {
                let share = budget::share(view, reign.shard, self.history_budget);
                self.share = Some((view.version, share));
                share
            }
        };
        let streams = reign.ledger.total();
        let excess = (shard.bytes() + streams).checked_sub(share)?;
        if excess == 0 {
            return None;
        }
        let largest = reign.ledger.largest();
        if let Some((topic, bytes)) = largest.filter(|(_, most)| *most > shard.largest_bytes()) {
            return Some(Due::GiveBack(topic, excess.min(bytes / 2).max(1)));
        }
        let trim = shard.trim_for(share.saturating_sub(streams))?;
        if let Command::Trim { topic, through, .. } = &trim {
            let start = shard.get(topic).map_or(*through, |info| info.start.offset);
            self.trimming = Some((through.0 + 1).saturating_sub(start.0));
        }
        Some(Due::Propose(trim))
    }
}

/// A chore of the leader.
enum Due {
    Propose(Command),
    /// An ephemeral stream is to drop so many bytes.
    GiveBack(TopicName, u64),
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
        let command = match self.chores.next(now, &self.reign, self.hall.wants_epochs()) {
            None => return,
            // Seen to have done so by the next tick, else asked again.
            Some(Due::GiveBack(topic, bytes)) => return self.hall.give_back(&topic, bytes),
            Some(Due::Propose(command)) => command,
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
