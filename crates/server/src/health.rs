//! Whether a node lives and whether clients should be sent to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What must hold before a node is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The data directory is this node's and the log is recovered.
    Recovered,
    /// A fresh view holds this generation of the node.
    Member,
    /// The accept loops run.
    Accepting,
}

impl Condition {
    const ALL: [Self; 3] = [Self::Recovered, Self::Member, Self::Accepting];

    fn lacking(self) -> &'static str {
        match self {
            Self::Recovered => "the log is not recovered yet",
            Self::Member => "no view holds this start of the node yet (has the cluster been made?)",
            Self::Accepting => "the doors are not open yet",
        }
    }
}

#[derive(Debug, Default)]
struct State {
    met: Vec<Condition>,
    draining: bool,
}

/// A node's health. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

impl Health {
    /// A condition holds from now on.
    pub fn met(&self, condition: Condition) {
        let mut state = self.lock();
        if !state.met.contains(&condition) {
            state.met.push(condition);
        }
    }

    /// The node is leaving: not ready any more.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// True once the node is leaving.
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// `Ok` if clients should be sent here; else the first thing that is missing.
    pub fn ready(&self, log_writable: bool) -> Result<(), &'static str> {
        let state = self.lock();
        if state.draining {
            return Err("draining");
        }
        if let Some(missing) = Condition::ALL.iter().find(|c| !state.met.contains(c)) {
            return Err(missing.lacking());
        }
        if log_writable {
            Ok(())
        } else {
            Err("the disk is full: drafts are refused")
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_once_everything_holds_and_until_it_leaves() {
        let health = Health::default();
        for condition in Condition::ALL {
            assert_eq!(health.ready(true), Err(condition.lacking()));
            health.met(condition);
        }
        assert_eq!(health.ready(true), Ok(()));
        assert!(health.ready(false).is_err());
        health.drain();
        assert_eq!(health.ready(true), Err("draining"));
    }
}
