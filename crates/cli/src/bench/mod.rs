//! Load with a judge in it: publishers and subscribers as the protocol wants them, every delivery
//! judged as it comes, latencies from the time that was planned. Prints nothing and reads no flags.

mod gathering;
mod limits;
mod outcome;
mod payload;
mod plan;
mod publishing;
mod run;
mod shared;
mod show;
mod subscribing;
mod usage;

pub use limits::{Limits, fdatasync};
pub use outcome::{Delivered, Failed, Gaps, Latency, Outcome, Published, Rate, Used};
pub use payload::SMALLEST;
pub use plan::{Pace, Plan};
pub use run::{BenchError, run};
pub use shared::{Phase, Progress};
pub use usage::{cpu, resident};
