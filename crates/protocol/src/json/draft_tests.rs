//! Stories of `draft.rs`.
