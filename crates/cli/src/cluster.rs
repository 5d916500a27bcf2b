//! `fanfare cluster init` and `status`: makes the cluster once, and shows its nodes and shards.

use std::time::Duration;

use fanfare_client::{
    Address, Admin, AdminError, Machine, NodeOverview, Overview, ShardOverview, init_cluster,
};
use fanfare_core::id::NodeId;
use fanfare_core::view::{Addresses, NodeState};
use serde_json::{Value, json};

use crate::args::{Cluster, ClusterCommand, Init, Reach, Status};
use crate::failure::Failure;
use crate::{calm, output, reach};

pub fn run(args: Cluster) -> Result<(), Failure> {
    match args.command {
        ClusterCommand::Init(args) => init(args),
        ClusterCommand::Status(args) => status(args),
    }
}

fn init(args: Init) -> Result<(), Failure> {
    let ops = Address::read(&args.ops).map_err(|e| Failure::Usage(format!("--ops: {e}")))?;
    reach::run(async move |machine| {
        let made = init_cluster(&machine, &ops, args.shards).await;
        let made = made.map_err(|error| init_failure(error, &args.ops))?;
        if args.json {
            return output::line(&made.answer);
        }
        output::line(&format!(
            "cluster {} with {} shards",
            made.cluster, made.shards
        ))?;
        output::note("look at it: fanfare cluster status");
        Ok(())
    })
}

fn init_failure(error: AdminError, ops: &str) -> Failure {
    match error {
        AdminError::Refused(told) => reach::refused(&told),
        AdminError::Unreachable(why) => reach::unreachable("--ops", &[ops.to_owned()], &why),
        AdminError::NoAnswer(why) => Failure::Unreachable(format!(
            "{ops} did not answer: {why}\nThe cluster may be made or not: look with `fanfare cluster status`"
        )),
    }
}

fn status(args: Status) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    reach::run(async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let failed = reach::admin(&args.reach);
        if let Some(limit) = args.wait {
            return show(&calm::wait(&machine, &admin, limit).await?, args.json);
        }
        show(&admin.joined().await.map_err(&failed)?, args.json)?;
        if !args.watch {
            return Ok(());
        }
        loop {
            match follow(&admin, &args.reach, args.json).await {
                Err(Failure::Unreachable(why)) => output::note(&format!("{why}; asking again")),
                Err(failure) => return Err(failure),
                Ok(()) => output::note("the node ended; asking again"),
            }
            machine.clock.sleep(Duration::from_secs(1)).await;
        }
    })
}

/// Shows the cluster again on each change, until the node that tells them ends.
async fn follow(admin: &Admin, reach: &Reach, json: bool) -> Result<(), Failure> {
    let mut changes = admin.watch().await.map_err(reach::admin(reach))?;
    // The first is what was shown.
    let mut first = true;
    while let Ok(Some(_)) = changes.next().await {
        if !std::mem::take(&mut first) {
            show(&admin.joined().await.map_err(reach::admin(reach))?, json)?;
        }
    }
    Ok(())
}

fn show(overview: &Overview, json: bool) -> Result<(), Failure> {
    output::line(&match json {
        true => status_json(overview).to_string(),
        false => status_text(overview),
    })
}

fn state(state: Option<NodeState>) -> &'static str {
    match state {
        Some(NodeState::Active) => "active",
        Some(NodeState::Draining) => "draining",
        Some(NodeState::Gone) => "gone",
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

fn status_text(overview: &Overview) -> String {
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
            state: of,
            addresses,
        } = node;
        let Addresses {
            peer, edge, grpc, ..
        } = addresses.clone();
        let (id, generation) = (id.to_string(), generation.to_string());
        rows.push([
            id,
            name.clone(),
            generation,
            state(*of).to_owned(),
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
    let mut rows = vec![["SHARD", "LEADER", "TERM", "REPLICAS (entries behind)"].map(String::from)];
    for (at, shard) in shards.iter().enumerate() {
        let ShardOverview {
            leader,
            term,
            replicas,
        } = shard;
        let leader = leader.map_or_else(|| "-".to_owned(), |id| name_of(overview, id));
        let replica = |replica: &fanfare_client::ReplicaOverview| {
            let name = name_of(overview, replica.node);
            match replica.behind {
                None | Some(0) => name,
                Some(behind) => format!("{name} ({behind})"),
            }
        };
        let replicas = replicas.iter().map(replica).collect::<Vec<_>>().join(" ");
        rows.push([at.to_string(), leader, term.to_string(), replicas]);
    }
    text.push_str(&table(&rows));
    text
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

fn status_json(overview: &Overview) -> Value {
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
            "state": state(node.state),
            "addresses": { "peer": peer, "edge": edge, "grpc": grpc, "ops": ops },
        })
    };
    let shard = |(at, shard): (usize, &ShardOverview)| {
        let replicas = shard.replicas.iter();
        let replicas: Vec<Value> = replicas
            .map(|r| json!({ "id": r.id.0, "node": r.node.0, "behind": r.behind }))
            .collect();
        json!({
            "id": at,
            "leader": shard.leader.map(|id| id.0),
            "term": shard.term.0,
            "replicas": replicas,
        })
    };
    json!({
        "version": overview.version,
        "nodes": overview.nodes.iter().map(node).collect::<Vec<_>>(),
        "shards": overview.shards.iter().enumerate().map(shard).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use fanfare_client::ReplicaOverview;
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
0      alpha   4     alpha 2 (7)
1      -       0";
        assert_eq!(status_text(&overview()), text);
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let json = status_json(&overview());
        assert_eq!(json["nodes"][0]["name"], "alpha");
        assert_eq!(json["shards"][0]["replicas"][1]["behind"], 7);
        assert_eq!(json["shards"][1]["leader"], Value::Null);
    }
}
