//! The replicas that run on this node, by shard: written by the supervisor, read by the service and
//! by the links, which find the way to a leader here.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use fanfare_consensus::{Group, Role};
use fanfare_core::attach::LinkId;
use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_core::link::{AttachId, Ended, Redirect};
use fanfare_core::name::TopicName;
use fanfare_core::view::View;
use fanfare_host::Clock;
use tokio::sync::watch;

use crate::court::Court;
use crate::deliver::{DeliveryLink, Shards, Wish};
use crate::machine::{Replica, ShardMachine};
use crate::porch::Porch;
use crate::publish::Work;
use crate::reign::redirect;
use crate::shard::Msg;

/// A replica that runs here.
#[derive(Clone)]
pub(crate) struct Local {
    pub(crate) id: ReplicaId,
    pub(crate) group: Group<ShardMachine>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) role: watch::Receiver<Role>,
    /// While it leads and may answer for the shard.
    pub(crate) court: Option<Court>,
    /// Who came after it was elected and before it may answer.
    pub(crate) porch: Arc<Porch>,
}

/// All of them.
pub(crate) struct Directory {
    rows: RwLock<Rows>,
    view: watch::Receiver<Arc<View>>,
    clock: Arc<dyn Clock>,
}

type Rows = BTreeMap<ShardId, Local>;

/// How long somebody waits on a porch: an elected leader that has no majority never reigns.
const PORCH_WITHIN: Duration = Duration::from_secs(1);

impl Directory {
    pub(crate) fn new(view: watch::Receiver<Arc<View>>, clock: Arc<dyn Clock>) -> Self {
        Self {
            rows: RwLock::default(),
            view,
            clock,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, shard: ShardId) -> Option<Local> {
        self.read().get(&shard).cloned()
    }

    pub(crate) fn court(&self, shard: ShardId) -> Option<Court> {
        let rows = self.read();
        rows.get(&shard).and_then(|local| local.court.clone())
    }

    pub(crate) fn all(&self) -> Vec<(ShardId, Local)> {
        let rows = self.read();
        rows.iter()
            .map(|(shard, local)| (*shard, local.clone()))
            .collect()
    }

    pub(crate) fn put(&self, shard: ShardId, local: Local) {
        self.write().insert(shard, local);
    }

    /// A reign begins: who waits on the porch goes in before anybody who comes later, since the
    /// lock is held until they have.
    pub(crate) fn open_court(&self, shard: ShardId, court: Court) {
        let mut rows = self.write();
        if let Some(local) = rows.get_mut(&shard) {
            local.porch.open(&court);
            local.court = Some(court);
        }
    }

    pub(crate) fn close_court(&self, shard: ShardId) {
        if let Some(local) = self.write().get_mut(&shard) {
            local.court = None;
        }
    }

    /// Sends back who waits for a reign that does not come: the replica leads no more, or too long
    /// without a majority. Under the lock: who saw it lead has come in.
    pub(crate) fn clear_porches(&self) {
        let (rows, now) = (self.write(), self.clock.now());
        for local in rows.values() {
            let Some(since) = local.porch.since() else {
                continue;
            };
            let role = local.role.borrow();
            if !role.leads || now.saturating_sub(since) >= PORCH_WITHIN {
                local.porch.clear(redirect(&role, &self.view.borrow()));
            }
        }
    }

    /// Brings a draft to the shard's leader, if it is here; else it is sent back.
    pub(crate) fn publish(&self, work: Work) {
        let rows = self.read();
        let Some(local) = work.ticket.shard().and_then(|shard| rows.get(&shard)) else {
            return work.ticket.reroute(Redirect::default());
        };
        if let Some(court) = &local.court {
            return court.publish(work);
        }
        let role = local.role.borrow();
        let sent_back = if role.leads {
            local.porch.draft(work)
        } else {
            Some(work)
        };
        if let Some(work) = sent_back {
            work.ticket.reroute(redirect(&role, &self.view.borrow()));
        }
    }

    pub(crate) fn remove(&self, shard: ShardId) -> Option<Local> {
        self.write().remove(&shard)
    }

    /// Whom this node's replica of the shard follows, if it has one.
    pub(crate) fn redirect(&self, shard: ShardId) -> Redirect {
        let rows = self.read();
        let Some(local) = rows.get(&shard) else {
            return Redirect::default();
        };
        redirect(&local.role.borrow(), &self.view.borrow())
    }
}

impl Shards for Directory {
    fn attach(&self, link: &Arc<DeliveryLink>, wish: Wish) {
        let id = wish.attach.id;
        let rows = self.read();
        let Some(local) = rows.get(&wish.attach.shard) else {
            let nobody = Ended::NotLeader(Redirect::default());
            return link.put(|outbox| outbox.end(id, nobody));
        };
        let role = local.role.borrow();
        let taken = match &local.court {
            Some(court) => court
                .actor
                .cast(Msg::Attach(Arc::clone(link), wish))
                .is_ok(),
            None if role.leads => {
                local.porch.wish(Arc::clone(link), wish, self.clock.now());
                true
            }
            None => false,
        };
        if !taken {
            let redirect = redirect(&role, &self.view.borrow());
            link.put(|outbox| outbox.end(id, Ended::NotLeader(redirect)));
        }
    }

    fn detach(&self, link: LinkId, shard: ShardId, gone: Vec<(TopicName, AttachId)>) {
        let rows = self.read();
        let Some(local) = rows.get(&shard) else {
            return;
        };
        match &local.court {
            // An actor that has stopped has ended its attachments.
            Some(court) => drop(court.actor.cast(Msg::Detach(link, gone))),
            None => gone
                .iter()
                .for_each(|(_, id)| local.porch.detach(link, *id)),
        }
    }
}
