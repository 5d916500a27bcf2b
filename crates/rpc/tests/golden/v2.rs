//! Version 2: what feature level 2 adds to the metadata.

use std::collections::BTreeSet;

use bytes::Bytes;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId};
use fanfare_core::placement;
use fanfare_core::view::{
    Addresses, Bootstrap, Command, NewNode, Outcome, Placement, Replica, View,
};
use fanfare_host::golden::Values;
use fanfare_rpc::convert::stored;

use crate::values;

/// Commands of a cluster of level 2, in an order in which each does something.
fn commands() -> Vec<(&'static str, Command)> {
    let ids: BTreeSet<NodeId> = (1..=4).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0) << 100),
        level: 2,
        addresses: Addresses {
            peer: format!("10.0.0.{id}:7070"),
            ..Addresses::default()
        },
    };
    let meta = |id: &NodeId| Replica {
        id: ReplicaId(id.0),
        node: *id,
    };
    let shard = ShardId(0);
    let place = Placement {
        shard,
        nodes: vec![NodeId(2), NodeId(3), NodeId(4)],
        preferred: Some(NodeId(3)),
    };
    let bootstrap = Bootstrap {
        cluster: ClusterId(9 << 64),
        level: 2,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, 2),
    };
    let node = NodeId(1);
    vec![
        ("bootstrap", Command::Bootstrap(bootstrap)),
        ("begun", Command::ShardBegun { shard }),
        (
            "set_budget",
            Command::SetBudget {
                node,
                generation: Generation(0),
                history: 1 << 30,
            },
        ),
        ("depart", Command::Depart { node, heir: None }),
        (
            "place",
            Command::Place {
                base: 4,
                rows: vec![place],
            },
        ),
        (
            "replicas_lost",
            Command::ReplicasLost {
                node: NodeId(2),
                replicas: (5..=12).map(ReplicaId).collect(),
            },
        ),
        (
            "left",
            Command::Left {
                shard,
                replicas: (5..=10).map(ReplicaId).collect(),
            },
        ),
        ("stay", Command::Stay { node }),
    ]
}

#[test]
fn commands_of_the_second_level_and_what_they_do() {
    let mut view = View::empty();
    let mut now = Values::new();
    let mut views = Vec::new();
    for (n, (name, command)) in (0_u32..).zip(commands()) {
        let done = view.apply(&command);
        let version = u64::from(n) + 1;
        assert_eq!(done, Outcome::Done { version }, "{name}");
        views.push((command.clone(), view.clone()));
        let of = |what: &str| format!("{n:02}_{name}_{what}");
        now.insert(
            of("command"),
            stored::encode_view_command(&command).to_vec(),
        );
        now.insert(of("view"), stored::encode_view(&view).to_vec());
    }
    let old = values("v2", "view.txt", &now);
    let mut old = old.into_iter();
    for (command, view) in views {
        let (name, bytes) = old.next().unwrap();
        let read = stored::decode_view_command(&Bytes::from(bytes)).unwrap();
        assert_eq!(read, command, "{name}");
        let (name, bytes) = old.next().unwrap();
        let read = stored::decode_view(&Bytes::from(bytes)).unwrap();
        assert_eq!(read, view, "{name}");
    }
    assert_eq!(old.next(), None);
}
