//! Three brokers in a process: the leader goes, the next serves, nothing acked is lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use fanfare_core::code::{Code, Outcome};
use fanfare_core::id::{NodeId, ReplicaId};
use fanfare_core::link::{Ended, Verdict};
use fanfare_core::position::Position;
use fanfare_core::view::Replica;

use crate::people::{Edge, Publisher, draft, keyed, page, refused};
use crate::world::{SHARD, World, eventually};

/// Publishes with a key until it is acked, whoever leads.
async fn insist(world: &World, topic: &str, text: &str) -> Position {
    let mut nodes = world.nodes.values().cycle();
    loop {
        let mut publisher = Publisher::of(&nodes.next().unwrap().peer);
        publisher.timeout_ms = 3_000;
        if let Verdict::Placed(receipt) = publisher.publish(keyed(topic, text, text)).await {
            return receipt.position.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

/// What a node's replica retains of the one topic.
fn retained(world: &World, node: NodeId) -> BTreeMap<Position, String> {
    let dump = world.nodes[&node].broker.dump(SHARD).unwrap();
    let records = dump.topics.iter().flat_map(|topic| &topic.records);
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    records
        .map(|r| (r.message.position, text(&r.message.content.payload)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_when_the_leader_stops() {
    let mut world = World::new(3).await;
    let mut acked = BTreeMap::new();
    for n in 0..40 {
        let text = format!("before-{n}");
        acked.insert(insist(&world, "news", &text).await, text);
    }
    let old = world.leader().await;
    let mut edge = Edge::of(&world.nodes[&old].peer);
    let attached = edge.attach("news", None).await;
    world.stop(old).await;
    assert_eq!(edge.ended().await.0, attached.id);
    let new = world.leader().await;
    assert_ne!(new, old);
    for n in 0..40 {
        let text = format!("after-{n}");
        acked.insert(insist(&world, "news", &text).await, text);
    }
    let epochs: BTreeSet<_> = acked.keys().map(|p| p.epoch).collect();
    assert_eq!(epochs.len(), 1, "a failover keeps the stream");
    assert_eq!(acked.len(), 80);
    world.start(old).await;
    for node in [1, 2, 3].map(NodeId) {
        eventually("the replica has caught up", || {
            world.nodes[&node].broker.dump(SHARD).is_some() && retained(&world, node) == acked
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sends_to_the_leader_and_serves_pages() {
    let world = World::new(3).await;
    let leader = world.leader().await;
    let position = insist(&world, "news", "a").await;
    let follower = *world.nodes.keys().find(|node| **node != leader).unwrap();
    let peer = &world.nodes[&follower].peer;
    eventually("the follower knows the leader", || {
        let known = world.nodes[&follower].broker.status()[0].group.role.leader;
        known.is_some_and(|replica| replica.0 % 100 == leader.0)
    })
    .await;
    let Verdict::Reroute(to) = Publisher::of(peer).publish(draft("news", "b")).await else {
        panic!("a follower places nothing");
    };
    assert_eq!(to.leader, Some(leader));
    let mut edge = Edge::of(peer);
    edge.wish("news", None).await;
    assert!(matches!(edge.ended().await.1, Ended::NotLeader(to) if to.leader == Some(leader)));
    eventually("the follower has applied it", || {
        retained(&world, follower).contains_key(&position)
    })
    .await;
    let page = page(peer, "news", Position::new(position.epoch.0, 0), false)
        .await
        .unwrap();
    assert_eq!(page.head, position);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_leaves_what_it_proposed_unknown_and_refuses_the_rest() {
    let world = World::new(3).await;
    let leader = world.leader().await;
    let mut alice = Publisher::of(&world.nodes[&leader].peer);
    alice.place(draft("news", "a")).await;
    alice.timeout_ms = 1_500;
    world.net.cut(leader);
    let pending = refused(alice.publish(draft("news", "b")).await);
    assert_eq!(
        (pending.code, pending.outcome),
        (Code::OutcomeUnknown, Outcome::Unknown)
    );
    match alice.publish(draft("news", "c")).await {
        Verdict::Refused(later) => {
            assert_eq!(
                (later.code, later.outcome),
                (Code::NoQuorum, Outcome::NotPlaced)
            );
        }
        Verdict::Reroute(_) => {}
        Verdict::Placed(receipt) => panic!("acked without a majority: {receipt:?}"),
    }
    world.net.heal(leader);
    insist(&world, "news", "d").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_shuts_down_answers_what_is_pending_as_unknown() {
    let mut world = World::new(3).await;
    let leader = world.leader().await;
    let mut alice = Publisher::of(&world.nodes[&leader].peer);
    alice.place(draft("news", "a")).await;
    world.net.cut(leader);
    let seq = alice.send(draft("news", "b")).await;
    let metrics = world.metrics(leader);
    eventually("it is proposed", || metrics.batched_drafts.get() == 2).await;
    world.stop(leader).await;
    let answer = alice.answer().await.unwrap();
    assert_eq!(answer.seq, seq);
    assert_eq!(refused(answer.verdict).outcome, Outcome::Unknown);
    assert_eq!(alice.answer().await, None, "the link ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_without_a_loss() {
    let world = World::new(3).await;
    let old = world.leader().await;
    let before = insist(&world, "news", "a").await;
    let (to, replica) = {
        let row = &world.view.borrow().shards[0];
        let other = row
            .replicas
            .iter()
            .find(|replica| replica.node != old)
            .unwrap();
        (other.node, other.id)
    };
    assert!(world.nodes[&old].broker.transfer(SHARD, replica));
    assert_eq!(world.leader_among(&[to]).await, to);
    let after = insist(&world, "news", "b").await;
    assert_eq!(after, before.next());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_to_another_node_and_its_streams_go_on() {
    let mut world = World::new(3).await;
    let before = insist(&world, "news", "a").await;
    world.start(NodeId(4)).await;
    let moved = ReplicaId(4);
    world.change(|view| {
        let replicas = &mut view.shards[0].replicas;
        replicas.retain(|replica| replica.node != NodeId(1));
        replicas.push(Replica {
            id: moved,
            node: NodeId(4),
        });
    });
    eventually("the new replica votes and the old one does not", || {
        let status = |node: u64| world.node(node).broker.status();
        let led = [2, 3, 4].into_iter().flat_map(status);
        let wanted = [2, 3, 4].map(ReplicaId);
        led.into_iter()
            .any(|s| s.group.role.serves && s.group.voters == wanted && !s.group.joint)
    })
    .await;
    let after = insist(&world, "news", "b").await;
    assert_eq!(after, before.next());
    eventually("the new replica has it all", || {
        world.node(4).broker.dump(SHARD).is_some() && retained(&world, NodeId(4)).len() == 2
    })
    .await;
}

/// An edge's end of one publish stream: it keeps what is unanswered and sends it again, in order,
/// in the next run when a draft is sent back.
struct Stream<'a> {
    world: &'a World,
    publisher: Publisher,
    unanswered: VecDeque<(u64, u64)>,
    name: u64,
}

impl<'a> Stream<'a> {
    fn new(world: &'a World, name: u64) -> Self {
        let publisher = Publisher::of(&world.node(1).peer);
        Self {
            world,
            publisher,
            unanswered: VecDeque::new(),
            name,
        }
    }

    async fn send(&mut self, n: u64) {
        let draft = draft("news", &format!("{}:{n}", self.name));
        let seq = self.publisher.send(draft).await;
        self.unanswered.push_back((seq, n));
    }

    /// Takes one answer.
    async fn settle(&mut self, placed: &mut Vec<(u64, Position)>) {
        let answer = self.publisher.answer().await.unwrap();
        let Some(at) = self
            .unanswered
            .iter()
            .position(|(seq, _)| *seq == answer.seq)
        else {
            return;
        };
        match answer.verdict {
            Verdict::Placed(receipt) => {
                let (_, n) = self.unanswered.remove(at).unwrap();
                placed.push((n, receipt.position.unwrap()));
            }
            Verdict::Reroute(to) => {
                let leader = to.leader.unwrap_or(NodeId(1));
                let mut next = Publisher::of(&self.world.nodes[&leader].peer);
                next.run = self.publisher.run + 1;
                self.publisher = next;
                for (_, n) in std::mem::take(&mut self.unanswered) {
                    self.send(n).await;
                }
                tokio::task::yield_now().await;
            }
            Verdict::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_its_order_over_handovers() {
    let world = World::new(3).await;
    let moved = AtomicBool::new(false);
    let publishing = async |name: u64| {
        let (mut stream, mut placed) = (Stream::new(&world, name), Vec::new());
        let mut sent = 0;
        while sent < 200 || !moved.load(Ordering::Relaxed) {
            stream.send(sent).await;
            sent += 1;
            while stream.unanswered.len() >= 8 {
                stream.settle(&mut placed).await;
            }
        }
        while !stream.unanswered.is_empty() {
            stream.settle(&mut placed).await;
        }
        assert_eq!(placed.len() as u64, sent);
        placed
    };
    let moving = async {
        for _ in 0..4 {
            let old = world.leader().await;
            let heir = (1..=3).find(|node| *node != old.0).unwrap();
            world.nodes[&old].broker.transfer(SHARD, ReplicaId(heir));
            world.leader_among(&[NodeId(heir)]).await;
        }
        moved.store(true, Ordering::Relaxed);
    };
    let (a, b, ()) = tokio::join!(publishing(1), publishing(2), moving);
    let (mut slots, sent) = (BTreeSet::new(), a.len() + b.len());
    for placed in [a, b] {
        let by_draft: BTreeMap<_, _> = placed.iter().copied().collect();
        assert_eq!(by_draft.len(), placed.len(), "each draft is acked once");
        let positions: Vec<_> = by_draft.into_values().collect();
        assert!(
            positions.is_sorted_by(|a, b| a < b),
            "the stream's order is the topic's"
        );
        slots.extend(positions);
    }
    let dump = world.nodes[&world.leader().await]
        .broker
        .dump(SHARD)
        .unwrap();
    assert_eq!(slots.len(), sent, "no two drafts share a slot");
    assert_eq!(
        dump.topics[0].head,
        *slots.last().unwrap(),
        "no draft took two slots"
    );
}
