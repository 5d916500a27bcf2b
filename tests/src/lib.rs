//! Harness of the stories that need more than one crate.
