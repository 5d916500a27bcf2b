//! Stories of `stream.rs`.
