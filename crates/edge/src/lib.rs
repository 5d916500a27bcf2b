//! The front door of a node: HTTP routes, publishing, sessions and their transports. It knows a
//! topic's leader and readers; replicas and raft it does not know.

mod auth;
pub mod config;
pub mod directory;
mod http;
mod problem;
pub mod publish;
mod reading;
mod relay;
mod session;
mod sessions;
mod state;
pub mod transport;
