//! The way to other nodes: connections by target, and over them `Peer`, raft calls and `Members`;
//! and, for clients, the public services.

mod admin;
mod channel;
mod failure;
mod heartbeats;
mod link;
mod members;
mod pool;
mod public;
mod raft;
mod remote;
mod roster;

pub use admin::Overviews;
pub use channel::ClientSettings;
pub(crate) use channel::{MAX_MESSAGE, not_connected};
pub use pool::{At, PeerClients};
pub use public::{Answers, Events, PublicClient};

#[cfg(test)]
mod tests;
