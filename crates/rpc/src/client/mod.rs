//! The way to other nodes: connections by target, and over them `Peer`, raft calls and `Members`.

mod channel;
mod failure;
mod link;
mod members;
mod pool;
mod raft;
mod remote;

pub use channel::ClientSettings;
pub(crate) use channel::MAX_MESSAGE;
pub use pool::{At, PeerClients};

#[cfg(test)]
mod tests;
