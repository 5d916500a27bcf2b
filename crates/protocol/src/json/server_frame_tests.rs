//! Stories of `server_frame.rs`.
