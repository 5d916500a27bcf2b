//! The broker's shells over real consensus: one replica on a temporary disk, and three brokers in
//! a process.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod attach;
mod budget;
mod cluster;
mod ephemeral;
mod handover;
mod people;
mod publish;
mod reads;
mod snapshots;
mod world;
