//! Figures of one node and of three, each beside what the machine itself does in the same run:
//! memory of idle sessions, cost of a delivery, latency of a durable ack.

mod acks;
mod fanout;
mod idle;
mod positions;
mod proc;
mod scale;
mod sends;
mod transfers;

pub use acks::{AckPlan, acks};
pub use fanout::{FanoutPlan, fanout};
pub use idle::{IdlePlan, idle};
pub use positions::{PositionsPlan, positions};
pub(crate) use proc::resident;
pub use scale::{FailoverPlan, IdleClusterPlan, TopicsPlan, failover, idle_cluster, topics};
pub use sends::serve as bare_sends;
pub use transfers::{TransferPlan, transfers};
