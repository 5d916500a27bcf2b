//! What a transport must be able to say, and how far it has come with it. A wire never waits.

use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Gap, Standing};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_core::relay::Span;
use fanfare_core::rule::Html;
use std::sync::Arc;

use crate::relay::EdgeRun;

/// What a session says besides items.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Welcome(fanfare_protocol::json::server_frame::Welcome),
    /// The answer to an attachment, and the session's cursor from here on.
    Subscribed {
        id: Option<u64>,
        topic: TopicName,
        standing: Standing,
        cursor: String,
    },
    /// The end of a topic; with a refusal if nobody asked for it.
    Unsubscribed {
        id: Option<u64>,
        topic: TopicName,
        why: Option<Refusal>,
    },
    Ack {
        id: u64,
        receipt: Receipt,
    },
    Error {
        id: Option<u64>,
        refusal: Refusal,
    },
    Refreshed {
        id: u64,
        expires_in_ms: Option<u64>,
    },
    Pong {
        id: Option<u64>,
    },
    Heartbeat,
    /// The last word; what follows on the wire is its own way to end.
    Disconnect {
        why: Refusal,
        cursor: Option<String>,
    },
}

/// Whose items they are, and what their cursor is made of.
pub(crate) struct Place<'a> {
    pub(crate) topic: &'a TopicName,
    pub(crate) hash: u64,
    pub(crate) html: Html,
    /// The session has this topic alone: what it is sent can be shared whole.
    pub(crate) solo: bool,
    /// Where the session stands before these items.
    pub(crate) cursor: &'a Cursor,
}

impl Place<'_> {
    /// The session's cursor once the topic stands at `position`.
    pub(crate) fn cursor_at(&self, position: fanfare_core::position::Position) -> String {
        let mut cursor = self.cursor.clone();
        cursor.set(self.hash, position);
        cursor.to_string()
    }
}

/// How far a wire has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    /// All that was said is with the transport.
    Clear,
    /// Some of it waits: the pump must see to it.
    Waits,
    /// The other end is gone.
    Broken,
}

/// One transport's way to say things.
pub(crate) trait Wire: Send + 'static {
    /// Takes messages of `run` from `skip` on; says how many.
    fn run(&mut self, place: &Place<'_>, span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32;
    /// Takes a gap, or says no.
    fn gap(&mut self, place: &Place<'_>, gap: &Gap) -> bool;
    /// Takes what is no item. It is always taken: it is bounded by requests and time.
    fn say(&mut self, said: &Said);
    /// Moves on what it can. True in the first place: some bytes went.
    fn flush(&mut self) -> (bool, Flush);

    /// Bytes that the transport has not taken yet.
    fn waiting(&self) -> usize;

    /// True if who pumps should look although nothing waits: a poll ends with its first item.
    fn has_news(&self) -> bool {
        false
    }
}
