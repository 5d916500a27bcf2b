//! What the nodes hold when all is over: every shard of every node, as observations.

use anyhow::{Context as _, Result};
use fanfare_checker::{Event, Row};

use super::book::Book;
use crate::wire::grpc::pb::cluster_admin_client::ClusterAdminClient;
use crate::wire::grpc::{self, pb};
use crate::wire::session::Node;

/// Dumps all shards of a node into the book. Large topics come in pieces, which are joined.
pub(super) async fn dump(book: &Book, name: &str, node: &Node, shards: u32) -> Result<()> {
    let mut admin = ClusterAdminClient::new(grpc::channel(&node.grpc).await?);
    for shard in 0..shards {
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
