//! The metadata group of a cluster and a node's place in it: bootstrap, start, membership, failure
//! detector, controller. Knows nodes, shards and the rule table; no topics, sessions or messages.
//!
//! The controller proposes where replicas should be, at a pace; the shards' leaders move them.
//! A replica whose log was purged at its peers stays a learner for ever, and its move unfinished,
//! while snapshots are not sent between nodes.

mod admit;
mod ask;
mod balance;
mod beats;
mod budget;
mod cluster;
mod controller;
mod detector;
mod error;
mod handle;
mod hint;
mod init;
mod lobby;
mod losses;
mod machine;
mod moves;
mod register;
mod repair;
mod routes;
mod serve;
mod settings;

pub use admit::AdmitError;
pub use beats::Seen;
pub use cluster::Cluster;
pub use detector::Detector;
pub use error::{HintError, InitError, ProposeFailed, StartError};
pub use handle::ClusterHandle;
pub use machine::MetaMachine;
pub use repair::RepairError;
pub use routes::{Routes, Target};
pub use settings::{Admission, Config, Deps, Times};

#[cfg(test)]
mod tests;
