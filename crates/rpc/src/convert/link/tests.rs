//! What nodes say to each other arrives as it was said.

use fanfare_core::link::{NoRead, StandRequest};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::convert::read;
use crate::convert::strategies as any_of;
use crate::topics::{TopicCommand, TopicInfo};

fn over_the_wire<T: prost::Message + Default>(message: &T) -> T {
    T::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn attached() -> impl Strategy<Value = Attached> {
    let live = option::of(any_of::run()).prop_map(|run| run.map_or(Live::No, Live::Yes));
    let heads = (any_of::position(), any_of::position());
    (
        any::<[u64; 2]>(),
        heads,
        any::<bool>(),
        any_of::policy(),
        live,
    )
        .prop_map(|(n, (head, start), exists, policy, live)| Attached {
            id: AttachId(n[0]),
            term: Term(n[1]),
            head,
            start,
            exists,
            policy,
            live,
        })
}

fn leader_says() -> impl Strategy<Value = LeaderSays> {
    let ended = prop_oneof![
        any_of::redirect().prop_map(Ended::NotLeader),
        Just(Ended::Lagging),
        Just(Ended::StreamEnded),
        Just(Ended::TopicNotFound),
        Just(Ended::Overloaded),
    ];
    prop_oneof![
        attached().prop_map(LeaderSays::Attached),
        (any::<u64>(), any_of::run()).prop_map(|(id, run)| LeaderSays::Run(AttachId(id), run)),
        (any::<u64>(), ended).prop_map(|(id, why)| LeaderSays::Ended(AttachId(id), why)),
        (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(shard, count, sum)| {
            LeaderSays::Digest {
                shard: ShardId(shard),
                count,
                sum,
            }
        }),
    ]
}

fn edge_says() -> impl Strategy<Value = EdgeSays> {
    let attach = (
        any::<u64>(),
        any::<u32>(),
        any_of::topic(),
        option::of(any_of::position()),
    )
        .prop_map(|(id, shard, topic, after)| Attach {
            id: AttachId(id),
            shard: ShardId(shard),
            topic,
            after,
        });
    prop_oneof![
        vec(attach, 0..4).prop_map(EdgeSays::Attach),
        vec(any::<u64>().prop_map(AttachId), 0..4).prop_map(EdgeSays::Detach),
        any::<u64>().prop_map(EdgeSays::Credit),
    ]
}

fn no_read() -> impl Strategy<Value = NoRead> {
    prop_oneof![
        any_of::redirect().prop_map(NoRead::Reroute),
        any_of::refusal().prop_map(NoRead::Refused),
    ]
}

fn topic_command() -> impl Strategy<Value = TopicCommand> {
    let epoch = option::of(any::<u64>().prop_map(fanfare_core::position::Epoch));
    let list = (
        option::of(any_of::pattern()),
        option::of(any_of::topic()),
        any::<u32>(),
    );
    prop_oneof![
        (any_of::topic(), any_of::layer())
            .prop_map(|(name, rules)| TopicCommand::Create { name, rules }),
        (any_of::topic(), epoch).prop_map(|(name, epoch)| TopicCommand::Delete { name, epoch }),
        any_of::topic().prop_map(|name| TopicCommand::Get { name }),
        list.prop_map(|(pattern, after, limit)| TopicCommand::List {
            pattern,
            after,
            limit
        }),
    ]
}

fn topic_info() -> impl Strategy<Value = TopicInfo> {
    let heads = (any_of::position(), any_of::position());
    (
        any_of::topic(),
        any_of::class(),
        any::<[u64; 2]>(),
        heads,
        any_of::layer(),
    )
        .prop_map(|(name, class, n, (start, head), layer)| TopicInfo {
            name,
            class,
            epoch: fanfare_core::position::Epoch(n[0]),
            start,
            head,
            bytes: n[1],
            rules: layer.over(&fanfare_core::rule::Rules::default()),
        })
}

proptest! {
    #[test]
    fn drafts(
        n in any::<[u64; 2]>(), run in any::<u32>(), shard in any::<u32>(),
        timeout_ms in any::<u32>(), draft in any_of::draft(),
    ) {
        let sent = PublishRequest {
            seq: n[0], stream: n[1], run, shard: ShardId(shard), draft, timeout_ms,
        };
        let raw = over_the_wire(&request_to_pb(&sent));
        prop_assert_eq!(request(raw, &mut Metas::default()), Ok(sent));
    }

    #[test]
    fn verdicts(seq in any::<u64>(), verdict in prop_oneof![
        any_of::receipt().prop_map(Verdict::Placed),
        any_of::refusal().prop_map(Verdict::Refused),
        any_of::redirect().prop_map(Verdict::Reroute),
    ]) {
        let sent = PublishAnswer { seq, verdict };
        let raw: pb::Verdict = over_the_wire(&sent.clone().into());
        prop_assert_eq!(raw.try_into(), Ok(sent));
    }

    #[test]
    fn words_of_edges(sent in edge_says()) {
        let raw: pb::EdgeWord = over_the_wire(&sent.clone().into());
        prop_assert_eq!(raw.try_into(), Ok(sent));
    }

    #[test]
    fn words_of_leaders(sent in leader_says()) {
        let raw: pb::LeaderWord = over_the_wire(&sent.clone().into());
        prop_assert_eq!(raw.try_into(), Ok(sent));
    }

    #[test]
    fn wishes_for_standings(
        topic in any_of::topic(), since in any_of::since(), poll in any::<bool>(),
        min_position in option::of(any_of::position()),
    ) {
        let sent = StandRequest { topic, since, poll, min_position };
        let raw: pb::StandRequest = over_the_wire(&sent.clone().into());
        prop_assert_eq!(raw.try_into(), Ok(sent));
    }

    #[test]
    fn standings(sent in proptest::result::maybe_ok(any_of::standing(), no_read())) {
        let raw: pb::StandResult = over_the_wire(&sent.clone().into());
        prop_assert_eq!(read::standing(raw), Ok(sent));
    }

    #[test]
    fn pages(sent in proptest::result::maybe_ok(any_of::page(), no_read())) {
        let raw: pb::PageAnswer = over_the_wire(&sent.clone().into());
        prop_assert_eq!(read::page(raw), Ok(sent));
    }

    #[test]
    fn commands_to_topics(shard in any::<u32>(), sent in topic_command()) {
        let raw = over_the_wire(&read::topics_to_pb(ShardId(shard), sent.clone()));
        prop_assert_eq!(read::topics(raw), Ok((ShardId(shard), sent)));
    }

    #[test]
    fn topics(sent in proptest::result::maybe_ok(vec(topic_info(), 0..3), no_read())) {
        let raw: pb::TopicsAnswer = over_the_wire(&sent.clone().into());
        prop_assert_eq!(read::topics_answer(raw), Ok(sent));
    }
}

#[test]
fn messages_with_equal_descriptions_share_them() {
    let meta = std::sync::Arc::new(fanfare_core::message::Meta::default());
    let message = |offset| fanfare_core::message::Message {
        position: Position::new(7, offset),
        wall_ms: 1,
        content: fanfare_core::message::Content {
            payload: bytes::Bytes::from_static(b"x"),
            meta: meta.clone(),
        },
    };
    let raw = vec![
        content::message_to_pb(&message(1)),
        content::message_to_pb(&message(2)),
    ];
    let read = content::messages(raw).unwrap();
    let shared = std::sync::Arc::ptr_eq(&read[0].content.meta, &read[1].content.meta);
    assert!(shared);
}
