//! What happened, judged: observations and the verdicts of the contract. Knows nothing of how the
//! product works: it reads what clients and dumps said, and names what must not have been.

mod delivery;
mod drafts;
mod finals;
mod gaps;
mod judge;
mod keys;
mod merge;
mod observation;
mod order;
mod reading;
mod run;
mod slots;
mod verdict;
mod watch;

pub use judge::{Judge, judge_dir};
pub use merge::ReadError;
pub use observation::{
    AckLevel, Event, Line, Position, Reached, Recorder, Row, SinceText, digest, hash,
};
pub use reading::{Finding, Reading};
pub use run::{Rule, Run};
pub use verdict::{Report, Verdict, Witness};
pub use watch::{StreamOrder, Watch};
