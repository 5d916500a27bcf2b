//! One replica's reign over its shard: the term it leads in, whether it still may answer for the
//! shard, and the shard's running time while it does.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanfare_consensus::{Group, Role};
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::Redirect;
use fanfare_core::view::View;
use fanfare_host::Clock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::Ledger;
use crate::machine::{Replica, ShardMachine};

/// A reign, from the moment the replica has applied an entry of its term.
pub(crate) struct Reign {
    pub(crate) shard: ShardId,
    pub(crate) term: Term,
    pub(crate) group: Group<ShardMachine>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Cancelled when the reign ends: what waits for its sake waits no longer.
    pub(crate) over: CancellationToken,
    /// What its ephemeral streams retain.
    pub(crate) ledger: Arc<Ledger>,
    role: watch::Receiver<Role>,
    view: watch::Receiver<Arc<View>>,
    full: watch::Receiver<BTreeSet<NodeId>>,
    running: Mutex<RunningTime>,
    handing_over: AtomicBool,
    /// When it may next log that a position is ahead.
    complain_at: Mutex<Duration>,
}

impl Reign {
    pub(crate) fn new(
        shard: ShardId,
        term: Term,
        group: Group<ShardMachine>,
        replica: Arc<Replica>,
        view: watch::Receiver<Arc<View>>,
        full: watch::Receiver<BTreeSet<NodeId>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let role = group.role();
        let running = Mutex::new(RunningTime::new(replica.read().running_ms(), clock.now()));
        let over = CancellationToken::new();
        Self {
            shard,
            term,
            group,
            replica,
            clock,
            over,
            ledger: Arc::default(),
            role,
            view,
            full,
            running,
            handing_over: AtomicBool::new(false),
            complain_at: Mutex::default(),
        }
    }

    /// The shard's running time now, in ms.
    pub(crate) fn running_ms(&self) -> u64 {
        let (now, hears) = (self.clock.now(), self.group.hears_majority());
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .at(now, hears)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// True while this replica leads in the term of the reign. Asked again after every wait (R2).
    pub(crate) fn holds(&self) -> bool {
        let role = self.role.borrow();
        role.serves && role.term == self.term
    }

    /// True while it also hears a majority (R12): only then it takes drafts and tells heads.
    pub(crate) fn serves(&self) -> bool {
        self.holds() && self.group.hears_majority()
    }

    /// True once a minute: for a line in the log that a client can cause.
    pub(crate) fn may_complain(&self) -> bool {
        let now = self.clock.now();
        let mut at = self
            .complain_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let may = *at <= now;
        if may {
            *at = now + Duration::from_secs(60);
        }
        may
    }

    /// True from the beginning of a handover until the reign is over, or goes on.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.handing_over.load(Ordering::Acquire)
    }

    pub(crate) fn set_handing_over(&self, now: bool) {
        self.handing_over.store(now, Ordering::Release);
    }

    /// False if no more entries are to be proposed (R15): the disk here is full, or those of so many
    /// replicas that a majority would not take them.
    pub(crate) fn has_room(&self) -> bool {
        if !self.group.has_room() {
            return false;
        }
        let full = self.full.borrow();
        let view = self.view.borrow();
        let Some(row) = view.shard(self.shard).filter(|_| !full.is_empty()) else {
            return true;
        };
        let roomy = row.replicas.iter().filter(|r| !full.contains(&r.node));
        roomy.count() > row.replicas.len() / 2
    }

    /// Where to ask instead.
    pub(crate) fn redirect(&self) -> Redirect {
        redirect(&self.role.borrow(), &self.view.borrow())
    }
}

/// Whom a replica with this role follows.
pub(crate) fn redirect(role: &Role, view: &View) -> Redirect {
    let leader: Option<NodeId> = role.leader.and_then(|leader| view.node_of(leader));
    Redirect {
        leader,
        term: role.term,
    }
}

/// The shard's running time at its leader: what the state had when the reign began, and the
/// monotonic time since, at rest while no majority is heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunningTime {
    passed: Duration,
    seen: Duration,
}

impl RunningTime {
    /// Longest stretch that counts at once: the clock is looked at several times a second, so a
    /// longer one is a pause of the process, in which the shard may have had another leader.
    const MAX_STEP: Duration = Duration::from_secs(2);

    /// Begins at the time of the last entry applied.
    pub(crate) fn new(applied_ms: u64, now: Duration) -> Self {
        Self {
            passed: Duration::from_millis(applied_ms),
            seen: now,
        }
    }

    /// The time at `now`, in ms.
    pub(crate) fn at(&mut self, now: Duration, hears_majority: bool) -> u64 {
        let step = now.saturating_sub(self.seen).min(Self::MAX_STEP);
        self.seen = now;
        if hears_majority {
            self.passed += step;
        }
        u64::try_from(self.passed.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_time_rests_without_a_majority_and_over_pauses() {
        let secs = Duration::from_secs;
        let mut time = RunningTime::new(5_000, secs(100));
        assert_eq!(time.at(secs(101), true), 6_000);
        assert_eq!(time.at(secs(102), false), 6_000);
        assert_eq!(time.at(secs(103), true), 7_000);
        assert_eq!(time.at(secs(1_000), true), 9_000);
        assert_eq!(
            time.at(secs(999), true),
            9_000,
            "a clock that steps back changes nothing"
        );
    }
}
