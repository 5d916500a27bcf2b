//! What is stored alone: entries, blocks, the view and its commands.

use std::sync::Arc;

use fanfare_core::dedup::{KeyHash, KeyRow, Narrower, Window};
use fanfare_core::history::Record;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::position::{Epoch, Offset};
use fanfare_core::rule::CreatePolicy;
use fanfare_core::shard::{
    At, Batch, Block, Command, End, Entry, Header, Secret, Tombstone, TopicRow,
};
use fanfare_core::view::{
    self, Addresses, Bootstrap, NewNode, Node, NodeState, Placement, Repaired, Replica, ShardRow,
    StoreState, View,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{class, draft, layer, message, pattern, table, topic, trimmed_by};

fn secret() -> impl Strategy<Value = Secret> {
    any::<[u8; 32]>().prop_map(Secret)
}

/// One that this binary knows.
fn level() -> impl Strategy<Value = u32> {
    0..=fanfare_core::level::KNOWN
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    let epoch = || any::<u64>().prop_map(Epoch);
    let command = prop_oneof![
        (any::<u64>(), secret(), level()).prop_map(|(epoch_counter, secret, level)| {
            Command::Begin {
                epoch_counter,
                secret,
                level,
            }
        }),
        (any::<u64>(), vec(draft(), 0..4))
            .prop_map(|(wall_ms, drafts)| Command::Place(Batch { wall_ms, drafts })),
        (topic(), layer()).prop_map(|(topic, own)| Command::Create { topic, own }),
        (topic(), option::of(epoch())).prop_map(|(topic, epoch)| Command::Delete { topic, epoch }),
        table().prop_map(Command::SetRules),
        level().prop_map(Command::SetLevel),
        (topic(), epoch(), any::<u64>()).prop_map(|(topic, epoch, through)| Command::Trim {
            topic,
            epoch,
            through: Offset(through)
        }),
        any::<u32>().prop_map(Command::ReserveEpochs),
        Just(Command::Tick),
        Just(Command::Repair),
    ];
    (any::<u64>(), command).prop_map(|(running_ms, command)| Entry {
        running_ms,
        command,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (message(), any::<u64>()).prop_map(|(message, time)| Record::new(Arc::new(message), time))
}

fn window() -> impl Strategy<Value = Window> {
    let narrower =
        (any::<u64>(), any::<u64>()).prop_map(|(ms, until_ms)| Narrower { ms, until_ms });
    (any::<u64>(), option::of(narrower)).prop_map(|(ms, narrower)| Window { ms, narrower })
}

fn topic_row() -> impl Strategy<Value = TopicRow> {
    let stream = (
        any::<u64>(),
        any::<u64>(),
        option::of(any::<u64>()),
        any::<u64>(),
    );
    let chains = (any::<u128>(), any::<u128>(), option::of(trimmed_by()));
    let kept = (any::<u64>(), vec(record(), 0..3), window());
    (topic(), class(), layer(), stream, chains, kept).prop_map(
        |(name, class, own, stream, chains, (retained, records, window))| TopicRow {
            name,
            class,
            own,
            epoch: Epoch(stream.0),
            next: Offset(stream.1),
            start_chain: chains.0,
            head_chain: chains.1,
            trimmed_by: chains.2,
            continues: stream.2.map(Epoch),
            due_ms: stream.3,
            window,
            retained,
            records,
        },
    )
}

fn header() -> impl Strategy<Value = Header> {
    let numbers = any::<[u64; 7]>();
    let rest = (any::<bool>(), level(), any::<u128>());
    (numbers, rest, secret(), table(), option::of(topic())).prop_map(
        |(n, (begun, level, chain), secret, rules, sweep)| Header {
            applied: At {
                term: Term(n[0]),
                index: n[1],
            },
            begun,
            running_ms: n[2],
            counter: Epoch(n[3]),
            hour_counter: Epoch(n[4]),
            level,
            secret,
            rules,
            chain,
            forgotten: Epoch(n[5]),
            repaired: Epoch(n[6]),
            sweep,
        },
    )
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    let key = (any::<[u64; 2]>(), any::<[u64; 3]>()).prop_map(|(hash, rest)| KeyRow {
        hash: KeyHash(hash),
        offset: Offset(rest[0]),
        content: rest[1],
        time_ms: rest[2],
    });
    let tombstone =
        (topic(), any::<u64>(), any::<u64>()).prop_map(|(topic, counter, time_ms)| Tombstone {
            topic,
            counter: Epoch(counter),
            time_ms,
        });
    let end = (any::<[u64; 4]>(), any::<u128>()).prop_map(|(n, checksum)| End {
        topics: n[0],
        messages: n[1],
        keys: n[2],
        tombstones: n[3],
        checksum,
    });
    prop_oneof![
        header().prop_map(|header| Block::Header(Box::new(header))),
        vec(topic_row(), 0..3).prop_map(Block::Topics),
        vec(record(), 0..3).prop_map(Block::History),
        (any::<u64>(), vec(key, 0..4))
            .prop_map(|(window_ms, rows)| Block::Keys { window_ms, rows }),
        vec(tombstone, 0..3).prop_map(Block::Tombstones),
        end.prop_map(Block::End),
    ]
}

pub(crate) fn addresses() -> impl Strategy<Value = Addresses> {
    [
        "[a-z]{0,4}:[0-9]{1,4}",
        "[a-z]{0,4}",
        "[a-z]{0,4}",
        "[a-z]{0,4}",
    ]
    .prop_map(|[peer, edge, grpc, ops]| Addresses {
        peer,
        edge,
        grpc,
        ops,
    })
}

fn replica() -> impl Strategy<Value = Replica> {
    (any::<u64>(), any::<u64>()).prop_map(|(id, node)| Replica {
        id: ReplicaId(id),
        node: NodeId(node),
    })
}

pub(crate) fn store() -> impl Strategy<Value = StoreState> {
    select(vec![
        StoreState::ReadWrite,
        StoreState::DataLoss,
        StoreState::Gone,
    ])
}

pub(crate) fn node_state() -> impl Strategy<Value = NodeState> {
    select(vec![
        NodeState::Active,
        NodeState::Draining,
        NodeState::Gone,
    ])
}

fn node() -> impl Strategy<Value = Node> {
    let states = (store(), node_state());
    (
        any::<[u64; 3]>(),
        "[a-z]{1,8}",
        any::<u32>(),
        any::<u128>(),
        states,
        addresses(),
    )
        .prop_map(|(n, name, level, disk, (store, state), addresses)| Node {
            id: NodeId(n[0]),
            name,
            generation: Generation(n[1]),
            level,
            disk: DiskId(disk),
            store,
            state,
            addresses,
            history_budget: n[2],
        })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let row = (
        any::<u32>(),
        (vec(replica(), 0..3), vec(replica(), 0..2)),
        option::of(any::<u64>()),
        any::<bool>(),
        option::of(any::<(u64, u64)>()),
    )
        .prop_map(
            |(id, (replicas, leaving), preferred, begun, repaired)| ShardRow {
                repaired: repaired.map(|(from, to)| Repaired {
                    from: ReplicaId(from),
                    to: ReplicaId(to),
                }),
                id: ShardId(id),
                replicas,
                leaving,
                preferred: preferred.map(NodeId),
                begun,
            },
        );
    let departing = (any::<u64>(), option::of(any::<u64>()))
        .prop_map(|(node, heir)| (NodeId(node), heir.map(NodeId)));
    let nodes = (vec(node(), 0..3), vec(departing, 0..2));
    let rows = (nodes, vec(replica(), 0..3), vec(row, 0..4));
    (
        any::<[u64; 4]>(),
        any::<u128>(),
        any::<u32>(),
        rows,
        table(),
    )
        .prop_map(
            |(n, cluster, level, ((nodes, departing), meta, shards), rules)| View {
                departing: departing.into_iter().collect(),
                version: n[0],
                cluster: ClusterId(cluster),
                level,
                nodes: nodes.into_iter().map(|node| (node.id, node)).collect(),
                meta,
                shards,
                rules,
                payload_limit: n[1],
                next_node: n[2],
                next_replica: n[3],
            },
        )
}

fn placement() -> impl Strategy<Value = Placement> {
    (
        any::<u32>(),
        vec(any::<u64>().prop_map(NodeId), 0..4),
        option::of(any::<u64>()),
    )
        .prop_map(|(shard, nodes, preferred)| Placement {
            shard: ShardId(shard),
            nodes,
            preferred: preferred.map(NodeId),
        })
}

fn bootstrap() -> impl Strategy<Value = Bootstrap> {
    let node = (
        any::<u64>(),
        "[a-z]{1,8}",
        any::<u128>(),
        any::<u32>(),
        addresses(),
    )
        .prop_map(|(id, name, disk, level, addresses)| NewNode {
            id: NodeId(id),
            name,
            disk: DiskId(disk),
            level,
            addresses,
        });
    let rows = (
        vec(node, 0..3),
        vec(replica(), 0..3),
        vec(placement(), 0..3),
    );
    (any::<u128>(), any::<u32>(), any::<u64>(), rows).prop_map(
        |(cluster, level, payload_limit, (nodes, meta, shards))| Bootstrap {
            cluster: ClusterId(cluster),
            level,
            payload_limit,
            nodes,
            meta,
            shards,
        },
    )
}

pub(crate) fn view_command() -> impl Strategy<Value = view::Command> {
    use view::Command as C;
    let node = || any::<u64>().prop_map(NodeId);
    let generation = || any::<u64>().prop_map(Generation);
    let disk = || any::<u128>().prop_map(DiskId);
    prop_oneof![
        bootstrap().prop_map(C::Bootstrap),
        ("[a-z]{1,8}", disk(), any::<u32>(), addresses()).prop_map(
            |(name, disk, level, addresses)| C::AddNode {
                name,
                disk,
                level,
                addresses
            }
        ),
        (node(), generation(), disk(), any::<u32>(), addresses()).prop_map(
            |(node, generation, disk, level, addresses)| C::NodeStarted {
                node,
                generation,
                disk,
                level,
                addresses
            }
        ),
        (node(), generation()).prop_map(|(node, generation)| C::Draining { node, generation }),
        node().prop_map(|node| C::RemoveNode { node }),
        node().prop_map(|node| C::RecordDataLoss { node }),
        (node(), option::of(node())).prop_map(|(node, heir)| C::Depart { node, heir }),
        node().prop_map(|node| C::Stay { node }),
        any::<(u64, u32, u64, u64)>().prop_map(|(base, shard, node, from)| C::RepairShard {
            base,
            shard: ShardId(shard),
            node: NodeId(node),
            from: ReplicaId(from),
        }),
        (any::<u32>(), vec(any::<u64>().prop_map(ReplicaId), 0..3)).prop_map(
            |(shard, replicas)| {
                C::Left {
                    shard: ShardId(shard),
                    replicas,
                }
            }
        ),
        (any::<u64>(), vec(placement(), 0..3)).prop_map(|(base, rows)| C::Place { base, rows }),
        any::<u32>().prop_map(|shard| C::ShardBegun {
            shard: ShardId(shard)
        }),
        (pattern(), layer()).prop_map(|(pattern, rules)| C::PutRule { pattern, rules }),
        pattern().prop_map(|pattern| C::DeleteRule { pattern }),
        (
            select(vec![CreatePolicy::OnUse, CreatePolicy::Explicit]),
            any::<u64>()
        )
            .prop_map(|(create, max_topics)| C::SetCreatePolicy { create, max_topics }),
        any::<u32>().prop_map(|level| C::SetLevel { level }),
        (node(), generation(), any::<u64>()).prop_map(|(node, generation, history)| C::SetBudget {
            node,
            generation,
            history,
        }),
        (node(), vec(any::<u64>().prop_map(ReplicaId), 0..3))
            .prop_map(|(node, replicas)| C::ReplicasLost { node, replicas }),
    ]
}
