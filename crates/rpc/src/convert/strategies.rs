//! Any value of the core types that cross a wire or reach a disk, for round trips.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::{Code, Outcome};
use fanfare_core::dedup::{KeyHash, KeyRow, Narrower, Window};
use fanfare_core::gap::{Answer, Gap, GapReason, Page, Policy, Since, Standing, TrimmedBy};
use fanfare_core::history::Record;
use fanfare_core::id::{ClusterId, DiskId, Generation, NodeId, ReplicaId, ShardId, Term};
use fanfare_core::link::{Redirect, Run};
use fanfare_core::message::{Ack, Content, Draft, Key, Message, Meta, Tags};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::{Epoch, Offset, Position};
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, CreatePolicy, Html, RuleLayer, RuleTable, Slow};
use fanfare_core::shard::{
    At, Batch, Block, Command, End, Entry, Header, Secret, Tombstone, TopicRow,
};
use fanfare_core::view::{
    self, Addresses, Bootstrap, NewNode, Node, NodeState, Placement, Replica, ShardRow, StoreState,
    View,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn topic() -> impl Strategy<Value = TopicName> {
    "[a-z0-9$/]{1,8}(\\.[a-z0-9]{1,8}){0,2}".prop_map(|raw| raw.parse().unwrap())
}

pub(crate) fn pattern() -> impl Strategy<Value = TopicPattern> {
    "([a-z]{1,4}|\\*)(\\.([a-z]{1,4}|\\*)){0,2}(\\.>)?".prop_map(|raw| raw.parse().unwrap())
}

/// Of a stream, so its epoch is not 0.
pub(crate) fn position() -> impl Strategy<Value = Position> {
    (1_u64.., any::<u64>()).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    let content_type = select(vec![
        "text/plain",
        "application/json",
        "application/octet-stream",
    ]);
    let event = option::of("[a-z]{2,4}");
    let tags = btree_map("[a-z0-9_.-]{1,8}", ".{0,16}", 0..4);
    (vec(any::<u8>(), 0..64), content_type, event, tags).prop_map(
        |(payload, content_type, event, tags)| Content {
            payload: payload.into(),
            meta: Arc::new(Meta {
                content_type: content_type.parse().unwrap(),
                event: event.map(|name| name.parse().unwrap()),
                tags: Tags::new(tags).unwrap(),
            }),
        },
    )
}

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    let key = option::of((vec(any::<u8>(), 1..128), any::<u64>()));
    let expect = option::of(prop_oneof![Just(Position::NONE), position()]);
    let ack = select(vec![Ack::Committed, Ack::None]);
    (topic(), content(), key, ack, expect).prop_map(|(topic, content, key, ack, expect)| Draft {
        topic,
        content,
        key_age_ms: key.as_ref().map_or(0, |key| key.1),
        key: key.map(|key| Key::new(Bytes::from(key.0)).unwrap()),
        ack,
        expect,
    })
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    // Up to the year 9999: what a timestamp can say.
    (position(), 0..253_402_300_799_000_u64, content()).prop_map(|(position, wall_ms, content)| {
        Message {
            position,
            wall_ms,
            content,
        }
    })
}

pub(crate) fn run() -> impl Strategy<Value = Run> {
    (position(), vec(message().prop_map(Arc::new), 0..4))
        .prop_map(|(after, messages)| Run { after, messages })
}

pub(crate) fn class() -> impl Strategy<Value = Class> {
    select(vec![Class::Durable, Class::Ephemeral])
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    let reached = select(vec![Reached::None, Reached::Ephemeral, Reached::Durable]);
    let rest = (any::<bool>(), option::of(any::<u64>()));
    (topic(), option::of(position()), class(), reached, rest).prop_map(
        |(topic, position, class, reached, (duplicate, dedup_remaining_ms))| Receipt {
            topic,
            position,
            class,
            reached,
            duplicate,
            dedup_remaining_ms,
        },
    )
}

pub(crate) fn refusal() -> impl Strategy<Value = Refusal> {
    let outcome = select(vec![Outcome::None, Outcome::NotPlaced, Outcome::Unknown]);
    let fields = (
        option::of("[a-z.]{1,8}"),
        option::of(topic()),
        option::of(position()),
    );
    (
        select(Code::ALL.to_vec()),
        outcome,
        ".{0,16}",
        fields,
        option::of(any::<u64>()),
    )
        .prop_map(
            |(code, outcome, detail, (field, topic, head), retry_after_ms)| Refusal {
                code,
                outcome,
                detail,
                field,
                topic,
                head,
                retry_after_ms,
            },
        )
}

pub(crate) fn redirect() -> impl Strategy<Value = Redirect> {
    (
        option::of(any::<u64>().prop_map(NodeId)),
        any::<u64>().prop_map(Term),
    )
        .prop_map(|(leader, term)| Redirect { leader, term })
}

pub(crate) fn slow() -> impl Strategy<Value = Slow> {
    select(vec![Slow::CatchUp, Slow::Conflate])
}

pub(crate) fn html() -> impl Strategy<Value = Html> {
    select(vec![Html::Escape, Html::Verbatim])
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    (class(), slow(), any::<u64>(), html()).prop_map(|(class, slow, slow_lag, html)| Policy {
        class,
        slow,
        slow_lag,
        html,
    })
}

fn trimmed_by() -> impl Strategy<Value = TrimmedBy> {
    select(vec![
        TrimmedBy::Age,
        TrimmedBy::Count,
        TrimmedBy::Bytes,
        TrimmedBy::Budget,
    ])
}

pub(crate) fn gap() -> impl Strategy<Value = Gap> {
    let reason = prop_oneof![
        select(vec![
            GapReason::DataLoss,
            GapReason::EpochChanged,
            GapReason::PositionAhead,
            GapReason::Conflated,
        ]),
        trimmed_by().prop_map(GapReason::Trimmed),
    ];
    (reason, position(), position(), option::of(any::<u64>())).prop_map(
        |(reason, from, to, missed)| Gap {
            reason,
            from,
            to,
            missed,
        },
    )
}

pub(crate) fn since() -> impl Strategy<Value = Since> {
    prop_oneof![
        Just(Since::Latest),
        Just(Since::Earliest),
        (1..=1_000_u32).prop_map(Since::Last),
        position().prop_map(Since::After),
    ]
}

pub(crate) fn standing() -> impl Strategy<Value = Standing> {
    let answer = prop_oneof![
        Just(Answer::Latest),
        position().prop_map(Answer::Recovered),
        gap().prop_map(Answer::Gap),
    ];
    (
        answer,
        position(),
        position(),
        any::<bool>(),
        policy(),
        any::<u64>(),
    )
        .prop_map(|(answer, start, head, exists, policy, term)| Standing {
            answer,
            start,
            head,
            exists,
            policy,
            term: Term(term),
        })
}

pub(crate) fn page() -> impl Strategy<Value = Page> {
    (
        option::of(gap()),
        vec(message().prop_map(Arc::new), 0..3),
        position(),
        position(),
    )
        .prop_map(|(gap, messages, head, start)| Page {
            gap,
            messages,
            head,
            start,
        })
}

fn age() -> impl Strategy<Value = Duration> {
    (0..3_000_000_u64, 0..1_000_000_000_u32).prop_map(|(secs, ns)| Duration::new(secs, ns))
}

pub(crate) fn layer() -> impl Strategy<Value = RuleLayer> {
    let numbers = (
        option::of(any::<u64>()),
        option::of(any::<u64>()),
        option::of(any::<u64>()),
    );
    let ages = (option::of(age()), option::of(age()));
    (
        option::of(class()),
        numbers,
        ages,
        option::of(slow()),
        option::of(html()),
    )
        .prop_map(
            |(
                class,
                (retain_count, retain_bytes, slow_lag),
                (retain_age, dedup_age),
                slow,
                html,
            )| {
                RuleLayer {
                    class,
                    retain_count,
                    retain_bytes,
                    retain_age,
                    slow,
                    slow_lag,
                    dedup_age,
                    html,
                }
            },
        )
}

pub(crate) fn table() -> impl Strategy<Value = RuleTable> {
    let create = select(vec![CreatePolicy::OnUse, CreatePolicy::Explicit]);
    (
        any::<u64>(),
        create,
        any::<u64>(),
        vec((pattern(), layer()), 0..5),
    )
        .prop_map(|(version, create, max_topics, rows)| {
            let mut table = RuleTable::default();
            table.version = version;
            table.create = create;
            table.max_topics = max_topics;
            for (pattern, layer) in rows {
                assert!(table.put(pattern, layer));
            }
            table
        })
}

fn secret() -> impl Strategy<Value = Secret> {
    any::<[u8; 32]>().prop_map(Secret)
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    let epoch = || any::<u64>().prop_map(Epoch);
    let command = prop_oneof![
        (any::<u64>(), secret(), any::<u32>()).prop_map(|(epoch_counter, secret, level)| {
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
        any::<u32>().prop_map(Command::SetLevel),
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
    let rest = (any::<bool>(), any::<u32>(), any::<u128>());
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
        any::<[u64; 2]>(),
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
        })
}

pub(crate) fn view() -> impl Strategy<Value = View> {
    let row = (
        any::<u32>(),
        vec(replica(), 0..3),
        option::of(any::<u64>()),
        any::<bool>(),
    )
        .prop_map(|(id, replicas, preferred, begun)| ShardRow {
            id: ShardId(id),
            replicas,
            preferred: preferred.map(NodeId),
            begun,
        });
    let rows = (vec(node(), 0..3), vec(replica(), 0..3), vec(row, 0..4));
    (
        any::<[u64; 4]>(),
        any::<u128>(),
        any::<u32>(),
        rows,
        table(),
    )
        .prop_map(|(n, cluster, level, (nodes, meta, shards), rules)| View {
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
        })
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
    ]
}
