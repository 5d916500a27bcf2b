//! What the tests of this crate share: a toy machine, a wire in memory, a cluster in one process.

mod aimed;
mod cluster;
mod counter;

use aimed::Aimed;
pub(crate) use cluster::{Cluster, GROUP, SOON};
pub(crate) use counter::{Counter, Numbers};
