//! Raft groups over one disk: the only crate that knows openraft, and it does not know what an
//! entry means. A group replicates commands of a `StateMachine`; they are stored and sent in the
//! form of a `Codec`; peers are reached over a `Wire`.

mod acked;
mod door;
mod format;
#[cfg(test)]
mod golden_tests;
mod group;
pub mod identity;
mod inspect;
mod lost;
mod machine;
mod metrics;
mod network;
mod pace;
mod raft_types;
mod refound;
mod replicated;
mod role;
mod runtime;
mod snapshot;
mod storage;
mod store;
#[cfg(test)]
mod testing;
pub mod wal;
mod wire;

pub use door::Door;
pub use group::{
    ChangeError, Due, Group, GroupConfig, GroupDeps, HandOverError, InitializeError, Proposal,
    SnapshotError, StartError,
};
pub use identity::{Identity, IdentityError};
pub use inspect::{Fault, ReplicaFacts, Report, inspect};
pub use metrics::Metrics;
pub use pace::Pace;
pub use refound::{Founded, RefoundError, refound};
pub use replicated::{Codec, FrozenState, GroupId, LogPosition, Malformed, OnPoison, StateMachine};
pub use role::{ConfirmError, ProposeError, Role, Status};
pub use store::{Store, StoreOptions};
pub use wal::{Log, OpenError, Reserve};
pub use wire::{Call, Kind, Route, Wire, WireError};
