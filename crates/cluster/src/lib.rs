//! The metadata group of a cluster and a node's place in it: bootstrap, start, membership, failure
//! detector, controller. Knows nodes, shards and the rule table; no topics, sessions or messages.
//!
//! What it does not do yet: move, rebuild or balance replicas of shards. The detector tells who is
//! away and `placement::plan` knows where their replicas should go, but no `Place` is proposed
//! while nothing carries it out. So a node that is admitted later holds the view and may vote in
//! the metadata group, but gets no shards, and a removed one's shards run with a replica less.

mod admit;
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

pub use admit::AdmitError;
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
