//! The serving leader of a shard on this node, as the rest of the node uses it.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::confirm::Confirmer;
use crate::fate;
use crate::metrics::Metrics;
use crate::publish::Work;
use crate::reign::Reign;
use crate::shard::{Msg, ShardRef};

/// A reign with its actor, and what bounds the way to it.
#[derive(Clone)]
pub(crate) struct Court {
    pub(crate) reign: Arc<Reign>,
    pub(crate) actor: ShardRef,
    /// Bytes of drafts that may be in flight.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) confirmer: Arc<Confirmer>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Court {
    /// Hands a draft over if there is room for its bytes.
    pub(crate) fn publish(&self, mut work: Work) {
        let cost = u32::try_from(work.draft.cost()).unwrap_or(u32::MAX);
        match Arc::clone(&self.room).try_acquire_many_owned(cost) {
            Ok(room) => {
                work.room = Some(room);
                // A stopped actor drops the work, whose ticket then says that it was not proposed.
                self.actor.cast(Msg::Publish(Box::new(work))).ok();
            }
            // While a shard changes hands its edges keep what has no room here.
            Err(_) if work.ticket.run_closed() || self.reign.is_handing_over() => {
                work.ticket.reroute(self.reign.redirect());
            }
            Err(_) => {
                self.metrics.overloaded.inc();
                work.ticket.refuse(fate::overloaded());
            }
        }
    }
}
