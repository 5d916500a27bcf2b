//! Verdicts: what must not have been, counted, each with the lines that first proved it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

/// A broken promise (contract section 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// C1, C6: a slot with two values.
    Diverged,
    /// C7: an acked durable message that a majority does not have.
    Lost,
    /// C2: a session skipped a slot.
    Skip,
    /// C2, C24: a session got a slot twice, or stepped back.
    Repeated,
    /// C13, C15: a subscriber missed slots between sessions and was not told.
    GapUnsignalled,
    /// C3: two drafts of one stream in the wrong order.
    PublisherOrder,
    /// C10: a draft with a key in two slots. By a watch alone.
    Duplicated,
    /// C8: a message that nobody published so. By a watch alone.
    Phantom,
    /// C1: a message under another topic than it was published to. By a watch alone.
    WrongTopic,
    /// C5: an ack of a durable topic that did not reach the disks of a majority. By a watch alone.
    Downgraded,
}

impl Verdict {
    /// All verdicts that a judge of observations gives.
    pub const ALL: [Self; 6] = [
        Self::Diverged,
        Self::Lost,
        Self::Skip,
        Self::Repeated,
        Self::GapUnsignalled,
        Self::PublisherOrder,
    ];

    /// The verdict's name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Diverged => "DIVERGED",
            Self::Lost => "LOST",
            Self::Skip => "SKIP",
            Self::Repeated => "REPEATED",
            Self::GapUnsignalled => "GAP_UNSIGNALLED",
            Self::PublisherOrder => "PUBLISHER_ORDER",
            Self::Duplicated => "DUPLICATED",
            Self::Phantom => "PHANTOM",
            Self::WrongTopic => "WRONG_TOPIC",
            Self::Downgraded => "DOWNGRADED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What proves a verdict, in words that can be searched for in the observations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    pub topic: String,
    pub proof: String,
}

/// Counts of a run and its verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub lines: u64,
    pub sendings: u64,
    pub acked_durable: u64,
    pub refused: u64,
    pub unknown: u64,
    pub messages: u64,
    pub gaps: u64,
    pub sessions: u64,
    pub finals: u64,
    pub verdicts: BTreeMap<Verdict, u64>,
    pub first: BTreeMap<Verdict, Witness>,
}

impl Report {
    /// Times a verdict was given.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    /// True if no verdict was given.
    pub fn is_clean(&self) -> bool {
        self.verdicts.values().all(|count| *count == 0)
    }

    pub(crate) fn give(&mut self, verdict: Verdict, topic: &str, proof: impl FnOnce() -> String) {
        *self.verdicts.entry(verdict).or_default() += 1;
        self.first.entry(verdict).or_insert_with(|| Witness {
            topic: topic.to_owned(),
            proof: proof(),
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} sendings: {} acked durable, {} refused, {} unknown; {} sessions got {} messages and {} gaps; {} final dumps",
            self.sendings,
            self.acked_durable,
            self.refused,
            self.unknown,
            self.sessions,
            self.messages,
            self.gaps,
            self.finals
        )?;
        for verdict in Verdict::ALL {
            writeln!(f, "{verdict:<16} {}", self.count(verdict))?;
            if let Some(witness) = self.first.get(&verdict) {
                writeln!(f, "    first: topic {}: {}", witness.topic, witness.proof)?;
            }
        }
        Ok(())
    }
}
