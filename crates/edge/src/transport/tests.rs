//! Stories of readers, on each transport.

mod client;
mod grpc;
mod poll;
mod relay;
mod sse;
mod tail;
mod ws;
