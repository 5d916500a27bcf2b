//! A disk that counts its calls, and fails or stalls those it is told to, for fault tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{DirLock, Disk, File, Open, Space};

/// Kinds of calls that can be counted and failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A file is created.
    Create,
    Write,
    /// A file's bytes are synced.
    Sync,
    Rename,
    Remove,
    SyncDir,
}

/// What a [`FaultyDisk`] has done and is to fail. A clone steers the same disk.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct Plan {
    counts: BTreeMap<Operation, u64>,
    /// Calls of a kind wait while somebody holds it.
    holders: BTreeMap<Operation, u64>,
    failures: BTreeMap<(Operation, u64), io::ErrorKind>,
    space: Option<Space>,
}

impl Faults {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls of this kind so far, failed ones too.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        self.plan().counts.get(&operation).copied().unwrap_or(0)
    }

    /// Fails the n-th call of this kind from now, 1 being the next. Nothing of it is done.
    pub fn fail(&self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        let mut plan = self.plan();
        let at = plan.counts.get(&operation).copied().unwrap_or(0) + nth;
        plan.failures.insert((operation, at), kind);
    }

    /// Plans no failure any more.
    pub fn forgive(&self) {
        self.plan().failures.clear();
    }

    /// Lets calls of this kind wait, counted but not begun, until the guard is dropped.
    #[must_use]
    pub fn hold(&self, operation: Operation) -> Held {
        *self.plan().holders.entry(operation).or_default() += 1;
        Held {
            faults: self.clone(),
            operation,
        }
    }

    /// What the volume reports from now on; `None`: the truth.
    pub fn set_space(&self, space: Option<Space>) {
        self.plan().space = space;
    }

    fn pass(&self, operation: Operation) -> io::Result<()> {
        let mut plan = self.plan();
        let count = plan.counts.entry(operation).or_default();
        *count += 1;
        let this = (operation, *count);
        while plan.holders.contains_key(&operation) {
            let woken = self.0.released.wait(plan);
            plan = woken.unwrap_or_else(PoisonError::into_inner);
        }
        match plan.failures.remove(&this) {
            Some(kind) => Err(io::Error::new(
                kind,
                format!("injected: {operation:?} {}", this.1),
            )),
            None => Ok(()),
        }
    }
}

/// While it lives, calls of its kind wait: a disk that has stalled.
#[derive(Debug)]
pub struct Held {
    faults: Faults,
    operation: Operation,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut plan = self.faults.plan();
        if let Some(holders) = plan.holders.get_mut(&self.operation) {
            *holders -= 1;
            if *holders == 0 {
                plan.holders.remove(&self.operation);
            }
        }
        drop(plan);
        self.faults.0.released.notify_all();
    }
}

/// A disk whose calls fail as [`Faults`] say.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Faults,
}

impl FaultyDisk {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        if how == Open::Create {
            self.faults.pass(Operation::Create)?;
        }
        let inner = self.inner.open(path, how)?;
        Ok(Box::new(FaultyFile {
            inner,
            faults: self.faults.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.pass(Operation::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::Remove)?;
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.pass(Operation::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let told = self.faults.plan().space;
        told.map_or_else(|| self.inner.space(path), Ok)
    }

    fn lock(&self, dir: &Path, make: bool) -> io::Result<DirLock> {
        self.inner.lock(dir, make)
    }
}

struct FaultyFile {
    inner: Box<dyn File>,
    faults: Faults,
}

impl File for FaultyFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.inner.read_exact_at(buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.faults.pass(Operation::Write)?;
        self.inner.write_all_at(buf, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.pass(Operation::Sync)?;
        self.inner.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }
}
