//! What clients and edges say to each other, version 1: bytes and strings, both directions. No
//! sockets, no HTTP types, no decisions of a session. `run` and `stream` are what a subscriber is
//! sent, `json` what is said on a socket, `query` and `header` what a request asks for.

pub mod header;
pub mod html;
pub mod json;
pub mod limit;
pub mod ndjson;
pub mod poll;
pub mod query;
pub mod run;
pub mod secret;
pub mod spelling;
pub mod sse;
pub mod stream;
pub mod ws;

#[cfg(test)]
mod testing;
