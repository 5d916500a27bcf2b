//! The disk as an argument. Every promise of durability rests on `sync` and `sync_dir` here.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; an error if it exists.
    Create,
}

/// Bytes of the volume that holds a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free: u64,
    pub total: u64,
}

/// A node's disk. All calls block; callers bring their own thread.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;
    /// Renames within the disk, replacing the target. Durable after `sync_dir` of its directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after `sync_dir` of its directory.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory. Durable after `sync_dir` of its parent.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its parents; none is an error if it exists. Durable after `sync_dir`
    /// of each parent.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Paths of the entries of a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Free and total bytes of the volume.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Keeps other processes from using a directory: `WouldBlock` if one does. `make`: by a file
    /// that is made if there is none; without one and without `make` nobody can use it. Disks that
    /// only this process sees keep nobody away.
    fn lock(&self, dir: &Path, make: bool) -> io::Result<DirLock> {
        let (_, _) = (dir, make);
        Ok(DirLock::default())
    }
}

/// While it lives, a directory is this process's. A clone is the same lock.
#[derive(Clone, Debug, Default)]
pub struct DirLock(Arc<Mutex<Option<fs::File>>>);

impl DirLock {
    /// Gives the directory up, for all clones.
    pub fn release(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// An open file. Positions are bytes from its beginning.
pub trait File: Send + Sync {
    /// Fills `buf` from `at`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes all of `buf` at `at`.
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// True if it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// Name of the file that a directory is locked by.
const LOCK: &str = "lock";

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create_new(true);
            }
        }
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the disk")]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(path)? {
            paths.push(entry?.path());
        }
        paths.sort();
        Ok(paths)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(Space {
            free: volume.f_bavail.saturating_mul(volume.f_frsize),
            total: volume.f_blocks.saturating_mul(volume.f_frsize),
        })
    }

    fn lock(&self, dir: &Path, make: bool) -> io::Result<DirLock> {
        let path = dir.join(LOCK);
        let mut options = fs::OpenOptions::new();
        options.read(true);
        if make {
            options.write(true).create(true).truncate(false);
        }
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !make => {
                return Ok(DirLock::default());
            }
            opened => opened?,
        };
        match file.try_lock() {
            Ok(()) => Ok(DirLock(Arc::new(Mutex::new(Some(file))))),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(buf, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_holders_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk;
        // Nobody has ever used it: a look leaves it as it is.
        drop(disk.lock(dir.path(), false).unwrap());
        assert_eq!(disk.list(dir.path()).unwrap().len(), 0);
        let held = disk.lock(dir.path(), true).unwrap();
        for make in [true, false] {
            let refused = disk.lock(dir.path(), make).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        }
        let clone = held.clone();
        drop(held);
        assert!(disk.lock(dir.path(), true).is_err());
        clone.release();
        disk.lock(dir.path(), false).unwrap();
    }
}
