//! What a subscription reads, and how what it reads gets to the wire.

use std::sync::Arc;

use fanfare_core::cursor::Cursor;
use fanfare_core::gap::Gap;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::relay::{Follow, Next, Span};
use fanfare_core::rule::Html;
use fanfare_core::subscription::Sink;
use fanfare_host::Counter;

use super::wire::{Place, Wire};
use crate::metrics::Metrics;
use crate::relay::{EdgeRun, Lease};

/// What a subscription reads.
pub(crate) enum Tape {
    /// The topic's tail, on and on.
    Relay(Lease),
    /// Pages up to a head that is known: a short poll.
    UpTo(Position),
}

impl Follow<Arc<EdgeRun>> for Tape {
    fn next(&self, at: Position) -> Next<Arc<EdgeRun>> {
        match self {
            Self::Relay(relay) => relay.next(at),
            Self::UpTo(head) if at >= *head => Next::Head,
            Self::UpTo(_) => Next::Below,
        }
    }

    fn last(&self) -> Option<Position> {
        match self {
            Self::Relay(relay) => Follow::last(&**relay),
            Self::UpTo(head) => Some(*head),
        }
    }
}

/// What one session and the whole edge count.
pub(crate) struct Counts {
    /// Messages delivered to this session.
    pub(crate) delivered: Counter,
    pub(crate) metrics: Arc<Metrics>,
}

/// Takes items of one subscription to the wire.
pub(super) struct Pour<'a, W> {
    pub(super) wire: &'a mut W,
    pub(super) cursor: &'a mut Cursor,
    pub(super) topic: &'a TopicName,
    pub(super) hash: u64,
    pub(super) html: Html,
    pub(super) solo: bool,
    pub(super) counts: &'a Counts,
}

impl<W: Wire> Sink<Arc<EdgeRun>> for Pour<'_, W> {
    fn run(&mut self, span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32 {
        let Self {
            wire,
            cursor,
            topic,
            hash,
            html,
            solo,
            counts,
        } = self;
        let place = Place {
            topic,
            hash: *hash,
            html: *html,
            solo: *solo,
            cursor,
        };
        let taken = wire.run(&place, span, run, skip);
        if taken > 0 {
            cursor.set(*hash, span.position(skip + taken - 1));
            counts.delivered.add(u64::from(taken));
            counts.metrics.delivered.add(u64::from(taken));
        }
        taken
    }

    fn gap(&mut self, gap: &Gap) -> bool {
        let Self {
            wire,
            cursor,
            topic,
            hash,
            html,
            solo,
            counts,
        } = self;
        let place = Place {
            topic,
            hash: *hash,
            html: *html,
            solo: *solo,
            cursor,
        };
        let taken = wire.gap(&place, gap);
        if taken {
            cursor.set(*hash, gap.to);
            counts.metrics.gaps.inc();
        }
        taken
    }
}
