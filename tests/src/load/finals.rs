//! What the nodes hold when all is over: every shard of every node, as observations.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use fanfare_checker::{Event, Row};
use fanfare_core::name::TopicName;

use super::book::Book;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::Node;

/// Which replicas the cluster has, by its own view.
pub(super) struct Holdings {
    pub(super) nodes: Vec<Holding>,
    /// Replicas of a shard; of the shard that has most.
    pub(super) replicas: usize,
    shards: u32,
}

/// The replicas of one node.
pub(super) struct Holding {
    pub(super) name: String,
    pub(super) grpc: String,
    pub(super) shards: BTreeSet<u32>,
}

impl Holdings {
    /// The shard of a topic.
    pub(super) fn shard_of(&self, topic: &str) -> u32 {
        shard_of(topic, self.shards)
    }
}

/// The shard of a topic of the load.
pub(super) fn shard_of(topic: &str, shards: u32) -> u32 {
    topic
        .parse()
        .map_or(0, |name: TopicName| name.shard(shards).0)
}

/// Asks a node who holds what.
pub(super) async fn holdings(door: &Node) -> Result<Holdings> {
    let mut admin = ClusterAdminClient::new(grpc::channel(&door.grpc).await?);
    let view = admin.get_view(pb::GetViewRequest {}).await?.into_inner();
    let replicas = view.shards.iter().map(|shard| shard.replicas.len()).max();
    let mut nodes = Vec::new();
    for node in &view.nodes {
        let shards = (0_u32..).zip(&view.shards);
        let here = shards.filter(|(_, shard)| shard.replicas.iter().any(|r| r.node == node.id));
        nodes.push(Holding {
            name: node.name.clone(),
            grpc: node.addresses.clone().unwrap_or_default().grpc,
            shards: here.map(|(id, _)| id).collect(),
        });
    }
    nodes.retain(|holding| !holding.shards.is_empty());
    Ok(Holdings {
        nodes,
        replicas: replicas.unwrap_or(0),
        shards: u32::try_from(view.shards.len())?,
    })
}

/// Dumps the shards of a node into the book. Large topics come in pieces, which are joined.
pub(super) async fn dump(book: &Book, holding: &Holding) -> Result<()> {
    let Holding { name, grpc, shards } = holding;
    let mut admin = ClusterAdminClient::new(grpc::channel(grpc).await?);
    for &shard in shards {
        let call = admin.dump_shard(pb::DumpShardRequest { shard }).await;
        let mut stream = call
            .with_context(|| format!("dumping shard {shard}"))?
            .into_inner();
        let mut open: Option<pb::TopicDump> = None;
        while let Some(part) = stream.message().await? {
            match &mut open {
                Some(whole) if whole.topic == part.topic => whole.rows.extend(part.rows),
                _ => {
                    if let Some(whole) = open.replace(part) {
                        book.note(name, event(book, name, whole)?);
                    }
                }
            }
        }
        if let Some(whole) = open {
            book.note(name, event(book, name, whole)?);
        }
    }
    Ok(())
}

fn event(book: &Book, node: &str, dump: pb::TopicDump) -> Result<Event> {
    let class = match dump.class() {
        pb::Class::Durable | pb::Class::Unspecified => "durable",
        pb::Class::Ephemeral => "ephemeral",
    };
    let row = |row: &pb::DumpRow| {
        let hash = hex(&row.hash);
        Row {
            offset: row.offset,
            draft: book.draft(&hash),
            hash,
        }
    };
    Ok(Event::Final {
        node: node.to_owned(),
        class: class.to_owned(),
        epoch: dump.epoch,
        start: grpc::position(dump.start)?.offset.0,
        head: grpc::position(dump.head)?.offset.0,
        chain: hex(&dump.chain),
        rows: dump.rows.iter().map(row).collect(),
        topic: dump.topic,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
