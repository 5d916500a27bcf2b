//! What the tests of this crate share: a toy machine, a wire in memory, a cluster in one process.

mod cluster;
mod counter;

pub(crate) use cluster::{Cluster, SOON};
pub(crate) use counter::{Counter, Numbers};
