//! The metadata of a cluster as one of its nodes has it, read and changed from outside: for tests,
//! which have a shard moved where they want it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use fanfare_consensus::Status;
use fanfare_core::id::NodeId;
use fanfare_core::view::{Command, Outcome, View};

use super::{Cluster, lock};

impl Cluster {
    /// The newest view that the i-th node, from 0, has applied. An error if it does not run or is
    /// no member yet.
    pub fn view(&self, at: usize) -> Result<Arc<View>> {
        let handle = lock(&self.slot(at)?.host).metadata()?;
        Ok(Arc::clone(&handle.view().borrow()))
    }

    /// Whom the i-th node takes for the leader of the metadata group.
    pub fn metadata_leader(&self, at: usize) -> Result<NodeId> {
        let handle = lock(&self.slot(at)?.host).metadata()?;
        handle.leader().context("no leader is known")
    }

    /// The metadata group as the i-th node's replica sees it.
    pub fn metadata_status(&self, at: usize) -> Result<Status> {
        Ok(lock(&self.slot(at)?.host).metadata()?.status())
    }

    /// Proposes to the metadata group from the i-th node. Blocks.
    pub fn propose(&self, at: usize, command: &Command) -> Result<Outcome> {
        lock(&self.slot(at)?.host).propose(command)
    }
}
