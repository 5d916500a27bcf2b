//! The files of a run as one sequence in the order of time, read as they are judged: of each file
//! only the lines that others may still come before are in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::observation::Line;

/// How many lines of one file are looked at before the earliest of them is given. Threads that
/// share a recorder write a little out of order.
const LOOK_AHEAD: usize = 4_096;

/// Why a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path} cannot be read")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}, line {line} is not an observation")]
    Line {
        path: PathBuf,
        line: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} does not say how the run was set up")]
    Run {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path} has no *.jsonl files: name the directory that the run wrote")]
    Nothing { path: PathBuf },
}

/// Lines of many files, by time; those of one writer at one time in their order.
pub(crate) struct Merge {
    files: Vec<Source>,
    /// The earliest line of each file: (t, file).
    next: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Merge {
    /// All `*.jsonl` files of a directory.
    pub(crate) fn dir(dir: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::File {
            path: dir.to_owned(),
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "jsonl")
            {
                paths.push(path);
            }
        }
        paths.sort();
        if paths.is_empty() {
            let path = dir.to_owned();
            return Err(ReadError::Nothing { path });
        }
        let mut files = Vec::new();
        let mut next = BinaryHeap::new();
        for (index, path) in paths.into_iter().enumerate() {
            let mut file = Source::open(path)?;
            file.fill()?;
            next.extend(file.earliest().map(|t| Reverse((t, index))));
            files.push(file);
        }
        Ok(Self { files, next })
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        let Some(Reverse((_, index))) = self.next.pop() else {
            return Ok(None);
        };
        let file = &mut self.files[index];
        let line = file.take();
        file.fill()?;
        self.next
            .extend(file.earliest().map(|t| Reverse((t, index))));
        Ok(line)
    }
}

/// Opens a file of a run.
#[expect(
    clippy::disallowed_methods,
    reason = "observations are files of the harness, not a node's"
)]
pub(crate) fn open(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// One file, and the lines of it that wait.
struct Source {
    path: PathBuf,
    lines: Option<BufReader<File>>,
    number: u64,
    waiting: BinaryHeap<Waiting>,
}

impl Source {
    fn open(path: PathBuf) -> Result<Self, ReadError> {
        let file = open(&path).map_err(|source| ReadError::File {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            lines: Some(BufReader::new(file)),
            number: 0,
            waiting: BinaryHeap::new(),
        })
    }

    fn earliest(&self) -> Option<u64> {
        Some(self.waiting.peek()?.line.t)
    }

    fn take(&mut self) -> Option<Line> {
        Some(self.waiting.pop()?.line)
    }

    /// Reads until enough lines wait. A last line without its end was being written when its
    /// writer was killed: it is left out.
    fn fill(&mut self) -> Result<(), ReadError> {
        let mut text = Vec::new();
        while self.waiting.len() < LOOK_AHEAD {
            let Some(lines) = &mut self.lines else {
                return Ok(());
            };
            text.clear();
            let read = lines.read_until(b'\n', &mut text);
            read.map_err(|source| ReadError::File {
                path: self.path.clone(),
                source,
            })?;
            if text.last() != Some(&b'\n') {
                self.lines = None;
                return Ok(());
            }
            self.number += 1;
            let line = serde_json::from_slice(&text).map_err(|source| ReadError::Line {
                path: self.path.clone(),
                line: self.number,
                source,
            })?;
            let number = self.number;
            self.waiting.push(Waiting { line, number });
        }
        Ok(())
    }
}

/// A line that waits: the earliest first, of one time the first written.
struct Waiting {
    line: Line,
    number: u64,
}

impl Waiting {
    fn key(&self) -> Reverse<(u64, u64)> {
        Reverse((self.line.t, self.number))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
