//! Load on a cluster: publishers over gRPC to all nodes, subscribers over every transport, kills
//! on the way, and a judgement of everything that clients were told.

mod book;
mod finals;
mod plan;
mod publisher;
mod report;
mod run;
mod subscriber;
mod traffic;

pub use book::Book;
pub use plan::Plan;
pub use report::Outcome;
pub use run::run;
pub use traffic::Traffic;
