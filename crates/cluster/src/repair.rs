//! After the loss of a majority of the metadata group, when an operator accepts it: this node begins
//! the group anew from its copy, and nodes that find themselves in a group that began anew follow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fanfare_consensus::{Group, GroupConfig, GroupId, IdentityError, RefoundError, refound};
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::repair::Copy;
use fanfare_core::shard::At;
use fanfare_core::view::View;
use fanfare_rpc::members::CallError;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::ask::within;
use crate::cluster::Shared;
use crate::hint::Hint;
use crate::{ClusterHandle, HintError, MetaMachine, Routes, StartError};

/// Rounds without a leader after which others are asked whether the group began anew without us.
const QUIET: u32 = 3;

/// Why the metadata group did not begin anew. The copy is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error("the metadata group does not run here")]
    NoGroup,
    #[error("the copy of this node cannot be used")]
    Copy(#[source] RefoundError),
    /// Begun, and not started: start the node again.
    #[error("the new group does not start")]
    Start(#[source] fanfare_consensus::StartError),
    /// Begun and started; the copy of the view is of before.
    #[error("the copy of the view is not written")]
    Hint(#[source] HintError),
}

impl ClusterHandle {
    /// The newest view this node knows, applied or not: while there is no metadata leader a node may
    /// know no more than a copy.
    #[must_use]
    pub fn newest_view(&self) -> Arc<View> {
        self.shared().newest_view()
    }

    /// Asks every node of the newest view what copies it has; those that answer, this one too.
    pub async fn survey(&self) -> BTreeMap<NodeId, Vec<Copy>> {
        let shared = self.shared();
        let me = self.identity().node;
        let view = shared.newest_view();
        let others = view.living().map(|node| node.id).filter(|id| *id != me);
        let asked = others.map(|id| async move { (id, shared.ask_copies(id).await) });
        let answers = join_all(asked).await.into_iter();
        let answered = answers.filter_map(|(id, answer)| Some((id, answer.ok()?)));
        let mut all: BTreeMap<NodeId, Vec<Copy>> = answered.collect();
        if let Ok(own) = shared.copies().await {
            all.insert(me, own);
        }
        all
    }

    /// Begins the metadata group anew on this node, from its copy; `lost` nodes are marked as having
    /// lost their data. Call it only on an operator's word and after a survey. Returns the new view;
    /// the group has a leader soon after.
    pub async fn repair_meta(&self, lost: BTreeSet<NodeId>) -> Result<Arc<View>, RepairError> {
        let shared = self.shared();
        let _one = shared.adoption.lock().await;
        let old = shared
            .group
            .send_replace(None)
            .ok_or(RepairError::NoGroup)?;
        let from = old.replica();
        old.stop().await;
        let begun = shared.begin_anew(from, self.identity().node, lost).await;
        let replica = begun.as_ref().map_or(from, |(replica, _)| *replica);
        let group = shared.start_group(replica).await;
        shared
            .group
            .send_replace(Some(group.map_err(RepairError::Start)?));
        let (replica, view) = begun.map_err(RepairError::Copy)?;
        tracing::warn!(
            %from, to = %replica, version = view.version,
            "the metadata group begins anew from this copy; what only the others had is lost"
        );
        let hint = Hint {
            begun: true,
            view: View::clone(&view),
        };
        shared.write_hint(hint).await.map_err(RepairError::Hint)?;
        let dropping = Arc::clone(shared);
        shared.run(async move { dropping.drop_older(replica).await });
        Ok(view)
    }
}

impl Shared {
    /// This node's copies of all groups, running or not.
    pub(crate) async fn copies(&self) -> Result<Vec<Copy>, CallError> {
        let failed = |what: &dyn std::fmt::Display| CallError::Unreachable(what.to_string());
        let listed = self.stored_replicas().await;
        let listed = listed.map_err(|error| failed(&error))?;
        let running = self.deps.copies.borrow().clone();
        let meta = self.group();
        let store = &self.deps.groups.store;
        let copy = |(group, replica): (GroupId, ReplicaId)| {
            let last = store.last_entry(replica);
            let last = last.map(|at| At {
                term: at.term,
                index: at.index,
            });
            let shard = match group {
                GroupId::Meta => None,
                GroupId::Shard(shard) => Some(shard),
            };
            let (voters, serves) = match (shard, &meta) {
                (None, Some(meta)) if meta.replica() == replica => {
                    let status = meta.status();
                    (status.voters, status.role.serves && meta.hears_majority())
                }
                (None, _) => (Vec::new(), false),
                (Some(_), _) => {
                    let row = running.iter().find(|copy| copy.replica == replica);
                    row.map_or((Vec::new(), false), |row| (row.voters.clone(), row.serves))
                }
            };
            Copy {
                shard,
                replica,
                last,
                voters,
                serves,
            }
        };
        Ok(listed.into_iter().map(copy).collect())
    }

    /// The last of this node's replicas of the metadata group that has anything.
    pub(crate) async fn stored_meta(&self) -> Result<Option<ReplicaId>, StartError> {
        let store = self.deps.groups.store.clone();
        let path = self.deps.dir.clone();
        let found = self.disk(move |_| {
            let find = || {
                let mut metas = store.replicas()?;
                metas.retain(|(group, _)| *group == GroupId::Meta);
                for (group, replica) in metas.iter().rev() {
                    if store.holds(*group, *replica)? {
                        return Ok(Some(*replica));
                    }
                }
                Ok(metas.last().map(|(_, replica)| *replica))
            };
            find().map_err(|source| IdentityError::Disk { path, source })
        });
        Ok(found.await?)
    }

    async fn ask_copies(&self, node: NodeId) -> Result<Vec<Copy>, CallError> {
        let target = self.deps.routes.node(node).ok_or(CallError::NoAnswer)?;
        let envelope = self.envelope(node).ok_or(CallError::NoAnswer)?;
        let asked = self.dial(&target.address).copies(envelope);
        let answer = within(&**self.deps.clock(), self.config.times.call, asked).await;
        answer.unwrap_or(Err(CallError::NoAnswer))
    }

    /// Makes the first replica of the new group, and its view.
    async fn begin_anew(
        &self,
        from: ReplicaId,
        node: NodeId,
        lost: BTreeSet<NodeId>,
    ) -> Result<(ReplicaId, Arc<View>), RefoundError> {
        let (published, view) = watch::channel(Arc::new(View::empty()));
        let machine = MetaMachine::new(Arc::clone(&self.deps.views), published, Routes::new());
        let commands = Arc::clone(&self.deps.commands);
        let found = move |machine: &mut MetaMachine, _| {
            let repaired = machine.repair(node, &lost);
            repaired.map_err(std::io::Error::other)
        };
        let groups = &self.deps.groups;
        let begun = refound(groups, GroupId::Meta, from, machine, commands, found).await?;
        let view = Arc::clone(&view.borrow());
        Ok((begun.replica, view))
    }

    /// Starts this node's replica of the metadata group.
    pub(crate) async fn start_group(
        &self,
        replica: ReplicaId,
    ) -> Result<Group<MetaMachine>, fanfare_consensus::StartError> {
        let machine = MetaMachine::new(
            Arc::clone(&self.deps.views),
            self.views.clone(),
            self.deps.routes.clone(),
        );
        let config = GroupConfig {
            group: GroupId::Meta,
            replica,
            ..self.config.group.clone()
        };
        let commands = Arc::clone(&self.deps.commands);
        Box::pin(Group::start(config, &self.deps.groups, machine, commands)).await
    }

    /// Removes this node's replicas of metadata groups that are over, once `replica` has what its
    /// group has.
    pub(crate) async fn drop_older(&self, replica: ReplicaId) {
        loop {
            let Some(group) = self.group().filter(|group| group.replica() == replica) else {
                return;
            };
            if group.status().applied > 0 && group.role().borrow().leader.is_some() {
                break;
            }
            self.deps.clock().sleep(self.config.times.round).await;
        }
        let listed = self.stored_replicas().await.unwrap_or_default();
        let older = listed.into_iter();
        let older = older.filter(|(group, id)| *group == GroupId::Meta && *id < replica);
        for (group, id) in older {
            match self.deps.groups.store.remove(group, id).await {
                Ok(()) => {
                    tracing::info!(replica = %id, "a replica of the former metadata group is removed")
                }
                Err(error) => {
                    tracing::warn!(replica = %id, %error, "a former replica's files stay")
                }
            }
        }
    }

    /// The metadata group that began anew without this node, by the newest view of those it hears.
    async fn newer_group(&self, own: ReplicaId) -> Option<(ReplicaId, Arc<View>)> {
        let me = self.member()?;
        let known = self.newest_view().version;
        let targets = self.deps.routes.nodes().into_iter();
        let others = targets.filter(|target| target.node != me.node);
        let asked = others.map(|target| async move {
            let envelope = self.envelope(target.node)?;
            let view = self.dial(&target.address).view(envelope);
            within(&**self.deps.clock(), self.config.times.call, view)
                .await?
                .ok()
        });
        let views = join_all(asked).await.into_iter().flatten();
        let newest = views.max_by_key(|view| view.version)?;
        if newest.version <= known || newest.cluster != me.cluster {
            return None;
        }
        let replica = newest.meta_on(me.node)?;
        (replica > own).then_some((replica, newest))
    }

    /// Leaves the group that is over for the one that began anew.
    async fn move_on(&self, replica: ReplicaId, view: Arc<View>) {
        let _one = self.adoption.lock().await;
        tracing::warn!(%replica, version = view.version, "the metadata group began anew: following it");
        let hint = Hint {
            begun: false,
            view: View::clone(&view),
        };
        // The hint first: a start after a crash finds the new replica by it.
        if let Err(error) = self.write_hint(hint).await {
            tracing::warn!(%error, "the copy of the view is not written");
            return;
        }
        if let Some(old) = self.group.send_replace(None) {
            old.stop().await;
        }
        match self.start_group(replica).await {
            Ok(group) => drop(self.group.send_replace(Some(group))),
            Err(error) => {
                tracing::error!(%error, "the new metadata group does not start: start this node again");
            }
        }
    }
}

/// Looks out for a metadata group that began anew, until it is cancelled.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut quiet = 0;
    loop {
        shared.deps.clock().sleep(shared.config.times.round).await;
        let Some(group) = shared.group() else {
            continue;
        };
        let led = group.role().borrow().leader.is_some();
        quiet = if led { 0 } else { quiet + 1 };
        let own = shared.newest_view().version;
        let left_behind = |seen: u64| seen > own.saturating_add(View::REPAIR_STEP / 2);
        let ahead = shared.beats().values().any(|beat| left_behind(beat.view));
        if quiet < QUIET && !ahead {
            continue;
        }
        quiet = 0;
        if let Some((replica, view)) = shared.newer_group(group.replica()).await {
            shared.move_on(replica, view).await;
            let dropping = Arc::clone(&shared);
            shared.run(async move { dropping.drop_older(replica).await });
        }
    }
}
