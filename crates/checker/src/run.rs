//! What a run says of itself beside its observations: `run.json`. A judge needs it to know what
//! counts as a majority, as healed, as within a key's window, as trimmed too early.

use std::io::{self, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::merge::{ReadError, open};

/// How the cluster of a run was set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// Replicas of a durable topic.
    pub replicas: usize,
    /// T_heal, in ms (C26): so long after the last fault everything must be well again.
    pub heal_ms: u64,
    /// Running time that a key is kept for, in ms (C10). `None`: keys are not judged.
    pub dedup_ms: Option<u64>,
    /// What topics keep. Of topics that are not named only samples say what was trimmed too early.
    pub rules: Vec<Rule>,
}

/// What a topic keeps at least (C16).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    pub topic: String,
    pub retain_count: Option<u64>,
    pub retain_age_ms: Option<u64>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            replicas: 3,
            heal_ms: 30_000,
            dedup_ms: Some(120_000),
            rules: Vec::new(),
        }
    }
}

impl Run {
    /// A run with the default rules and so many replicas.
    pub fn with_replicas(replicas: usize) -> Self {
        Self {
            replicas,
            ..Self::default()
        }
    }

    /// Reads the `run.json` of a directory; `None` if there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, ReadError> {
        let path = dir.join("run.json");
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ReadError::File { path, source }),
        };
        let run = serde_json::from_reader(BufReader::new(file));
        run.map(Some)
            .map_err(|source| ReadError::Run { path, source })
    }

    /// T_heal in ns of the run.
    pub(crate) fn heal(&self) -> u64 {
        self.heal_ms.saturating_mul(1_000_000)
    }

    /// A key's window in ns of the run.
    pub(crate) fn dedup(&self) -> Option<u64> {
        Some(self.dedup_ms?.saturating_mul(1_000_000))
    }

    pub(crate) fn rule(&self, topic: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.topic == topic)
    }
}
