//! What happened, judged: observations and the verdicts of the contract. Knows nothing of how the
//! product works: it reads what clients and dumps said, and names what must not have been.

mod delivery;
mod judge;
mod observation;
mod order;
mod slots;
mod verdict;

pub use judge::{Judge, judge_dir};
pub use observation::{AckLevel, Event, Line, Position, Reached, Recorder, Row, SinceText, hash};
pub use verdict::{Report, Verdict, Witness};
