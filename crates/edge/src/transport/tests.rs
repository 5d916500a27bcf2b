//! Stories of readers, on each transport.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test panics at whatever it does not expect"
)]

mod client;
mod grpc;
mod poll;
mod pulse;
mod relay;
mod sse;
mod tail;
mod ws;
