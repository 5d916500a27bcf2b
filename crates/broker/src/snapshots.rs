//! When a replica's log is due to be replaced by a snapshot: one at a time a node, the one whose
//! log has grown most.

use std::time::Duration;

use fanfare_core::id::ShardId;

use crate::directory::{Directory, Local};
use crate::options::BrokerOptions;

/// A snapshot that is not there after this is given up.
const WITHIN: Duration = Duration::from_secs(120);
/// A leader whose followers lag waits with its snapshot until its log is so many times as long.
const PATIENCE: u64 = 8;
/// Entries a replica may be behind and still be served from the log's last stretch.
const NEAR: u64 = 256;

/// The node's snapshots.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    writing: Option<Writing>,
}

#[derive(Clone, Copy, Debug)]
struct Writing {
    shard: ShardId,
    /// It is done once it reaches this entry.
    index: u64,
    bytes: u64,
    until: Duration,
}

impl Snapshots {
    /// Looks after the one that is written, or finds the next that is due.
    pub(crate) fn next(
        &mut self,
        directory: &Directory,
        options: &BrokerOptions,
        log_bytes: u64,
        now: Duration,
    ) -> Option<Local> {
        if let Some(writing) = self.writing {
            let local = directory.get(writing.shard);
            let done = local.filter(|local| local.group.status().snapshot >= writing.index);
            if let Some(local) = &done {
                local.replica.snapshot_taken(writing.bytes);
            }
            if done.is_none() && now < writing.until {
                return None;
            }
            self.writing = None;
        }
        let all = directory.all().into_iter();
        let (shard, local) = all.max_by_key(|(_, local)| local.replica.logged())?;
        let bytes = local.replica.logged();
        let size = local.replica.read().bytes();
        let full = log_bytes > options.log_budget;
        let status = local.group.status();
        let lags = status.behind.iter().any(|(_, behind)| *behind > NEAR);
        if !is_due(bytes, size, options.snapshot_after, full, lags) {
            return None;
        }
        let until = now + WITHIN;
        self.writing = Some(Writing {
            shard,
            index: status.applied,
            bytes,
            until,
        });
        Some(local)
    }
}

/// `grown`: bytes of log since the last one; `size`: bytes it would take.
fn is_due(grown: u64, size: u64, after: u64, full: bool, lags: bool) -> bool {
    let wanted = after.max(size);
    let wanted = if lags {
        wanted.saturating_mul(PATIENCE)
    } else {
        wanted
    };
    grown >= wanted || (full && grown > 0 && !lags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_when_the_log_has_grown_by_its_size() {
        assert!(!is_due(63, 10, 64, false, false));
        assert!(is_due(64, 10, 64, false, false));
        assert!(
            !is_due(64, 100, 64, false, false),
            "it would be larger than the log"
        );
        assert!(is_due(1, 100, 64, true, false), "the node's log is full");
        assert!(!is_due(0, 0, 64, true, false), "nothing to gain");
    }

    #[test]
    fn who_lags_is_waited_for_but_not_for_ever() {
        assert!(!is_due(64, 10, 64, false, true));
        assert!(is_due(64 * PATIENCE, 10, 64, true, true));
    }
}
