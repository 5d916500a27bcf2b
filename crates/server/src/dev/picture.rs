//! What a dev cluster shows of itself: its nodes, what each is doing, and who leads which shard, as
//! the page at `/` draws it.

use std::net::SocketAddr;

use fanfare_core::id::NodeId;
use fanfare_core::name::TopicName;
use fanfare_core::view::View;
use fanfare_rpc::public::ShardStatus;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Cluster, Look, Phase, lock};

/// Topics that one picture may be asked about.
const TOPICS: usize = 32;

/// A dev cluster at one moment. Nodes are numbered from 1, shards from 0.
#[derive(Debug, Serialize)]
pub(super) struct Picture {
    /// Of the newest view that any running node has; 0: none has one.
    version: u64,
    nodes: Vec<NodeSeen>,
    shards: Vec<ShardSeen>,
    /// The shard of each topic that was asked about.
    topics: BTreeMap<String, u32>,
}

#[derive(Debug, Serialize)]
struct NodeSeen {
    number: usize,
    name: String,
    edge: SocketAddr,
    phase: Phase,
}

#[derive(Debug, Serialize)]
struct ShardSeen {
    /// `None` while an election goes on, or can not be won.
    leader: Option<usize>,
    term: u64,
    replicas: Vec<usize>,
}

impl Serialize for Phase {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Down => "down",
        })
    }
}

/// The cluster, by all of its nodes that can be asked; `topics` have commas between them.
pub(super) fn take(cluster: &Cluster, topics: &str) -> Picture {
    let mut nodes = Vec::new();
    let mut known = Vec::new();
    for (at, slot) in cluster.nodes.iter().enumerate() {
        let seen = lock(&slot.seen).clone();
        nodes.push(NodeSeen {
            number: at + 1,
            name: format!("n{}", at + 1),
            edge: slot.edge,
            phase: seen.phase,
        });
        known.extend(seen.look.as_ref().and_then(Look::view));
    }
    let newest = known.iter().map(|(view, _)| view);
    let Some(view) = newest.max_by_key(|view| view.version).map(Arc::clone) else {
        return Picture {
            version: 0,
            nodes,
            shards: Vec::new(),
            topics: BTreeMap::new(),
        };
    };
    let names = topics.split(',').take(TOPICS);
    let names = names.filter_map(|name| name.parse::<TopicName>().ok());
    let topics = names.filter_map(|name| Some((name.to_string(), view.shard_of(&name)?.0)));
    let topics = topics.collect();
    Picture {
        version: view.version,
        shards: shards(&view, &known, &nodes),
        nodes,
        topics,
    }
}

/// Of each shard the leader of the highest term anybody knows of, if that node runs.
fn shards(
    view: &View,
    known: &[(Arc<View>, Vec<ShardStatus>)],
    nodes: &[NodeSeen],
) -> Vec<ShardSeen> {
    let number = |id: NodeId| {
        let name = &view.nodes.get(&id)?.name;
        nodes.iter().find(|node| node.name == *name)
    };
    let rows = view.shards.iter().enumerate();
    rows.map(|(at, row)| {
        let told = known.iter().filter_map(|(_, shards)| shards.get(at));
        let best = told.max_by_key(|shard| (shard.term, shard.leader.is_some()));
        let leader = best.and_then(|shard| number(shard.leader?));
        let runs = |node: &&NodeSeen| !matches!(node.phase, Phase::Down | Phase::Starting);
        let replicas = row.replicas.iter();
        ShardSeen {
            leader: leader.filter(runs).map(|node| node.number),
            term: best.map_or(0, |shard| shard.term.0),
            replicas: replicas
                .filter_map(|replica| Some(number(replica.node)?.number))
                .collect(),
        }
    })
    .collect()
}
