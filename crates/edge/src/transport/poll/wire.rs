//! The wire of a poll: items themselves, up to the answer's limits.

use std::sync::Arc;

use fanfare_core::gap::{Gap, Item};
use fanfare_core::relay::Span;
use fanfare_core::rule::Html;
use fanfare_protocol::limit::POLL_BYTES;

use crate::relay::EdgeRun;
use crate::session::wire::{Flush, Place, Said, Wire};

/// An item and how its topic shows HTML.
pub(crate) type Shown = (Item, Html);

/// The items of one answer.
pub(super) struct PollWire {
    items: Vec<Shown>,
    limit: usize,
    bytes: usize,
    full: bool,
}

impl PollWire {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            items: Vec::new(),
            limit,
            bytes: 0,
            full: false,
        }
    }

    /// True if there is an item.
    pub(super) fn any(&self) -> bool {
        !self.items.is_empty()
    }

    /// True if something did not fit.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// The items, and whether something did not fit.
    pub(super) fn take(&mut self) -> (Vec<Shown>, bool) {
        (std::mem::take(&mut self.items), self.full)
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.items.len() < self.limit
            && (self.items.is_empty() || self.bytes + bytes <= POLL_BYTES);
        self.full |= !fits;
        fits && !self.full
    }
}

impl Wire for PollWire {
    fn waiting(&self) -> usize {
        // A poll is no session: nobody lists it.
        0
    }

    fn run(&mut self, place: &Place<'_>, _span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32 {
        let mut taken = 0;
        for message in run.run().messages.iter().skip(skip as usize) {
            let bytes = message.content.payload.len();
            if !self.takes(bytes) {
                break;
            }
            self.bytes += bytes;
            let item = Item::Message(place.topic.clone(), message.clone());
            self.items.push((item, place.html));
            taken += 1;
        }
        taken
    }

    fn gap(&mut self, place: &Place<'_>, gap: &Gap) -> bool {
        let takes = self.takes(0);
        if takes {
            self.items
                .push((Item::Gap(place.topic.clone(), *gap), place.html));
        }
        takes
    }

    fn say(&mut self, _said: &Said) {}

    fn flush(&mut self) -> (bool, Flush) {
        (false, Flush::Clear)
    }

    fn has_news(&self) -> bool {
        self.any()
    }
}
