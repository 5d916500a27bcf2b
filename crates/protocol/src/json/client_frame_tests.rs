//! Stories of `client_frame.rs`.
