//! A whole node: composition, accept loops, configuration, telemetry, operator's interface. Makes
//! no decision of the algorithm.

pub mod config;
pub mod telemetry;
