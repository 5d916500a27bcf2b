//! Makes a cluster of the seeds, once, by an explicit act on one of them. Every step can be done
//! again: after a crash between two of them `init` on an adopted node goes on from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fanfare_consensus::{Group, InitializeError};
use fanfare_core::id::{ClusterId, DiskId, NodeId, ReplicaId};
use fanfare_core::placement;
use fanfare_core::view::{Bootstrap, Command, NewNode, Outcome, Placement, Refusal, Replica, View};
use fanfare_rpc::members::{Adopt, AdoptError, Card, Members as _, Stage};

use crate::ask::{Answer, within};
use crate::{Cluster, InitError, MetaMachine, ProposeFailed};

/// A node of the cluster to be, and the address it answered at; `None`: this node.
struct Founder {
    card: Card,
    seed: Option<String>,
}

impl Cluster {
    /// Makes a cluster of the seeds with `shards` shards, a number that never changes. All seeds
    /// must answer and be empty. `start` must be under way. Returns once the metadata group has
    /// taken the bootstrap.
    pub async fn init(&self, shards: u32) -> Result<ClusterId, InitError> {
        let shared = &self.shared;
        let _one = shared.init.lock().await;
        let max = View::MAX_SHARDS;
        if !(1..=max).contains(&usize::try_from(shards).unwrap_or(0)) {
            return Err(InitError::Shards { max });
        }
        let stage = self.known_stage().await?;
        let view = match stage {
            Stage::Empty => self.found(shards).await?,
            Stage::Member { cluster, .. } => self.resume(cluster).await?,
        };
        self.adopt_all(&view).await?;
        let group = self.running_group().await?;
        let voters: BTreeSet<ReplicaId> =
            placement::meta_voters(&view).iter().map(|r| r.id).collect();
        if voters.iter().any(|id| {
            shared
                .member()
                .is_some_and(|me| view.meta_on(me.node) == Some(*id))
        }) {
            match group.initialize(voters).await {
                Ok(()) | Err(InitializeError::NotEmpty) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            // This node only learns: one that votes begins the group.
            return Err(InitError::Begin(InitializeError::NotMember));
        }
        self.propose_bootstrap(&view).await?;
        tracing::info!(cluster = %view.cluster, nodes = view.nodes.len(), shards, "cluster made");
        Ok(view.cluster)
    }

    /// The stage, once the marker was looked for and the seeds were asked.
    async fn known_stage(&self) -> Result<Stage, InitError> {
        let mut stage = self.shared.stage.subscribe();
        tokio::select! {
            biased;
            () = self.shared.deps.stop.cancelled() => Err(InitError::Stopped),
            known = stage.wait_for(Option::is_some) => {
                known.ok().and_then(|stage| *stage).ok_or(InitError::Stopped)
            }
        }
    }

    async fn running_group(&self) -> Result<Group<MetaMachine>, InitError> {
        let mut group = self.shared.group.subscribe();
        tokio::select! {
            biased;
            () = self.shared.deps.stop.cancelled() => Err(InitError::Stopped),
            running = group.wait_for(Option::is_some) => {
                running.ok().and_then(|group| group.clone()).ok_or(InitError::Stopped)
            }
        }
    }

    /// The plan of an init that did not come to its end here.
    async fn resume(&self, cluster: ClusterId) -> Result<View, InitError> {
        let began = !self.running_group().await?.is_empty();
        let applied = self.shared.views.borrow().is_bootstrapped();
        match self.shared.hint() {
            Some(hint) if !began && !applied && hint.view.version == 1 => Ok(hint.view),
            _ => Err(InitError::Member { cluster }),
        }
    }

    /// Draws up the cluster of all seeds and this node.
    async fn found(&self, shards: u32) -> Result<View, InitError> {
        let shared = &self.shared;
        let me = Card {
            name: shared.config.name.clone(),
            addresses: shared.config.addresses.clone(),
            level: shared.config.level,
            stage: Stage::Empty,
            you: None,
        };
        let mut founders: BTreeMap<String, Founder> = BTreeMap::new();
        founders.insert(
            me.name.clone(),
            Founder {
                card: me,
                seed: None,
            },
        );
        for answer in self.awake_seeds().await {
            let seed = answer.seed;
            let card = match answer.card {
                Err(source) => return Err(InitError::SeedSilent { seed, source }),
                Ok(card) if shared.is_mine(&card) => continue,
                Ok(card) => card,
            };
            if let Stage::Member { cluster, .. } = card.stage {
                return Err(InitError::SeedTaken { seed, cluster });
            }
            let name = card.name.clone();
            match founders.get(&name) {
                // One node may stand among the seeds by two addresses.
                Some(same) if same.seed.is_some() && same.card == card => {}
                Some(_) => return Err(InitError::NameTwice { name }),
                None => {
                    founders.insert(
                        name,
                        Founder {
                            card,
                            seed: Some(seed),
                        },
                    );
                }
            }
        }
        // This node comes first, so that it votes and can begin the group.
        let (own, others): (Vec<Founder>, Vec<Founder>) = founders
            .into_values()
            .partition(|founder| founder.seed.is_none());
        let nodes: Vec<NewNode> = (1..)
            .zip(own.into_iter().chain(others))
            .map(|(id, Founder { card, .. })| NewNode {
                id: NodeId(id),
                name: card.name,
                disk: DiskId(shared.deps.rng.next_u128()),
                level: card.level,
                addresses: card.addresses,
            })
            .collect();
        let ids: BTreeSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        let bootstrap = Bootstrap {
            cluster: ClusterId(shared.deps.rng.next_u128()),
            level: nodes
                .iter()
                .map(|node| node.level)
                .min()
                .unwrap_or(shared.config.level),
            payload_limit: shared.config.payload_limit,
            meta: ids
                .iter()
                .map(|id| Replica {
                    id: ReplicaId(id.0),
                    node: *id,
                })
                .collect(),
            shards: placement::first(&ids, shards),
            nodes,
        };
        let mut view = View::empty();
        match view.apply(&Command::Bootstrap(bootstrap)) {
            Outcome::Refused(refusal) => Err(InitError::Refused(refusal)),
            Outcome::Done { .. } | Outcome::Added { .. } => Ok(view),
        }
    }

    /// The seeds' answers; a silent one is asked again for a while, since nodes are often switched
    /// on together.
    async fn awake_seeds(&self) -> Vec<Answer> {
        let shared = &self.shared;
        let clock = shared.deps.clock();
        let deadline = clock.now().saturating_add(shared.config.times.call);
        loop {
            let answers = shared.ask_seeds().await;
            let awake = answers.iter().all(|answer| answer.card.is_ok());
            if awake || clock.now() >= deadline || shared.deps.stop.is_cancelled() {
                return answers;
            }
            clock.sleep(shared.config.times.retry).await;
        }
    }

    /// Makes every node of the plan a member, this one first: from then on the plan is kept.
    async fn adopt_all(&self, view: &View) -> Result<(), InitError> {
        let shared = &self.shared;
        let mine = |node: &&fanfare_core::view::Node| node.name == shared.config.name;
        let (own, others): (Vec<_>, Vec<_>) = view.nodes.values().partition(mine);
        for node in own.into_iter().chain(others) {
            let adopt = Adopt {
                cluster: view.cluster,
                node: node.id,
                disk: node.disk,
                view: view.clone(),
            };
            let done = if mine(&node) {
                self.adopt(adopt).await
            } else {
                let asked = shared.dial(&node.addresses.peer).adopt(adopt);
                let answer = within(&**shared.deps.clock(), shared.config.times.call, asked).await;
                answer.unwrap_or(Err(AdoptError::Call(
                    fanfare_rpc::members::CallError::NoAnswer,
                )))
            };
            done.map_err(|source| InitError::Adopt {
                name: node.name.clone(),
                source,
            })?;
        }
        Ok(())
    }

    async fn propose_bootstrap(&self, view: &View) -> Result<(), InitError> {
        let shared = &self.shared;
        let command = Command::Bootstrap(bootstrap_of(view));
        let deadline = shared
            .deps
            .clock()
            .now()
            .saturating_add(shared.config.times.init);
        loop {
            let left = deadline.saturating_sub(shared.deps.clock().now());
            if left == Duration::ZERO {
                return Err(InitError::NoLeader);
            }
            match shared.propose(&command, left).await {
                Ok(Outcome::Done { .. } | Outcome::Added { .. }) => return Ok(()),
                Ok(Outcome::Refused(Refusal::Bootstrapped { cluster }))
                    if cluster == view.cluster =>
                {
                    return Ok(());
                }
                Ok(Outcome::Refused(refusal)) => return Err(InitError::Refused(refusal)),
                // The bootstrap can be said twice.
                Err(ProposeFailed::Unknown) => {}
                Err(ProposeFailed::NoLeader) => return Err(InitError::NoLeader),
                Err(ProposeFailed::Stopped) => return Err(InitError::Stopped),
            }
        }
    }
}

/// The bootstrap that gave a view of version 1.
fn bootstrap_of(view: &View) -> Bootstrap {
    let node = |node: &fanfare_core::view::Node| NewNode {
        id: node.id,
        name: node.name.clone(),
        disk: node.disk,
        level: node.level,
        addresses: node.addresses.clone(),
    };
    let row = |row: &fanfare_core::view::ShardRow| Placement {
        shard: row.id,
        nodes: row.replicas.iter().map(|r| r.node).collect(),
        preferred: row.preferred,
    };
    Bootstrap {
        cluster: view.cluster,
        level: view.level,
        payload_limit: view.payload_limit,
        nodes: view.nodes.values().map(node).collect(),
        meta: view.meta.clone(),
        shards: view.shards.iter().map(row).collect(),
    }
}
