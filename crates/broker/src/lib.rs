//! Shards of this node: groups by the view, admission, batches, replies, attachments, ephemeral
//! topics. The algorithm is `core`'s, the consensus `consensus`'s; this performs.

mod attended;
mod audience;
mod broker;
mod confirm;
mod court;
mod deliver;
mod directory;
mod fate;
mod heirs;
mod intake;
mod ledger;
mod machine;
mod metrics;
mod moves;
mod options;
mod parts;
mod porch;
mod publish;
mod reign;
mod service;
mod shard;
mod shards;
mod snapshots;
mod topic;

pub use broker::{Broker, BrokerDeps, BuildError, ShardDump, ShardStatus};
pub use metrics::Metrics;
pub use options::BrokerOptions;
