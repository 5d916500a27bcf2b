//! What of the binary others build on: `bench`, load with a judge in it, as a library.

pub mod bench;
