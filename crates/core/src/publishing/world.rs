//! Publishing in a random world: leaders change, links break, searches find old leaders.

use proptest::prelude::*;

use super::tests::{SHARD, draft, id_of, ms, receipt, redirect, take_all};
use super::*;

/// A step of a random world.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        stream: u64,
        topic: usize,
        keyed: bool,
    },
    /// The edge writes some requests of its ready lanes into the link of a node.
    Pump(u64),
    /// A node takes requests from its link and judges them, or has no room for them.
    Serve {
        node: u64,
        count: usize,
        refuse: bool,
    },
    /// Some verdicts of a node reach the edge.
    Hear {
        node: u64,
        count: usize,
    },
    /// The link breaks; what the node has not read of it may still be read, or not.
    Break {
        node: u64,
        read: usize,
    },
    Elect(u64),
    /// Searches are answered, as the truth or with an old leader.
    Find {
        stale: bool,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 1..=3_u64;
    prop_oneof![
        4 => (0..3_u64, 0..2_usize, any::<bool>())
            .prop_map(|(stream, topic, keyed)| Step::Submit { stream, topic, keyed }),
        4 => node.clone().prop_map(Step::Pump),
        4 => (node.clone(), 1..6_usize, prop::bool::weighted(0.2))
            .prop_map(|(node, count, refuse)| Step::Serve { node, count, refuse }),
        4 => (node.clone(), 1..6_usize).prop_map(|(node, count)| Step::Hear { node, count }),
        1 => (node.clone(), 0..4_usize).prop_map(|(node, read)| Step::Break { node, read }),
        1 => node.prop_map(Step::Elect),
        3 => any::<bool>().prop_map(|stale| Step::Find { stale }),
        2 => (1..1_500_u64).prop_map(Step::Wait),
    ]
}

/// A node of the random world: the leader's end of one link.
#[derive(Default)]
struct Node {
    inbox: VecDeque<PublishRequest>,
    outbox: VecDeque<PublishAnswer>,
    /// By stream: the run, and whether it is closed. Of the present link.
    runs: BTreeMap<u64, (u32, bool)>,
}

#[derive(Default)]
struct World {
    now: Duration,
    publishing: Publishing,
    nodes: BTreeMap<u64, Node>,
    leader: u64,
    term: u64,
    /// What is placed, in order: topic, draft.
    log: Vec<(String, u64)>,
    seeks: usize,
    submitted: Vec<Ticket>,
    /// Keyless drafts that were lost in a link.
    unread: BTreeMap<u64, usize>,
    ends: BTreeMap<u64, Result<u64, Outcome>>,
}

impl World {
    fn serve(&mut self, id: u64, count: usize, heard: bool, refuse: bool) {
        let leads = self.leader == id;
        let redirect = redirect(Some(NodeId(self.leader)), self.term);
        for _ in 0..count {
            let node = self.nodes.entry(id).or_default();
            let Some(request) = node.inbox.pop_front() else {
                return;
            };
            let run = node
                .runs
                .entry(request.stream)
                .or_insert((request.run, false));
            assert!(request.run >= run.0, "runs only grow");
            if request.run > run.0 {
                *run = (request.run, false);
            }
            run.1 |= !leads;
            let verdict = if run.1 {
                Verdict::Reroute(redirect)
            } else if refuse {
                Verdict::Refused(Refusal::of_publish(Code::Overloaded, "no room"))
            } else {
                let row = (
                    request.draft.topic.as_str().to_owned(),
                    id_of(&request.draft),
                );
                let known = request.draft.key.is_some().then_some(&row);
                let found = known.and_then(|row| self.log.iter().position(|r| r == row));
                let at = found.unwrap_or_else(|| {
                    self.log.push(row);
                    self.log.len() - 1
                });
                Verdict::Placed(receipt(&request.draft.topic, at as u64))
            };
            if heard {
                node.outbox.push_back(PublishAnswer {
                    seq: request.seq,
                    verdict,
                });
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit {
                stream,
                topic,
                keyed,
            } => {
                let id = self.submitted.len() as u64;
                let topic = ["news", "chat"][topic];
                let deadline = self.now + ms(5_000);
                let draft = draft(id, topic, keyed);
                let ticket = self
                    .publishing
                    .submit(self.now, stream, SHARD, draft, deadline);
                self.submitted.push(ticket);
            }
            Step::Pump(id) => {
                let requests = take_all(&mut self.publishing, self.now, NodeId(id));
                self.nodes.entry(id).or_default().inbox.extend(requests);
            }
            Step::Serve {
                node,
                count,
                refuse,
            } => self.serve(node, count, true, refuse),
            Step::Hear { node, count } => {
                for _ in 0..count {
                    let next = self.nodes.entry(node).or_default().outbox.pop_front();
                    let Some(answer) = next else { break };
                    self.publishing.verdict(self.now, answer);
                }
            }
            Step::Break { node, read } => {
                self.serve(node, read, false, false);
                // What a broken link holds unread may be proposed yet, if its run is not closed.
                let gone = self.nodes.remove(&node).unwrap_or_default();
                for request in gone.inbox {
                    let run = gone.runs.get(&request.stream);
                    let closed = run.is_some_and(|run| run.1 && run.0 >= request.run);
                    if request.draft.key.is_none() && !closed {
                        *self.unread.entry(id_of(&request.draft)).or_default() += 1;
                    }
                }
                self.publishing.link_lost(self.now, NodeId(node));
            }
            Step::Elect(node) => {
                self.leader = node;
                self.term += 1;
            }
            Step::Find { stale } => {
                let (node, term) = if stale {
                    (1, 0)
                } else {
                    (self.leader, self.term)
                };
                for _ in 0..std::mem::take(&mut self.seeks) {
                    let found = redirect(Some(NodeId(node)), term);
                    self.publishing.leader(self.now, SHARD, Some(found));
                }
            }
            Step::Wait(time) => {
                self.now += ms(time);
                self.publishing.tick(self.now);
            }
        }
        for effect in self.publishing.effects().collect::<Vec<_>>() {
            match effect {
                Effect::Seek { .. } => self.seeks += 1,
                Effect::Answer(ticket, result) => {
                    let end = result
                        .map(|receipt| receipt.position.unwrap().offset.0)
                        .map_err(|refusal| refusal.outcome);
                    assert!(
                        self.ends.insert(ticket.0, end).is_none(),
                        "one end for each"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn order_is_kept_and_no_end_is_a_lie(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World { leader: 1, ..World::default() };
        let mut lanes: BTreeMap<(u64, usize), Vec<u64>> = BTreeMap::new();
        for step in steps {
            if let Step::Submit { stream, topic, .. } = step {
                let id = world.submitted.len() as u64;
                lanes.entry((stream, topic)).or_default().push(id);
            }
            world.step(&step);
        }
        let first = world.submitted.len();
        world.step(&Step::Elect(2));
        for stream in 0..3 {
            world.step(&Step::Submit { stream, topic: 0, keyed: false });
        }
        for _ in 0..6 {
            world.step(&Step::Find { stale: false });
            for node in [1, 2, 3, 2] {
                world.step(&Step::Pump(node));
                world.step(&Step::Serve { node, count: usize::MAX, refuse: false });
                world.step(&Step::Hear { node, count: usize::MAX });
            }
            world.step(&Step::Wait(600));
        }
        for ticket in &world.submitted[first..] {
            let end = world.ends.get(&ticket.0);
            prop_assert!(matches!(end, Some(Ok(_))), "{:?} in a world that is well", end);
        }
        world.step(&Step::Wait(6_000));
        prop_assert_eq!(world.ends.len(), world.submitted.len(), "all are answered in time");
        for node in 1..=3 {
            world.serve(node, usize::MAX, true, false);
        }
        for (id, ticket) in (0..).zip(&world.submitted) {
            let copies = world.log.iter().filter(|row| row.1 == id).count();
            prop_assert!(copies <= 1, "draft {} is placed {} times", id, copies);
            if world.ends[&ticket.0] == Err(Outcome::NotPlaced) {
                prop_assert_eq!(copies, 0, "draft {} was refused and is placed", id);
            }
            let unread = world.unread.get(&id).copied().unwrap_or(0);
            prop_assert!(unread + copies <= 1, "keyless draft {} was sent twice", id);
            if unread > 0 {
                prop_assert_eq!(&world.ends[&ticket.0], &Err(Outcome::Unknown));
            }
        }
        for drafts in lanes.values() {
            let acked = drafts.iter().filter_map(|id| {
                world.ends[&world.submitted[usize::try_from(*id).unwrap()].0].ok()
            });
            let acked: Vec<u64> = acked.collect();
            prop_assert!(acked.windows(2).all(|two| two[0] < two[1]), "{:?}", acked);
        }
    }
}
