//! Whether a group that lost its majority may begin anew, and from which copy: a judgement over what
//! the reachable nodes say. Nobody acts on it but by an operator's word.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{NodeId, ReplicaId, ShardId};
use crate::shard::At;
use crate::view::{NodeState, StoreState, View};

/// One replica, as the node it is on tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// `None`: of the metadata group.
    pub shard: Option<ShardId>,
    pub replica: ReplicaId,
    /// The last entry of its log, committed or not; `None` if it has nothing.
    pub last: Option<At>,
    /// Who votes, as far as it knows.
    pub voters: Vec<ReplicaId>,
    /// True if it leads and hears a majority.
    pub serves: bool,
}

/// What was found of a group, and what may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// The reachable copies, the best first.
    pub copies: Vec<(NodeId, Copy)>,
    /// How many replicas vote.
    pub voters: usize,
    /// Nodes with a voter that did not answer and are not known to be lost.
    pub silent: Vec<NodeId>,
    pub verdict: Verdict,
}

impl Findings {
    /// True if a leader says that it hears a majority, and the survey did not reach one: either the
    /// leader is about to notice that it has lost it, or only who asks is cut off. Ask again.
    #[must_use]
    pub fn are_doubtful(&self) -> bool {
        let reached = |id: &&ReplicaId| self.copies.iter().any(|(_, copy)| copy.replica == **id);
        let mut leaders = self.copies.iter().filter(|(_, copy)| copy.serves);
        matches!(self.verdict, Verdict::Serves { .. })
            && leaders.all(|(_, copy)| {
                let voters = &copy.voters;
                voters.iter().filter(reached).count() * 2 <= voters.len()
            })
    }
}

/// What may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A leader serves it: there is nothing to repair.
    Serves { node: NodeId },
    /// So many voters that are a majority are reachable: wait, it elects a leader by itself.
    Majority { reachable: usize },
    /// With the silent nodes there may be a majority again: wait, or say that they are lost.
    MayComeBack,
    /// No reachable node has any of it.
    NoCopy,
    /// It may begin anew from this copy.
    Ready { node: NodeId, replica: ReplicaId },
}

/// Judges one group. `answers`: of each node that was reached, its copies of any groups. `lost`:
/// nodes that the operator says will never come back.
pub fn judge(
    view: &View,
    shard: Option<ShardId>,
    answers: &BTreeMap<NodeId, Vec<Copy>>,
    lost: &BTreeSet<NodeId>,
) -> Findings {
    // Of a group that began anew, what is left of the one before counts for nothing.
    let over = |id: ReplicaId| {
        let row = shard.and_then(|shard| view.shard(shard));
        row.is_some_and(|row| row.is_over(id))
    };
    let mut copies: Vec<(NodeId, Copy)> = Vec::new();
    for (node, told) in answers {
        let of_group = told.iter().filter(|copy| copy.shard == shard);
        let of_group = of_group.filter(|copy| copy.last.is_some() && !over(copy.replica));
        copies.extend(of_group.map(|copy| (*node, copy.clone())));
    }
    copies.sort_by_key(|(_, copy)| std::cmp::Reverse((copy.last, copy.replica)));

    let planned = || match shard {
        Some(shard) => {
            let row = view.shard(shard);
            row.map_or(Vec::new(), |row| {
                row.replicas.iter().map(|r| r.id).collect()
            })
        }
        None => {
            let voters = crate::placement::meta_voters(view);
            voters.iter().map(|r| r.id).collect()
        }
    };
    let told = copies.first().map(|(_, copy)| copy.voters.clone());
    let voters = told.filter(|voters| !voters.is_empty());
    let voters: BTreeSet<ReplicaId> = voters.unwrap_or_else(planned).into_iter().collect();
    let there = |id: &ReplicaId| copies.iter().any(|(_, copy)| copy.replica == *id);
    let reachable = voters.iter().filter(|id| there(id)).count();
    let may_come_back = |node: &NodeId| {
        let row = view.nodes.get(node);
        let counts = row
            .is_some_and(|row| row.state != NodeState::Gone && row.store == StoreState::ReadWrite);
        counts && !answers.contains_key(node) && !lost.contains(node)
    };
    let silent = voters.iter().filter(|id| !there(id));
    let silent = silent.filter_map(|id| view.node_of(*id));
    let silent: BTreeSet<NodeId> = silent.filter(may_come_back).collect();

    let is_majority = |count: usize| count * 2 > voters.len();
    let serving = copies.iter().find(|(_, copy)| copy.serves);
    let verdict = match (serving, copies.first()) {
        (Some((node, _)), _) => Verdict::Serves { node: *node },
        (None, _) if is_majority(reachable) => Verdict::Majority { reachable },
        (None, _) if is_majority(reachable + silent.len()) => Verdict::MayComeBack,
        (None, None) => Verdict::NoCopy,
        (None, Some((node, copy))) => Verdict::Ready {
            node: *node,
            replica: copy.replica,
        },
    };
    Findings {
        voters: voters.len(),
        silent: silent.into_iter().collect(),
        verdict,
        copies,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClusterId, DiskId, Term};
    use crate::placement;
    use crate::view::{Addresses, Bootstrap, Command, NewNode, Replica};

    const SHARD: Option<ShardId> = Some(ShardId(0));

    fn cluster(nodes: u64) -> View {
        let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let node = |id: &NodeId| NewNode {
            id: *id,
            name: format!("n{id}"),
            disk: DiskId(u128::from(id.0)),
            level: crate::level::KNOWN,
            addresses: Addresses {
                peer: format!("n{id}:1"),
                ..Addresses::default()
            },
        };
        let meta = |id: &NodeId| Replica {
            id: ReplicaId(id.0),
            node: *id,
        };
        let mut view = View::empty();
        view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(1),
            level: crate::level::KNOWN,
            payload_limit: 65_536,
            nodes: ids.iter().map(node).collect(),
            meta: ids.iter().map(meta).collect(),
            shards: placement::first(&ids, 1),
        }));
        let shard = ShardId(0);
        view.apply(&Command::ShardBegun { shard });
        view
    }

    fn copy(view: &View, node: u64, term: u64, index: u64) -> (NodeId, Vec<Copy>) {
        let row = &view.shards[0];
        let term = Term(term);
        let copy = Copy {
            shard: SHARD,
            replica: row.on(NodeId(node)).unwrap(),
            last: Some(At { term, index }),
            voters: row.replicas.iter().map(|r| r.id).collect(),
            serves: false,
        };
        (NodeId(node), vec![copy])
    }

    fn verdict(view: &View, answers: &[(NodeId, Vec<Copy>)], lost: &[u64]) -> Verdict {
        let answers = answers.iter().cloned().collect();
        let lost = lost.iter().copied().map(NodeId).collect();
        judge(view, SHARD, &answers, &lost).verdict
    }

    fn ready(view: &View, node: u64) -> Verdict {
        let node = NodeId(node);
        let replica = view.shards[0].on(node).unwrap();
        Verdict::Ready { node, replica }
    }

    #[test]
    fn two_lost_disks_of_three_let_the_third_begin_anew() {
        let mut view = cluster(3);
        let left = copy(&view, 1, 4, 90);
        let only = std::slice::from_ref(&left);
        assert_eq!(verdict(&view, only, &[]), Verdict::MayComeBack);
        view.apply(&Command::RecordDataLoss { node: NodeId(2) });
        assert_eq!(verdict(&view, only, &[]), Verdict::MayComeBack, "one may");
        assert_eq!(
            verdict(&view, only, &[3]),
            ready(&view, 1),
            "the operator knows"
        );
        view.apply(&Command::RecordDataLoss { node: NodeId(3) });
        assert_eq!(verdict(&view, only, &[]), ready(&view, 1));
    }

    #[test]
    fn a_node_that_answers_without_a_copy_has_none_to_come_back_with() {
        let view = cluster(3);
        let answers = [
            copy(&view, 1, 4, 90),
            (NodeId(2), vec![]),
            (NodeId(3), vec![]),
        ];
        assert_eq!(verdict(&view, &answers, &[]), ready(&view, 1));
        assert_eq!(verdict(&view, &answers[1..], &[1]), Verdict::NoCopy);
    }

    #[test]
    fn a_group_that_can_help_itself_is_left_alone() {
        let view = cluster(3);
        let mut answers = [copy(&view, 1, 4, 90), copy(&view, 2, 4, 80)];
        let reachable = 2;
        assert_eq!(
            verdict(&view, &answers, &[3]),
            Verdict::Majority { reachable }
        );
        answers[0].1[0].serves = true;
        let serves = Verdict::Serves { node: NodeId(1) };
        assert_eq!(verdict(&view, &answers[..1], &[2, 3]), serves);
    }

    #[test]
    fn a_leader_is_doubted_that_hears_a_majority_which_nobody_reached() {
        let view = cluster(3);
        let mut answers = [copy(&view, 1, 4, 90), copy(&view, 2, 4, 80)];
        answers[0].1[0].serves = true;
        let judged = |answers: &[(NodeId, Vec<Copy>)]| {
            let answers = answers.iter().cloned().collect();
            judge(&view, SHARD, &answers, &BTreeSet::new())
        };
        assert!(judged(&answers[..1]).are_doubtful());
        assert!(!judged(&answers).are_doubtful());
        answers[0].1[0].serves = false;
        assert!(!judged(&answers[..1]).are_doubtful(), "it does not serve");
    }

    #[test]
    fn the_best_copy_is_that_of_the_highest_term_then_of_the_longest_log() {
        let mut view = cluster(5);
        let shard = ShardId(0);
        let nodes: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let row = crate::view::Placement {
            shard,
            nodes,
            preferred: None,
        };
        let (base, rows) = (view.version, vec![row]);
        view.apply(&Command::Place { base, rows });
        let answers = [copy(&view, 1, 4, 90), copy(&view, 2, 5, 70)];
        let lost = [3, 4, 5];
        assert_eq!(verdict(&view, &answers, &lost), ready(&view, 2));
        let answers = [copy(&view, 1, 5, 71), copy(&view, 2, 5, 70)];
        assert_eq!(verdict(&view, &answers, &lost), ready(&view, 1));
    }

    #[test]
    fn copies_of_a_group_that_is_over_count_for_nothing() {
        let mut view = cluster(3);
        let old = copy(&view, 2, 9, 900);
        let from = view.shards[0].on(NodeId(1)).unwrap();
        let repair = Command::RepairShard {
            base: view.version,
            shard: ShardId(0),
            node: NodeId(1),
            from,
        };
        view.apply(&repair);
        assert_eq!(verdict(&view, &[old], &[1]), Verdict::NoCopy);
    }
}
