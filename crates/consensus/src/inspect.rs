//! What is in the data directory of a stopped node, and whether it is sound. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use fanfare_core::id::{ReplicaId, Term};
use fanfare_host::Disk;

use crate::lost::{Losses, MARK, QUARANTINE, UNKNOWN};
use crate::snapshot::SnapshotFile;
use crate::store::{name, parse};
use crate::wal::{SegmentFacts, survey};
use crate::{GroupId, Identity, IdentityError, LogPosition, OpenError, format};

/// What a directory holds.
#[derive(Debug)]
pub struct Report {
    /// `None`: it cannot be used, and a fault says why.
    pub marker: Option<Identity>,
    pub replicas: Vec<ReplicaFacts>,
    pub segments: Vec<SegmentFacts>,
    /// What earlier starts set aside, with sizes in bytes.
    pub quarantine: Vec<(PathBuf, u64)>,
    /// Replicas that no view knew, with the bytes of their files.
    pub unknown: Vec<(PathBuf, u64)>,
    /// None: it is sound.
    pub faults: Vec<Fault>,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct ReplicaFacts {
    pub group: GroupId,
    pub replica: ReplicaId,
    /// The term it has voted in, for whom, and whether that candidate has won.
    pub vote: Option<(Term, ReplicaId, bool)>,
    pub first: Option<u64>,
    pub last: Option<LogPosition>,
    /// Known as committed when it was written; more may be.
    pub committed: Option<LogPosition>,
    /// The last entry in the snapshot, and the bytes of its file.
    pub snapshot: Option<(Option<LogPosition>, u64)>,
    /// Bytes of the log that it needs.
    pub bytes: u64,
    /// Its data is bad: it never runs again, and the cluster makes another.
    pub lost: bool,
}

/// Something that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub path: PathBuf,
    pub offset: Option<u64>,
    pub what: String,
    pub advice: String,
}

const REPLACE: &str = "the node does not start on it: replace the node (fanfare cluster replace), \
                       and keep the directory until that is done";
const START: &str = "start the node: it sets the file aside, and the cluster makes the replicas \
                     concerned anew from the others";

/// Looks at the data directory `dir`. Nobody else must use it meanwhile. An error: the disk cannot
/// be read, or a newer version wrote it. Blocks.
pub fn inspect(disk: &dyn Disk, dir: &Path) -> Result<Report, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Disk { path, source }
    };
    let mut faults = Vec::new();
    let marker = match Identity::read(disk, dir) {
        Ok(marker) => Some(marker),
        Err(IdentityError::Newer { path, found, known }) => {
            return Err(OpenError::Newer { path, found, known });
        }
        Err(error) => {
            faults.push(Fault {
                path: dir.join("identity"),
                offset: None,
                what: error.to_string(),
                advice: format!(
                    "put the marker back from a copy of this directory; else {REPLACE}"
                ),
            });
            None
        }
    };
    let homes = dir.join("replicas");
    let mut here = BTreeMap::new();
    for path in list(disk, &homes).map_err(failed(&homes))? {
        if let Some(id) = parse(&path) {
            here.insert(id, path);
        }
    }
    let mut lost = BTreeSet::new();
    for (id, path) in &here {
        let files = list(disk, path).map_err(failed(path))?;
        if files.contains(&path.join(MARK)) {
            lost.insert(id.1.0);
        }
    }
    let of_log = dir.join("log");
    let found = survey(disk, &of_log, &lost)?;
    let of_meta = |replica: &u64| here.contains_key(&(GroupId::Meta, ReplicaId(*replica)));
    let mends = found
        .suspects
        .as_ref()
        .is_some_and(|suspects| !suspects.iter().any(of_meta));
    for bad in &found.bad {
        let advice = if mends { START } else { REPLACE };
        let whose = match &found.suspects {
            None => "; whose records were there cannot be told".to_owned(),
            Some(some) if some.is_empty() => "; no replica has lost anything".to_owned(),
            Some(some) => format!("; replicas that may have lost records: {some:?}"),
        };
        faults.push(Fault {
            path: bad.path.clone(),
            offset: Some(bad.from),
            what: format!("{}{whose}", bad.what),
            advice: advice.to_owned(),
        });
    }

    let mut replicas = Vec::new();
    for ((group, replica), home) in &here {
        let is_lost = lost.contains(&replica.0);
        let extent = found.replicas.get(&replica.0).cloned().unwrap_or_default();
        let mut facts = ReplicaFacts {
            group: *group,
            replica: *replica,
            vote: None,
            first: None,
            last: extent.last,
            committed: extent.committed,
            snapshot: None,
            bytes: found.live.get(&replica.0).copied().unwrap_or(0),
            lost: is_lost,
        };
        let after = extent.purged.map_or(0, |at| at.index + 1);
        facts.first = extent
            .last
            .map(|_| after)
            .filter(|_| extent.last > extent.purged);
        let mut fault = |path: &Path, what: String| {
            let advice = if *group == GroupId::Meta {
                REPLACE
            } else {
                START
            };
            faults.push(Fault {
                path: path.to_path_buf(),
                offset: None,
                what,
                advice: advice.to_owned(),
            });
        };
        match extent
            .vote
            .map(|bytes| format::read_vote(&bytes))
            .transpose()
        {
            Ok(vote) => {
                facts.vote = vote.map(|vote| {
                    let voted = ReplicaId(vote.leader_id.voted_for);
                    (Term(vote.leader_id.term), voted, vote.committed)
                });
            }
            Err(error) => fault(
                &of_log,
                format!("the vote of {}: {error}", name(*group, *replica)),
            ),
        }
        let files = list(disk, home).map_err(failed(home))?;
        let latest = files
            .into_iter()
            .rfind(|path| path.extension().is_some_and(|end| end == "snapshot"));
        if let Some(path) = latest {
            match SnapshotFile::open(disk, path.clone()) {
                Ok(file) => {
                    let last = file.meta.last_log_id;
                    let last = last.map(|id| crate::raft_types::position(&id));
                    facts.snapshot = Some((last, file.length));
                }
                Err(error) => fault(&path, error.to_string()),
            }
        }
        let reached = facts.snapshot.and_then(|(last, _)| last).map(|at| at.index);
        let known_bad = is_lost || faults.iter().any(|fault| fault.path.starts_with(home));
        if extent.purged.is_some_and(|at| reached < Some(at.index)) && !known_bad {
            let advice = if *group == GroupId::Meta {
                REPLACE
            } else {
                START
            };
            faults.push(Fault {
                path: home.clone(),
                offset: None,
                what: "the snapshot that took the place of its log is missing".to_owned(),
                advice: advice.to_owned(),
            });
        }
        replicas.push(facts);
    }
    if !here.keys().any(|(group, _)| *group == GroupId::Meta) && marker.is_some() {
        faults.push(Fault {
            path: homes,
            offset: None,
            what: "no replica of the metadata group is here".to_owned(),
            advice: REPLACE.to_owned(),
        });
    }
    Ok(Report {
        marker,
        replicas,
        segments: found.segments,
        quarantine: sizes(disk, &dir.join(QUARANTINE))?,
        unknown: sizes(disk, &dir.join(UNKNOWN))?,
        faults,
    })
}

/// The entries of a directory, none if there is none.
fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

fn sizes(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, u64)>, OpenError> {
    let failed = |source| OpenError::Disk {
        path: dir.to_path_buf(),
        source,
    };
    let entries = list(disk, dir).map_err(failed)?;
    let sized = entries.into_iter().map(|path| {
        let bytes = Losses::bytes(disk, &path)?;
        Ok((path, bytes))
    });
    sized.collect::<io::Result<_>>().map_err(failed)
}
