//! Stories of leaderships that are not where they should be.

use fanfare_core::id::{ClusterId, DiskId};
use fanfare_core::placement;
use fanfare_core::view::{Addresses, Bootstrap, Command, NewNode};

use super::*;

const CALM: Duration = Duration::from_secs(30);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Three nodes with so many shards, and who leads each: at first whom the view prefers.
struct Story {
    view: View,
    led: BTreeMap<ShardId, (ReplicaId, Term)>,
    behind: u64,
    silent: BTreeSet<NodeId>,
    full: BTreeSet<NodeId>,
    balance: Balance,
}

impl Story {
    fn of(shards: u32) -> Self {
        let ids: BTreeSet<NodeId> = (1..=3).map(NodeId).collect();
        let node = |id: &NodeId| NewNode {
            id: *id,
            name: format!("n{id}"),
            disk: DiskId(u128::from(id.0)),
            level: 1,
            addresses: Addresses {
                peer: format!("n{id}:1"),
                ..Addresses::default()
            },
        };
        let replica = |id: &NodeId| Replica {
            id: ReplicaId(id.0),
            node: *id,
        };
        let mut view = View::empty();
        view.apply(&Command::Bootstrap(Bootstrap {
            cluster: ClusterId(1),
            level: 1,
            payload_limit: 65_536,
            nodes: ids.iter().map(node).collect(),
            meta: ids.iter().map(replica).collect(),
            shards: placement::first(&ids, shards),
        }));
        let led = view.shards.iter().map(|row| {
            let leader = row.preferred.and_then(|node| row.on(node)).unwrap();
            (row.id, (leader, Term(1)))
        });
        Self {
            led: led.collect(),
            view,
            behind: 0,
            silent: BTreeSet::new(),
            full: BTreeSet::new(),
            balance: Balance::new(CALM),
        }
    }

    /// Another replica than the preferred one is elected.
    fn stray(&mut self, shard: u32) {
        let row = self.view.shard(ShardId(shard)).unwrap();
        let other = row.replicas.iter().find(|r| Some(r.node) != row.preferred);
        let (leader, term) = self.led.get_mut(&ShardId(shard)).unwrap();
        (*leader, *term) = (other.unwrap().id, Term(term.0 + 1));
    }

    fn round(&mut self, now: Duration) -> Option<HandOver> {
        let report = |row: &fanfare_core::view::ShardRow| {
            let (leader, term) = self.led[&row.id];
            ReplicaStatus {
                shard: row.id,
                replica: leader,
                term,
                leads: true,
                applied: 9,
                behind: row.replicas.iter().map(|r| (r.id, self.behind)).collect(),
            }
        };
        let reports: Vec<_> = self.view.shards.iter().map(report).collect();
        let world = World {
            view: &self.view,
            reports: &reports,
            silent: &self.silent,
            full: &self.full,
        };
        self.balance.round(now, &world)
    }

    /// Rounds of a second; what is asked for is done. The times and shards of it.
    fn rounds(&mut self, from: u64, to: u64) -> Vec<(u64, u32)> {
        let mut asked = Vec::new();
        for now in from..to {
            if let Some(HandOver { shard, term, heir }) = self.round(secs(now)) {
                assert_eq!(self.led[&shard].1, term);
                self.led.insert(shard, (heir, Term(term.0 + 1)));
                asked.push((now, shard.0));
            }
        }
        asked
    }
}

#[test]
fn in_calm_one_a_second_goes_back_and_then_none() {
    let mut story = Story::of(3);
    assert_eq!(story.rounds(0, 100), [], "all are where they should be");
    (0..3).for_each(|shard| story.stray(shard));
    assert_eq!(
        story.rounds(100, 300),
        [(130, 0), (131, 1), (132, 2)],
        "its own moves are no unrest"
    );
}

#[test]
fn an_election_or_a_silent_or_leaving_node_ends_the_calm() {
    let mut story = Story::of(3);
    story.stray(0);
    assert_eq!(story.rounds(0, 29), []);
    story.stray(1);
    assert_eq!(story.rounds(29, 50), [], "an election");
    story.silent.insert(NodeId(3));
    assert_eq!(story.rounds(50, 70), []);
    story.silent.clear();
    assert_eq!(story.rounds(70, 99), []);
    let drain = Command::Draining {
        node: NodeId(2),
        generation: story.view.nodes[&NodeId(2)].generation,
    };
    story.view.apply(&drain);
    assert_eq!(story.rounds(99, 200), []);
}

#[test]
fn a_leadership_that_does_not_stay_is_not_tossed_to_and_fro() {
    let mut story = Story::of(1);
    story.stray(0);
    assert_eq!(story.rounds(0, 31), [(30, 0)]);
    let mut moves = 0;
    for now in (31..600).step_by(1) {
        moves += story.rounds(now, now + 1).len();
        if now % 10 == 0 {
            story.stray(0);
        }
    }
    assert_eq!(moves, 0, "elections every ten seconds are no calm");
    // Who is asked and does nothing is asked again after a rest.
    let mut story = Story::of(1);
    story.stray(0);
    let asked = (0..100).filter(|now| story.round(secs(*now)).is_some());
    assert_eq!(asked.collect::<Vec<_>>(), [30, 60, 90]);
}

#[test]
fn nobody_who_is_far_behind_or_full_is_an_heir() {
    let mut story = Story::of(1);
    story.stray(0);
    story.behind = NEAR;
    assert_eq!(story.rounds(0, 60), []);
    story.behind = 0;
    story.full = (1..=3).map(NodeId).collect();
    assert_eq!(story.rounds(60, 120), []);
    story.full.clear();
    assert_eq!(story.rounds(120, 125), [(120, 0)]);
}

#[test]
fn a_shard_that_moves_is_no_calm() {
    let mut story = Story::of(2);
    story.stray(0);
    story.rounds(0, 20);
    let row = &mut story.view.shards[1];
    row.replicas[0].id = ReplicaId(99);
    if let Some((leader, _)) = story.led.get_mut(&ShardId(1)) {
        *leader = row.replicas[1].id;
    }
    assert_eq!(story.rounds(20, 50), [], "its replicas are others");
    assert_eq!(story.rounds(50, 52), [(50, 0), (51, 1)]);
}
