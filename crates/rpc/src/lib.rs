//! gRPC and nothing else: the only crate that knows prost and tonic. Its traits speak core types.

mod batch;
pub mod client;
mod codec;
pub mod convert;
pub mod heard;
pub mod identity;
pub mod items;
pub mod members;
mod pb;
pub mod peer;
pub mod public;
pub mod raft;
pub mod roster;
pub mod server;
#[cfg(test)]
mod testing;
pub mod topics;
