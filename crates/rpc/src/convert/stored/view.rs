//! The view. Commands that change it are in `view_command`.

use std::collections::BTreeMap;

use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use fanfare_core::view::{
    Addresses, Node, NodeState, Repaired, Replica, ShardRow, StoreState, View,
};

use crate::convert::{Malformed, id_bytes, id128, required};
use crate::pb::stored as pb;

impl From<&View> for pb::View {
    fn from(view: &View) -> Self {
        let View {
            version,
            cluster,
            level,
            nodes,
            departing,
            meta,
            shards,
            rules,
            payload_limit,
            next_node,
            next_replica,
        } = view;
        Self {
            version: *version,
            cluster: id_bytes(cluster.0),
            level: *level,
            nodes: nodes.values().map(node_to_pb).collect(),
            departing: departing.iter().map(departing_to_pb).collect(),
            meta: replicas_to_pb(meta),
            shards: shards.iter().map(shard_to_pb).collect(),
            rules: Some(rules.into()),
            payload_limit: *payload_limit,
            next_node: *next_node,
            next_replica: *next_replica,
        }
    }
}

impl TryFrom<pb::View> for View {
    type Error = Malformed;

    fn try_from(view: pb::View) -> Result<Self, Malformed> {
        let pb::View {
            version,
            cluster,
            level,
            nodes,
            meta,
            shards,
            rules,
            payload_limit,
            next_node,
            next_replica,
            departing,
        } = view;
        let nodes = nodes.into_iter().enumerate().map(|(at, raw)| {
            let node = node(raw).map_err(|bad| bad.at("nodes", at))?;
            Ok((node.id, node))
        });
        Ok(Self {
            version,
            cluster: ClusterId(id128(&cluster, "cluster")?),
            level,
            nodes: nodes.collect::<Result<BTreeMap<_, _>, _>>()?,
            departing: departing
                .into_iter()
                .map(|row| (NodeId(row.node), row.heir.map(NodeId)))
                .collect(),
            meta: replicas(meta),
            shards: shards.into_iter().map(shard).collect(),
            rules: required(rules, "rules")?.try_into()?,
            payload_limit,
            next_node,
            next_replica,
        })
    }
}

fn node_to_pb(row: &Node) -> pb::Node {
    let Node {
        id,
        name,
        generation,
        level,
        disk,
        store,
        state,
        addresses,
        history_budget,
    } = row;
    pb::Node {
        id: id.0,
        name: name.clone(),
        generation: generation.0,
        level: *level,
        disk: id_bytes(disk.0),
        store: store_to_pb(*store).into(),
        state: state_to_pb(*state).into(),
        addresses: Some(addresses.clone().into()),
        history_budget: *history_budget,
    }
}

fn node(raw: pb::Node) -> Result<Node, Malformed> {
    let pb::Node {
        id,
        name,
        generation,
        level,
        disk,
        store: raw_store,
        state: raw_state,
        addresses,
        history_budget,
    } = raw;
    Ok(Node {
        id: NodeId(id),
        name,
        generation: Generation(generation),
        level,
        disk: DiskId(id128(&disk, "disk")?),
        store: store(raw_store)?,
        state: state(raw_state)?,
        addresses: addresses.unwrap_or_default().into(),
        history_budget,
    })
}

pub(crate) fn store_to_pb(store: StoreState) -> pb::StoreState {
    match store {
        StoreState::ReadWrite => pb::StoreState::ReadWrite,
        StoreState::DataLoss => pb::StoreState::DataLoss,
        StoreState::Gone => pb::StoreState::Gone,
    }
}

pub(crate) fn store(raw: i32) -> Result<StoreState, Malformed> {
    match pb::StoreState::try_from(raw) {
        Ok(pb::StoreState::ReadWrite) => Ok(StoreState::ReadWrite),
        Ok(pb::StoreState::DataLoss) => Ok(StoreState::DataLoss),
        Ok(pb::StoreState::Gone) => Ok(StoreState::Gone),
        Ok(pb::StoreState::Unspecified) | Err(_) => Err(Malformed::unknown("store")),
    }
}

pub(crate) fn state_to_pb(state: NodeState) -> pb::NodeState {
    match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
        NodeState::Gone => pb::NodeState::Gone,
    }
}

pub(crate) fn state(raw: i32) -> Result<NodeState, Malformed> {
    match pb::NodeState::try_from(raw) {
        Ok(pb::NodeState::Active) => Ok(NodeState::Active),
        Ok(pb::NodeState::Draining) => Ok(NodeState::Draining),
        Ok(pb::NodeState::Gone) => Ok(NodeState::Gone),
        Ok(pb::NodeState::Unspecified) | Err(_) => Err(Malformed::unknown("state")),
    }
}

impl From<Addresses> for pb::Addresses {
    fn from(
        Addresses {
            peer,
            edge,
            grpc,
            ops,
        }: Addresses,
    ) -> Self {
        Self {
            peer,
            edge,
            grpc,
            ops,
        }
    }
}

impl From<pb::Addresses> for Addresses {
    fn from(
        pb::Addresses {
            peer,
            edge,
            grpc,
            ops,
        }: pb::Addresses,
    ) -> Self {
        Self {
            peer,
            edge,
            grpc,
            ops,
        }
    }
}

pub(super) fn replicas_to_pb(replicas: &[Replica]) -> Vec<pb::Replica> {
    let replica = |Replica {
                       id: ReplicaId(id),
                       node: NodeId(node),
                   }: Replica| pb::Replica { id, node };
    replicas.iter().copied().map(replica).collect()
}

pub(super) fn replicas(raw: Vec<pb::Replica>) -> Vec<Replica> {
    let replica = |pb::Replica { id, node }: pb::Replica| Replica {
        id: ReplicaId(id),
        node: NodeId(node),
    };
    raw.into_iter().map(replica).collect()
}

fn departing_to_pb((node, heir): (&NodeId, &Option<NodeId>)) -> pb::Departing {
    pb::Departing {
        node: node.0,
        heir: heir.map(|NodeId(heir)| heir),
    }
}

fn shard_to_pb(row: &ShardRow) -> pb::ShardRow {
    let ShardRow {
        id,
        replicas,
        leaving,
        preferred,
        begun,
        repaired,
    } = row;
    let repaired = repaired.map(|Repaired { from, to }| pb::Repaired {
        from: from.0,
        to: to.0,
    });
    pb::ShardRow {
        repaired,
        id: id.0,
        replicas: replicas_to_pb(replicas),
        preferred: preferred.map(|NodeId(node)| node),
        begun: *begun,
        leaving: replicas_to_pb(leaving),
    }
}

fn shard(
    pb::ShardRow {
        id,
        replicas: raw,
        preferred,
        begun,
        leaving,
        repaired,
    }: pb::ShardRow,
) -> ShardRow {
    ShardRow {
        id: ShardId(id),
        replicas: replicas(raw),
        leaving: replicas(leaving),
        preferred: preferred.map(NodeId),
        begun,
        repaired: repaired.map(|pb::Repaired { from, to }| Repaired {
            from: ReplicaId(from),
            to: ReplicaId(to),
        }),
    }
}
