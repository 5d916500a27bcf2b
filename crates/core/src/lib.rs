//! The distributed algorithm as plain values: inputs in, effects out. No runtime, clock,
//! randomness or I/O; time is an argument. A reader learns the system from here alone.

pub mod attach;
pub mod barrier;
pub mod budget;
pub mod code;
pub mod cursor;
pub mod dedup;
pub mod ephemeral;
pub mod gap;
pub mod grant;
pub mod history;
pub mod id;
pub mod level;
pub mod link;
pub mod message;
pub mod name;
pub mod placement;
pub mod position;
pub mod publishing;
pub mod receipt;
pub mod relay;
pub mod repair;
mod ring;
pub mod rule;
pub mod session;
pub mod shard;
pub mod subscription;
pub mod topic;
pub mod view;
