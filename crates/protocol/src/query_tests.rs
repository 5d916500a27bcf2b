//! Stories of query strings: every parameter, every limit, and who is named for it.

use fanfare_core::code::Outcome;
use proptest::prelude::*;

use super::*;

const C42: &str = "AQHOpqnAjq0BJAcqENr2Tw";

fn read(route: ReadRoute, query: &str) -> Result<ReadQuery, Refusal> {
    ReadQuery::read(route, query, None, &Limits::default())
}

fn poll(query: &str) -> ReadQuery {
    read(ReadRoute::Poll, query).unwrap()
}

#[test]
fn a_poll_says_all_it_may() {
    let query = poll(&format!(
        "topic=news&cursor={C42}&from=latest&min_position=7-45&format=html&limit=1000&wait=50&follow=3600"
    ));
    assert_eq!(query.topics[0].as_str(), "news");
    assert_eq!(
        query.cursor.as_ref().map(ToString::to_string).as_deref(),
        Some(C42)
    );
    assert_eq!(query.from, Some(Since::Latest));
    assert_eq!(query.min_position, Some(Position::new(7, 45)));
    assert_eq!((query.format, query.limit), (BodyFormat::Html, 1_000));
    assert_eq!(query.wait, Duration::from_secs(50));
    assert_eq!(query.follow, Some(Duration::from_secs(3_600)));
}

#[test]
fn what_is_not_said_has_its_default() {
    let query = poll("topic=news&cursor=&");
    assert_eq!(
        (query.cursor.as_ref(), query.from, query.limit),
        (None, None, 100)
    );
    assert_eq!((query.wait, query.follow), (Duration::ZERO, None));
    assert_eq!(query.heartbeat, Duration::from_secs(15));
    assert_eq!((query.format, query.cursors), (BodyFormat::Json, false));
    assert_eq!(query.since(ReadRoute::Poll), Since::Last(20));
    assert_eq!(
        poll("topic=news&wait=1").since(ReadRoute::Poll),
        Since::Latest
    );
    assert_eq!(query.since(ReadRoute::Sse), Since::Latest);
    assert!(read(ReadRoute::Ws, "").unwrap().topics.is_empty());
}

#[test]
fn topics_are_percent_encoded() {
    let names = |query: &str| {
        let query = read(ReadRoute::Sse, query)?;
        Ok::<_, Refusal>(
            query
                .topics
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        names("topic=a%2Bb&topic=%24sys.x&topic=a/b:c").unwrap(),
        ["a+b", "$sys.x", "a/b:c"]
    );
    for bad in [
        "topic=a+b",
        "topic=",
        "topic",
        "topic=%C3%A9",
        "topic=a..b",
        "topic=a*",
    ] {
        let refusal = names(bad).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidTopic, Some("topic")),
            "{bad}"
        );
    }
    for bad in ["topic=a%", "topic=a%2", "topic=a%zz", "topic=%ff"] {
        let refusal = names(bad).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidArgument, Some("topic")),
            "{bad}"
        );
    }
}

#[test]
fn the_hundred_and_first_topic_is_beyond_the_limit() {
    let topics = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("topic=t{n}")).collect();
        read(ReadRoute::Tail, &names.join("&"))
    };
    assert_eq!(topics(100).unwrap().topics.len(), 100);
    let refusal = topics(101).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::LimitExceeded, Some("topic"))
    );
}

#[test]
fn every_wrong_parameter_is_named() {
    use ReadRoute::{Poll, Sse, Tail, Ws};
    let stories = [
        (Poll, "", "topic"),
        (Sse, "cursor=", "topic"),
        (Poll, "topic=a&topic=a", "topic"),
        (Poll, "topic=a&limit=0", "limit"),
        (Poll, "topic=a&limit=1001", "limit"),
        (Poll, "topic=a&limit=1&limit=1", "limit"),
        (Poll, "topic=a&limit=-1", "limit"),
        (Poll, "topic=a&limit=01", "limit"),
        (Poll, "topic=a&limit=%2B1", "limit"),
        (Poll, "topic=a&limit=", "limit"),
        (Poll, "topic=a&limit=99999999999999999999", "limit"),
        (Poll, "topic=a&wait=51", "wait"),
        (Poll, "topic=a&wait=1.5", "wait"),
        (Poll, "topic=a&format=html&follow=0", "follow"),
        (Poll, "topic=a&format=html&follow=3601", "follow"),
        (Poll, "topic=a&follow=5", "follow"),
        (Poll, "topic=a&format=xml", "format"),
        (Poll, "topic=a&heartbeat=15", "heartbeat"),
        (Poll, "topic=a&token=x", "token"),
        (Poll, "topic=a&colour=red", "colour"),
        (Poll, "topic=a&Limit=1", "Limit"),
        (Poll, "topic=a&=1", ""),
        (Poll, "topic=a&%zz=1", "%zz"),
        (Poll, "topic=a&cursor=&cursor=", "cursor"),
        (Poll, "topic=a&from=last:0", "from"),
        (Poll, "topic=a&from=last:1001", "from"),
        (Poll, "topic=a&from=last:", "from"),
        (Poll, "topic=a&from=", "from"),
        (Poll, "topic=a&from=now", "from"),
        (Poll, "topic=a&from=0-0", "from"),
        (Poll, "topic=a&from=07-1", "from"),
        (Poll, "topic=a&topic=b&from=7-42", "from"),
        (Poll, "topic=a&topic=b&min_position=7-42", "min_position"),
        (Poll, "topic=a&min_position=0-0", "min_position"),
        (Poll, "topic=a&min_position=x", "min_position"),
        (Ws, "from=7-42", "from"),
        (Ws, "from=earliest", "from"),
        (Ws, "min_position=7-42", "min_position"),
        (Ws, "topic=a&cursors=1", "cursors"),
        (Ws, "topic=a&format=json", "format"),
        (Ws, "token=", "token"),
        (Sse, "topic=a&heartbeat=4", "heartbeat"),
        (Sse, "topic=a&heartbeat=56", "heartbeat"),
        (Sse, "topic=a&cursors=true", "cursors"),
        (Sse, "topic=a&limit=1", "limit"),
        (Tail, "topic=a&format=json", "format"),
        (Tail, "topic=a&token=x", "token"),
    ];
    for (route, query, field) in stories {
        let refusal = read(route, query).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidArgument, "{query}");
        assert_eq!(refusal.field.as_deref(), Some(field), "{query}");
        assert_eq!(refusal.outcome, Outcome::None, "{query}");
    }
}

#[test]
fn a_bad_cursor_has_a_code_of_its_own() {
    let refusal = read(ReadRoute::Poll, "topic=news&cursor=AQHOpqnA").unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::BadCursor, Some("cursor"))
    );
    let long = format!("topic=news&cursor={}", "A".repeat(4_097));
    assert_eq!(
        read(ReadRoute::Poll, &long).unwrap_err().code,
        Code::BadCursor
    );
}

#[test]
fn only_a_poll_goes_by_accept_and_format_wins() {
    let format = |route, query: &str| {
        let accept = Some("text/html,*/*;q=0.8");
        ReadQuery::read(route, query, accept, &Limits::default())
            .unwrap()
            .format
    };
    assert_eq!(format(ReadRoute::Poll, "topic=a"), BodyFormat::Html);
    assert_eq!(
        format(ReadRoute::Poll, "topic=a&follow=5"),
        BodyFormat::Html
    );
    assert_eq!(
        format(ReadRoute::Poll, "topic=a&format=json"),
        BodyFormat::Json
    );
    assert_eq!(format(ReadRoute::Sse, "topic=a"), BodyFormat::Json);
    assert_eq!(
        format(ReadRoute::Sse, "topic=a&format=html"),
        BodyFormat::Html
    );
}

#[test]
fn a_stream_may_carry_a_token_that_nobody_sees() {
    let query = read(
        ReadRoute::Ws,
        "topic=a&token=eyJ.x&cursors=true&heartbeat=55",
    )
    .unwrap();
    assert_eq!(query.token.as_ref().unwrap().expose(), "eyJ.x");
    assert!(query.cursors);
    assert!(!format!("{query:?}").contains("eyJ"));
    for bad in ["topic=a&token=eyJ&token=eyJ", "topic=a&token=eyJ%"] {
        let refusal = read(ReadRoute::Sse, bad).unwrap_err();
        assert!(!format!("{refusal:?}").contains("eyJ"), "{bad}");
    }
}

#[test]
fn a_publish_says_all_it_may() {
    let query = PublishQuery::read(
        "topic=news&ack=none&event=score&tag=lang:en&tag=url:http%3A//x&expect=0-0&timeout=30",
    )
    .unwrap();
    assert_eq!((query.topic.as_str(), query.ack), ("news", Ack::None));
    assert_eq!(query.event.unwrap().as_str(), "score");
    let tags: Vec<_> = query.tags.iter().collect();
    assert_eq!(tags, [("lang", "en"), ("url", "http://x")]);
    assert_eq!(query.expect, Some(Position::NONE));
    assert_eq!(query.timeout, Duration::from_secs(30));
    assert_eq!(
        PublishQuery::read("topic=a").unwrap().timeout,
        Duration::from_secs(5)
    );
    assert_eq!(
        PublishQuery::read_batch("timeout=7"),
        Ok(Duration::from_secs(7))
    );
    assert_eq!(PublishQuery::read_batch(""), Ok(PublishQuery::TIMEOUT));
}

#[test]
fn every_wrong_parameter_of_a_publish_is_named() {
    let tags: String = (0..17).map(|n| format!("&tag=k{n}:v")).collect();
    let long = format!("topic=a&tag=a:{}", "v".repeat(257));
    let many = format!("topic=a{tags}");
    let stories = [
        ("", "topic"),
        ("topic=a&topic=b", "topic"),
        ("topic=a&ack=all", "ack"),
        ("topic=a&ack=none&ack=none", "ack"),
        ("topic=a&event=error", "event"),
        ("topic=a&event=a+b", "event"),
        ("topic=a&tag=lang", "tag"),
        ("topic=a&tag=:en", "tag"),
        ("topic=a&tag=Lang:en", "tag"),
        ("topic=a&tag=a:1&tag=a:2", "tag"),
        (many.as_str(), "tag"),
        (long.as_str(), "tag"),
        ("topic=a&expect=7", "expect"),
        ("topic=a&expect=0-1", "expect"),
        ("topic=a&timeout=0", "timeout"),
        ("topic=a&timeout=31", "timeout"),
        ("topic=a&cursor=x", "cursor"),
        ("topic=a&key=x", "key"),
    ];
    for (query, field) in stories {
        let refusal = PublishQuery::read(query).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidArgument, "{query}");
        assert_eq!(refusal.field.as_deref(), Some(field), "{query}");
        assert_eq!(refusal.outcome, Outcome::NotPlaced, "{query}");
    }
    let system = PublishQuery::read("topic=$sys.a").unwrap_err();
    assert_eq!(system.code, Code::InvalidTopic);
    let batch = PublishQuery::read_batch("topic=a").unwrap_err();
    assert_eq!(
        (batch.field.as_deref(), batch.outcome),
        (Some("topic"), Outcome::NotPlaced)
    );
}

#[test]
fn an_answer_does_not_grow_with_a_made_up_name() {
    let refusal = read(ReadRoute::Poll, &"é".repeat(10_000)).unwrap_err();
    assert!(refusal.field.unwrap().len() <= 128);
}

proptest! {
    #[test]
    fn encoded_text_is_decoded(text in "\\PC{0,40}") {
        let mut out = Vec::new();
        put_encoded(&mut out, &text);
        let encoded = String::from_utf8(out).unwrap();
        prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
        prop_assert_eq!(decode(&encoded), Some(text));
    }

    #[test]
    fn no_query_makes_the_reader_panic(query in "((topic|cursor|from|limit|tag|wait)?=?[ -~é%+&]{0,6}&?){0,6}") {
        for route in [ReadRoute::Ws, ReadRoute::Sse, ReadRoute::Tail, ReadRoute::Poll] {
            let _outcome = read(route, &query);
        }
        let _outcome = PublishQuery::read(&query);
    }
}
