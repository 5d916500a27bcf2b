//! A whole node: composition, accept loops, configuration, telemetry, operator's interface. Makes
//! no decision of the algorithm.

mod accept;
mod admin;
mod codec;
pub mod config;
pub mod dev;
pub mod health;
mod late;
mod metrics;
pub mod node;
mod ops;
mod stall;
mod standing;
mod streams;
pub mod telemetry;
mod wire;

/// What is on the disk of a stopped node, and whether it is sound.
pub mod doctor {
    pub use fanfare_consensus::{Fault, GroupId, LogPosition, ReplicaFacts, Report, inspect};
}
