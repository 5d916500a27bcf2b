//! When the replicas of one node look at their timers. openraft asks for five looks a heartbeat;
//! here it is three in four: the leaders of a node look all at once, so that their heartbeats
//! travel together, and every other replica at a time of its own, so that two followers of one
//! group seldom begin an election together. Not how openraft is made to keep to it: `runtime`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanfare_core::id::ReplicaId;
use openraft_rt_tokio::TokioInstant;

/// Offsets of replicas that do not lead are multiples of a period over this: few wake-ups serve
/// many replicas.
const SLOTS: u32 = 8;
/// 2^64 over the golden ratio: multiples of it are spread evenly, and those of neighbours lie far
/// apart. The replicas of a group have neighbouring ids.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// The lines in time on which all leaders of one node look at their timers. A clone is the same;
/// each node has its own.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<OnceLock<TokioInstant>>);

/// The timer of one replica.
#[derive(Debug)]
pub(crate) struct Timer {
    pace: Pace,
    period: Duration,
    offset: Duration,
    leads: AtomicBool,
}

impl Timer {
    /// Every heartbeat is due at a look although looks come early and late: their period is a third
    /// longer than `heartbeat`.
    pub(crate) fn new(pace: Pace, replica: ReplicaId, heartbeat: Duration) -> Self {
        let period = (heartbeat * 4 / 3).max(Duration::from_millis(1));
        // As many of the upper bits as count the slots.
        let slot = replica.0.wrapping_mul(SPREAD) >> (u64::BITS - SLOTS.ilog2());
        let slot = u32::try_from(slot).unwrap_or(0);
        Self {
            pace,
            period,
            offset: period * slot / SLOTS,
            leads: AtomicBool::new(false),
        }
    }

    /// Whether the replica leads from now on.
    pub(crate) fn set_leads(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }

    /// The first line at or after `wanted`, which is less than a period away.
    pub(crate) fn next(&self, wanted: TokioInstant) -> TokioInstant {
        let origin = *self.pace.0.get_or_init(|| wanted);
        let offset = match self.leads.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => self.offset,
        };
        let period = self.period.as_nanos();
        let past = ((wanted - origin) + self.period - offset).as_nanos() % period;
        let wait = (period - past) % period;
        wanted + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use openraft::Instant as _;

    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(150);
    const PERIOD: Duration = Duration::from_millis(200);

    fn timer(pace: &Pace, replica: u64) -> Timer {
        Timer::new(pace.clone(), ReplicaId(replica), HEARTBEAT)
    }

    #[test]
    fn leaders_of_a_node_look_at_once() {
        let pace = Pace::default();
        let now = TokioInstant::now();
        timer(&pace, 0).next(now);
        let lines: BTreeSet<TokioInstant> = (0..64)
            .map(|replica| {
                let timer = timer(&pace, replica);
                timer.set_leads(true);
                // openraft's own schedule has another phase for each.
                timer.next(now + Duration::from_micros(100 + 37 * replica))
            })
            .collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn a_look_is_never_early_and_at_most_a_period_late() {
        let pace = Pace::default();
        let now = TokioInstant::now();
        for replica in 0..64 {
            let timer = timer(&pace, replica);
            for (n, leads) in [false, true, false].into_iter().enumerate() {
                timer.set_leads(leads);
                let wanted = now + Duration::from_micros(12_345 * n as u64 + replica);
                let at = timer.next(wanted);
                assert!(at >= wanted && at - wanted < PERIOD, "replica {replica}");
                // The next after the look that came is one period on, however late it was handled.
                let after = timer.next(at + Duration::from_millis(30));
                assert_eq!(after - at, PERIOD, "replica {replica}");
            }
        }
    }

    #[test]
    fn a_time_before_the_first_line_has_a_look_too() {
        let pace = Pace::default();
        let now = TokioInstant::now();
        timer(&pace, 1).next(now + PERIOD * 3);
        let at = timer(&pace, 2).next(now);
        assert!(at >= now && at - now < PERIOD);
    }

    #[test]
    fn replicas_of_a_group_that_do_not_lead_look_at_different_times() {
        let pace = Pace::default();
        let now = TokioInstant::now();
        for first in 0..500 {
            let lines: BTreeSet<TokioInstant> = (first..first + 3)
                .map(|replica| timer(&pace, replica).next(now))
                .collect();
            assert_eq!(lines.len(), 3, "of replicas from {first}");
        }
    }

    #[test]
    fn nodes_have_lines_of_their_own() {
        let now = TokioInstant::now();
        let mut lines = BTreeSet::new();
        for node in 0..4 {
            let pace = Pace::default();
            timer(&pace, 1).next(now + Duration::from_millis(17 * node));
            let leader = timer(&pace, 1);
            leader.set_leads(true);
            lines.insert(leader.next(now + PERIOD));
        }
        assert_eq!(lines.len(), 4);
    }
}
