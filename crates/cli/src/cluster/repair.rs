//! `fanfare cluster repair`: what is left of a shard, or of the metadata, that lost its majority; and
//! its new beginning, if the loss is accepted.

use fanfare_client::{Admin, Copy, Overview, Repair as Told, RepairWish, Verdict};
use fanfare_core::id::{NodeId, ShardId};
use serde_json::{Value, json};

use super::show::name_of;
use crate::args::{Repair, RepairTarget};
use crate::failure::Failure;
use crate::{output, reach};

pub fn run(args: Repair) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine| {
        let admin = Admin::new(machine, &endpoints);
        let failed = reach::admin(&args.reach);
        let overview = admin.overview().await.map_err(&failed)?;
        let groups: Vec<Option<ShardId>> = match args.target {
            RepairTarget::Metadata => vec![None],
            RepairTarget::Shard(shard) => vec![Some(ShardId(shard))],
            RepairTarget::All => closed(&overview),
        };
        if groups.is_empty() {
            return output::line("every shard has a leader: there is nothing to repair");
        }
        let mut left = 0;
        for shard in groups {
            let wish = RepairWish {
                shard,
                accept_data_loss: args.accept_data_loss,
                lost: args.lost.clone(),
            };
            let mut told = admin.repair(&wish, None).await.map_err(&failed)?;
            // Metadata begins anew only on the node that has the best copy.
            if let (None, true, false, Verdict::Ready { node, .. }) = (
                shard,
                args.accept_data_loss,
                told.done,
                &told.findings.verdict,
            ) {
                let row = overview.nodes.iter().find(|row| row.id == *node);
                let address = row.map(|row| row.addresses.grpc.clone());
                told = admin
                    .repair(&wish, address.as_deref())
                    .await
                    .map_err(&failed)?;
            }
            let healthy = matches!(told.findings.verdict, Verdict::Serves { .. });
            left += usize::from(!told.done && !healthy);
            output::line(&match args.json {
                true => told_json(&told, shard).to_string(),
                false => told_text(&overview, &told, shard),
            })?;
        }
        match left {
            0 => Ok(()),
            1 => Err(Failure::No("it stays closed".to_owned())),
            left => Err(Failure::No(format!("{left} of them stay closed"))),
        }
    })
}

/// The shards that have no leader, as far as the node that was asked knows.
fn closed(overview: &Overview) -> Vec<Option<ShardId>> {
    let shards = (0..).zip(&overview.shards);
    let closed = shards.filter(|(_, row)| row.leader.is_none());
    closed.map(|(id, _)| Some(ShardId(id))).collect()
}

fn group_name(shard: Option<ShardId>) -> String {
    shard.map_or("the metadata".to_owned(), |shard| format!("shard {shard}"))
}

fn copy_text(overview: &Overview, (node, copy): &(NodeId, Copy)) -> String {
    let last = copy.last.unwrap_or_default();
    let name = name_of(overview, *node);
    format!("  {name}: up to entry {} of term {}", last.index, last.term)
}

fn told_text(overview: &Overview, told: &Told, shard: Option<ShardId>) -> String {
    let Told { findings, done } = told;
    let name = |node: &NodeId| name_of(overview, *node);
    let group = group_name(shard);
    let mut lines = vec![match &findings.verdict {
        Verdict::Serves { node } => {
            return format!(
                "{group} is led by {}: there is nothing to repair",
                name(node)
            );
        }
        Verdict::Majority { reachable } => format!(
            "{group} has {reachable} of {} replicas: a majority, which elects a leader by itself",
            findings.voters
        ),
        Verdict::MayComeBack | Verdict::NoCopy | Verdict::Ready { .. } => format!(
            "{group} has {} of {} replicas and no majority",
            findings.copies.len(),
            findings.voters
        ),
    }];
    lines.extend(findings.copies.iter().map(|row| copy_text(overview, row)));
    let silent: Vec<String> = findings.silent.iter().map(name).collect();
    if !silent.is_empty() {
        lines.push(format!("  silent: {}", silent.join(", ")));
    }
    lines.push(match (&findings.verdict, done) {
        (Verdict::Ready { node, .. }, true) => {
            let node = name(node);
            format!("It begins anew from the copy of {node}; readers are told of the loss.")
        }
        (Verdict::Ready { node, .. }, false) => format!(
            "It can begin anew from the copy of {}: what only the lost replicas had is lost for ever, \
             and readers are told so. To do it: --accept-data-loss",
            name(node)
        ),
        (Verdict::MayComeBack, _) => format!(
            "With them there would be a majority again: start them. If they never come back with \
             their data, say so: --lost {} --accept-data-loss",
            silent.join(",")
        ),
        (Verdict::NoCopy, _) => "No node that was reached has any of it.".to_owned(),
        (Verdict::Majority { .. } | Verdict::Serves { .. }, _) => "Wait for it.".to_owned(),
    });
    lines.join("\n")
}

fn told_json(told: &Told, shard: Option<ShardId>) -> Value {
    let Told { findings, done } = told;
    let (verdict, node) = match &findings.verdict {
        Verdict::Serves { node } => ("serves", Some(node.0)),
        Verdict::Majority { .. } => ("majority", None),
        Verdict::MayComeBack => ("may_come_back", None),
        Verdict::NoCopy => ("no_copy", None),
        Verdict::Ready { node, .. } => ("ready", Some(node.0)),
    };
    let copy = |(node, copy): &(NodeId, Copy)| {
        let last = copy.last.unwrap_or_default();
        json!({
            "node": node.0,
            "replica": copy.replica.0,
            "term": last.term.0,
            "index": last.index,
        })
    };
    json!({
        "shard": shard.map(|shard| shard.0),
        "verdict": verdict,
        "node": node,
        "voters": findings.voters,
        "copies": findings.copies.iter().map(copy).collect::<Vec<_>>(),
        "silent": findings.silent.iter().map(|node| node.0).collect::<Vec<_>>(),
        "done": done,
    })
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::{ReplicaId, Term};
    use fanfare_core::repair::Findings;
    use fanfare_core::shard::At;

    use super::*;

    fn told(verdict: Verdict, silent: &[u64], done: bool) -> Told {
        let copy = Copy {
            shard: Some(ShardId(3)),
            replica: ReplicaId(9),
            last: Some(At {
                term: Term(4),
                index: 90,
            }),
            voters: Vec::new(),
            serves: false,
        };
        let findings = Findings {
            copies: vec![(NodeId(1), copy)],
            voters: 3,
            silent: silent.iter().copied().map(NodeId).collect(),
            verdict,
        };
        Told { findings, done }
    }

    fn ready() -> Verdict {
        Verdict::Ready {
            node: NodeId(1),
            replica: ReplicaId(9),
        }
    }

    #[test]
    fn nothing_is_accepted_before_it_was_shown_what() {
        let overview = Overview::default();
        let shard = Some(ShardId(3));
        let text = told_text(
            &overview,
            &told(Verdict::MayComeBack, &[2, 3], false),
            shard,
        );
        assert_eq!(
            text,
            "shard 3 has 1 of 3 replicas and no majority
  1: up to entry 90 of term 4
  silent: 2, 3
With them there would be a majority again: start them. If they never come back with their data, \
say so: --lost 2,3 --accept-data-loss"
        );
        let text = told_text(&overview, &told(ready(), &[], false), shard);
        assert!(text.ends_with("To do it: --accept-data-loss"), "{text}");
        let text = told_text(&overview, &told(ready(), &[], true), None);
        assert!(text.starts_with("the metadata has 1 of 3"), "{text}");
        assert!(text.contains("begins anew from the copy of 1"), "{text}");
    }

    #[test]
    fn a_program_gets_the_same_as_json() {
        let json = told_json(&told(ready(), &[2], false), Some(ShardId(3)));
        assert_eq!(
            (&json["shard"], &json["verdict"]),
            (&json!(3), &json!("ready"))
        );
        assert_eq!(json["copies"][0]["index"], 90);
        assert_eq!(
            (&json["silent"], &json["done"]),
            (&json!([2]), &json!(false))
        );
    }
}
