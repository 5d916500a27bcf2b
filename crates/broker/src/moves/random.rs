//! Moves under random plans, elections, crashes and lost messages: a group's members as a value, its
//! leader's steps as they are taken in earnest.

use std::collections::BTreeSet;

use fanfare_consensus::Status;
use fanfare_core::barrier::Barrier;
use fanfare_core::id::{ClusterId, DiskId, NodeId, ReplicaId, ShardId};
use fanfare_core::view::{
    Addresses, Bootstrap, Command, NewNode, Outcome, Placement, Replica, ShardRow, View,
};
use fanfare_host::{Rng as _, SeededRng};

use super::{Step, left, next_step};

type Ids = BTreeSet<ReplicaId>;

const NODES: u64 = 5;
const FAR: u64 = 1_000_000;

/// Members as one log entry says them: voters, the voters to come while the change is joint, who learns.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Members {
    voters: Ids,
    next: Option<Ids>,
    learners: Ids,
}

impl Members {
    fn all(&self) -> Ids {
        let next = self.next.iter().flatten();
        self.voters
            .iter()
            .chain(next)
            .chain(&self.learners)
            .copied()
            .collect()
    }

    fn voting(&self) -> Ids {
        self.voters
            .iter()
            .chain(self.next.iter().flatten())
            .copied()
            .collect()
    }

    /// True if `up` are a majority of each half.
    fn quorum(&self, up: &Ids) -> bool {
        let majority = |voters: &Ids| voters.intersection(up).count() > voters.len() / 2;
        majority(&self.voters) && self.next.as_ref().is_none_or(majority)
    }
}

struct World {
    view: View,
    rng: SeededRng,
    members: Members,
    /// The committed members, while a later entry is not.
    committed: Option<Members>,
    leader: ReplicaId,
    /// Replicas that have all entries; a learner begins with none.
    full: Ids,
    /// Replicas whose files are gone.
    deleted: Ids,
    moves: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let ids = (1..=NODES).map(NodeId);
        let level = fanfare_core::level::KNOWN;
        let node = |id: NodeId| NewNode {
            id,
            name: format!("n{id}"),
            disk: DiskId(1),
            level,
            addresses: Addresses {
                peer: "x:1".to_owned(),
                ..Addresses::default()
            },
        };
        let mut view = View::empty();
        let made = view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(1),
            level,
            payload_limit: 65_536,
            nodes: ids.clone().map(node).collect(),
            meta: ids
                .map(|node| Replica {
                    id: ReplicaId(node.0),
                    node,
                })
                .collect(),
            shards: vec![Placement {
                shard: ShardId(0),
                nodes: (1..=3).map(NodeId).collect(),
                preferred: None,
            }],
        }));
        assert!(matches!(made, Outcome::Done { .. }), "{made:?}");
        let shard = ShardId(0);
        view.apply(&Command::ShardBegun { shard });
        let voters: Ids = view.shards[0].replicas.iter().map(|r| r.id).collect();
        Self {
            view,
            rng: SeededRng::new(seed),
            leader: *voters.first().unwrap(),
            full: voters.clone(),
            members: Members {
                voters,
                next: None,
                learners: Ids::new(),
            },
            committed: None,
            deleted: Ids::new(),
            moves: 0,
        }
    }

    fn row(&self) -> &ShardRow {
        &self.view.shards[0]
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn status(&self) -> Status {
        let others = self
            .members
            .all()
            .into_iter()
            .filter(|id| *id != self.leader);
        let lag = |id: ReplicaId| (id, if self.full.contains(&id) { 0 } else { FAR });
        Status {
            voters: self.members.voting().into_iter().collect(),
            joint: self.members.next.is_some(),
            learners: self.members.learners.iter().copied().collect(),
            behind: others.map(lag).collect(),
            members_committed: self.committed.is_none(),
            ..Status::default()
        }
    }

    /// Three other nodes, at random; what is refused changes nothing.
    fn place(&mut self) {
        let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
        while nodes.len() < 3 {
            nodes.insert(NodeId(1 + self.draw(NODES)));
        }
        let row = Placement {
            shard: ShardId(0),
            preferred: nodes.first().copied(),
            nodes: nodes.into_iter().collect(),
        };
        let place = Command::Place {
            base: self.view.version,
            rows: vec![row],
        };
        self.moves += usize::from(matches!(self.view.apply(&place), Outcome::Done { .. }));
    }

    /// Appends new members; `commits`: they come through at once.
    fn change(&mut self, members: Members, commits: bool) {
        let before = std::mem::replace(&mut self.members, members);
        if commits {
            self.commit();
        } else {
            self.committed.get_or_insert(before);
        }
    }

    /// What the leader has appended is committed, if those that are there are enough.
    fn commit(&mut self) {
        if self.members.quorum(&self.full) {
            self.committed = None;
        }
    }

    /// The leader takes its next step; it may die on the way.
    fn step(&mut self, dies: bool) -> bool {
        if self.committed.is_some() {
            // Another change is under way.
            self.commit();
            return true;
        }
        let Some(step) = next_step(self.row(), &self.status(), self.leader) else {
            return false;
        };
        let mut next = self.members.clone();
        match step {
            Step::Learn(id) => {
                next.learners.insert(id);
                self.change(next, !dies);
            }
            Step::Vote(voters) => {
                let stranger = voters.iter().find(|id| !self.full.contains(*id));
                assert_eq!(stranger, None, "who lacks entries votes");
                next.learners.retain(|id| !voters.contains(id));
                if next.next.is_none() && next.voters != voters {
                    next.next = Some(voters.clone());
                    self.change(next.clone(), !dies);
                    if dies || self.committed.is_some() {
                        return true;
                    }
                }
                next.next = None;
                next.voters = voters;
                self.change(next, !dies);
            }
            Step::Leave(gone) => {
                next.learners.retain(|id| !gone.contains(id));
                self.change(next, !dies);
            }
            Step::HandOver(heir) => {
                assert!(self.full.contains(&heir), "the heir lacks entries");
                self.leader = heir;
            }
        }
        true
    }

    /// The leader dies; another one has the uncommitted members, or has not.
    fn elect(&mut self) {
        if let Some(before) = self.committed.take()
            && self.draw(2) == 0
        {
            self.members = before;
        }
        let able = self.members.voting();
        let able: Vec<ReplicaId> = able.intersection(&self.full).copied().collect();
        let drawn = usize::try_from(self.draw(1_000)).unwrap() % able.len();
        self.leader = able[drawn];
    }

    /// The leader's word reaches the metadata.
    fn tell(&mut self) {
        let replicas = left(self.row(), &self.status());
        let shard = ShardId(0);
        self.view.apply(&Command::Left { shard, replicas });
    }

    /// Every node deletes what the view lets it.
    fn delete(&mut self) {
        let given = (1..self.view.next_replica).map(ReplicaId);
        let shard_ids = given.filter(|id| id.0 > NODES);
        let gone: Vec<_> = shard_ids
            .filter(|id| self.view.has_left(ShardId(0), *id))
            .collect();
        for id in gone {
            self.full.remove(&id);
            self.deleted.insert(id);
        }
    }

    fn check(&self) {
        let committed = self.committed.iter();
        for members in committed.chain([&self.members]) {
            let all = members.all();
            let dead: Vec<_> = all.intersection(&self.deleted).collect();
            assert!(dead.is_empty(), "{dead:?} are deleted and in {members:?}");
            assert!(members.quorum(&self.full), "{members:?} of {:?}", self.full);
            for id in &all {
                assert!(self.view.node_of(*id).is_some(), "{id} cannot be reached");
            }
        }
    }

    fn catch_up(&mut self) {
        self.full.extend(self.members.learners.iter().copied());
    }

    fn act(&mut self) {
        match self.draw(8) {
            0 => self.place(),
            1 => self.elect(),
            2 => self.tell(),
            3 => self.delete(),
            4 => self.catch_up(),
            5 => {
                self.step(true);
            }
            _ => {
                self.step(false);
            }
        }
        self.check();
    }

    /// Calm: everybody does what is to be done.
    fn settle(&mut self) {
        for _ in 0..50 {
            self.catch_up();
            let stepped = self.step(false);
            self.tell();
            self.delete();
            self.check();
            if !stepped {
                return;
            }
        }
        panic!("it never ends: {:?} for {:?}", self.members, self.row());
    }
}

#[test]
fn moves_end_where_the_view_wants_them_whoever_dies_on_the_way() {
    let mut moves = 0;
    for seed in 0..400 {
        let mut world = World::new(seed);
        for _ in 0..150 {
            world.act();
        }
        world.settle();
        let planned: Ids = world.row().replicas.iter().map(|r| r.id).collect();
        assert_eq!(world.members.voters, planned, "seed {seed}");
        assert_eq!(world.members.next, None, "seed {seed}");
        assert!(world.members.learners.is_empty(), "seed {seed}");
        assert!(world.row().leaving.is_empty(), "seed {seed}");
        assert!(!world.deleted.is_empty(), "seed {seed}");
        moves += world.moves;
    }
    assert!(moves > 2_000, "{moves} moves");
}

#[test]
fn every_barrier_is_named_once() {
    let names: BTreeSet<String> = Barrier::ALL.iter().map(|b| format!("{b:?}")).collect();
    assert_eq!(names.len(), Barrier::ALL.len());
}
