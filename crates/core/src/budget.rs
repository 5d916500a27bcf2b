//! How much history a shard may retain: a share of the budgets of the nodes that hold it, by the
//! target placement. Its leader trims beyond it; nobody is granted more than it by a rule.

use std::collections::BTreeMap;

use crate::id::{NodeId, ShardId};
use crate::rule::{BadRule, RuleLayer};
use crate::view::View;

#[cfg(test)]
mod tests;

/// Bytes that a shard may retain: the smallest of budget / replicas over its nodes. `None` while no
/// node of it has told its budget.
#[must_use]
pub fn share(view: &View, shard: ShardId) -> Option<u64> {
    share_of(view, shard, &held(view))
}

/// Bytes that any shard may retain: what a rule for many topics must fit.
#[must_use]
pub fn smallest_share(view: &View) -> Option<u64> {
    let held = held(view);
    let shares = view.shards.iter();
    shares
        .filter_map(|row| share_of(view, row.id, &held))
        .min()
}

/// Refuses rules that could never hold: more bytes of one topic than `share`, that of its shard.
pub fn fits(rules: &RuleLayer, share: Option<u64>) -> Result<(), BadRule> {
    match (rules.retain_bytes, share) {
        (Some(bytes), Some(share)) if bytes > share => Err(BadRule {
            rule: "retain_bytes",
            low: 0,
            high: share,
        }),
        _ => Ok(()),
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

fn share_of(view: &View, shard: ShardId, held: &BTreeMap<NodeId, u64>) -> Option<u64> {
    let replicas = view.shard(shard)?.replicas.iter();
    let shares = replicas.filter_map(|replica| {
        let budget = view.nodes.get(&replica.node)?.history_budget;
        let held = held.get(&replica.node).copied().unwrap_or(1);
        (budget > 0).then(|| (budget / held.max(1)).max(1))
    });
    shares.min()
}
