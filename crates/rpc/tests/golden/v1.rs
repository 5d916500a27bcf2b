//! Version 1, as the release tagged `formats-1` wrote it: entries and snapshots of shards, commands
//! and views of the metadata.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::message::{Ack, Content, Draft, Key, Meta, Tags};
use fanfare_core::name::TopicName;
use fanfare_core::placement;
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::rule::{Class, CreatePolicy, Html, RuleLayer, RuleTable, Slow};
use fanfare_core::shard::{At, Batch, Block, Command, Entry, Secret, Shard};
use fanfare_core::view::{self, Addresses, Bootstrap, NewNode, Placement, Replica, View};
use fanfare_host::golden::Values;
use fanfare_rpc::convert::stored;

use crate::values;

const SHARDS: u32 = 16;

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

fn layer() -> RuleLayer {
    RuleLayer {
        class: Some(Class::Durable),
        retain_count: Some(3),
        retain_bytes: Some(100_000),
        retain_age: Some(Duration::from_millis(90_500)),
        slow: Some(Slow::Conflate),
        slow_lag: Some(7),
        dedup_age: Some(Duration::from_secs(30)),
        html: Some(Html::Verbatim),
    }
}

fn table() -> RuleTable {
    let mut table = RuleTable::default();
    table.version = 9;
    table.create = CreatePolicy::OnUse;
    table.max_topics = 5_000;
    assert!(table.put("scores.*".parse().unwrap(), layer()));
    let live = RuleLayer {
        class: Some(Class::Ephemeral),
        ..RuleLayer::default()
    };
    assert!(table.put("live.>".parse().unwrap(), live));
    table
}

fn draft(name: &str, payload: &'static str, key: Option<&'static str>) -> Draft {
    Draft {
        topic: topic(name),
        content: Content {
            payload: Bytes::from_static(payload.as_bytes()),
            meta: Arc::new(Meta::default()),
        },
        key: key.map(|key| Key::new(Bytes::from_static(key.as_bytes())).unwrap()),
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

/// A draft with all that one can have.
fn rich() -> Draft {
    let tags = [("home", "2"), ("away", "1")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Draft {
        content: Content {
            payload: Bytes::from_static(b"{\"home\": 2}"),
            meta: Arc::new(Meta {
                content_type: "application/json".parse().unwrap(),
                event: Some("score".parse().unwrap()),
                tags: Tags::new(tags).unwrap(),
            }),
        },
        key_age_ms: 12,
        ack: Ack::None,
        expect: Some(Position::NONE),
        ..draft("scores.7", "", Some("goal-2"))
    }
}

/// A log with every command, in an order in which each does something.
fn log() -> Vec<(&'static str, Entry)> {
    let place = |drafts| {
        Command::Place(Batch {
            wall_ms: 1_767_300_000_000,
            drafts,
        })
    };
    let commands = [
        (
            "begin",
            Command::Begin {
                epoch_counter: 1_000_000,
                secret: Secret([7; 32]),
                level: 1,
            },
        ),
        ("set_rules", Command::SetRules(table())),
        ("place_rich", place(vec![rich()])),
        (
            "place",
            place(vec![
                draft("news", "first", None),
                draft("scores.7", "a", Some("k")),
                draft("scores.7", "a", Some("k")),
                draft("scores.7", "b", None),
                draft("scores.7", "c", None),
                draft("live.x", "no", None),
            ]),
        ),
        (
            "create",
            Command::Create {
                topic: topic("made"),
                own: layer(),
            },
        ),
        ("delete", delete("made", None)),
        ("delete_other", delete("news", Some(Epoch(3)))),
        ("reserve_epochs", Command::ReserveEpochs(1_000)),
        (
            "trim",
            Command::Trim {
                topic: topic("scores.7"),
                epoch: Epoch(1_000_001),
                through: Offset(2),
            },
        ),
        ("tick", Command::Tick),
        ("set_level", Command::SetLevel(1)),
        ("repair", Command::Repair),
        ("place_after", place(vec![draft("news", "last", Some("z"))])),
    ];
    let entry = |(n, (name, command)): (u64, (&'static str, Command))| {
        let running_ms = 1_000 * n;
        (
            name,
            Entry {
                running_ms,
                command,
            },
        )
    };
    (0..).zip(commands).map(entry).collect()
}

fn delete(name: &str, epoch: Option<Epoch>) -> Command {
    Command::Delete {
        topic: topic(name),
        epoch,
    }
}

/// The state after the log, and the chain after each entry.
fn replay(entries: impl IntoIterator<Item = Entry>) -> (Shard, Vec<u128>) {
    let mut shard = Shard::new(SHARDS);
    let mut chains = Vec::new();
    for (index, entry) in (1..).zip(entries) {
        let term = Term(2);
        shard.apply(At { term, index }, &entry);
        chains.push(shard.chain());
    }
    (shard, chains)
}

fn named(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.to_vec())
}

#[test]
fn entries_of_a_shards_log() {
    let now: Values = log()
        .iter()
        .map(|(name, entry)| named(name, &stored::encode_entry(entry)))
        .collect();
    let old = values("v1", "shard_entries.txt", &now);
    assert_eq!(old.len(), log().len());
    for (name, entry) in log() {
        let bytes = Bytes::from(old[name].clone());
        assert_eq!(stored::decode_entry(&bytes).unwrap(), entry, "{name}");
        assert_eq!(stored::encode_entry(&entry), bytes, "{name}");
    }
}

#[test]
fn the_same_log_gives_the_same_chains() {
    let (_, chains) = replay(log().into_iter().map(|(_, entry)| entry));
    let now: Values = log()
        .iter()
        .zip(&chains)
        .map(|((name, _), chain)| named(name, &chain.to_be_bytes()))
        .collect();
    assert_eq!(values("v1", "shard_chains.txt", &now), now);
}

#[test]
fn a_snapshot_of_a_shard() {
    let (shard, _) = replay(log().into_iter().map(|(_, entry)| entry));
    let blocks: Vec<Block> = shard.freeze().blocks().collect();
    let now: Values = (0..)
        .zip(&blocks)
        .map(|(n, block): (u32, _)| named(&format!("block_{n:02}"), &stored::encode_block(block)))
        .collect();
    let old = values("v1", "shard_snapshot.txt", &now);
    let read: Vec<Block> = old
        .into_values()
        .map(|bytes| stored::decode_block(&Bytes::from(bytes)).unwrap())
        .collect();
    assert_eq!(read, blocks, "the state of the same log");
    let restored = Shard::restore(SHARDS, read).unwrap();
    assert_eq!(restored.chain(), shard.chain());
}

fn addresses(n: u64) -> Addresses {
    Addresses {
        peer: format!("10.0.0.{n}:7070"),
        edge: format!("10.0.0.{n}:8080"),
        grpc: format!("10.0.0.{n}:9090"),
        ops: "127.0.0.1:9100".to_owned(),
    }
}

/// Commands of a cluster's metadata, in an order in which each does something.
fn commands() -> Vec<(&'static str, view::Command)> {
    use view::Command as C;
    let ids: BTreeSet<NodeId> = (1..=3).map(NodeId).collect();
    let node = |id: &NodeId| NewNode {
        id: *id,
        name: format!("n{id}"),
        disk: DiskId(u128::from(id.0) << 100),
        level: 1,
        addresses: addresses(id.0),
    };
    let meta = |id: &NodeId| Replica {
        id: ReplicaId(id.0),
        node: *id,
    };
    let bootstrap = Bootstrap {
        cluster: ClusterId(0xC0FFEE << 64),
        level: 1,
        payload_limit: 65_536,
        nodes: ids.iter().map(node).collect(),
        meta: ids.iter().map(meta).collect(),
        shards: placement::first(&ids, 4),
    };
    let generation = Generation(5);
    vec![
        ("bootstrap", C::Bootstrap(bootstrap)),
        (
            "add_node",
            C::AddNode {
                name: "n4".to_owned(),
                disk: DiskId(4),
                level: 1,
                addresses: addresses(4),
            },
        ),
        (
            "node_started",
            C::NodeStarted {
                node: NodeId(2),
                generation,
                disk: DiskId(2 << 100),
                level: 1,
                addresses: addresses(22),
            },
        ),
        ("shard_begun", C::ShardBegun { shard: ShardId(1) }),
        (
            "place",
            C::Place {
                base: 4,
                rows: vec![Placement {
                    shard: ShardId(1),
                    nodes: vec![NodeId(1), NodeId(2), NodeId(4)],
                    preferred: Some(NodeId(4)),
                }],
            },
        ),
        (
            "draining",
            C::Draining {
                node: NodeId(2),
                generation,
            },
        ),
        (
            "put_rule",
            C::PutRule {
                pattern: "scores.*".parse().unwrap(),
                rules: layer(),
            },
        ),
        (
            "put_other_rule",
            C::PutRule {
                pattern: ">".parse().unwrap(),
                rules: RuleLayer::default(),
            },
        ),
        (
            "delete_rule",
            C::DeleteRule {
                pattern: ">".parse().unwrap(),
            },
        ),
        (
            "set_create_policy",
            C::SetCreatePolicy {
                create: CreatePolicy::Explicit,
                max_topics: 77,
            },
        ),
        ("record_data_loss", C::RecordDataLoss { node: NodeId(3) }),
        ("remove_node", C::RemoveNode { node: NodeId(3) }),
        ("set_level", C::SetLevel { level: 1 }),
    ]
}

#[test]
fn commands_of_the_metadata() {
    let now: Values = commands()
        .iter()
        .map(|(name, command)| named(name, &stored::encode_view_command(command)))
        .collect();
    let old = values("v1", "view_commands.txt", &now);
    assert_eq!(old.len(), commands().len());
    for (name, command) in commands() {
        let bytes = Bytes::from(old[name].clone());
        let read = stored::decode_view_command(&bytes).unwrap();
        assert_eq!(read, command, "{name}");
    }
}

#[test]
fn the_view_after_the_same_commands() {
    let mut view = View::empty();
    let mut now = Values::new();
    let mut views = Vec::new();
    for (n, (name, command)) in (0_u32..).zip(commands()) {
        view.apply(&command);
        now.extend([named(
            &format!("{n:02}_{name}"),
            &stored::encode_view(&view),
        )]);
        views.push(view.clone());
    }
    let old = values("v1", "view.txt", &now);
    for ((name, bytes), view) in old.into_iter().zip(views) {
        let read = stored::decode_view(&Bytes::from(bytes)).unwrap();
        assert_eq!(read, view, "{name}");
    }
}
