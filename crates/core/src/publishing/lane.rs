//! What publishing keeps of a shard: who leads it, and of each stream that publishes to it the
//! drafts that are not answered.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Publishing, StreamId, Ticket};
use crate::id::{NodeId, ShardId, Term};
use crate::message::Draft;
use crate::name::TopicName;
use crate::position::Position;

/// What is known of a shard's leader, and the streams that publish to it.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) way: Way,
    /// Counts the leaders that were believed in; a lane's run belongs to one of them.
    pub(super) reign: u64,
    /// When the present reign began.
    pub(super) since: Duration,
    /// The newest term heard of.
    pub(super) term: Term,
    /// Failures in a row; a verdict of a leader ends the row.
    pub(super) failures: u32,
    pub(super) look: Option<Duration>,
    pub(super) debt: Debt,
    pub(super) lanes: BTreeMap<StreamId, Lane>,
}

impl Shard {
    /// Failures after which a leader of an older term is believed in after all: their rests take
    /// longer than one that was deposed and does not know may go on (R12).
    const PATIENCE: u32 = 10;

    /// The oldest term whose leader is believed in. One of an older term than was heard of was
    /// deposed: what it places yet, of an ephemeral topic, would stand before what the newer one
    /// has placed (C3).
    pub(super) fn oldest_term(&self) -> Term {
        if self.failures < Self::PATIENCE {
            self.term
        } else {
            Term(0)
        }
    }
}

/// What leaders owe a shard's lanes.
#[derive(Debug, Default)]
pub(super) struct Debt {
    /// Drafts sent and unanswered.
    pub(super) sent: usize,
    /// Since when nothing was answered, though something is owed.
    pub(super) quiet: Option<Duration>,
}

impl Debt {
    pub(super) fn answered(&mut self) {
        self.sent -= 1;
        if self.sent == 0 {
            self.quiet = None;
        }
    }

    pub(super) fn silent(&self, now: Duration) -> bool {
        self.quiet
            .is_some_and(|since| now >= since + Publishing::SILENCE)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// Nobody needs to know.
    #[default]
    Unasked,
    /// The shell seeks.
    Asking,
    /// Asked for in vain: again at the shard's `look`.
    Resting,
    Known(NodeId),
}

/// The drafts of one stream for one shard, in order. Those below `cursor` are sent in the present
/// run and unanswered, the others wait.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) run: u32,
    /// Of the run; 0 before the first one.
    pub(super) reign: u64,
    pub(super) node: NodeId,
    pub(super) cursor: Ticket,
    pub(super) sent: usize,
    pub(super) queued: bool,
    /// While drafts of unknown end are sent again: the highest position of those that were placed.
    pub(super) again: BTreeMap<TopicName, Position>,
    /// The stream is over: the lane ends with its last draft.
    pub(super) closed: bool,
    pub(super) flights: BTreeMap<Ticket, Flight>,
}

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) draft: Draft,
    pub(super) submitted: Duration,
    pub(super) deadline: Duration,
    /// Its present sending.
    pub(super) seq: Option<u64>,
    /// An earlier sending, whose answer was lost, may have been proposed.
    pub(super) maybe: bool,
}

impl Flight {
    pub(super) fn maybe_proposed(&self) -> bool {
        self.seq.is_some() || self.maybe
    }

    /// The draft with the present age of its key, so that a late sending takes no second slot
    /// unseen (C10).
    pub(super) fn aged(&self, now: Duration) -> Draft {
        let mut draft = self.draft.clone();
        if draft.key.is_some() && (self.maybe || draft.key_age_ms > 0) {
            let held = now.saturating_sub(self.submitted);
            let held = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
            draft.key_age_ms = draft.key_age_ms.saturating_add(held);
        }
        draft
    }
}

/// A stream's lane, and what its shard is owed.
pub(super) fn lane_mut(
    shards: &mut BTreeMap<ShardId, Shard>,
    shard: ShardId,
    stream: StreamId,
) -> Option<(&mut Debt, &mut Lane)> {
    let row = shards.get_mut(&shard)?;
    let lane = row.lanes.get_mut(&stream)?;
    Some((&mut row.debt, lane))
}
