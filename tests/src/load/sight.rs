//! The cluster as all its running nodes see it, joined, and whether it is calm.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use crate::process::Processes;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::{self, pb};

/// Entries that a replica of a calm shard may be behind: what a loaded shard writes in a moment.
const NEAR: u64 = 500;
/// Replicas of a shard, if there are nodes enough.
const REPLICAS: usize = 3;

/// Of each shard the leader of the highest term that any node knows.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    nodes: BTreeMap<u64, pb::Node>,
    pub(super) shards: Vec<pb::Shard>,
}

/// The gRPC doors of the nodes that run.
pub(super) fn doors(cluster: &Processes) -> Vec<String> {
    let running = cluster.nodes.iter().filter(|node| node.pid().is_some());
    running.map(|process| process.node.grpc.clone()).collect()
}

/// Asks every door; all must tell the same version of the view.
pub(super) async fn look(doors: &[String]) -> Result<Sight> {
    let mut views = Vec::new();
    for door in doors {
        let mut admin = ClusterAdminClient::new(grpc::channel(door).await?);
        views.push(admin.get_view(pb::GetViewRequest {}).await?.into_inner());
    }
    Sight::join(views)
}

impl Sight {
    fn join(views: Vec<pb::ClusterView>) -> Result<Self> {
        let mut views = views.into_iter();
        let first = views.next().context("no node runs")?;
        let nodes = first.nodes.into_iter().map(|node| (node.id, node));
        let mut nodes: BTreeMap<u64, pb::Node> = nodes.collect();
        let mut shards = first.shards;
        for view in views {
            let (a, b) = (first.version, view.version);
            ensure!(a == b, "views of version {a} and of {b}");
            for (known, told) in shards.iter_mut().zip(view.shards) {
                join_shard(known, told);
            }
            for told in view.nodes {
                if let Some(known) = nodes.get_mut(&told.id) {
                    known.alive &= told.alive;
                }
            }
        }
        Ok(Self { nodes, shards })
    }

    /// The name of a node; its id if nobody knows it.
    pub(super) fn name(&self, id: u64) -> String {
        let node = self.nodes.get(&id);
        node.map_or_else(|| id.to_string(), |node| node.name.clone())
    }

    /// The state of the node of this name.
    pub(super) fn state(&self, name: &str) -> pb::NodeState {
        let named = self.nodes.values().filter(|node| node.name == name);
        let newest = named.max_by_key(|node| node.id);
        newest.map_or(pb::NodeState::Unspecified, pb::Node::state)
    }

    /// True if every node hears the one of this name.
    pub(super) fn is_heard(&self, name: &str) -> bool {
        let mut named = self.nodes.values().filter(|node| node.name == name);
        named.any(|node| node.alive)
    }

    /// An error if a node that was not removed is not heard by every other.
    pub(super) fn heard(&self) -> Result<()> {
        let mut here = self.nodes.values();
        let silent = here.find(|node| node.state() != pb::NodeState::Gone && !node.alive);
        ensure!(silent.is_none(), "not heard: {silent:?}");
        Ok(())
    }

    /// The shards that a node leads.
    pub(super) fn led_by(&self, name: &str) -> BTreeSet<u32> {
        let led = (0_u32..).zip(&self.shards);
        let led = led.filter(|(_, shard)| shard.leader.is_some_and(|id| self.name(id) == name));
        led.map(|(id, _)| id).collect()
    }

    /// The shards with a replica on a node.
    pub(super) fn held_by(&self, name: &str) -> BTreeSet<u32> {
        let on = |shard: &pb::Shard| shard.replicas.iter().any(|r| self.name(r.node) == name);
        let held = (0_u32..).zip(&self.shards).filter(|(_, shard)| on(shard));
        held.map(|(id, _)| id).collect()
    }

    /// Replicas that every node has at least, once all are spread evenly.
    pub(super) fn share(&self) -> usize {
        let replicas: usize = self.shards.iter().map(|shard| shard.replicas.len()).sum();
        let active = self.nodes.values();
        let active = active.filter(|node| node.state() == pb::NodeState::Active);
        replicas / active.count().max(1)
    }

    /// An error that names the first thing that is not as it will be when all is done: a shard
    /// without a leader, without all its replicas, or with one that is far behind or nowhere.
    pub(super) fn calm(&self) -> Result<()> {
        let is = |id: u64, states: &[pb::NodeState]| {
            let node = self.nodes.get(&id);
            node.is_some_and(|node| states.contains(&node.state()))
        };
        let active = [pb::NodeState::Active];
        let here = [pb::NodeState::Active, pb::NodeState::Draining];
        let nodes = self.nodes.keys().filter(|id| is(**id, &here)).count();
        for (id, shard) in self.shards.iter().enumerate() {
            let leader = shard.leader;
            let leader = leader.with_context(|| format!("shard {id} has no leader"))?;
            let name = self.name(leader);
            ensure!(is(leader, &active), "shard {id} is still led by {name}");
            let (has, wants) = (shard.replicas.len(), REPLICAS.min(nodes));
            ensure!(has == wants, "shard {id} has {has} of {wants} replicas");
            let leaving = shard.leaving.first().map(|replica| self.name(replica.node));
            ensure!(leaving.is_none(), "shard {id} still leaves {leaving:?}");
            for replica in &shard.replicas {
                let name = self.name(replica.node);
                ensure!(
                    is(replica.node, &here),
                    "shard {id} has a replica on {name}"
                );
                let behind = replica.behind.or((replica.node == leader).then_some(0));
                let behind =
                    behind.with_context(|| format!("shard {id} has not begun on {name}"))?;
                ensure!(behind <= NEAR, "shard {id} on {name} is {behind} behind");
            }
        }
        Ok(())
    }

    /// The shards that look different afterwards: another leader, or another replica.
    pub(super) fn changed(&self, after: &Self) -> BTreeSet<u32> {
        let both = (0_u32..).zip(self.shards.iter().zip(&after.shards));
        let ids = |shard: &pb::Shard| shard.replicas.iter().map(|r| r.id).collect::<BTreeSet<_>>();
        let differs = |a: &pb::Shard, b: &pb::Shard| {
            a.leader != b.leader || a.term != b.term || ids(a) != ids(b)
        };
        let changed = both.filter(|(_, (before, after))| differs(before, after));
        changed.map(|(id, _)| id).collect()
    }
}

fn join_shard(known: &mut pb::Shard, told: pb::Shard) {
    let newer = told.leader.is_some() && (known.leader.is_none() || told.term > known.term);
    let knows_lag = told.term == known.term && told.replicas.iter().any(|r| r.behind.is_some());
    if newer || (knows_lag && known.replicas.iter().all(|r| r.behind.is_none())) {
        *known = told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(leader: Option<u64>, term: u64, behind: [Option<u64>; 3]) -> pb::ClusterView {
        let node = |id: u64| pb::Node {
            id,
            name: format!("n{id}"),
            state: pb::NodeState::Active.into(),
            ..pb::Node::default()
        };
        let replica = |(node, behind)| pb::Replica {
            id: node * 10,
            node,
            behind,
        };
        pb::ClusterView {
            version: 4,
            nodes: (1..=3).map(node).collect(),
            shards: vec![pb::Shard {
                leader,
                term,
                replicas: (1..=3).zip(behind).map(replica).collect(),
                leaving: Vec::new(),
            }],
        }
    }

    #[test]
    fn the_leader_alone_knows_lag_and_the_highest_term_wins() {
        let (far, near) = ([None; 3], [None, Some(2), Some(0)]);
        let views = vec![
            view(Some(2), 3, far),
            view(Some(1), 4, near),
            view(Some(1), 4, far),
        ];
        let sight = Sight::join(views).unwrap();
        assert_eq!(sight.led_by("n1"), [0].into());
        sight.calm().unwrap();
    }

    #[test]
    fn calm_names_what_is_missing() {
        let why = |view| {
            Sight::join(vec![view])
                .unwrap()
                .calm()
                .unwrap_err()
                .to_string()
        };
        assert_eq!(why(view(None, 4, [None; 3])), "shard 0 has no leader");
        let view_behind = view(Some(1), 4, [Some(0), Some(9_000), Some(0)]);
        assert_eq!(why(view_behind), "shard 0 on n2 is 9000 behind");
        let unheard = view(Some(1), 4, [Some(0), None, Some(0)]);
        assert_eq!(why(unheard), "shard 0 has not begun on n2");
        let mut leaving = view(Some(1), 4, [Some(0); 3]);
        leaving.nodes[0].state = pb::NodeState::Draining.into();
        assert_eq!(why(leaving), "shard 0 is still led by n1");
    }
}
