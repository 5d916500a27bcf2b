//! Stories of `query.rs`.
