//! The metadata group of a cluster and a node's place in it: bootstrap, start, membership, failure
//! detector, controller. Knows nodes, shards and the rule table; no topics, sessions or messages.
//!
//! What it does not do yet: move, rebuild or balance replicas of shards. The detector tells who is
//! away and `placement::plan` knows where their replicas should go, but no `Place` is proposed
//! while nothing carries it out; nor can a node join after the bootstrap on its own.

mod ask;
mod beats;
mod cluster;
mod controller;
mod detector;
mod error;
mod handle;
mod hint;
mod init;
mod lobby;
mod machine;
mod register;
mod routes;
mod serve;
mod settings;

pub use beats::Seen;
pub use cluster::Cluster;
pub use detector::Detector;
pub use error::{HintError, InitError, ProposeFailed, StartError};
pub use handle::ClusterHandle;
pub use machine::MetaMachine;
pub use routes::{Routes, Target};
pub use settings::{Config, Deps, Times};

#[cfg(test)]
mod tests;
