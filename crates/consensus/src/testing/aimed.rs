//! A disk whose faults hit what lies beside the log, so that a story knows what it breaks.

use std::io;
use std::path::{Path, PathBuf};

use fanfare_host::{Disk, FaultyDisk, File, Open, Space, VolatileDisk};

/// One disk; what is under `replicas` goes through the faulty way to it.
pub(crate) struct Aimed {
    pub(crate) log: VolatileDisk,
    pub(crate) replicas: FaultyDisk,
}

impl Aimed {
    fn at(&self, path: &Path) -> &dyn Disk {
        let beside = path
            .to_str()
            .is_some_and(|path| path.contains("/replicas/"));
        if beside { &self.replicas } else { &self.log }
    }
}

impl Disk for Aimed {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        self.at(path).open(path, how)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.at(from).rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.at(path).remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path).remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.at(path).create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.at(path).sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.at(path).list(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.at(path).space(path)
    }
}
