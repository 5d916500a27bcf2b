//! The node's write-ahead log: segments, group commit, recovery, purge. Knows replicas and indexes,
//! not what entries mean.

use std::io;
use std::path::PathBuf;

/// Free space the log keeps for votes, metadata and its own next segment (R15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// At least this many bytes.
    pub bytes: u64,
    /// At least this share of the volume, in percent.
    pub percent: u64,
}

impl Default for Reserve {
    fn default() -> Self {
        Self { bytes: 256 << 20, percent: 2 }
    }
}

/// Why a log does not open. Nothing is deleted or changed in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were durable are not what was written (R6): rebuild the replicas of this node.
    #[error("log segment {path} is corrupt at byte {offset}: {what}")]
    Corrupt { path: PathBuf, offset: u64, what: String },
    /// Written by a later version.
    #[error("{path} has format {found}, this version reads up to {known}")]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("the disk failed at {path}")]
    Disk { path: PathBuf, source: io::Error },
}

/// The log's handle: a clone is the same log.
#[derive(Clone)]
pub struct Log {}

impl Log {
    /// False if free space is below the reserve (R15). Cheap: sampled at most once a second.
    #[must_use]
    pub fn has_room(&self) -> bool {
        unimplemented!()
    }

    /// True once a write or sync failed: nothing is accepted any more (R5).
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        unimplemented!()
    }
}
