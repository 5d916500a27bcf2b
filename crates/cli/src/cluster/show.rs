//! The cluster as tables for people and as JSON for programs.

use fanfare_client::{NodeOverview, Overview, ReplicaOverview, ShardOverview};
use fanfare_core::id::NodeId;
use fanfare_core::view::{Addresses, NodeState, StoreState};
use serde_json::{Value, json};

/// What a node is to the cluster, in a word.
pub(crate) fn state(node: &NodeOverview) -> &'static str {
    match node.state {
        Some(NodeState::Gone) => "gone",
        _ if node.store == Some(StoreState::DataLoss) => "data_loss",
        _ if node.departing => "departing",
        Some(NodeState::Active) if !node.alive => "silent",
        Some(NodeState::Active) if node.full => "full",
        Some(NodeState::Active) => "active",
        Some(NodeState::Draining) => "draining",
        None => "other",
    }
}

/// A node by its name, else by its id.
pub(crate) fn name_of(overview: &Overview, id: NodeId) -> String {
    let node = overview.nodes.iter().find(|node| node.id == id);
    match node.map(|node| node.name.as_str()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        Some(_) | None => id.to_string(),
    }
}

pub(super) fn status_text(overview: &Overview) -> String {
    let Overview {
        version,
        nodes,
        shards,
    } = overview;
    let mut rows = vec![["NODE", "NAME", "GEN", "STATE", "EDGE", "GRPC", "PEER"].map(String::from)];
    for node in nodes {
        let NodeOverview {
            id,
            name,
            generation,
            addresses,
            ..
        } = node;
        let Addresses {
            peer, edge, grpc, ..
        } = addresses.clone();
        let (id, generation) = (id.to_string(), generation.to_string());
        rows.push([
            id,
            name.clone(),
            generation,
            state(node).to_owned(),
            edge,
            grpc,
            peer,
        ]);
    }
    let mut text = table(&rows);
    let led = shards.iter().filter(|shard| shard.leader.is_some()).count();
    text.push_str(&format!(
        "\n\nview {version}, {led} of {} shards have a leader\n",
        shards.len()
    ));
    text.push_str(&shards_text(overview, |_| true));
    text
}

/// The shards that are `wanted`, a row each.
pub(super) fn shards_text(overview: &Overview, wanted: impl Fn(&ShardOverview) -> bool) -> String {
    let mut rows = vec![["SHARD", "LEADER", "TERM", "REPLICAS (entries behind)"].map(String::from)];
    for (at, shard) in overview.shards.iter().enumerate() {
        if !wanted(shard) {
            continue;
        }
        let ShardOverview {
            leader,
            term,
            replicas,
            leaving,
        } = shard;
        let leader = leader.map_or_else(|| "-".to_owned(), |id| name_of(overview, id));
        let replica = |replica: &ReplicaOverview| {
            let name = name_of(overview, replica.node);
            match replica.behind {
                None | Some(0) => name,
                Some(behind) => format!("{name} ({behind})"),
            }
        };
        let goes = |r: &ReplicaOverview| format!("-{}", name_of(overview, r.node));
        let replicas = replicas.iter().map(replica).chain(leaving.iter().map(goes));
        let replicas = replicas.collect::<Vec<_>>().join(" ");
        rows.push([at.to_string(), leader, term.to_string(), replicas]);
    }
    table(&rows)
}

/// Columns as wide as their widest cell; no line ends with spaces.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(super) fn status_json(overview: &Overview) -> Value {
    let node = |node: &NodeOverview| {
        let Addresses {
            peer,
            edge,
            grpc,
            ops,
        } = node.addresses.clone();
        json!({
            "id": node.id.0,
            "name": node.name,
            "generation": node.generation.0,
            "state": state(node),
            "alive": node.alive,
            "full": node.full,
            "meta_voter": node.meta_voter,
            "heir": node.heir.map(|id| id.0),
            "addresses": { "peer": peer, "edge": edge, "grpc": grpc, "ops": ops },
        })
    };
    json!({
        "version": overview.version,
        "nodes": overview.nodes.iter().map(node).collect::<Vec<_>>(),
        "shards": shards_json(overview, |_| true),
    })
}

/// The shards that are `wanted`.
pub(super) fn shards_json(overview: &Overview, wanted: impl Fn(&ShardOverview) -> bool) -> Value {
    let replicas = |replicas: &[ReplicaOverview]| -> Vec<Value> {
        let one =
            |r: &ReplicaOverview| json!({ "id": r.id.0, "node": r.node.0, "behind": r.behind });
        replicas.iter().map(one).collect()
    };
    let shard = |(at, shard): (usize, &ShardOverview)| {
        json!({
            "id": at,
            "leader": shard.leader.map(|id| id.0),
            "term": shard.term.0,
            "replicas": replicas(&shard.replicas),
            "leaving": replicas(&shard.leaving),
        })
    };
    let rows = overview.shards.iter().enumerate();
    rows.filter(|(_, row)| wanted(row)).map(shard).collect()
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::{Generation, ReplicaId, Term};

    use super::*;

    fn overview() -> Overview {
        let node = |id, name: &str| NodeOverview {
            id: NodeId(id),
            name: name.to_owned(),
            generation: Generation(3),
            state: Some(NodeState::Active),
            addresses: Addresses {
                edge: format!("h{id}:8080"),
                grpc: format!("h{id}:9090"),
                peer: format!("h{id}:7070"),
                ops: String::new(),
            },
            store: Some(StoreState::ReadWrite),
            departing: false,
            heir: None,
            alive: true,
            meta_voter: true,
            full: false,
        };
        let replica = |id, node, behind| ReplicaOverview {
            id: ReplicaId(id),
            node: NodeId(node),
            behind,
        };
        Overview {
            version: 12,
            nodes: vec![node(1, "alpha"), node(2, "")],
            shards: vec![
                ShardOverview {
                    leader: Some(NodeId(1)),
                    term: Term(4),
                    replicas: vec![replica(10, 1, Some(0)), replica(11, 2, Some(7))],
                    leaving: vec![replica(9, 3, None)],
                },
                ShardOverview::default(),
            ],
        }
    }

    #[test]
    fn a_cluster_is_two_tables() {
        let text = "\
NODE  NAME   GEN  STATE   EDGE     GRPC     PEER
1     alpha  3    active  h1:8080  h1:9090  h1:7070
2            3    active  h2:8080  h2:9090  h2:7070

view 12, 1 of 2 shards have a leader
SHARD  LEADER  TERM  REPLICAS (entries behind)
0      alpha   4     alpha 2 (7) -3
1      -       0";
        assert_eq!(status_text(&overview()), text);
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let json = status_json(&overview());
        assert_eq!(json["nodes"][0]["name"], "alpha");
        assert_eq!(json["shards"][0]["replicas"][1]["behind"], 7);
        assert_eq!(json["shards"][0]["leaving"][0]["id"], 9);
        assert_eq!(json["shards"][1]["leader"], Value::Null);
    }

    #[test]
    fn a_node_is_told_in_the_word_that_matters_most() {
        let node = overview().nodes.remove(0);
        let word = |change: &dyn Fn(&mut NodeOverview)| {
            let mut node = node.clone();
            change(&mut node);
            state(&node)
        };
        assert_eq!(word(&|_| {}), "active");
        assert_eq!(word(&|n| n.alive = false), "silent");
        assert_eq!(word(&|n| n.full = true), "full");
        assert_eq!(
            word(&|n| (n.alive, n.departing) = (false, true)),
            "departing"
        );
        assert_eq!(word(&|n| n.store = Some(StoreState::DataLoss)), "data_loss");
        assert_eq!(word(&|n| n.state = Some(NodeState::Gone)), "gone");
    }
}
