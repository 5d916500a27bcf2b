//! The marker of a data directory: whose it is, and how often it was started.

use std::io;
use std::path::{Path, PathBuf};

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_host::Disk;

/// What the marker of a data directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub disk: DiskId,
    /// Starts of the node so far; 0 before the first.
    pub generation: Generation,
}

/// Why a data directory is not one to serve from.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No marker: an empty disk, or one that lost its data (R8). Metadata knows which.
    #[error("{path} has no marker")]
    Missing { path: PathBuf },
    #[error("{path} is corrupt: {what}")]
    Corrupt { path: PathBuf, what: &'static str },
    /// The marker of another cluster, node or disk.
    #[error("{path} belongs to cluster {found_cluster}, node {found_node}")]
    Foreign {
        path: PathBuf,
        found_cluster: ClusterId,
        found_node: NodeId,
    },
    #[error("{path} has format {found}, this version reads up to {known}")]
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// `create` found a marker.
    #[error("{path} has a marker already")]
    Exists { path: PathBuf },
    #[error("the disk failed at {path}")]
    Disk { path: PathBuf, source: io::Error },
}

impl Identity {
    /// Reads the marker of `dir`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, IdentityError> {
        let _ = (disk, dir);
        unimplemented!()
    }

    /// Writes the first marker of `dir`, with generation 0. Durable when it returns.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
        id: DiskId,
    ) -> Result<Self, IdentityError> {
        let _ = (disk, dir, cluster, node, id);
        unimplemented!()
    }

    /// Refuses a marker of another cluster or node.
    pub fn expect(
        self,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, IdentityError> {
        let _ = (dir, cluster, node);
        unimplemented!()
    }

    /// Adds one to the generation. Durable when it returns: call it before the node serves.
    pub fn next_generation(self, disk: &dyn Disk, dir: &Path) -> Result<Self, IdentityError> {
        let _ = (disk, dir);
        unimplemented!()
    }
}
