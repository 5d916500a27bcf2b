//! Load on a cluster: publishers over gRPC to all nodes, subscribers over every transport, kills or
//! planned operations on the way, and a judgement of everything that clients were told.

mod book;
mod data;
mod doors;
mod finals;
mod operate;
mod operation;
mod pauses;
mod plan;
mod publisher;
mod report;
mod run;
mod sight;
mod subscriber;
mod traffic;
mod upgrade;

pub use book::Book;
pub use data::{DataReport, Restart, Sample};
pub use doors::Doors;
pub use operation::{Operation, Operations};
pub use pauses::{Pauses, Table, Window};
pub use plan::Plan;
pub use report::Outcome;
pub use run::run;
pub use traffic::Traffic;
