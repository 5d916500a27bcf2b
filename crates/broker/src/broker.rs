//! A node's broker, put together: build, peer, status, dump, transfer, shutdown.

use std::collections::BTreeSet;
use std::sync::Arc;

use fanfare_consensus::{Codec, GroupDeps, Status};
use fanfare_core::barrier::Barriers;
use fanfare_core::id::{NodeId, ReplicaId, ShardId, Term};
use fanfare_core::repair::Copy;
use fanfare_core::shard::{At, Block, Entry, TopicDump};
use fanfare_core::view::View;
use fanfare_host::Rng;
use fanfare_rpc::peer::Peer;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::heirs;
use crate::metrics::Metrics;
use crate::options::BrokerOptions;
use crate::parts::Parts;
use crate::service::Service;
use crate::shard;
use crate::shards::{Msg, ShardSupervisor, ShardsRef};

/// What a broker is built with.
pub struct BrokerDeps {
    /// This node.
    pub node: NodeId,
    /// Store, door, wire, clock and tasks of its groups.
    pub groups: GroupDeps,
    pub rng: Arc<dyn Rng>,
    /// The cluster's metadata as this node knows it.
    pub view: watch::Receiver<Arc<View>>,
    /// The stored form of a shard's entries, and of the blocks of its snapshots.
    pub entries: Arc<dyn Codec<Entry>>,
    pub blocks: Arc<dyn Codec<Block>>,
    /// Has a shard marked as begun in the view. Called again while the view does not say so.
    pub mark_begun: Arc<dyn Fn(ShardId) + Send + Sync>,
    /// Has the view let go replicas of a shard that its group has let go. Called again while the
    /// view still has them.
    pub mark_left: Arc<dyn Fn(ShardId, Vec<ReplicaId>) + Send + Sync>,
    /// Has the view give other ids to replicas of a node that lack what they had acknowledged. Called
    /// again while the view still has them.
    pub mark_lost: Arc<dyn Fn(NodeId, Vec<ReplicaId>) + Send + Sync>,
    /// Nodes whose disk has no room (R15), as far as this one has heard.
    pub full: watch::Receiver<BTreeSet<NodeId>>,
    /// Told where a move is; for tests, which stop it there.
    pub barriers: Barriers,
    pub metrics: Arc<Metrics>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("the supervisor of the shards did not start")]
    Supervisor(#[source] ractor::SpawnErr),
}

/// One shard on this node.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    pub shard: ShardId,
    pub replica: ReplicaId,
    /// Role, term, members, what is applied, who is behind.
    pub group: Status,
    /// True if it serves as leader and hears a majority (R12): one that lost its majority keeps
    /// its role, and leads nobody.
    pub leads: bool,
    /// False before the shard's first entry.
    pub begun: bool,
    /// Topics with a row, and bytes they retain.
    pub topics: usize,
    pub bytes: u64,
    /// Chain over all entries up to `group.applied`: replicas that differ have diverged.
    pub chain: u128,
}

/// A log that a start reads in no time, in bytes.
const SMALL_LOG: u64 = 1 << 20;

/// A shard's state as this replica has it, for the checker.
#[derive(Clone, Debug)]
pub struct ShardDump {
    /// Index of the last entry in it.
    pub applied: u64,
    pub chain: u128,
    /// Ascending by name. Ephemeral streams are not in it.
    pub topics: Vec<TopicDump>,
}

/// A running broker.
pub struct Broker {
    parts: Arc<Parts>,
    service: Arc<Service>,
    supervisor: ShardsRef,
    ended: CancellationToken,
}

impl Broker {
    /// Starts the replicas that the view places on this node, and goes on to follow the view.
    pub async fn build(deps: BrokerDeps, options: BrokerOptions) -> Result<Self, BuildError> {
        let BrokerDeps {
            node,
            groups,
            rng,
            view,
            entries,
            blocks,
            mark_begun,
            mark_left,
            mark_lost,
            full,
            barriers,
            metrics,
        } = deps;
        let directory = Directory::new(view.clone(), Arc::clone(&groups.clock));
        let parts = Arc::new(Parts {
            node,
            groups,
            rng,
            directory: Arc::new(directory),
            view,
            entries,
            blocks,
            mark_begun,
            mark_left,
            mark_lost,
            full,
            barriers,
            options,
            metrics,
            stop: CancellationToken::new(),
            links: CancellationToken::new(),
        });
        let args = Arc::clone(&parts);
        let spawned = ractor::Actor::spawn(None, ShardSupervisor, args).await;
        let (supervisor, running) = spawned.map_err(BuildError::Supervisor)?;
        let ended = CancellationToken::new();
        let end = ended.clone();
        parts.groups.tasks.spawn(async move {
            // However it ended: nobody looks after the shards any more.
            running.await.ok();
            end.cancel();
        });
        let service = Arc::new(Service::new(Arc::clone(&parts)));
        Ok(Self {
            parts,
            service,
            supervisor,
            ended,
        })
    }

    /// This broker as edges and other nodes use it.
    #[must_use]
    pub fn peer(&self) -> Arc<dyn Peer> {
        Arc::clone(&self.service) as Arc<dyn Peer>
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.parts.metrics)
    }

    /// All replicas that run here, by shard.
    #[must_use]
    pub fn status(&self) -> Vec<ShardStatus> {
        let rows = self.parts.directory.all().into_iter();
        let status = |(shard, local): (ShardId, crate::directory::Local)| {
            let group = local.group.status();
            let leads = group.role.serves && local.group.hears_majority();
            let state = local.replica.read();
            ShardStatus {
                shard,
                replica: local.id,
                group,
                leads,
                begun: state.begun(),
                topics: state.topic_count(),
                bytes: state.bytes(),
                chain: state.chain(),
            }
        };
        rows.map(status).collect()
    }

    /// The replicas that run here, for a judgement over a group that lost its majority.
    #[must_use]
    pub fn copies(&self) -> Vec<Copy> {
        let copy = |(shard, local): (ShardId, crate::directory::Local)| {
            let status = local.group.status();
            let last = local.group.last_entry();
            Copy {
                shard: Some(shard),
                replica: local.id,
                last: last.map(|at| At {
                    term: at.term,
                    index: at.index,
                }),
                serves: status.role.serves && local.group.hears_majority(),
                voters: status.voters,
            }
        };
        self.parts.directory.all().into_iter().map(copy).collect()
    }

    /// The state of a shard that has a replica here.
    #[must_use]
    pub fn dump(&self, shard: ShardId) -> Option<ShardDump> {
        let local = self.parts.directory.get(shard)?;
        let (applied, chain, frozen) = {
            let state = local.replica.read();
            (state.applied().index, state.chain(), state.freeze())
        };
        Some(ShardDump {
            applied,
            chain,
            topics: frozen.dump().collect(),
        })
    }

    /// Hands the leadership of a shard to another replica, if this node has it, as soon as the other
    /// one could take over; after two seconds it does not any more. Drafts wait for the change
    /// itself, and go to the heir as soon as it leads. False if this node does not lead; whether it
    /// has become true, the status says.
    pub fn transfer(&self, shard: ShardId, to: ReplicaId) -> bool {
        let court = self.parts.directory.court(shard);
        court.is_some_and(|court| court.actor.cast(shard::Msg::Transfer(to)).is_ok())
    }

    /// The same, if it leads the shard in this term: said again later, it asks for nothing.
    pub fn transfer_in(&self, shard: ShardId, term: Term, to: ReplicaId) -> bool {
        let court = self.parts.directory.court(shard);
        let court = court.filter(|court| court.reign.term == term);
        court.is_some_and(|court| court.actor.cast(shard::Msg::Transfer(to)).is_ok())
    }

    /// Hands over every shard that this node leads and a node that stays could lead, a few at a
    /// time, and returns when it leads none of them. At once if no other node could.
    pub async fn hand_all_over(&self) {
        heirs::hand_all_over(&self.parts).await;
    }

    /// True while all reigns of this node are over and its groups have not been stopped: what a
    /// draining node waits for.
    #[must_use]
    pub fn leads_nothing(&self) -> bool {
        self.parts
            .directory
            .all()
            .iter()
            .all(|(_, local)| local.court.is_none())
    }

    /// Completes when nobody looks after this node's shards any more: after a shutdown, or because
    /// an actor failed again and again. Then the node must drain.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Writes snapshots of the replicas whose logs have grown, the most grown first, so that the next
    /// start reads little log. For a stop: cancel it when time is up.
    pub async fn snapshot_to_stop(&self) {
        let mut grown = self.parts.directory.all();
        grown.retain(|(_, local)| local.group.logged() >= SMALL_LOG);
        grown.sort_by_key(|(_, local)| std::cmp::Reverse(local.group.logged()));
        for (shard, local) in grown {
            if let Err(error) = local.group.snapshot_to_stop().await {
                tracing::warn!(%shard, replica = %local.id, %error, "no snapshot of a shard");
            }
        }
    }

    /// Ends all reigns and links and stops the groups. What was proposed and is not answered yet is
    /// answered as unknown.
    pub async fn shutdown(&self) {
        let (done, stopped) = oneshot::channel();
        if self.supervisor.cast(Msg::Shutdown(done)).is_ok() {
            // An error: the supervisor is gone, and with it the reigns.
            stopped.await.ok();
        }
        self.parts.stop.cancel();
        self.parts.links.cancel();
        self.supervisor.stop(None);
    }
}
