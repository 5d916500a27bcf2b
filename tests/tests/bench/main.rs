//! `fanfare bench` against nodes in this process: what it measures, that it finds nothing where
//! nothing is, what its command prints and ends with.

mod command;
mod pty;
mod runs;
