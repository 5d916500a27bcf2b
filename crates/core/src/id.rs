//! Names of the cluster's parts: clusters, nodes, generations, shards, replicas, terms. Ids are
//! given by the metadata group and never given again.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A node of the cluster. Kept over restarts, never given to another node.
    NodeId(u64)
}
number! {
    /// Counts the starts of a node: a message from or for an older one is refused (R1).
    Generation(u64)
}
number! {
    /// A shard: the topics whose hash falls on it, and the raft group that replicates them.
    ShardId(u32)
}
number! {
    /// One replica of one group; raft's node id. A shard that comes back to a node gets a new one.
    ReplicaId(u64)
}
number! {
    /// Raft's term: which reign of which leader.
    Term(u64)
}

/// Identity of a cluster, drawn once at bootstrap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// Identity of a data directory, drawn when it is first used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DiskId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
