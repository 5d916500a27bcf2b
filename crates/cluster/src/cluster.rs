//! A node's membership from its first start to its last: reads the marker, waits to be adopted if
//! there is none, starts the metadata group and the tasks around it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_consensus::{Group, GroupId, Identity, IdentityError};
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::view::{Command, Refusal, View};
use fanfare_host::Disk;
use fanfare_rpc::members::{Beat, HandOver, Members, Stage};
use tokio::sync::watch;

use crate::hint::{self, Hint, Turns};
use crate::{
    ClusterHandle, Config, Deps, Detector, HintError, MetaMachine, StartError, beats, budget,
    controller, lobby, losses, register, repair,
};

/// A node's membership. A clone is the same.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

/// How far this run of the node is in the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Registration {
    Pending,
    /// A view that holds this start was applied here.
    Done,
    Refused(Refusal),
}

/// What the tasks and calls of membership share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    /// `None` until the marker was looked for.
    pub(crate) stage: watch::Sender<Option<Stage>>,
    pub(crate) views: watch::Sender<Arc<View>>,
    /// What this node, as the metadata leader, wants of a shard's leader.
    pub(crate) hand_over: watch::Sender<Option<HandOver>>,
    /// The same, of whichever node wanted something last.
    pub(crate) asked: watch::Sender<Option<HandOver>>,
    pub(crate) group: watch::Sender<Option<Group<MetaMachine>>>,
    pub(crate) registration: watch::Sender<Registration>,
    /// One init, or one adoption, at a time.
    pub(crate) init: tokio::sync::Mutex<()>,
    pub(crate) adoption: tokio::sync::Mutex<()>,
    started: AtomicBool,
    hint: Mutex<Option<Hint>>,
    /// Held while the copy of a view is written: two would write the same temporary file.
    hint_file: Turns,
    detector: Mutex<Detector>,
    beats: Mutex<BTreeMap<NodeId, Beat>>,
}

impl Cluster {
    /// Membership that has not begun: it answers nothing yet.
    #[must_use]
    pub fn new(config: Config, deps: Deps) -> Self {
        let detector = Detector::new(config.times.suspect, config.times.away);
        let shared = Shared {
            config,
            deps,
            stage: watch::Sender::new(None),
            views: watch::Sender::new(Arc::new(View::empty())),
            hand_over: watch::Sender::new(None),
            asked: watch::Sender::new(None),
            group: watch::Sender::new(None),
            registration: watch::Sender::new(Registration::Pending),
            init: tokio::sync::Mutex::new(()),
            adoption: tokio::sync::Mutex::new(()),
            started: AtomicBool::new(false),
            hint: Mutex::new(None),
            hint_file: Turns::default(),
            detector: Mutex::new(detector),
            beats: Mutex::new(BTreeMap::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What other nodes call, for the peer listener. Serve it before `start`: a node without a
    /// marker must be found to be adopted.
    #[must_use]
    pub fn members(&self) -> Arc<dyn Members> {
        Arc::new(self.clone())
    }

    /// How far the node is; `None` before `start` has looked for the marker.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        *self.shared.stage.borrow()
    }

    /// Begins this run of the node. With a marker: adds one to the generation, durably, and starts
    /// the metadata group. Without one: asks the seeds whether they know this node, which then has
    /// lost its data, and waits until it is adopted or [`Cluster::init`] is called. Returns once
    /// the group runs; [`ClusterHandle::ready`] says when the cluster has let the node in.
    pub async fn start(&self) -> Result<ClusterHandle, StartError> {
        let shared = &self.shared;
        if shared.started.swap(true, Ordering::SeqCst) {
            return Err(StartError::Running);
        }
        let marker = match shared.marker().await {
            Err(IdentityError::Missing { .. }) => {
                if !shared.stored_replicas().await?.is_empty() {
                    return Err(StartError::MarkerLost {
                        dir: shared.deps.dir.clone(),
                    });
                }
                lobby::wait(shared).await?;
                shared.marker().await?
            }
            read => read?,
        };
        let hint = shared.read_hint().await?;
        shared.knows(hint.as_ref())?;
        let replica = Box::pin(shared.own_replica(marker, hint.as_ref())).await?;
        let dir = shared.deps.dir.clone();
        let identity = shared
            .disk(move |disk| marker.next_generation(disk, &dir))
            .await?;
        shared.enter(identity);

        let group = shared.start_group(replica).await?;
        if let Some(hint) = hint.filter(|hint| !hint.begun) {
            shared
                .write_hint(Hint {
                    begun: true,
                    ..hint
                })
                .await?;
        }
        shared.group.send_replace(Some(group));
        let node = identity.node;
        tracing::info!(cluster = %identity.cluster, %node, generation = %identity.generation, "started");

        shared.run(register::register(Arc::clone(shared), identity));
        shared.run(losses::report(Arc::clone(shared), identity));
        if shared.config.history_budget > 0 {
            shared.run(budget::tell(Arc::clone(shared), identity));
        }
        shared.run(beats::beat(Arc::clone(shared)));
        shared.run(controller::control(Arc::clone(shared)));
        shared.run(hint::follow(Arc::clone(shared)));
        shared.run(repair::follow(Arc::clone(shared)));
        let dropping = Arc::clone(shared);
        shared.run(async move { dropping.drop_older(replica).await });
        Ok(ClusterHandle::new(Arc::clone(shared), identity))
    }
}

impl Shared {
    /// Runs a task of membership until it ends or the node stops.
    pub(crate) fn run(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.deps.stop.clone();
        self.deps
            .groups
            .tasks
            .spawn(async move { stop.run_until_cancelled(task).await });
    }

    /// Who this node is, once it is a member.
    pub(crate) fn member(&self) -> Option<Member> {
        match *self.stage.borrow() {
            Some(Stage::Member {
                cluster,
                node,
                generation,
                ..
            }) => Some(Member {
                cluster,
                node,
                generation,
            }),
            Some(Stage::Empty) | None => None,
        }
    }

    fn enter(&self, identity: Identity) {
        self.stage.send_replace(Some(Stage::Member {
            cluster: identity.cluster,
            node: identity.node,
            generation: identity.generation,
            view: 0,
        }));
    }

    /// The running replica of the metadata group.
    pub(crate) fn group(&self) -> Option<Group<MetaMachine>> {
        self.group.borrow().clone()
    }

    /// The newest view: the applied one, or the hint while that is newer.
    pub(crate) fn newest_view(&self) -> Arc<View> {
        let applied = Arc::clone(&self.views.borrow());
        match &*lock(&self.hint) {
            Some(hint) if hint.view.version > applied.version => Arc::new(hint.view.clone()),
            _ => applied,
        }
    }

    pub(crate) fn detector(&self) -> MutexGuard<'_, Detector> {
        lock(&self.detector)
    }

    /// The last heartbeat of each node.
    pub(crate) fn beats(&self) -> MutexGuard<'_, BTreeMap<NodeId, Beat>> {
        lock(&self.beats)
    }

    pub(crate) fn hint(&self) -> Option<Hint> {
        lock(&self.hint).clone()
    }

    /// Does something with the disk on a thread that may block.
    pub(crate) async fn disk<T, E>(
        &self,
        work: impl FnOnce(&dyn Disk) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Interrupted> + Send + 'static,
    {
        let disk = Arc::clone(&self.deps.disk);
        let path = self.deps.dir.clone();
        let done = self
            .deps
            .groups
            .tasks
            .spawn_blocking(move || work(&*disk))
            .await;
        done.unwrap_or_else(|_| Err(E::from(Interrupted { path })))
    }

    async fn marker(&self) -> Result<Identity, IdentityError> {
        let dir = self.deps.dir.clone();
        self.disk(move |disk| Identity::read(disk, &dir)).await
    }

    async fn read_hint(&self) -> Result<Option<Hint>, HintError> {
        let dir = self.deps.dir.clone();
        let views = Arc::clone(&self.deps.views);
        let hint = self
            .disk(move |disk| Hint::read(disk, &dir, &*views))
            .await?;
        if let Some(hint) = &hint {
            self.deps.routes.update(&hint.view);
        }
        lock(&self.hint).clone_from(&hint);
        Ok(hint)
    }

    pub(crate) async fn write_hint(&self, hint: Hint) -> Result<(), HintError> {
        let dir = self.deps.dir.clone();
        let views = Arc::clone(&self.deps.views);
        let stored = hint.clone();
        let write = move |disk: &dyn Disk| stored.write(disk, &dir, &*views);
        self.disk(self.hint_file.take(write).await).await?;
        self.deps.routes.update(&hint.view);
        *lock(&self.hint) = Some(hint);
        Ok(())
    }

    /// Refuses to start a binary below the level of the cluster, before it touches a group.
    fn knows(&self, hint: Option<&Hint>) -> Result<(), StartError> {
        let (level, known) = (hint.map_or(0, |hint| hint.view.level), self.config.level);
        if level > known {
            return Err(StartError::BinaryTooOld { level, known });
        }
        Ok(())
    }

    pub(crate) async fn stored_replicas(&self) -> Result<Vec<(GroupId, ReplicaId)>, StartError> {
        let store = self.deps.groups.store.clone();
        let path = self.deps.dir.clone();
        let listed = self.disk(move |_| {
            let listed = store.replicas();
            listed.map_err(|source| IdentityError::Disk { path, source })
        });
        Ok(listed.await?)
    }

    /// This node's replica of the metadata group; refuses a data directory that is not this
    /// node's, or that has lost its log.
    async fn own_replica(
        &self,
        marker: Identity,
        hint: Option<&Hint>,
    ) -> Result<ReplicaId, StartError> {
        let dir = self.deps.dir.clone();
        let row = hint.and_then(|hint| hint.view.nodes.get(&marker.node));
        if let Some(row) = row
            && row.name != self.config.name
        {
            let name = self.config.name.clone();
            return Err(StartError::AnotherNode {
                dir,
                name,
                found: row.name.clone(),
            });
        }
        let stored = self.stored_meta().await?;
        match (stored, hint) {
            (Some(replica), hint) => {
                // A group that began anew gave this node another replica, which may have nothing yet.
                let given = hint.and_then(|hint| hint.view.meta_on(marker.node));
                Ok(given.map_or(replica, |given| given.max(replica)))
            }
            (None, Some(hint)) if hint.begun => {
                self.enter(marker);
                let lost = Command::RecordDataLoss { node: marker.node };
                if let Err(error) = self.propose(&lost, self.config.times.init).await {
                    tracing::warn!(%error, "the loss of this node's log is not recorded");
                }
                Err(StartError::LogLost { dir })
            }
            (None, hint) => hint
                .and_then(|hint| hint.view.meta_on(marker.node))
                .ok_or_else(|| {
                    HintError::Unusable {
                        path: hint::path(&dir),
                    }
                    .into()
                }),
        }
    }
}

/// Who this node is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) cluster: fanfare_core::id::ClusterId,
    pub(crate) node: NodeId,
    pub(crate) generation: fanfare_core::id::Generation,
}

/// Work with the disk that did not come to its end: the thread panicked or the runtime stops.
pub(crate) struct Interrupted {
    path: std::path::PathBuf,
}

impl From<Interrupted> for IdentityError {
    fn from(Interrupted { path }: Interrupted) -> Self {
        Self::Disk {
            path,
            source: std::io::ErrorKind::Interrupted.into(),
        }
    }
}

impl From<Interrupted> for HintError {
    fn from(Interrupted { path }: Interrupted) -> Self {
        Self::Disk {
            path,
            source: std::io::ErrorKind::Interrupted.into(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
