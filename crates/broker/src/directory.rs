//! The replicas that run on this node, by shard: written by the supervisor, read by the service.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use fanfare_consensus::{Group, Role};
use fanfare_core::attach::LinkId;
use fanfare_core::id::{ReplicaId, ShardId};
use fanfare_core::link::{AttachId, Ended, Redirect};
use fanfare_core::name::TopicName;
use fanfare_core::view::View;
use tokio::sync::watch;

use crate::court::Court;
use crate::deliver::{DeliveryLink, Shards, Wish};
use crate::machine::{Replica, ShardMachine};
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
}

/// All of them.
pub(crate) struct Directory {
    rows: RwLock<BTreeMap<ShardId, Local>>,
    view: watch::Receiver<Arc<View>>,
}

impl Directory {
    pub(crate) fn new(view: watch::Receiver<Arc<View>>) -> Self {
        Self {
            rows: RwLock::default(),
            view,
        }
    }

    pub(crate) fn get(&self, shard: ShardId) -> Option<Local> {
        self.rows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&shard)
            .cloned()
    }

    pub(crate) fn court(&self, shard: ShardId) -> Option<Court> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.get(&shard).and_then(|local| local.court.clone())
    }

    pub(crate) fn all(&self) -> Vec<(ShardId, Local)> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        rows.iter()
            .map(|(shard, local)| (*shard, local.clone()))
            .collect()
    }

    pub(crate) fn put(&self, shard: ShardId, local: Local) {
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(shard, local);
    }

    pub(crate) fn set_court(&self, shard: ShardId, court: Option<Court>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(local) = rows.get_mut(&shard) {
            local.court = court;
        }
    }

    pub(crate) fn remove(&self, shard: ShardId) -> Option<Local> {
        self.rows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&shard)
    }

    /// Whom this node's replica of the shard follows, if it has one.
    pub(crate) fn redirect(&self, shard: ShardId) -> Redirect {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let Some(local) = rows.get(&shard) else {
            return Redirect::default();
        };
        redirect(&local.role.borrow(), &self.view.borrow())
    }
}

impl Shards for Directory {
    fn attach(&self, link: &Arc<DeliveryLink>, wish: Wish) {
        let (id, shard) = (wish.attach.id, wish.attach.shard);
        let sent = self.court(shard).is_some_and(|court| {
            court
                .actor
                .cast(Msg::Attach(Arc::clone(link), wish))
                .is_ok()
        });
        if !sent {
            let redirect = self.redirect(shard);
            link.put(|outbox| outbox.end(id, Ended::NotLeader(redirect)));
        }
    }

    fn detach(&self, link: LinkId, shard: ShardId, gone: Vec<(TopicName, AttachId)>) {
        if let Some(court) = self.court(shard) {
            // An actor that has stopped has ended its attachments.
            court.actor.cast(Msg::Detach(link, gone)).ok();
        }
    }
}
