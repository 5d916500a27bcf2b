//! What clients say and hear arrives as it was said.

use std::time::Duration;

use fanfare_core::link::Run;
use fanfare_core::rule::RuleLayer;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::convert::strategies as any_of;
use crate::items::{encode_gap, encode_run};
use crate::public::{HistoryRequest, Start, SubscribeRequest};

fn over_the_wire<T: prost::Message + Default>(message: &T) -> T {
    T::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn drafts(sent in any_of::draft()) {
        let raw = over_the_wire(&pb::Draft::from(sent.clone()));
        prop_assert_eq!(draft(raw, 1_000), Ok(sent));
    }

    #[test]
    fn receipts(sent in any_of::receipt()) {
        let raw: pb::Receipt = over_the_wire(&sent.clone().into());
        prop_assert_eq!(raw.try_into(), Ok(sent));
    }

    #[test]
    fn messages(topic in any_of::topic(), sent in any_of::message()) {
        let raw = over_the_wire(&message_to_pb(&topic, &sent));
        prop_assert_eq!(message_of_pb(raw), Ok((topic, sent)));
    }

    #[test]
    fn gaps(topic in any_of::topic(), sent in any_of::gap()) {
        let raw = over_the_wire(&gap_to_pb(&topic, &sent));
        prop_assert_eq!(gap_of_pb(raw), Ok((topic, sent)));
    }

    #[test]
    fn rules(sent in any_of::layer()) {
        let raw: pb::Rules = over_the_wire(&sent.clone().into());
        prop_assert_eq!(RuleLayer::try_from(raw), Ok(sent));
    }

    #[test]
    fn wishes_for_sessions(
        topics in proptest::collection::btree_map(
            any_of::topic(), option::of(any_of::since()), 1..4,
        ),
        heartbeat in option::of(5_000..=55_000_u64), cursors in any::<bool>(),
        at in any_of::position(),
    ) {
        let mut cursor = fanfare_core::cursor::Cursor::default();
        cursor.set(7, at);
        let start = |(topic, since)| Start { topic, since, min_position: None };
        let sent = SubscribeRequest {
            topics: topics.into_iter().map(start).collect(),
            cursor: Some(cursor),
            heartbeat: heartbeat.map(Duration::from_millis),
            cursors,
        };
        let raw: pb::SubscribeRequest = over_the_wire(&sent.clone().into());
        prop_assert_eq!(SubscribeRequest::try_from(raw), Ok(sent));
    }

    #[test]
    fn wishes_for_pages(
        topic in any_of::topic(), after in option::of(any_of::position()),
        limit in 1..=1_000_u32, min_position in option::of(any_of::position()),
        wait in 0..=50_000_u64,
    ) {
        let wait = Duration::from_millis(wait);
        let sent = HistoryRequest { topic, after, limit, min_position, wait };
        let raw: pb::PageRequest = over_the_wire(&sent.clone().into());
        prop_assert_eq!(HistoryRequest::try_from(raw), Ok(sent));
    }

    /// A resume may begin inside a run, and frames are bounded: any cut is whole items.
    #[test]
    fn encoded_runs_are_cut_between_messages(
        topic in any_of::topic(), messages in vec(any_of::message().prop_map(Arc::new), 0..8),
        skip in 0..10_usize, take in 0..10_usize, gap in any_of::gap(),
    ) {
        let after = Position::new(1, 0);
        let encoded = encode_run(&topic, &Run { after, messages: messages.clone() });
        prop_assert_eq!(encoded.len(), messages.len());
        let joined = [encode_gap(&topic, &gap), encoded.cut(skip, take)].concat();
        let items = pb::Items::decode(joined.as_slice()).unwrap().items;
        let gap = pb::item::Item::Gap(gap_to_pb(&topic, &gap));
        let cut = messages.iter().skip(skip).take(take);
        let cut = cut.map(|message| pb::item::Item::Message(message_to_pb(&topic, message)));
        let expected: Vec<_> = std::iter::once(gap)
            .chain(cut)
            .map(|item| pb::Item { item: Some(item) })
            .collect();
        prop_assert_eq!(items, expected);
    }
}
