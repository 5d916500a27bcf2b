//! Stories of a shard that changes hands on purpose: who waits meanwhile, where they are sent, and
//! what happens if nobody takes over.

use std::collections::BTreeMap;

use fanfare_core::id::{DiskId, Generation, NodeId, ReplicaId, Term};
use fanfare_core::link::{Ended, Verdict};
use fanfare_core::view::{Addresses, Node, NodeState, StoreState};

use crate::people::{Edge, Publisher, draft, keyed};
use crate::world::{SHARD, World, eventually};

/// The next node after this one, with its replica.
fn heir(of: NodeId) -> (NodeId, ReplicaId) {
    let next = of.0 % 3 + 1;
    (NodeId(next), ReplicaId(next))
}

fn term(world: &World, node: NodeId) -> Term {
    world.nodes[&node].broker.status()[0].group.role.term
}

/// Puts rows of the three nodes into the view: all active, but these leave.
fn know_nodes(world: &World, leaving: &[NodeId]) {
    let row = |id: NodeId| Node {
        id,
        name: format!("n{id}"),
        generation: Generation(1),
        level: 1,
        disk: DiskId(u128::from(id.0)),
        store: StoreState::ReadWrite,
        state: if leaving.contains(&id) {
            NodeState::Draining
        } else {
            NodeState::Active
        },
        addresses: Addresses::default(),
        history_budget: 0,
    };
    let nodes: BTreeMap<_, _> = (1..=3).map(NodeId).map(|id| (id, row(id))).collect();
    world.change(|view| view.nodes = nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_edges_of_the_old_leader_are_told_the_new_one_and_its_term() {
    let world = World::new(3).await;
    let old = world.leader().await;
    let (new, replica) = heir(old);
    let before = term(&world, old);
    let mut alice = Publisher::of(&world.nodes[&old].peer);
    alice.place(draft("news", "a")).await;
    let mut edge = Edge::of(&world.nodes[&old].peer);
    let attached = edge.attach("news", None).await;
    assert!(world.nodes[&old].broker.transfer(SHARD, replica));
    let (id, why) = edge.ended().await;
    assert_eq!(id, attached.id);
    let Ended::NotLeader(to) = why else {
        panic!("sent away for another reason: {why:?}");
    };
    assert_eq!(to.leader, Some(new), "nobody is sent away without a name");
    assert!(to.term > before);
    let Verdict::Reroute(to) = alice.publish(draft("news", "b")).await else {
        panic!("the old leader places nothing");
    };
    assert_eq!(to.leader, Some(new));
    // Whoever comes at once waits at the heir until it may answer.
    Publisher::of(&world.nodes[&new].peer)
        .place(draft("news", "b"))
        .await;
    let mut edge = Edge::of(&world.nodes[&new].peer);
    edge.attach("news", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_heir_that_is_cut_off_costs_nothing() {
    let world = World::new(3).await;
    let leader = world.leader().await;
    let before = term(&world, leader);
    let (cut, replica) = heir(leader);
    world.net.cut(cut);
    let mut alice = Publisher::of(&world.nodes[&leader].peer);
    for n in 0..40 {
        world.nodes[&leader].broker.transfer(SHARD, replica);
        let text = n.to_string();
        if let Verdict::Placed(receipt) = alice.publish(keyed("news", &text, &text)).await {
            assert!(!receipt.duplicate);
        } else {
            // It was heard a moment ago, and so was asked: another one leads now.
            assert!(n < 20, "it was silent long enough");
            return;
        }
    }
    assert_eq!(term(&world, leader), before, "it leads on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_for_a_reign_that_is_over_asks_for_nothing() {
    let world = World::new(3).await;
    let old = world.leader().await;
    let reign = term(&world, old);
    let (new, replica) = heir(old);
    assert!(!world.nodes[&new].broker.transfer_in(SHARD, reign, replica));
    assert!(world.nodes[&old].broker.transfer_in(SHARD, reign, replica));
    assert_eq!(world.leader_among(&[new]).await, new);
    let (_, third) = heir(new);
    assert!(!world.nodes[&new].broker.transfer_in(SHARD, reign, third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_hands_all_over_and_waits_for_nobody_who_leaves_too() {
    let world = World::new(3).await;
    let old = world.leader().await;
    know_nodes(&world, &[old]);
    world.nodes[&old].broker.hand_all_over().await;
    assert!(world.nodes[&old].broker.leads_nothing());
    let new = world.leader().await;
    assert_ne!(new, old);
    know_nodes(&world, &[1, 2, 3].map(NodeId));
    eventually("the broker knows the view", || {
        world.view.borrow().nodes.len() == 3
    })
    .await;
    world.nodes[&new].broker.hand_all_over().await;
    assert!(
        !world.nodes[&new].broker.leads_nothing(),
        "there is nobody to take over"
    );
}
