//! The node's write-ahead log: segments, group commit, recovery, purge. Knows replicas and indexes,
//! not what entries mean.

pub(crate) mod aside;
mod index;
mod log;
mod record;
mod recovery;
mod roster;
mod segment;
mod survey;
mod value;

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use index::{Extent, Read};
pub(crate) use log::LogParts;
pub use log::{Done, Job, Log};
pub(crate) use record::HEAD as RECORD_HEAD;
pub use record::{Parsed, Record, RecordKind};
pub use survey::{SegmentFacts, Stretch, Survey, survey};
pub(crate) use value::create_dir;
pub use value::{Wal, WalOptions};

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
        Self {
            bytes: 256 << 20,
            percent: 2,
        }
    }
}

/// Why a log does not open. Nothing is deleted or changed in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Bytes that were durable are not what was written (R6): rebuild the replicas of this node.
    #[error("log segment {path} is corrupt at byte {offset}: {what}")]
    Corrupt {
        path: PathBuf,
        offset: u64,
        what: String,
    },
    /// The same, and the replicas to rebuild cannot be told apart, or the metadata group's is one of
    /// them (R10). Replace the node.
    #[error(
        "log segment {path} is corrupt at byte {offset} ({what}), and {why}. Nothing was changed. \
         `fanfare doctor` with the data directory shows all that is wrong; replace the node \
         (`fanfare cluster replace`), and keep this directory until that is done"
    )]
    Beyond {
        path: PathBuf,
        offset: u64,
        what: String,
        why: String,
    },
    /// Written by a later version.
    #[error("{path} has format {found}, this version reads up to {known}")]
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("the disk failed at {path}")]
    Disk { path: PathBuf, source: io::Error },
}

impl Reserve {
    /// Bytes to be kept free on a volume of `total` bytes.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        self.bytes.max(total / 100 * self.percent)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod purge_tests;
#[cfg(test)]
mod survey_tests;
#[cfg(test)]
mod tests;
