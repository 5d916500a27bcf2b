//! Clients written against the wire, with no encoder of the product: what other people's clients
//! would do.

pub mod grpc;
pub mod http;
pub mod seen;
pub mod session;
pub mod sse;
pub mod ws;
