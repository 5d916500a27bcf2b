//! A disk that can lose power: bytes reach the disk below at `sync`, names at `sync_dir`, and
//! `kill` forgets the rest. Directories themselves are made and removed at once.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{DirLock, Disk, File, Open, Space};

/// Smallest unit that a power cut keeps or loses as a whole.
const BLOCK: usize = 512;

/// A disk that forgets on [`kill`](Self::kill) what was not synced. A clone is the same disk; after
/// a kill every call on it fails, and a new one over the same disk below is the restart.
#[derive(Clone)]
pub struct VolatileDisk(Arc<Shared>);

struct Shared {
    inner: Arc<dyn Disk>,
    names: Mutex<BTreeMap<PathBuf, Name>>,
    /// Locks end with the power, as they do with a process.
    locks: Mutex<Vec<DirLock>>,
    dead: AtomicBool,
}

/// What a path means here, where that differs from below or is open.
struct Name {
    /// `None`: removed.
    node: Option<Arc<Node>>,
    /// The disk below says the same.
    durable: bool,
}

#[derive(Default)]
struct Node(Mutex<Content>);

#[derive(Default)]
struct Content {
    /// Where the synced bytes are below; none while the name was never synced.
    home: Option<(PathBuf, Box<dyn File>)>,
    /// Synced changes of a file without a home.
    held: Vec<Change>,
    /// Changes not synced.
    fresh: Vec<Change>,
    len: u64,
}

enum Change {
    Write { at: u64, bytes: Vec<u8> },
    SetLen(u64),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl VolatileDisk {
    /// A disk whose synced part is `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        let names = Mutex::default();
        Self(Arc::new(Shared {
            inner,
            names,
            locks: Mutex::default(),
            dead: AtomicBool::new(false),
        }))
    }

    /// Power off: all that was not synced is forgotten, every further call fails.
    pub fn kill(&self) {
        let mut names = lock(&self.0.names);
        self.0.dead.store(true, Ordering::SeqCst);
        lock(&self.0.locks)
            .drain(..)
            .for_each(|held| held.release());
        names.clear();
    }

    /// Power off while blocks of unsynced writes were on their way: `keep` says of each, in the
    /// order of writing, whether it reached the disk.
    pub fn kill_keeping(&self, mut keep: impl FnMut() -> bool) -> io::Result<()> {
        let mut names = lock(&self.0.names);
        self.0.dead.store(true, Ordering::SeqCst);
        lock(&self.0.locks)
            .drain(..)
            .for_each(|held| held.release());
        for name in names.values() {
            let Some(node) = &name.node else { continue };
            let content = lock(&node.0);
            let Some((_, file)) = &content.home else {
                continue;
            };
            for change in &content.fresh {
                let Change::Write { at, bytes } = change else {
                    continue;
                };
                let mut at = *at;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let to_boundary = BLOCK - usize::try_from(at % BLOCK as u64).unwrap_or(0);
                    let (block, after) = rest.split_at(to_boundary.min(rest.len()));
                    if keep() {
                        file.write_all_at(block, at)?;
                    }
                    at += block.len() as u64;
                    rest = after;
                }
            }
        }
        names.clear();
        Ok(())
    }
}

/// Why a disk that was killed does nothing any more: nothing is wrong with it, it was meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerLost;

impl PowerLost {
    /// True if that is why something failed.
    #[must_use]
    pub fn is_why(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for PowerLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the disk lost power")
    }
}

impl std::error::Error for PowerLost {}

impl Shared {
    fn alive(&self) -> io::Result<()> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other(PowerLost));
        }
        Ok(())
    }

    /// The node of an existing file.
    fn load(&self, names: &mut BTreeMap<PathBuf, Name>, path: &Path) -> io::Result<Arc<Node>> {
        if let Some(name) = names.get(path) {
            return name.node.clone().ok_or_else(|| missing(path));
        }
        let file = self.inner.open(path, Open::Write)?;
        let content = Content {
            len: file.len()?,
            home: Some((path.to_path_buf(), file)),
            ..Content::default()
        };
        let node = Arc::new(Node(Mutex::new(content)));
        let name = Name {
            node: Some(Arc::clone(&node)),
            durable: true,
        };
        names.insert(path.to_path_buf(), name);
        Ok(node)
    }

    /// Brings one changed name to the disk below. True if it had to wait for another.
    fn settle(
        &self,
        names: &BTreeMap<PathBuf, Name>,
        path: &Path,
        name: &Name,
    ) -> io::Result<bool> {
        let lives_at = |home: &Path, but: &Path| {
            names.iter().any(|(at, name)| {
                at != but
                    && name.node.as_ref().is_some_and(|node| {
                        lock(&node.0)
                            .home
                            .as_ref()
                            .is_some_and(|(path, _)| path == home)
                    })
            })
        };
        if lives_at(path, path) {
            return Ok(true);
        }
        let Some(node) = &name.node else {
            return match self.inner.remove(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(false),
            };
        };
        let mut content = lock(&node.0);
        if let Some((home, _)) = &mut content.home {
            if home != path {
                self.inner.rename(home, path)?;
                *home = path.to_path_buf();
            }
            return Ok(false);
        }
        let mut born = path.as_os_str().to_os_string();
        born.push(".unsynced");
        let born = PathBuf::from(born);
        let file = self.inner.open(&born, Open::Create)?;
        for change in content.held.drain(..) {
            change.apply(file.as_ref())?;
        }
        file.sync()?;
        self.inner.rename(&born, path)?;
        content.home = Some((path.to_path_buf(), file));
        Ok(false)
    }
}

impl Disk for VolatileDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut names = lock(&self.0.names);
        self.0.alive()?;
        let node = match (self.0.load(&mut names, path), how) {
            (Ok(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(node), Open::Read | Open::Write) => node,
            (Err(error), Open::Create) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(dir) = path.parent() {
                    self.0.inner.list(dir)?;
                }
                let node = Arc::new(Node::default());
                let name = Name {
                    node: Some(Arc::clone(&node)),
                    durable: false,
                };
                names.insert(path.to_path_buf(), name);
                node
            }
            (Err(error), Open::Create | Open::Read | Open::Write) => return Err(error),
        };
        Ok(Box::new(VolatileFile {
            node,
            disk: Arc::clone(&self.0),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut names = lock(&self.0.names);
        self.0.alive()?;
        let node = self.0.load(&mut names, from)?;
        names.insert(
            from.to_path_buf(),
            Name {
                node: None,
                durable: false,
            },
        );
        names.insert(
            to.to_path_buf(),
            Name {
                node: Some(node),
                durable: false,
            },
        );
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut names = lock(&self.0.names);
        self.0.alive()?;
        self.0.load(&mut names, path)?;
        names.insert(
            path.to_path_buf(),
            Name {
                node: None,
                durable: false,
            },
        );
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.sync_dir(path)?;
        self.0.inner.remove_dir(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.alive()?;
        self.0.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut names = lock(&self.0.names);
        self.0.alive()?;
        loop {
            let changed =
                |(at, name): &(&PathBuf, &Name)| !name.durable && at.parent() == Some(path);
            let todo: Vec<PathBuf> = names
                .iter()
                .filter(changed)
                .map(|(at, _)| at.clone())
                .collect();
            let before = todo.len();
            let mut waiting = 0;
            for at in todo {
                let Some(name) = names.get(&at) else { continue };
                if self.0.settle(&names, &at, name)? {
                    waiting += 1;
                } else if let Some(name) = names.get_mut(&at) {
                    name.durable = true;
                }
            }
            names.retain(|_, name| name.node.is_some() || !name.durable);
            if waiting == 0 || waiting == before {
                break;
            }
        }
        self.0.inner.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let names = lock(&self.0.names);
        self.0.alive()?;
        let mut paths = self.0.inner.list(path)?;
        paths.retain(|at| names.get(at).is_none_or(|name| name.node.is_some()));
        for (at, name) in names.iter() {
            if name.node.is_some() && at.parent() == Some(path) && !paths.contains(at) {
                paths.push(at.clone());
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.alive()?;
        self.0.inner.space(path)
    }

    fn lock(&self, dir: &Path, make: bool) -> io::Result<DirLock> {
        self.0.alive()?;
        let held = self.0.inner.lock(dir, make)?;
        lock(&self.0.locks).push(held.clone());
        Ok(held)
    }
}

impl Change {
    fn apply(self, file: &dyn File) -> io::Result<()> {
        match self {
            Self::Write { at, bytes } => file.write_all_at(&bytes, at),
            Self::SetLen(len) => file.set_len(len),
        }
    }

    /// Shows the change in `buf`, the file's bytes from `at`.
    fn overlay(&self, buf: &mut [u8], at: u64) {
        let within = |to: u64| usize::try_from(to.saturating_sub(at)).unwrap_or(usize::MAX);
        match self {
            Self::SetLen(len) => {
                let from = within(*len).min(buf.len());
                buf[from..].fill(0);
            }
            Self::Write { at: from, bytes } => {
                let start = within(*from).min(buf.len());
                let end = within(from + bytes.len() as u64).min(buf.len());
                if start < end {
                    let skip = usize::try_from(at.saturating_sub(*from)).unwrap_or(usize::MAX);
                    buf[start..end].copy_from_slice(&bytes[skip..skip + end - start]);
                }
            }
        }
    }
}

struct VolatileFile {
    node: Arc<Node>,
    disk: Arc<Shared>,
}

impl File for VolatileFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.alive()?;
        let content = lock(&self.node.0);
        if at.saturating_add(buf.len() as u64) > content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buf.fill(0);
        if let Some((_, file)) = &content.home {
            let below = file.len()?.saturating_sub(at);
            let below = usize::try_from(below).unwrap_or(usize::MAX).min(buf.len());
            file.read_exact_at(&mut buf[..below], at)?;
        }
        for change in content.held.iter().chain(&content.fresh) {
            change.overlay(buf, at);
        }
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.disk.alive()?;
        let mut content = lock(&self.node.0);
        content.len = content.len.max(at + buf.len() as u64);
        content.fresh.push(Change::Write {
            at,
            bytes: buf.to_vec(),
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut content = lock(&self.node.0);
        self.disk.alive()?;
        let content = &mut *content;
        match &content.home {
            Some((_, file)) => {
                for change in content.fresh.drain(..) {
                    change.apply(file.as_ref())?;
                }
                file.sync()
            }
            None => {
                content.held.append(&mut content.fresh);
                Ok(())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.alive()?;
        Ok(lock(&self.node.0).len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.alive()?;
        let mut content = lock(&self.node.0);
        content.len = len;
        content.fresh.push(Change::SetLen(len));
        Ok(())
    }
}

#[cfg(test)]
#[path = "volatile_tests.rs"]
mod tests;
