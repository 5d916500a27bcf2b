//! Replicas of this node whose data cannot be trusted any more (R6): a file in the directory of each
//! says so, and what was bad is set aside, never deleted. Who gives them successors is not in here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_core::id::ReplicaId;
use fanfare_host::{Disk, Open};

use crate::store::parse;
use crate::wal::aside::{free_name, set_aside};
use crate::wal::{Job, Record, RecordKind, Wal, WalOptions, create_dir, survey};
use crate::{GroupId, Metrics, OpenError};

/// Name of the file that says that a replica is lost.
pub(crate) const MARK: &str = "lost";
/// Where bad files go, in the data directory.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Where data goes that no view knows.
pub(crate) const UNKNOWN: &str = "unknown";

type Known = BTreeMap<(GroupId, ReplicaId), String>;

/// The lost replicas of one store. A clone is the same.
#[derive(Clone)]
pub(crate) struct Losses {
    disk: Arc<dyn Disk>,
    replicas: PathBuf,
    quarantine: PathBuf,
    unknown: PathBuf,
    known: Arc<Mutex<Known>>,
    metrics: Arc<Metrics>,
}

impl Losses {
    /// Those that earlier starts found, of the store in `dir`. Blocks.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, metrics: Arc<Metrics>) -> io::Result<Self> {
        let replicas = dir.join("replicas");
        let mut known = Known::new();
        for path in disk.list(&replicas)? {
            let Some(id) = parse(&path) else { continue };
            match disk.open(&path.join(MARK), Open::Read) {
                Ok(_) => drop(known.insert(id, "an earlier start found it so".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        metrics.replicas_lost.set(known.len() as u64);
        Ok(Self {
            disk,
            metrics,
            replicas,
            quarantine: dir.join(QUARANTINE),
            unknown: dir.join(UNKNOWN),
            known: Arc::new(Mutex::new(known)),
        })
    }

    /// Bytes of a file, or of all files in a directory. Blocks.
    pub(crate) fn bytes(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
        let Ok(inside) = disk.list(path) else {
            return disk.open(path, Open::Read)?.len();
        };
        inside.iter().map(|path| Self::bytes(disk, path)).sum()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<(GroupId, ReplicaId)> {
        self.known().keys().copied().collect()
    }

    /// Why the replica is lost, if it is.
    pub(crate) fn why(&self, group: GroupId, replica: ReplicaId) -> Option<String> {
        self.known().get(&(group, replica)).cloned()
    }

    /// All of the replica is removed.
    pub(crate) fn forget(&self, group: GroupId, replica: ReplicaId) {
        let mut known = self.known();
        known.remove(&(group, replica));
        self.metrics.replicas_lost.set(known.len() as u64);
    }

    fn dir(&self, group: GroupId, replica: ReplicaId) -> PathBuf {
        self.replicas.join(crate::store::name(group, replica))
    }

    /// Notes, durably, that a replica is lost: it never runs again. Blocks.
    fn mark(&self, group: GroupId, replica: ReplicaId, why: &str) -> io::Result<()> {
        let dir = self.dir(group, replica);
        match self.disk.open(&dir.join(MARK), Open::Create) {
            Ok(file) => {
                file.write_all_at(why.as_bytes(), 0)?;
                file.sync()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        self.disk.sync_dir(&dir)?;
        let mut known = self.known();
        known.insert((group, replica), why.to_owned());
        self.metrics.replicas_lost.set(known.len() as u64);
        drop(known);
        tracing::error!(?group, %replica, why, "a replica is lost and will be made anew");
        Ok(())
    }

    /// Gives a shard's replica up whose snapshot cannot be used; its snapshots are set aside. Blocks.
    pub(crate) fn condemn(&self, group: GroupId, replica: ReplicaId, why: &str) -> io::Result<()> {
        self.mark(group, replica, why)?;
        let dir = self.dir(group, replica);
        let name = crate::store::name(group, replica);
        for path in self.disk.list(&dir)? {
            if path.extension().is_none_or(|end| end != "snapshot") {
                continue;
            }
            create_dir(self.disk.as_ref(), &self.quarantine)?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let wanted = self.quarantine.join(format!("{name}-{file}"));
            let aside = free_name(self.disk.as_ref(), &self.quarantine, &wanted)?;
            self.disk.rename(&path, &aside)?;
            self.disk.sync_dir(&self.quarantine)?;
            self.disk.sync_dir(&dir)?;
            self.metrics.set_aside.inc();
            tracing::error!(path = %aside.display(), "a bad snapshot is set aside");
        }
        Ok(())
    }

    /// Moves the files of a replica into a directory of its name in `unknown`. Blocks.
    pub(crate) fn put_aside(&self, group: GroupId, replica: ReplicaId) -> io::Result<PathBuf> {
        let (disk, from) = (self.disk.as_ref(), self.dir(group, replica));
        create_dir(disk, &self.unknown)?;
        let to = free_name(disk, &self.unknown, &from)?;
        create_dir(disk, &to)?;
        for path in disk.list(&from)? {
            let name = path.file_name().unwrap_or_default();
            disk.rename(&path, &to.join(name))?;
        }
        disk.sync_dir(&to)?;
        disk.remove_dir(&from)?;
        disk.sync_dir(&self.replicas)?;
        self.forget(group, replica);
        self.metrics.set_aside.inc();
        Ok(to)
    }

    /// Opens the log in `dir`. One that is corrupt is surveyed: shards' replicas that may have had
    /// records where bytes are bad are lost, the segment is set aside, the others go on. An error if
    /// that cannot be told, or if the metadata group's replica may be among them (R10): then nothing
    /// was changed. Blocks.
    pub(crate) fn open_log(&self, dir: &Path, options: WalOptions) -> Result<Wal, OpenError> {
        let mut options = options;
        options.lost = self.all().iter().map(|(_, replica)| replica.0).collect();
        let disk = Arc::clone(&self.disk);
        let refused = match Wal::open(Arc::clone(&disk), dir, options.clone()) {
            Err(refused @ OpenError::Corrupt { .. }) => refused,
            done => return done,
        };
        let OpenError::Corrupt { path, offset, what } = &refused else {
            return Err(refused);
        };
        let failed = |source| OpenError::Disk {
            path: dir.to_path_buf(),
            source,
        };
        let beyond = |why: &str| OpenError::Beyond {
            path: path.clone(),
            offset: *offset,
            what: what.clone(),
            why: why.to_owned(),
        };
        let found = survey(disk.as_ref(), dir, &options.lost)?;
        let Some(suspects) = found.suspects else {
            return Err(beyond("whose records were there cannot be told"));
        };
        if found.bad.is_empty() && suspects.is_empty() {
            return Err(refused);
        }
        let here: Vec<(GroupId, ReplicaId)> = disk
            .list(&self.replicas)
            .map_err(failed)?
            .iter()
            .filter_map(|path| parse(path))
            .filter(|(_, replica)| suspects.contains(&replica.0))
            .collect();
        if here.iter().any(|(group, _)| *group == GroupId::Meta) {
            return Err(beyond(
                "the metadata group's replica may have had records there",
            ));
        }
        for (group, replica) in &here {
            self.mark(*group, *replica, &refused.to_string())
                .map_err(failed)?;
        }
        let aside = set_aside(disk.as_ref(), dir, &self.quarantine, &found.bad).map_err(failed)?;
        for path in aside {
            self.metrics.set_aside.inc();
            tracing::error!(path = %path.display(), why = %refused, "a segment of the log is set aside");
        }
        options.lost.extend(&suspects);
        let mut wal = Wal::open(disk, dir, options)?;
        // Of those that are not here any more the log forgets the rest, too.
        let gone: BTreeSet<u64> = here.iter().map(|(_, replica)| replica.0).collect();
        for replica in suspects.difference(&gone) {
            let mut job = Job::new(*replica, vec![Record::new(RecordKind::Removal, 0, 0)]);
            wal.stage(&mut job);
            wal.commit(&[job]).map_err(failed)?;
        }
        Ok(wal)
    }
}

#[cfg(test)]
#[path = "lost_tests.rs"]
mod tests;
