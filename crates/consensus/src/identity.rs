//! The marker of a data directory: whose it is, and how often it was started.

use std::io;
use std::path::{Path, PathBuf};

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId};
use fanfare_host::{Disk, Open};

use crate::wal::create_dir;

/// Name of the marker in the data directory.
const NAME: &str = "identity";
const MAGIC: &[u8; 8] = b"FANFIDN\0";
const FORMAT: u32 = 1;
/// Magic, format, cluster, node, disk, generation, checksum.
const SIZE: usize = 8 + 4 + 16 + 8 + 16 + 8 + 4;

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
    #[error("{path} does not exist")]
    Missing { path: PathBuf },
    #[error("{path} is corrupt: {what}")]
    Corrupt { path: PathBuf, what: &'static str },
    /// The marker of another cluster or node.
    #[error("{path} belongs to node {node} of cluster {cluster}")]
    Foreign {
        path: PathBuf,
        cluster: ClusterId,
        node: NodeId,
    },
    #[error("{path} has format {found}, this version reads up to {known}")]
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    /// `create` found a marker.
    #[error("{path} exists already")]
    Exists { path: PathBuf },
    #[error("the disk failed at {path}")]
    Disk { path: PathBuf, source: io::Error },
}

impl Identity {
    /// Reads the marker of `dir`. Blocks.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(NAME);
        let file = match disk.open(&path, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing { path });
            }
            Err(source) => return Err(IdentityError::Disk { path, source }),
        };
        let mut bytes = [0; SIZE];
        let length = file.len().map_err(|source| IdentityError::Disk {
            path: path.clone(),
            source,
        })?;
        if length < SIZE as u64 {
            return Err(IdentityError::Corrupt {
                path,
                what: "it is too short",
            });
        }
        if let Err(source) = file.read_exact_at(&mut bytes, 0) {
            return Err(IdentityError::Disk { path, source });
        }
        Self::decode(&bytes, length).map_err(|bad| match bad {
            Bad::Corrupt(what) => IdentityError::Corrupt { path, what },
            Bad::Format(found) => IdentityError::Newer {
                path,
                found,
                known: FORMAT,
            },
        })
    }

    /// Writes the first marker of `dir`, with generation 0. Durable when it returns. Blocks.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
        id: DiskId,
    ) -> Result<Self, IdentityError> {
        match Self::read(disk, dir) {
            Err(IdentityError::Missing { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                return Err(IdentityError::Exists {
                    path: dir.join(NAME),
                });
            }
        }
        let first = Self {
            cluster,
            node,
            disk: id,
            generation: Generation(0),
        };
        create_dir(disk, dir)
            .and_then(|()| first.write(disk, dir))
            .map_err(|source| IdentityError::Disk {
                path: dir.join(NAME),
                source,
            })?;
        Ok(first)
    }

    /// Refuses a marker of another cluster or node.
    pub fn expect(
        self,
        dir: &Path,
        cluster: ClusterId,
        node: NodeId,
    ) -> Result<Self, IdentityError> {
        if (self.cluster, self.node) == (cluster, node) {
            return Ok(self);
        }
        let path = dir.join(NAME);
        Err(IdentityError::Foreign {
            path,
            cluster: self.cluster,
            node: self.node,
        })
    }

    /// Adds one to the generation. Durable when it returns: call it before the node serves.
    /// Blocks.
    pub fn next_generation(self, disk: &dyn Disk, dir: &Path) -> Result<Self, IdentityError> {
        let next = Self {
            generation: Generation(self.generation.0 + 1),
            ..self
        };
        next.write(disk, dir)
            .map_err(|source| IdentityError::Disk {
                path: dir.join(NAME),
                source,
            })?;
        Ok(next)
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let path = dir.join(NAME);
        let new = path.with_extension("new");
        if disk.list(dir)?.contains(&new) {
            disk.remove(&new)?;
        }
        let file = disk.open(&new, Open::Create)?;
        file.write_all_at(&self.encode(), 0)?;
        file.sync()?;
        disk.rename(&new, &path)?;
        disk.sync_dir(dir)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.cluster.0.to_le_bytes());
        bytes.extend_from_slice(&self.node.0.to_le_bytes());
        bytes.extend_from_slice(&self.disk.0.to_le_bytes());
        bytes.extend_from_slice(&self.generation.0.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SIZE], length: u64) -> Result<Self, Bad> {
        let mut rest = bytes.as_slice();
        if take::<8>(&mut rest) != *MAGIC {
            return Err(Bad::Corrupt("bad magic"));
        }
        let format = u32::from_le_bytes(take(&mut rest));
        if format > FORMAT {
            return Err(Bad::Format(format));
        }
        let found = Self {
            cluster: ClusterId(u128::from_le_bytes(take(&mut rest))),
            node: NodeId(u64::from_le_bytes(take(&mut rest))),
            disk: DiskId(u128::from_le_bytes(take(&mut rest))),
            generation: Generation(u64::from_le_bytes(take(&mut rest))),
        };
        let sum = u32::from_le_bytes(take(&mut rest));
        if format != FORMAT || length != SIZE as u64 || sum != crc32c::crc32c(&bytes[..SIZE - 4]) {
            return Err(Bad::Corrupt("the checksum is wrong"));
        }
        Ok(found)
    }
}

/// What is wrong with a marker's bytes.
enum Bad {
    Corrupt(&'static str),
    Format(u32),
}

/// The next bytes of `rest`, which holds as many: its callers read a marker of fixed size.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    let (head, tail) = rest.split_at(N.min(rest.len()));
    taken[..head.len()].copy_from_slice(head);
    *rest = tail;
    taken
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
