//! How far other replicas have acknowledged this one's log while it leads, and who of them has less
//! than that by now: a disk that forgot what it had promised (R5, R8). Nothing of it reaches
//! openraft, for which a log that goes back is a broken invariant of the leader's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_core::id::ReplicaId;

/// What is known of the others. A clone is the same. Of earlier terms only who went back is kept, so
/// that it stays small.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acked(Arc<Mutex<BTreeMap<ReplicaId, Known>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    term: u64,
    /// Highest index it acknowledged in `term`.
    index: u64,
    went_back: bool,
}

impl Acked {
    /// In the reign of `term` the replica says that it has the log up to `index`.
    pub(crate) fn stored(&self, replica: ReplicaId, term: u64, index: u64) {
        let mut all = self.lock();
        if all.values().any(|known| known.term < term) {
            all.retain(|_, known| known.term >= term || known.went_back);
        }
        let known = all.entry(replica).or_default();
        match known.term.cmp(&term) {
            std::cmp::Ordering::Less => (known.term, known.index) = (term, index),
            std::cmp::Ordering::Equal => known.index = known.index.max(index),
            // From a stream of an earlier reign.
            std::cmp::Ordering::Greater => {}
        }
    }

    /// In the reign of `term` the replica says that its log has not the leader's entry at `index`.
    /// True if it had acknowledged it in this reign: it is noted as one that went back.
    pub(crate) fn lacks(&self, replica: ReplicaId, term: u64, index: u64) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&replica) else {
            return false;
        };
        let went_back = known.term == term && index <= known.index;
        if went_back && !known.went_back {
            tracing::error!(
                %replica, acked = known.index, lacks = index,
                "a replica lacks what it had acknowledged: its disk has forgotten it, and it counts no \
                 more; look at that node's disk"
            );
            known.went_back = true;
        }
        went_back
    }

    /// Who went back since this replica started.
    pub(crate) fn went_back(&self) -> Vec<ReplicaId> {
        let all = self.lock();
        let gone = all.iter().filter(|(_, known)| known.went_back);
        gone.map(|(replica, _)| *replica).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReplicaId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ReplicaId = ReplicaId(2);

    #[test]
    fn who_lacks_what_it_acknowledged_went_back() {
        let acked = Acked::default();
        assert!(!acked.lacks(PEER, 3, 9), "it has said nothing yet");
        acked.stored(PEER, 3, 7);
        assert!(!acked.lacks(PEER, 3, 8), "a follower that is behind");
        assert_eq!(acked.went_back(), []);
        assert!(acked.lacks(PEER, 3, 7));
        assert_eq!(acked.went_back(), [PEER]);
    }

    #[test]
    fn what_another_reign_had_acknowledged_may_have_been_cut() {
        let acked = Acked::default();
        acked.stored(PEER, 3, 7);
        assert!(!acked.lacks(PEER, 4, 5));
        acked.stored(PEER, 4, 2);
        assert!(!acked.lacks(PEER, 4, 5), "the acks of term 3 are over");
        acked.stored(PEER, 3, 90);
        assert!(!acked.lacks(PEER, 4, 5), "and come late");
    }

    #[test]
    fn of_earlier_reigns_only_who_went_back_is_remembered() {
        let acked = Acked::default();
        for replica in 2..=4 {
            acked.stored(ReplicaId(replica), 3, 7);
        }
        acked.lacks(PEER, 3, 1);
        acked.stored(ReplicaId(9), 4, 1);
        assert_eq!(acked.lock().len(), 2);
        assert_eq!(acked.went_back(), [PEER]);
    }
}
