//! Stories of polls: the bodies and links of the transcript, tags, and URLs that caches collapse.

use std::sync::Arc;

use fanfare_core::gap::{Answer, Gap, GapReason, Policy, TrimmedBy};
use fanfare_core::id::Term;
use proptest::prelude::*;

use super::*;
use crate::limit::Limits;
use crate::query::ReadRoute;
use crate::testing::{cursor, message, topic};

fn standing(answer: Answer, head: Position) -> Standing {
    Standing {
        answer,
        start: Position::new(7, 1),
        head,
        exists: true,
        policy: Policy::default(),
        term: Term(1),
    }
}

fn news(answer: Answer, head: Position) -> PolledTopic {
    PolledTopic::new(topic("news"), &standing(answer, head))
}

fn body(topics: &[PolledTopic], items: &[Item], cursor: &str) -> String {
    let mut out = Vec::new();
    put_body(&mut out, topics, items, false, cursor);
    String::from_utf8(out).unwrap()
}

fn query(text: &str) -> ReadQuery {
    ReadQuery::read(ReadRoute::Poll, text, None, &Limits::default()).unwrap()
}

#[test]
fn the_bodies_of_the_transcript_are_ours_byte_for_byte() {
    let at = Position::new(7, 42);
    let recovered = news(Answer::Recovered(Position::new(7, 41)), at);
    let sent = message(at, "application/json", b"{\"n\":42}", None, &[]);
    let item = Item::Message(topic("news"), Arc::new(sent));
    let c42 = cursor("news", at).to_string();
    let json = body(std::slice::from_ref(&recovered), &[item], &c42);
    assert_eq!(
        json,
        r#"{"topics":{"news":{"class":"durable","answer":"recovered","from":"7-41","head":"7-42"}},"items":[{"type":"message","topic":"news","position":"7-42","time":"2026-03-01T10:15:30.123Z","content_type":"application/json","data":{"n":42}}],"more":false,"cursor":"AQHOpqnAjq0BJAcqENr2Tw"}"#
    );
    let read = PollBody::read(json.as_bytes()).unwrap();
    assert_eq!(
        (read.topics, read.items.len(), read.more),
        (vec![recovered], 1, false)
    );
    assert_eq!(read.cursor, c42);

    let gap = Gap {
        reason: GapReason::Trimmed(TrimmedBy::Age),
        from: at,
        to: Position::new(7, 100),
        missed: Some(58),
    };
    let json = body(
        &[news(Answer::Gap(gap), gap.to)],
        &[Item::Gap(topic("news"), gap)],
        &cursor("news", gap.to).to_string(),
    );
    assert_eq!(
        json,
        r#"{"topics":{"news":{"class":"durable","answer":"gap","from":"7-42","head":"7-100"}},"items":[{"type":"gap","topic":"news","reason":"trimmed","by":"age","from":"7-42","to":"7-100","missed":58}],"more":false,"cursor":"AQHOpqnAjq0BJAdk_dlU1A"}"#
    );
}

#[test]
fn nothing_new_is_an_empty_list() {
    let latest = news(Answer::Latest, Position::new(7, 42));
    let odd = PolledTopic {
        topic: topic("a\"b"),
        ..latest.clone()
    };
    let json = body(&[latest.clone(), odd.clone()], &[], "C42");
    assert!(json.ends_with(r#"},"items":[],"more":false,"cursor":"C42"}"#));
    let read = PollBody::read(json.as_bytes()).unwrap();
    assert_eq!(read.topics, [latest, odd]);
    assert!(read.items.is_empty());
}

#[test]
fn a_tag_stands_for_format_and_cursor() {
    let tag = etag(BodyFormat::Json, "AQHOpqnAjq0BJAcqENr2Tw");
    assert_eq!(tag, "W/\"j-b413015db9753c8f\"");
    assert_ne!(tag, etag(BodyFormat::Html, "AQHOpqnAjq0BJAcqENr2Tw"));
    assert_ne!(tag, etag(BodyFormat::Json, "AQHOpqnAjq0BJAcr4rF1TA"));
    assert!(etag_matches(&tag, &tag));
    assert!(etag_matches(
        &format!("\"x\", {}", tag.trim_start_matches("W/")),
        &tag
    ));
    for other in ["", "*", "\"x\"", "j-b413015db9753c8f"] {
        assert!(!etag_matches(other, &tag), "{other}");
    }
}

#[test]
fn the_next_url_is_canonical() {
    let next = |text: &str| next_url("", &query(text), Some("C42"));
    assert_eq!(next("topic=news&cursor="), "/v1/poll?topic=news&cursor=C42");
    assert_eq!(
        link(&next("topic=news")),
        "</v1/poll?topic=news&cursor=C42>; rel=\"next\""
    );
    assert_eq!(
        next("follow=5&topic=news&format=html"),
        "/v1/poll?topic=news&format=html&follow=5&cursor=C42"
    );
    assert_eq!(
        next("wait=25&min_position=7-1&limit=100&topic=b%2Bc%26"),
        "/v1/poll?topic=b%2Bc%26&wait=25&cursor=C42"
    );
    assert_eq!(
        next("limit=5&format=html&wait=25&follow=5&topic=b&topic=a&from=latest"),
        "/v1/poll?topic=a&topic=b&format=html&limit=5&wait=25&follow=5&cursor=C42"
    );
    assert_eq!(
        next_url("/push", &query("topic=a"), None),
        "/push/v1/poll?topic=a"
    );
    for begin in [
        "from=7-41",
        "from=earliest",
        "from=last%3A5&min_position=7-1",
    ] {
        assert_eq!(
            next_url("", &query(&format!("topic=a&{begin}")), None),
            format!("/v1/poll?topic=a&{begin}")
        );
    }
}

proptest! {
    #[test]
    fn the_next_url_asks_for_the_same(names in prop::collection::btree_set("[!-)+-=?-~]{1,8}", 1..5), limit in 1..=1_000_usize, wait in 0..=50_u64) {
        let mut asked = query("topic=x");
        asked.topics = names.iter().filter_map(|name| name.parse().ok()).collect();
        prop_assume!(!asked.topics.is_empty());
        asked.topics.sort();
        (asked.limit, asked.wait) = (limit, std::time::Duration::from_secs(wait));
        let url = next_url("", &asked, None);
        prop_assert_eq!(query(url.strip_prefix("/v1/poll?").unwrap()), asked);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _outcome = PollBody::read(&bytes);
    }
}
