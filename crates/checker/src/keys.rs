//! Idempotency keys of one topic: within the window one key has one slot and one payload
//! (C10, C11).

use std::collections::BTreeMap;

use crate::drafts::Sending;
use crate::observation::Position;

/// What the first ack of a key said.
#[derive(Clone, Copy, Debug)]
struct Use {
    at: Position,
    hash: u128,
    /// When it was first sent: the window begins later.
    sent: u64,
}

/// What is wrong with an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The key is in another slot already.
    Second(Position),
    /// The key was used for another payload.
    OtherPayload(Position),
}

/// The keys of one topic.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    uses: BTreeMap<u128, Use>,
}

impl Keys {
    /// A sending with a key was acked at `t`. Of two acks so near that the second sending was
    /// judged within `window`, since running time is never ahead of real time.
    pub(crate) fn acked(
        &mut self,
        key: u128,
        sending: &Sending,
        at: Position,
        t: u64,
        window: u64,
    ) -> Option<Misuse> {
        let new = Use {
            at,
            hash: sending.hash,
            sent: sending.t,
        };
        let known = *self.uses.entry(key).or_insert(new);
        let within = t.saturating_sub(known.sent) < window && known.at.epoch == at.epoch;
        if !within {
            self.uses.insert(key, new);
            return None;
        }
        if known.hash != sending.hash {
            Some(Misuse::OtherPayload(known.at))
        } else if known.at != at {
            Some(Misuse::Second(known.at))
        } else {
            None
        }
    }
}
