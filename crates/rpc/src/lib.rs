//! gRPC and nothing else: the only crate that knows prost and tonic. Its traits speak core types.

pub mod members;
pub mod peer;
pub mod public;
pub mod topics;
