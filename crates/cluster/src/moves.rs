//! Which part of a new placement may be carried out now. Shard leaders carry it out; here is only
//! the pace: one change at a time for a shard, at most two moves at a time for a node.

use std::collections::{BTreeMap, BTreeSet};

use fanfare_core::id::{NodeId, ReplicaId, ShardId};
use fanfare_core::view::{NodeState, Placement, ShardRow, StoreState, View};
use fanfare_rpc::members::ReplicaStatus;

/// Entries a replica may be behind to count as moved.
const CAUGHT_UP: u64 = 1_000;
/// Moves at a time for a node.
const MOVES: usize = 2;

/// How far a shard's group is from its row, by its leader's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The group has the replicas of the row that can be had, and they have caught up.
    Settled,
    Moving,
    /// Nobody leads it: nothing can be changed.
    Unknown,
}

/// The rows of `plan` that may be placed now.
pub(crate) fn due(
    view: &View,
    plan: Vec<Placement>,
    reports: &[ReplicaStatus],
    away: &BTreeSet<NodeId>,
) -> Vec<Placement> {
    let mut leaders: BTreeMap<ShardId, &ReplicaStatus> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.leads) {
        let newest = leaders.entry(report.shard).or_insert(report);
        if newest.term < report.term {
            *newest = report;
        }
    }
    let progress = |row: &ShardRow| progress(view, row, leaders.get(&row.id).copied(), away);
    let mut busy: BTreeMap<NodeId, usize> = BTreeMap::new();
    for row in &view.shards {
        let leader = leaders.get(&row.id).copied();
        // Who departs gets nothing: what it lacks, it will never have.
        let stays = row.replicas.iter();
        let stays = stays.filter(|r| !view.departing.contains_key(&r.node));
        let coming = stays.filter(|r| leader.is_some_and(|leader| !is_near(leader, r.id)));
        for replica in row.leaving.iter().chain(coming) {
            *busy.entry(replica.node).or_default() += 1;
        }
    }
    let allowed = |next: &Placement| {
        let Some(row) = view.shard(next.shard) else {
            return false;
        };
        let now: BTreeSet<NodeId> = row.replicas.iter().map(|r| r.node).collect();
        let then: BTreeSet<NodeId> = next.nodes.iter().copied().collect();
        if now == then {
            return true;
        }
        // Who has nothing to give is not spared.
        let moved = now.symmetric_difference(&then).copied();
        let moved: Vec<NodeId> = moved.filter(|id| counts(view, away, *id)).collect();
        let free = moved
            .iter()
            .all(|node| busy.get(node).is_none_or(|moves| *moves < MOVES));
        if !free || progress(row) != Progress::Settled {
            return false;
        }
        for node in moved {
            *busy.entry(node).or_default() += 1;
        }
        true
    };
    let mut allowed = allowed;
    plan.into_iter().filter(|next| allowed(next)).collect()
}

fn progress(
    view: &View,
    row: &ShardRow,
    leader: Option<&ReplicaStatus>,
    away: &BTreeSet<NodeId>,
) -> Progress {
    let Some(leader) = leader else {
        return Progress::Unknown;
    };
    // One that is to leave need not have caught up first: it may be dead.
    let needed = |id: NodeId| counts(view, away, id) && !view.departing.contains_key(&id);
    let mut replicas = row.replicas.iter();
    let here = replicas.all(|r| !needed(r.node) || is_near(leader, r.id));
    let planned = |id: ReplicaId| row.replicas.iter().any(|r| r.id == id);
    let left = planned(leader.replica) && leader.behind.iter().all(|(id, _)| planned(*id));
    if here && left && row.leaving.is_empty() {
        Progress::Settled
    } else {
        Progress::Moving
    }
}

/// True if the node is there, its disk counts, and it is not away.
fn counts(view: &View, away: &BTreeSet<NodeId>, id: NodeId) -> bool {
    let node = view.nodes.get(&id);
    node.is_some_and(|n| n.state != NodeState::Gone && n.store == StoreState::ReadWrite)
        && !away.contains(&id)
}

fn is_near(leader: &ReplicaStatus, id: ReplicaId) -> bool {
    let behind = leader.behind.iter().find(|(replica, _)| *replica == id);
    id == leader.replica || behind.is_some_and(|(_, entries)| *entries < CAUGHT_UP)
}

#[cfg(test)]
mod tests {
    use fanfare_core::id::{ClusterId, DiskId, Term};
    use fanfare_core::placement;
    use fanfare_core::view::{Addresses, Bootstrap, Command, NewNode, Outcome, Replica};

    use super::*;

    const NONE: BTreeSet<NodeId> = BTreeSet::new();

    fn cluster(nodes: u64, shards: u32) -> View {
        let ids: BTreeSet<NodeId> = (1..=nodes).map(NodeId).collect();
        let node = |id: &NodeId| NewNode {
            id: *id,
            name: format!("n{id}"),
            disk: DiskId(1),
            level: fanfare_core::level::KNOWN,
            addresses: Addresses {
                peer: "x:1".to_owned(),
                ..Addresses::default()
            },
        };
        let mut view = View::empty();
        view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(1),
            level: fanfare_core::level::KNOWN,
            payload_limit: 65_536,
            nodes: ids.iter().map(node).collect(),
            meta: ids
                .iter()
                .map(|id| Replica {
                    id: ReplicaId(id.0),
                    node: *id,
                })
                .collect(),
            shards: placement::first(&ids, shards),
        }));
        for shard in (0..shards).map(ShardId) {
            view.apply(&Command::ShardBegun { shard });
        }
        view
    }

    fn join(view: &mut View, name: &str) {
        let added = view.apply(&Command::AddNode {
            name: name.to_owned(),
            disk: DiskId(9),
            level: fanfare_core::level::KNOWN,
            addresses: Addresses {
                peer: "y:1".to_owned(),
                ..Addresses::default()
            },
        });
        assert!(matches!(added, Outcome::Added { .. }), "{added:?}");
    }

    /// What the leader of a row says if its group has exactly `members`, all caught up.
    fn report(row: &ShardRow, members: &[Replica]) -> ReplicaStatus {
        ReplicaStatus {
            shard: row.id,
            replica: members[0].id,
            term: Term(1),
            leads: true,
            applied: 9,
            behind: members[1..].iter().map(|r| (r.id, 0)).collect(),
        }
    }

    /// The group of a row has let go what the row has left behind.
    fn left(row: &ShardRow) -> Command {
        Command::Left {
            shard: row.id,
            replicas: row.leaving.iter().map(|r| r.id).collect(),
        }
    }

    fn settled(view: &View) -> Vec<ReplicaStatus> {
        view.shards
            .iter()
            .map(|row| report(row, &row.replicas))
            .collect()
    }

    #[test]
    fn a_new_node_is_filled_two_shards_at_a_time() {
        let mut view = cluster(3, 16);
        join(&mut view, "new");
        let mut reports = settled(&view);
        let mut rounds = 0;
        loop {
            let rows = due(&view, placement::plan(&view, &NONE), &reports, &NONE);
            if rows.is_empty() {
                break;
            }
            rounds += 1;
            let seats: usize = rows
                .iter()
                .filter(|row| row.nodes.contains(&NodeId(4)))
                .count();
            assert!(seats <= MOVES, "{seats} moves at once");
            view.apply(&Command::Place {
                base: view.version,
                rows,
            });
            let still = due(&view, placement::plan(&view, &NONE), &reports, &NONE);
            let to_new = |row: &&Placement| {
                view.shard(row.shard).unwrap().on(NodeId(4)).is_none()
                    && row.nodes.contains(&NodeId(4))
            };
            assert_eq!(
                still.iter().filter(to_new).count(),
                0,
                "before the first have moved"
            );
            for row in view.shards.clone() {
                view.apply(&left(&row));
            }
            reports = settled(&view);
        }
        assert!(rounds >= 6, "12 seats in {rounds} rounds");
        assert_eq!(placement::plan(&view, &NONE), vec![]);
    }

    #[test]
    fn a_shard_whose_leader_is_not_heard_stays() {
        let mut view = cluster(3, 4);
        join(&mut view, "new");
        assert_eq!(
            due(&view, placement::plan(&view, &NONE), &[], &NONE),
            vec![]
        );
    }

    #[test]
    fn a_lost_nodes_replicas_are_made_anew_though_they_do_not_answer() {
        let mut view = cluster(4, 8);
        view.apply(&Command::RecordDataLoss { node: NodeId(2) });
        let mut reports = settled(&view);
        for (row, report) in view.shards.iter().zip(&mut reports) {
            let sound: Vec<Replica> = row
                .replicas
                .iter()
                .copied()
                .filter(|r| r.node != NodeId(2))
                .collect();
            report.replica = sound[0].id;
            report.behind = row
                .replicas
                .iter()
                .filter(|r| r.id != sound[0].id)
                .map(|r| (r.id, if r.node == NodeId(2) { 50_000 } else { 0 }))
                .collect();
        }
        let rows = due(&view, placement::plan(&view, &NONE), &reports, &NONE);
        assert!(!rows.is_empty());
        assert!(
            rows.iter().all(|row| !row.nodes.contains(&NodeId(2))),
            "{rows:?}"
        );
    }

    #[test]
    fn a_group_that_still_has_its_old_replica_is_moving() {
        let view = cluster(3, 1);
        let row = &view.shards[0];
        let told = |members: &[Replica]| {
            let report = report(row, members);
            progress(&view, row, Some(&report), &NONE)
        };
        assert_eq!(told(&row.replicas), Progress::Settled);
        let old = Replica {
            id: ReplicaId(99),
            node: NodeId(3),
        };
        assert_eq!(
            told(&[&row.replicas[..], &[old]].concat()),
            Progress::Moving
        );
        assert_eq!(told(&row.replicas[..2]), Progress::Moving);
    }

    #[test]
    fn a_dead_node_that_departs_is_emptied_though_nothing_of_it_catches_up() {
        let mut view = cluster(4, 8);
        let gone = NodeId(2);
        let departs = view.apply(&Command::Depart {
            node: gone,
            heir: Some(NodeId(4)),
        });
        assert!(matches!(departs, Outcome::Done { .. }), "{departs:?}");
        let mut rounds = 0;
        while view.holds_replicas(gone) {
            rounds += 1;
            assert!(rounds < 50, "{:?}", view.shards);
            let reports: Vec<ReplicaStatus> = view
                .shards
                .iter()
                .map(|row| {
                    let leads = row.replicas.iter().find(|r| r.node != gone).unwrap();
                    let lag = |r: &Replica| (r.id, if r.node == gone { 9_999 } else { 0 });
                    ReplicaStatus {
                        shard: row.id,
                        replica: leads.id,
                        term: Term(1),
                        leads: true,
                        applied: 9_999,
                        behind: row
                            .replicas
                            .iter()
                            .filter(|r| *r != leads)
                            .map(lag)
                            .collect(),
                    }
                })
                .collect();
            let rows = due(&view, placement::plan(&view, &NONE), &reports, &NONE);
            view.apply(&Command::Place {
                base: view.version,
                rows,
            });
            for row in view.shards.clone() {
                view.apply(&left(&row));
            }
        }
        assert!(rounds > 1, "all at once");
    }
}
