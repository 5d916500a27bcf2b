//! JSON as protocol section 1 spells it: messages, gaps, drafts, frames, acks and problems, written
//! by hand into bytes and read member by member.

pub mod ack;
pub mod client_frame;
pub mod draft;
mod item;
mod members;
pub mod problem;
pub mod server_frame;
mod write;

pub use item::{Malformed, Reason, Received, ReceivedGap, ReceivedMessage};
pub use write::is_json;

pub(crate) use item::{put_gap, put_item, put_message, read_whole_item};
pub(crate) use members::{Members, Wrong};
pub(crate) use write::{put_name, put_number, put_plain, put_string, put_text, put_time, put_word};
