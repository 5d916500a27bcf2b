//! How much history a shard may retain: a share of the budgets of the nodes that hold it, by the
//! target placement. Its leader trims beyond it; no rule grants a topic more than it.

use std::collections::BTreeMap;

use crate::id::{NodeId, ShardId};
use crate::rule::{BadRule, RuleLayer};
use crate::view::View;

#[cfg(test)]
mod tests;

/// Bytes that a shard may retain: the smallest of budget / replicas over its nodes. `untold` is the
/// budget of nodes that have not told theirs.
#[must_use]
pub fn share(view: &View, shard: ShardId, untold: u64) -> u64 {
    share_of(view, shard, &held(view), untold)
}

/// Bytes that every shard may retain: what a rule for topics of any shard must fit.
#[must_use]
pub fn smallest_share(view: &View, untold: u64) -> u64 {
    let held = held(view);
    let shares = view.shards.iter();
    shares
        .map(|row| share_of(view, row.id, &held, untold))
        .min()
        .unwrap_or(untold)
}

/// Refuses rules that could never hold: more bytes for one topic than `share`, that of its shard.
pub fn fits(rules: &RuleLayer, share: u64) -> Result<(), BadRule> {
    match rules.retain_bytes {
        Some(bytes) if bytes > share => Err(BadRule {
            rule: "retain_bytes",
            low: 0,
            high: share,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Replicas that each node is to hold.
fn held(view: &View) -> BTreeMap<NodeId, u64> {
    let mut held = BTreeMap::new();
    for replica in view.shards.iter().flat_map(|row| &row.replicas) {
        *held.entry(replica.node).or_default() += 1;
    }
    held
}

fn share_of(view: &View, shard: ShardId, held: &BTreeMap<NodeId, u64>, untold: u64) -> u64 {
    let replicas = view.shard(shard).into_iter().flat_map(|row| &row.replicas);
    let shares = replicas.map(|replica| {
        let node = view.nodes.get(&replica.node);
        let told = node
            .map(|node| node.history_budget)
            .filter(|told| *told > 0);
        let held = held.get(&replica.node).copied().unwrap_or(1);
        told.unwrap_or(untold) / held.max(1)
    });
    shares.min().unwrap_or(untold)
}
