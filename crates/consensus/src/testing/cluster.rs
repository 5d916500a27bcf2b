//! Replicas of one group, each on a node of its own, in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::id::{ReplicaId, ShardId, Term};
use fanfare_host::{Disk, Faults, FaultyDisk, MemDisk, Open, RealClock, SystemRng, VolatileDisk};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Aimed, Counter, Numbers};
use crate::{
    Call, Door, Group, GroupConfig, GroupDeps, GroupId, Pace, Role, Route, Store, StoreOptions,
    Wire, WireError,
};

/// Longer than anything in a test takes.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) const GROUP: GroupId = GroupId::Shard(ShardId(5));

/// All nodes' doors, and which replicas are cut off.
#[derive(Clone, Default)]
struct Switchboard {
    doors: Arc<Mutex<BTreeMap<ReplicaId, Door>>>,
    cut: Arc<Mutex<BTreeSet<ReplicaId>>>,
    tasks: TaskTracker,
    /// Changes the pieces of snapshots on their way; `None` breaks the way off.
    pieces: Arc<Mutex<Option<Pieces>>>,
}

/// What becomes of a piece.
type Pieces = Box<dyn FnMut(Bytes) -> Option<Bytes> + Send>;

impl Switchboard {
    fn door(&self, route: Route) -> Result<Door, WireError> {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&route.from) || cut.contains(&route.to) {
            return Err(WireError::Unreachable("cut".to_owned()));
        }
        self.doors
            .lock()
            .unwrap()
            .get(&route.to)
            .cloned()
            .ok_or(WireError::NoAddress(route.to))
    }

    async fn carry(self, call: Call) -> Result<Bytes, WireError> {
        let route = call.route;
        let answer = self.door(route)?.serve(call).await?;
        self.door(route)?;
        Ok(answer)
    }
}

impl Wire for Switchboard {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Bytes, WireError>> {
        Box::pin(self.clone().carry(call))
    }

    fn snapshot(
        &self,
        route: Route,
        mut bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, to_caller) = mpsc::channel(8);
        let (to_door, door_bodies) = mpsc::channel(1);
        let board = self.clone();
        self.tasks.spawn(async move {
            let door = match board.door(route) {
                Ok(door) => door,
                Err(error) => return drop(answers.send(Err(error)).await),
            };
            let carry = async {
                while let Some(body) = bodies.recv().await {
                    let body = match &mut *board.pieces.lock().unwrap() {
                        Some(change) => change(body),
                        None => Some(body),
                    };
                    let Some(body) = body.filter(|_| board.door(route).is_ok()) else {
                        break;
                    };
                    if to_door.send(body).await.is_err() {
                        break;
                    }
                }
                drop(to_door);
            };
            tokio::join!(door.serve_snapshot(route, door_bodies, answers), carry);
        });
        to_caller
    }

    fn appends(
        &self,
        route: Route,
        mut bodies: mpsc::Receiver<Bytes>,
    ) -> mpsc::Receiver<Result<Bytes, WireError>> {
        let (answers, to_caller) = mpsc::channel(1);
        let (to_door, door_bodies) = mpsc::channel(1);
        let (door_answers, mut from_door) = mpsc::channel(1);
        let board = self.clone();
        self.tasks.spawn(async move {
            let door = match board.door(route) {
                Ok(door) => door,
                Err(error) => return drop(answers.send(Err(error)).await),
            };
            let mut to_door = Some(to_door);
            let mut serving = pin!(door.serve_appends(route, door_bodies, door_answers));
            let mut served = false;
            loop {
                tokio::select! {
                    biased;
                    answer = from_door.recv() => match answer {
                        Some(answer) if board.door(route).is_ok() => {
                            if answers.send(answer).await.is_err() {
                                return;
                            }
                        }
                        _ => return,
                    },
                    () = &mut serving, if !served => served = true,
                    body = bodies.recv(), if to_door.is_some() => match (body, &to_door) {
                        (Some(body), Some(to)) if board.door(route).is_ok() => {
                            if to.send(body).await.is_err() {
                                return;
                            }
                        }
                        _ => to_door = None,
                    },
                }
            }
        });
        to_caller
    }
}

/// One node with its replica.
pub(crate) struct Member {
    pub(crate) group: Group<Counter>,
    pub(crate) counter: Counter,
    pub(crate) store: Store,
}

impl Member {
    /// Waits for a role.
    pub(crate) async fn until(&self, wanted: impl FnMut(&Role) -> bool) -> Role {
        let mut role = self.group.role();
        let waiting = role.wait_for(wanted);
        tokio::time::timeout(SOON, waiting)
            .await
            .expect("in time")
            .expect("a role")
            .clone()
    }

    pub(crate) async fn propose(&self, number: u64) -> usize {
        let term = self.group.role().borrow().term;
        self.group
            .propose(term, number, SOON)
            .await
            .expect("an outcome")
            .1
    }

    /// Waits until the machine holds `numbers`.
    pub(crate) async fn holds(&self, numbers: &[u64]) {
        let mut metrics = self.group.role();
        let same = async {
            while self.counter.numbers() != numbers {
                tokio::select! {
                    _ = metrics.changed() => {}
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        };
        let found = tokio::time::timeout(SOON, same).await;
        assert!(
            found.is_ok(),
            "{:?} instead of {numbers:?}",
            self.counter.numbers()
        );
    }
}

/// What can happen to a node's disk.
#[derive(Clone)]
pub(crate) struct Power {
    disk: VolatileDisk,
    /// Of what lies beside the log.
    pub(crate) faults: Faults,
    /// Set by the first failure that the node must not survive.
    pub(crate) poisoned: Arc<AtomicBool>,
}

/// Nodes 1 to n with a replica each; the disks outlive the nodes.
pub(crate) struct Cluster {
    board: Switchboard,
    disks: BTreeMap<ReplicaId, MemDisk>,
    stores: BTreeMap<ReplicaId, (Store, Door, Arc<RealClock>)>,
    powers: BTreeMap<ReplicaId, Power>,
    pub(crate) members: BTreeMap<ReplicaId, Member>,
    /// How long a leader may be silent.
    election: Duration,
}

impl Cluster {
    /// A group of `size` voters.
    pub(crate) async fn of(size: u64) -> Self {
        // Long enough that no leader loses its reign to a busy machine.
        Self::electing(size, Duration::from_secs(1)).await
    }

    /// The same, whose first leader leads to the end of the story.
    pub(crate) async fn lasting(size: u64) -> Self {
        Self::electing(size, SOON / 3).await
    }

    async fn electing(size: u64, election: Duration) -> Self {
        let board = Switchboard::default();
        let mut cluster = Self {
            board,
            disks: BTreeMap::new(),
            stores: BTreeMap::new(),
            powers: BTreeMap::new(),
            members: BTreeMap::new(),
            election,
        };
        for id in 1..=size {
            cluster.start(ReplicaId(id)).await;
        }
        let voters: BTreeSet<ReplicaId> = cluster.members.keys().copied().collect();
        cluster.member(1).group.initialize(voters).await.unwrap();
        cluster
    }

    pub(crate) fn member(&self, id: u64) -> &Member {
        &self.members[&ReplicaId(id)]
    }

    /// Starts a replica on its disk, a fresh one if it has none.
    pub(crate) async fn start(&mut self, id: ReplicaId) {
        let below: Arc<dyn Disk> = Arc::new(self.disks.entry(id).or_default().clone());
        let power = Power {
            disk: VolatileDisk::new(below),
            faults: Faults::default(),
            poisoned: Arc::default(),
        };
        let volatile = Arc::new(power.disk.clone());
        let faulty = FaultyDisk::new(volatile, power.faults.clone());
        let disk: Arc<dyn Disk> = Arc::new(Aimed {
            log: power.disk.clone(),
            replicas: faulty,
        });
        let clock = Arc::new(RealClock::new());
        let options = StoreOptions {
            segment_bytes: 64 << 10,
            snapshot_after: 4 << 10,
            ..StoreOptions::new(clock.clone(), Arc::new(SystemRng))
        };
        let poisoned = Arc::clone(&power.poisoned);
        let poison = Arc::new(move |_: &std::io::Error| poisoned.store(true, Ordering::SeqCst));
        self.powers.insert(id, power);
        let store = Store::open(disk, Path::new("/data"), options, poison).unwrap();
        self.stores.insert(id, (store, Door::new(), clock));
        self.run(id, id).await;
    }

    /// What replicas on the disk of `node` are started with.
    pub(crate) fn deps(&self, node: ReplicaId) -> GroupDeps {
        let (store, door, clock) = self.stores[&node].clone();
        GroupDeps {
            store,
            door,
            wire: Arc::new(self.board.clone()),
            clock,
            tasks: self.board.tasks.clone(),
            pace: Pace::default(),
        }
    }

    /// Starts replica `id` in the open store of `node`.
    pub(crate) async fn run(&mut self, node: ReplicaId, id: ReplicaId) {
        let deps = self.deps(node);
        let store = deps.store.clone();
        let config = GroupConfig {
            heartbeat: Duration::from_millis(100),
            ..GroupConfig::new(GROUP, id).electing_after(self.election)
        };
        let counter = Counter::default();
        self.board
            .doors
            .lock()
            .unwrap()
            .insert(id, deps.door.clone());
        let codec = Arc::new(Numbers);
        let group = Group::start(config, &deps, counter.clone(), codec)
            .await
            .unwrap();
        self.members.insert(
            id,
            Member {
                group,
                counter,
                store,
            },
        );
    }

    pub(crate) async fn stop(&mut self, id: ReplicaId) {
        let member = self.members.remove(&id).unwrap();
        member.group.stop().await;
        member.store.close().await;
    }

    /// Ends a replica as if its power went.
    pub(crate) async fn kill(&mut self, id: ReplicaId) {
        let power = self.power(id);
        power.disk.kill();
        power.poisoned.store(true, Ordering::SeqCst);
        let member = self.members.remove(&id).unwrap();
        member.group.stop().await;
        member.store.close().await;
    }

    pub(crate) fn power(&self, id: ReplicaId) -> Power {
        self.powers[&id].clone()
    }

    /// What is on the disk of a stopped replica.
    pub(crate) fn image(&self, id: ReplicaId) -> MemDisk {
        let copy = MemDisk::new();
        copy_all(&self.disks[&id], &copy, Path::new("/data"));
        copy
    }

    /// Puts another disk in the place of a stopped replica's.
    pub(crate) fn put_disk(&mut self, id: ReplicaId, disk: MemDisk) {
        self.disks.insert(id, disk);
    }

    /// Flips a bit in the middle of a replica's snapshot, on its disk.
    pub(crate) fn rot(&self, id: ReplicaId) {
        let name = self.files(id).pop().unwrap();
        let path = format!("/data/replicas/shard-5-{id}/{name}");
        let file = self.powers[&id]
            .disk
            .open(Path::new(&path), Open::Write)
            .unwrap();
        let at = file.len().unwrap() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    /// The names of all files of a replica, as its disk has them now.
    pub(crate) fn files(&self, id: ReplicaId) -> Vec<String> {
        let dir = format!("/data/replicas/shard-5-{id}");
        let paths = self.powers[&id].disk.list(Path::new(&dir)).unwrap();
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into();
        paths.iter().map(name).collect()
    }

    /// From now on `change` says what becomes of pieces of snapshots.
    pub(crate) fn pieces(&self, change: impl FnMut(Bytes) -> Option<Bytes> + Send + 'static) {
        *self.board.pieces.lock().unwrap() = Some(Box::new(change));
    }

    /// The door of a node.
    pub(crate) fn door(&self, id: ReplicaId) -> Door {
        self.stores[&id].1.clone()
    }

    /// Waits until the replica's log reaches an index.
    pub(crate) async fn logged(&self, id: ReplicaId, index: u64) {
        let group = &self.members[&id].group;
        let there = async {
            while group.last_entry().is_none_or(|last| last.index < index) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, there).await.expect("in time");
    }

    pub(crate) fn cut(&self, id: ReplicaId) {
        self.board.cut.lock().unwrap().insert(id);
    }

    pub(crate) fn heal(&self) {
        self.board.cut.lock().unwrap().clear();
    }

    /// The replica that serves, once there is one in a term above `after`.
    pub(crate) async fn leader(&self, after: Term) -> (ReplicaId, Term) {
        let serving = self
            .members
            .values()
            .map(|member| Box::pin(member.until(move |role| role.serves && role.term > after)));
        let (role, nth, _) = futures_util::future::select_all(serving).await;
        let id = *self.members.keys().nth(nth).unwrap();
        (id, role.term)
    }
}

fn copy_all(from: &MemDisk, to: &MemDisk, dir: &Path) {
    to.create_dir_all(dir).unwrap();
    for path in from.list(dir).unwrap() {
        let Ok(file) = from.open(&path, Open::Read) else {
            copy_all(from, to, &path);
            continue;
        };
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let copy = to.open(&path, Open::Create).unwrap();
        copy.write_all_at(&bytes, 0).unwrap();
    }
}
