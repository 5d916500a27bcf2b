//! Why a node does not start, a cluster is not made, a proposal has no outcome.

use std::io;
use std::path::PathBuf;

use fanfare_consensus::IdentityError;
use fanfare_core::id::{ClusterId, NodeId};
use fanfare_core::view::Refusal;
use fanfare_rpc::members::{AdoptError, CallError};

/// Why a node does not become a member again. The node exits non-zero in all cases but `Stopped`.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The marker cannot be used. Never "start empty" (R10).
    #[error("the data directory's marker cannot be used")]
    Identity(#[from] IdentityError),
    #[error("the copy of the view cannot be used")]
    Hint(#[from] HintError),
    /// R8. Its old id does not come back.
    #[error(
        "{name} is node {node} of cluster {cluster} and has lost its data (data loss): start an \
         empty node under another name, and when it has joined run `fanfare cluster replace {name} \
         OTHER`"
    )]
    DataLoss {
        name: String,
        cluster: ClusterId,
        node: NodeId,
    },
    /// The store holds replicas, and nothing says whose they are.
    #[error("{dir} has a log but no marker: restore the marker, or move the directory aside")]
    MarkerLost { dir: PathBuf },
    /// The marker says the node has run, and there is no log.
    #[error("{dir} has a marker but has lost its log: replace the node")]
    LogLost { dir: PathBuf },
    /// The data directory of another node of the cluster.
    #[error("{dir} is the data of node {found}, not of {name}")]
    AnotherNode {
        dir: PathBuf,
        name: String,
        found: String,
    },
    /// A node of this name is known and alive.
    #[error("a node named {name} runs already, as node {node}")]
    NameInUse { name: String, node: NodeId },
    /// The cluster was upgraded: an older binary would not understand what its log holds.
    #[error(
        "the cluster has feature level {level}, and this binary knows level {known} at most: start \
         a newer one"
    )]
    BinaryTooOld { level: u32, known: u32 },
    /// The metadata does not let this start in.
    #[error("the cluster refuses this node")]
    Refused(#[source] Refusal),
    #[error("the metadata group does not start")]
    Group(#[from] fanfare_consensus::StartError),
    /// `start` was called before.
    #[error("the node's membership runs already")]
    Running,
    #[error("the node is stopping")]
    Stopped,
}

/// Why the copy of the view in the data directory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HintError {
    #[error("the disk failed at {path}")]
    Disk { path: PathBuf, source: io::Error },
    /// Only a hint where the members are, but without it and without a log nothing says which
    /// replica of the metadata group this node has.
    #[error("{path} is missing or corrupt, and the log has no replica of the metadata group")]
    Unusable { path: PathBuf },
}

/// Why no cluster was made. Calling `init` again is safe in all cases.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("a cluster has from 1 to {max} shards")]
    Shards { max: usize },
    #[error("seed {seed} does not answer")]
    SeedSilent { seed: String, source: CallError },
    /// There is a cluster already, or another init under way.
    #[error("seed {seed} is a member of cluster {cluster} already")]
    SeedTaken { seed: String, cluster: ClusterId },
    /// Names and addresses must be unique.
    #[error("two seeds are named {name}")]
    NameTwice { name: String },
    #[error("{name} was not adopted")]
    Adopt { name: String, source: AdoptError },
    #[error("this node is a member of cluster {cluster} already")]
    Member { cluster: ClusterId },
    /// The members are adopted; the metadata group did not say in time that it began.
    #[error("the metadata group has not elected a leader in time")]
    NoLeader,
    #[error("the bootstrap is refused")]
    Refused(#[source] Refusal),
    #[error("the metadata group does not begin")]
    Begin(#[from] fanfare_consensus::InitializeError),
    #[error("the node is stopping")]
    Stopped,
}

/// Why a proposal gave no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeFailed {
    /// Not proposed: try later.
    #[error("the metadata group has no leader that can be reached")]
    NoLeader,
    /// It may be placed, now or later: read the view before saying it again.
    #[error("proposed, result not learned")]
    Unknown,
    /// Not proposed.
    #[error("the node is stopping")]
    Stopped,
}

/// An error with its sources, for the other end of a call.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
