//! A disk in memory, for tests: everything written is on it at once. Wrap it in a `VolatileDisk`
//! for one that forgets what was not synced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, File, Open, Space};

type Bytes = Arc<Mutex<Vec<u8>>>;

/// A disk in memory. A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemDisk(Arc<Mutex<Tree>>);

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Bytes>,
    dirs: BTreeSet<PathBuf>,
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut tree = self.tree();
        if how == Open::Create {
            if tree.files.contains_key(path) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if let Some(dir) = path.parent()
                && !tree.dirs.contains(dir)
            {
                return Err(missing(dir));
            }
            tree.files.insert(path.to_path_buf(), Bytes::default());
        }
        let bytes = tree.files.get(path).ok_or_else(|| missing(path))?;
        Ok(Box::new(MemFile(Arc::clone(bytes))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        let bytes = tree.files.remove(from).ok_or_else(|| missing(from))?;
        tree.files.insert(to.to_path_buf(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.tree()
            .files
            .remove(path)
            .map(drop)
            .ok_or_else(|| missing(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        if tree.files.keys().any(|file| file.starts_with(path)) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if tree.dirs.remove(path) {
            Ok(())
        } else {
            Err(missing(path))
        }
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree();
        tree.dirs.extend(path.ancestors().map(Path::to_path_buf));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        if self.tree().dirs.contains(path) {
            Ok(())
        } else {
            Err(missing(path))
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let tree = self.tree();
        if !tree.dirs.contains(path) {
            return Err(missing(path));
        }
        let within = |entry: &&PathBuf| entry.parent() == Some(path);
        let mut paths: Vec<PathBuf> = tree.files.keys().filter(within).cloned().collect();
        paths.extend(tree.dirs.iter().filter(within).cloned());
        paths.sort();
        Ok(paths)
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space {
            free: 1 << 40,
            total: 1 << 40,
        })
    }
}

struct MemFile(Bytes);

impl MemFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

impl File for MemFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let at = place(at)?;
        let bytes = self.bytes();
        let found = bytes.get(at..at.saturating_add(buf.len()));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let at = place(at)?;
        let mut bytes = self.bytes();
        let end = at + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at..end].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(place(len)?, 0);
        Ok(())
    }
}
