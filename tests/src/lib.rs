//! Harness of the stories that need more than one crate: clients written against the wire, nodes
//! as processes, conditions to wait for.

pub mod cluster;
pub mod load;
pub mod measure;
pub mod operator;
pub mod port;
pub mod process;
pub mod wait;
pub mod wire;
