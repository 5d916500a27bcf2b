//! Stories of `poll.rs`.
