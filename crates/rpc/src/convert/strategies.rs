//! Any value of the core types that cross a wire or reach a disk, for round trips.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::code::{Code, Outcome};
use fanfare_core::gap::{Answer, Gap, GapReason, Page, Policy, Since, Standing, TrimmedBy};
use fanfare_core::id::{NodeId, Term};
use fanfare_core::link::{Redirect, Run};
use fanfare_core::message::{Ack, Content, Draft, Key, Message, Meta, Tags};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::position::Position;
use fanfare_core::receipt::{Reached, Receipt, Refusal};
use fanfare_core::rule::{Class, CreatePolicy, Html, RuleLayer, RuleTable, Slow};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

mod stored;

pub(crate) use stored::{block, entry, view, view_command};

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
