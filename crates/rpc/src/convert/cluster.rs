//! The cluster for administrators: view, samples, dumps.

use fanfare_core::id::{Generation, NodeId, ReplicaId, Term};
use fanfare_core::placement::meta_voters;
use fanfare_core::position::Epoch;
use fanfare_core::view::{Addresses, Node, NodeState, Replica, ShardRow, StoreState};

use super::id_bytes;
use crate::pb::v1 as pb;
use crate::public::{ClusterStatus, Sample, ShardStatus, TopicDump};

/// Rows of one message of a dump: well below any limit of a message.
const DUMP_ROWS: usize = 10_000;

impl From<&ClusterStatus> for pb::ClusterView {
    fn from(status: &ClusterStatus) -> Self {
        let ClusterStatus {
            view,
            shards,
            alive,
            full,
        } = status;
        let voters = meta_voters(view);
        let unknown = ShardStatus::default();
        let statuses = shards.iter().chain(std::iter::repeat(&unknown));
        Self {
            version: view.version,
            nodes: view
                .nodes
                .values()
                .map(|row| pb::Node {
                    departing: view.departing.contains_key(&row.id),
                    heir: view.departing.get(&row.id).and_then(|h| h.map(|h| h.0)),
                    alive: alive.contains(&row.id),
                    full: full.contains(&row.id),
                    meta_voter: voters.iter().any(|r| r.node == row.id),
                    ..node(row)
                })
                .collect(),
            shards: view
                .shards
                .iter()
                .zip(statuses)
                .map(|(row, now)| shard(row, now))
                .collect(),
        }
    }
}

fn node(row: &Node) -> pb::Node {
    let Node {
        id,
        name,
        generation,
        level: _,
        disk: _,
        store,
        state,
        addresses,
        history_budget: _,
    } = row;
    let (NodeId(id), Generation(generation)) = (*id, *generation);
    let state = match state {
        NodeState::Active => pb::NodeState::Active,
        NodeState::Draining => pb::NodeState::Draining,
        NodeState::Gone => pb::NodeState::Gone,
    };
    let store = match store {
        StoreState::ReadWrite => pb::StoreState::ReadWrite,
        StoreState::DataLoss => pb::StoreState::DataLoss,
        StoreState::Gone => pb::StoreState::Gone,
    };
    let Addresses {
        peer,
        edge,
        grpc,
        ops,
    } = addresses.clone();
    let addresses = Some(pb::Addresses {
        peer,
        edge,
        grpc,
        ops,
    });
    pb::Node {
        id,
        generation,
        state: state.into(),
        addresses,
        name: name.clone(),
        store: store.into(),
        ..Default::default()
    }
}

fn shard(row: &ShardRow, now: &ShardStatus) -> pb::Shard {
    let ShardStatus {
        leader,
        term: Term(term),
        behind,
    } = now;
    let lag = |id: ReplicaId| behind.iter().find(|row| row.0 == id).map(|row| row.1);
    let replica = |replica: &Replica| {
        let Replica {
            id,
            node: NodeId(node),
        } = *replica;
        pb::Replica {
            id: id.0,
            node,
            behind: lag(id),
        }
    };
    pb::Shard {
        leader: leader.map(|NodeId(node)| node),
        term: *term,
        replicas: row.replicas.iter().map(replica).collect(),
        leaving: row.leaving.iter().map(replica).collect(),
    }
}

impl From<Sample> for pb::TopicSample {
    fn from(
        Sample {
            topic,
            epoch: Epoch(epoch),
            start,
            head,
        }: Sample,
    ) -> Self {
        Self {
            topic: topic.as_str().to_owned(),
            epoch,
            start: Some(start.into()),
            head: Some(head.into()),
        }
    }
}

/// A topic's dump, in messages of a bounded number of rows; at least one.
pub(crate) fn dump_to_pb(dump: &TopicDump) -> Vec<pb::TopicDump> {
    let TopicDump {
        node: NodeId(node),
        topic,
        class,
        epoch: Epoch(epoch),
        start,
        head,
        chain,
        rows,
    } = dump;
    let part = |rows: &[(fanfare_core::position::Offset, u128)]| pb::TopicDump {
        node: *node,
        topic: topic.as_str().to_owned(),
        class: pb::Class::from(*class).into(),
        epoch: *epoch,
        start: Some((*start).into()),
        head: Some((*head).into()),
        chain: id_bytes(*chain),
        rows: rows
            .iter()
            .map(|(offset, hash)| pb::DumpRow {
                offset: offset.0,
                hash: id_bytes(*hash),
            })
            .collect(),
    };
    match rows.is_empty() {
        true => vec![part(&[])],
        false => rows.chunks(DUMP_ROWS).map(part).collect(),
    }
}
