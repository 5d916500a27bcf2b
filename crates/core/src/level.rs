//! Feature levels: what every binary of a cluster understands. A level is raised once all nodes know
//! it, by an operator; what needs it is refused before, and a binary below it does not start.
//!
//! | level | what came with it |
//! |---|---|
//! | 1 | the formats tagged `formats-1` |
//! | 2 | nodes that depart, replicas that leave, lost replicas, shards that begin anew, budgets of history, snapshots between nodes |

use crate::view::Command;

#[cfg(test)]
mod tests;

/// The highest level this code knows: of new clusters, and where `cluster upgrade` ends.
pub const KNOWN: u32 = 2;

/// From here on a snapshot may take a log's place: binaries below cannot be sent one, so what a
/// replica of theirs lacks must stay in the logs.
pub const SNAPSHOTS: u32 = 2;

/// From here on a row keeps the replicas that its group has not let go yet.
pub(crate) const LEAVING: u32 = 2;

impl Command {
    /// The level of a cluster that may be told this: binaries of a lower one could not read it.
    #[must_use]
    pub fn level(&self) -> u32 {
        match self {
            Self::Bootstrap(_)
            | Self::AddNode { .. }
            | Self::NodeStarted { .. }
            | Self::Draining { .. }
            | Self::RemoveNode { .. }
            | Self::RecordDataLoss { .. }
            | Self::Place { .. }
            | Self::ShardBegun { .. }
            | Self::PutRule { .. }
            | Self::DeleteRule { .. }
            | Self::SetCreatePolicy { .. }
            | Self::SetLevel { .. } => 1,
            Self::Depart { .. }
            | Self::Stay { .. }
            | Self::ReplicasLost { .. }
            | Self::Left { .. }
            | Self::RepairShard { .. }
            | Self::SetBudget { .. } => 2,
        }
    }
}
