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
mod streams;
pub mod telemetry;
mod wire;
