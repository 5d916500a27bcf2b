//! Verdicts: what must not have been, counted, each with the lines that first proved it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal;)*) => {
        /// A broken promise (contract section 12).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verdict {
            $($(#[doc = $doc])+ $variant,)*
        }

        impl Verdict {
            /// All verdicts, in the order of reports.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The verdict's name in reports.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

verdicts! {
    /// C1, C6: a slot with two values.
    Diverged "DIVERGED";
    /// C7: an acked durable message that a majority does not have.
    Lost "LOST";
    /// C6: an acked ephemeral message that a subscriber, there throughout, was neither given nor told of.
    LostSilent "LOST_SILENT";
    /// C5: an ack that reached less than the class and the asked level want.
    Downgraded "DOWNGRADED";
    /// C8: a message that nobody published so.
    Phantom "PHANTOM";
    /// C9: a message all of whose sendings were refused for good.
    AbortedRead "ABORTED_READ";
    /// C1: a message under another topic than it was published to.
    WrongTopic "WRONG_TOPIC";
    /// C10: a key, or a draft sent once, in two slots.
    Duplicated "DUPLICATED";
    /// C11: an ack for a key that was first used for another payload.
    KeyMismatch "KEY_MISMATCH";
    /// C2: a session skipped a slot.
    Skip "SKIP";
    /// C2, C24: a session got a slot twice, or stepped back.
    Repeated "REPEATED";
    /// C13, C15: a subscriber missed slots between sessions and was not told.
    GapUnsignalled "GAP_UNSIGNALLED";
    /// C18: a subscriber went back, in position or in epoch.
    Stale "STALE";
    /// C15, C16: a gap over what was delivered, or could have been.
    FalseGap "FALSE_GAP";
    /// C17: a gap `position_ahead`, and nobody had accepted a loss.
    Ahead "AHEAD";
    /// C19: a durable topic with a second epoch, neither deleted nor with an accepted loss.
    EpochBroken "EPOCH_BROKEN";
    /// C4: placed before what was acked before it was first sent.
    RealtimeOrder "REALTIME_ORDER";
    /// C3: two drafts of one stream in the wrong order.
    PublisherOrder "PUBLISHER_ORDER";
    /// C20: acked in an old epoch, first sent after a newer one was seen.
    FenceBroken "FENCE_BROKEN";
    /// C22, C23: an answer `latest` below what was acked before the question.
    StaleHead "STALE_HEAD";
    /// C21, C26: a session that had its time, and lacks what was acked.
    Unseen "UNSEEN";
    /// C1, C7: two replicas whose running hashes differ at one offset.
    ReplicaDiverged "REPLICA_DIVERGED";
    /// C26: after T_heal a topic refuses publishes, or a live subscriber is not at head.
    NotLive "NOT_LIVE";
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
    pub faults: u64,
    /// Acked ephemeral messages that a gap told somebody of.
    pub declared_loss: u64,
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
            "{} sendings: {} acked durable, {} refused, {} unknown; {} sessions got {} messages and {} gaps; {} faults; {} final dumps; {} declared losses",
            self.sendings,
            self.acked_durable,
            self.refused,
            self.unknown,
            self.sessions,
            self.messages,
            self.gaps,
            self.faults,
            self.finals,
            self.declared_loss
        )?;
        for &verdict in Verdict::ALL {
            writeln!(f, "{verdict:<16} {}", self.count(verdict))?;
            if let Some(witness) = self.first.get(&verdict) {
                writeln!(f, "    first: topic {}: {}", witness.topic, witness.proof)?;
            }
        }
        Ok(())
    }
}
