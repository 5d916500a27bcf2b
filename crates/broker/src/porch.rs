//! Where drafts and wishes wait that reach a replica between its election and the beginning of its
//! reign, some milliseconds: sent back, they would only come again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanfare_core::attach::LinkId;
use fanfare_core::link::{AttachId, Ended, Redirect};

use crate::court::Court;
use crate::deliver::{DeliveryLink, Wish};
use crate::publish::Work;
use crate::shard::Msg;

/// Bytes of drafts that may wait, by `Draft::cost`; more are sent back.
const MAX_BYTES: u64 = 8 << 20;

/// The porch of one replica.
#[derive(Default)]
pub(crate) struct Porch(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    drafts: Vec<Work>,
    bytes: u64,
    /// Each with the permit of its link.
    wishes: Vec<(Arc<DeliveryLink>, Wish)>,
    /// Since when somebody waits.
    since: Option<Duration>,
}

impl Porch {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a draft; gives it back if there is no room, or if an earlier one of its run was sent
    /// back.
    pub(crate) fn draft(&self, work: Work) -> Option<Work> {
        let mut waiting = self.waiting();
        let bytes = waiting.bytes + work.draft.cost();
        if bytes > MAX_BYTES || work.ticket.run_closed() {
            return Some(work);
        }
        waiting.bytes = bytes;
        waiting.since.get_or_insert(work.arrived);
        waiting.drafts.push(work);
        None
    }

    pub(crate) fn wish(&self, link: Arc<DeliveryLink>, wish: Wish, now: Duration) {
        let mut waiting = self.waiting();
        waiting.since.get_or_insert(now);
        waiting.wishes.push((link, wish));
    }

    pub(crate) fn detach(&self, link: LinkId, id: AttachId) {
        let same = |(of, wish): &(Arc<DeliveryLink>, Wish)| of.id == link && wish.attach.id == id;
        self.waiting().wishes.retain(|row| !same(row));
    }

    /// Since when somebody waits.
    pub(crate) fn since(&self) -> Option<Duration> {
        self.waiting().since
    }

    /// The reign has begun: all go in, in the order in which they came.
    pub(crate) fn open(&self, court: &Court) {
        let Waiting { drafts, wishes, .. } = std::mem::take(&mut *self.waiting());
        for work in drafts {
            court.publish(work);
        }
        for (link, wish) in wishes {
            let id = wish.attach.id;
            let sent = court.actor.cast(Msg::Attach(Arc::clone(&link), wish));
            if sent.is_err() {
                let redirect = court.reign.redirect();
                link.put(|outbox| outbox.end(id, Ended::NotLeader(redirect)));
            }
        }
    }

    /// There is no reign: all are sent back.
    pub(crate) fn clear(&self, redirect: Redirect) {
        let Waiting { drafts, wishes, .. } = std::mem::take(&mut *self.waiting());
        for work in drafts {
            work.ticket.reroute(redirect);
        }
        for (link, wish) in wishes {
            link.put(|outbox| outbox.end(wish.attach.id, Ended::NotLeader(redirect)));
        }
    }
}

#[cfg(test)]
mod tests;
