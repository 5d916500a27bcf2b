//! What operators see of the cluster over gRPC: `ClusterAdmin`, and who keeps the rules.

mod changes;
mod repair;
mod roster;
mod upgrade;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fanfare_broker::Broker;
use fanfare_cluster::{ClusterHandle, ProposeFailed};
use fanfare_core::code::Code;
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::RuleLayer;
use fanfare_core::view::{Command, Outcome, View};
use fanfare_edge::topics::RuleKeeper;
use fanfare_edge::{AdminGate, Roster};
use fanfare_host::Clock;
use fanfare_rpc::members::ReplicaStatus;
use fanfare_rpc::public::{
    Caller, Changed, ClusterAdmin, ClusterChange, ClusterStatus, Repair, RepairWish, Sample,
    ShardStatus, TopicAdmin, TopicDump, Upgraded,
};
use fanfare_rpc::roster::{DisconnectWish, NodeCounts, SessionsPage, SessionsWish};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// Proposes rules to the metadata group.
pub(crate) struct Rules(pub(crate) ClusterHandle);

impl RuleKeeper for Rules {
    fn put(
        &self,
        pattern: TopicPattern,
        rules: RuleLayer,
    ) -> BoxFuture<'static, Result<(), Refusal>> {
        propose(self.0.clone(), Command::PutRule { pattern, rules }).boxed()
    }

    fn delete(&self, pattern: TopicPattern) -> BoxFuture<'static, Result<(), Refusal>> {
        propose(self.0.clone(), Command::DeleteRule { pattern }).boxed()
    }
}

/// Proposes, and waits until this node's own view has it: who asks here next sees it.
async fn propose(handle: ClusterHandle, command: Command) -> Result<(), Refusal> {
    match handle.propose(&command).await {
        Ok(Outcome::Done { version } | Outcome::Added { version, .. }) => {
            let mut views = handle.view();
            // An error: the node stops, and nobody asks it any more.
            drop(views.wait_for(|view| view.version >= version).await);
            Ok(())
        }
        Ok(Outcome::Refused(why)) => Err(Refusal::new(Code::InvalidArgument, why.to_string())),
        Err(why) => Err(failed(why)),
    }
}

fn failed(why: ProposeFailed) -> Refusal {
    let code = match why {
        ProposeFailed::NoLeader => Code::NoQuorum,
        ProposeFailed::Unknown => Code::OutcomeUnknown,
        ProposeFailed::Stopped => Code::Draining,
    };
    let refusal = Refusal::new(code, why.to_string());
    match why {
        ProposeFailed::NoLeader => refusal.retry_after(1_000),
        ProposeFailed::Unknown | ProposeFailed::Stopped => refusal,
    }
}

/// Of each shard of the view the leader with the highest term that anybody reported.
pub(crate) fn leaders(handle: &ClusterHandle, broker: &Broker, view: &View) -> Vec<ShardStatus> {
    let mut best: BTreeMap<ShardId, ShardStatus> = BTreeMap::new();
    let mut see = |node: NodeId, replica: &ReplicaStatus| {
        let known = best.entry(replica.shard).or_default();
        if replica.leads && replica.term >= known.term {
            *known = ShardStatus {
                leader: Some(node),
                term: replica.term,
                behind: replica.behind.clone(),
            };
        } else if replica.term > known.term {
            *known = ShardStatus {
                leader: None,
                term: replica.term,
                behind: Vec::new(),
            };
        }
    };
    for (node, seen) in handle.seen() {
        if seen.alive {
            seen.beat
                .replicas
                .iter()
                .for_each(|replica| see(node, replica));
        }
    }
    for own in broker.status() {
        see(
            handle.identity().node,
            &ReplicaStatus {
                shard: own.shard,
                replica: own.replica,
                term: own.group.role.term,
                leads: own.leads,
                applied: own.group.applied,
                behind: own.group.behind,
            },
        );
    }
    let unknown = || ShardStatus {
        leader: None,
        term: Term(0),
        behind: Vec::new(),
    };
    view.shards
        .iter()
        .map(|row| best.remove(&row.id).unwrap_or_else(unknown))
        .collect()
}

/// The cluster as this node sees it.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) handle: ClusterHandle,
    pub(crate) broker: Arc<Broker>,
    pub(crate) topics: Arc<dyn TopicAdmin>,
    pub(crate) gate: AdminGate,
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) roster: Roster,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Admin {
    fn status(&self) -> ClusterStatus {
        let view = Arc::clone(&self.handle.view().borrow());
        ClusterStatus {
            shards: leaders(&self.handle, &self.broker, &view),
            alive: self.alive(),
            full: self.handle.full(),
            view,
        }
    }
}

impl ClusterAdmin for Admin {
    fn view(&self, caller: Caller) -> BoxFuture<'static, Result<ClusterStatus, Refusal>> {
        let status = (self.gate)(&caller).map(|()| self.status());
        async move { status }.boxed()
    }

    fn watch_view(
        &self,
        caller: Caller,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<ClusterStatus>, Refusal>> {
        if let Err(refusal) = (self.gate)(&caller) {
            return async move { Err(refusal) }.boxed();
        }
        let admin = self.clone();
        let (tx, rx) = mpsc::channel(1);
        self.tracker.spawn(async move {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(500));
            let mut views = admin.handle.view();
            let mut last: Option<(u64, Vec<ShardStatus>, BTreeSet<NodeId>)> = None;
            loop {
                let status = admin.status();
                let alive = status.alive.clone();
                let now = (status.view.version, status.shards.clone(), alive);
                if last.as_ref() != Some(&now) {
                    last = Some(now);
                    if tx.send(status).await.is_err() {
                        return;
                    }
                }
                tokio::select! { biased;
                    () = admin.stop.cancelled() => return,
                    () = tx.closed() => return,
                    changed = views.changed() => if changed.is_err() { return },
                    _ = tick.tick() => {}
                }
            }
        });
        async move { Ok(rx) }.boxed()
    }

    fn sample(
        &self,
        caller: Caller,
        topics: Vec<TopicName>,
    ) -> BoxFuture<'static, Result<Vec<Sample>, Refusal>> {
        let admin = Arc::clone(&self.topics);
        async move {
            let mut samples = Vec::with_capacity(topics.len());
            for topic in topics {
                match admin.get(caller.clone(), topic.clone()).await {
                    Ok(info) => samples.push(Sample {
                        topic,
                        epoch: info.epoch,
                        start: info.start,
                        head: info.head,
                    }),
                    Err(refusal) if refusal.code == Code::TopicNotFound => {}
                    Err(refusal) => return Err(refusal),
                }
            }
            Ok(samples)
        }
        .boxed()
    }

    fn change(
        &self,
        caller: Caller,
        change: ClusterChange,
    ) -> BoxFuture<'static, Result<Changed, Refusal>> {
        let (admin, allowed) = (self.clone(), (self.gate)(&caller));
        async move {
            allowed?;
            admin.carry_out(change).await
        }
        .boxed()
    }

    fn repair(
        &self,
        caller: Caller,
        wish: RepairWish,
    ) -> BoxFuture<'static, Result<Repair, Refusal>> {
        let (admin, allowed) = (self.clone(), (self.gate)(&caller));
        async move {
            allowed?;
            admin.look_and_repair(wish).await
        }
        .boxed()
    }

    fn sessions(
        &self,
        caller: Caller,
        wish: SessionsWish,
    ) -> BoxFuture<'static, Result<SessionsPage, Refusal>> {
        let page = (self.gate)(&caller).map(|()| self.roster.page(&wish));
        async move { page }.boxed()
    }

    fn disconnect(
        &self,
        caller: Caller,
        wish: DisconnectWish,
    ) -> BoxFuture<'static, Result<u64, Refusal>> {
        let told = (self.gate)(&caller).map(|()| self.roster.disconnect(&wish));
        async move { told }.boxed()
    }

    fn counts(&self, caller: Caller) -> BoxFuture<'static, Result<NodeCounts, Refusal>> {
        let counts = (self.gate)(&caller).map(|()| self.own_counts(self.clock.now()));
        async move { counts }.boxed()
    }

    fn upgrade(&self, caller: Caller) -> BoxFuture<'static, Result<Upgraded, Refusal>> {
        let (admin, allowed) = (self.clone(), (self.gate)(&caller));
        async move {
            allowed?;
            admin.upgrade_by_one().await
        }
        .boxed()
    }

    fn dump_shard(
        &self,
        caller: Caller,
        shard: ShardId,
    ) -> BoxFuture<'static, Result<mpsc::Receiver<TopicDump>, Refusal>> {
        if let Err(refusal) = (self.gate)(&caller) {
            return async move { Err(refusal) }.boxed();
        }
        let node = self.handle.identity().node;
        let Some(dump) = self.broker.dump(shard) else {
            let why = format!("this node has no replica of shard {shard}");
            let refusal = Refusal::new(Code::InvalidArgument, why).field("shard");
            return async move { Err(refusal) }.boxed();
        };
        let (tx, rx) = mpsc::channel(8);
        self.tracker.spawn(async move {
            for topic in dump.topics {
                let rows = topic.records.iter();
                let told = TopicDump {
                    node,
                    epoch: topic.head.epoch,
                    class: topic.class,
                    start: topic.start,
                    head: topic.head,
                    chain: topic.chain,
                    rows: rows.map(|r| (r.message.position.offset, r.hash)).collect(),
                    topic: topic.name,
                };
                if tx.send(told).await.is_err() {
                    return;
                }
            }
        });
        async move { Ok(rx) }.boxed()
    }
}
