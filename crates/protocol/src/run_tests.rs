//! Stories of `run.rs`.
