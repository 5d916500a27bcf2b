//! Sessions and pages.

use fanfare_core::code::Outcome;
use pb::history_client::HistoryClient;
use pb::subscribe_response::Event as Heard;
use pb::subscriber_client::SubscriberClient;

use super::*;

fn start(name: &str) -> pb::Start {
    pb::Start {
        topic: name.to_owned(),
        ..Default::default()
    }
}

async fn subscribe(
    public: &Public,
    request: pb::SubscribeRequest,
) -> Result<tonic::Streaming<pb::SubscribeResponse>, tonic::Status> {
    let mut client = SubscriberClient::new(public.channel.clone());
    Ok(client.subscribe(request).await?.into_inner())
}

fn items(event: Option<Heard>) -> pb::Items {
    match event {
        Some(Heard::Items(items)) => items,
        other => panic!("not items: {other:?}"),
    }
}

fn offsets(items: &pb::Items) -> Vec<u64> {
    let offset = |item: &pb::Item| match &item.item {
        Some(pb::item::Item::Message(message)) => message.position.unwrap().offset,
        other => panic!("not a message: {other:?}"),
    };
    items.items.iter().map(offset).collect()
}

#[tokio::test]
async fn a_session_hears_its_answer_its_items_and_its_end() {
    let public = public().await;
    let request = pb::SubscribeRequest {
        topics: vec![start("news")],
        ..Default::default()
    };
    let mut heard = subscribe(&public, request).await.unwrap();
    let mut next = async || heard.message().await.map(|answer| answer.unwrap().event);
    let Some(Heard::Subscribed(subscribed)) = next().await.unwrap() else {
        panic!("the answer comes first");
    };
    assert_eq!(subscribed.answer(), pb::Answer::Gap);
    assert_eq!(
        subscribed.from,
        Some(pb::Position {
            epoch: 7,
            offset: 2
        })
    );
    assert_eq!(
        subscribed.head,
        Some(pb::Position {
            epoch: 7,
            offset: 12
        })
    );
    assert_eq!(subscribed.cursor, "C2");

    let gap = items(next().await.unwrap());
    let Some(pb::item::Item::Gap(gap)) = &gap.items[0].item else {
        panic!("the gap comes before the messages");
    };
    assert_eq!(
        (gap.reason(), gap.by()),
        (pb::GapReason::Trimmed, pb::TrimmedBy::Age)
    );
    assert_eq!((gap.topic.as_str(), gap.missed), ("news", Some(7)));

    let cut = items(next().await.unwrap());
    assert_eq!((offsets(&cut), cut.cursor.as_str()), (vec![11], ""));
    let whole = items(next().await.unwrap());
    assert_eq!(
        (offsets(&whole), whole.cursor.as_str()),
        (vec![10, 11, 12], "C12")
    );
    let Some(pb::item::Item::Message(message)) = &whole.items[0].item else {
        panic!("not a message");
    };
    assert_eq!(message.payload, Bytes::from_static(b"m10"));
    assert_eq!(message.time.unwrap().seconds, 1);

    assert_eq!(
        next().await.unwrap(),
        Some(Heard::Heartbeat(pb::Heartbeat {}))
    );
    let Some(Heard::Disconnect(end)) = next().await.unwrap() else {
        panic!("no word at the end");
    };
    assert_eq!(
        (end.code.as_str(), end.advice.as_str()),
        ("draining", "reroute")
    );
    assert_eq!(
        (end.retry_after_ms, end.cursor.as_str()),
        (Some(400), "C12")
    );
    let status = next().await.unwrap_err();
    let told = told(&status);
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(
        (told.code, told.outcome, told.retry_after_ms),
        (Code::Draining, Outcome::None, Some(400))
    );
}

#[tokio::test]
async fn bad_wishes_are_refused_by_their_field() {
    let public = public().await;
    let of = |topics: Vec<pb::Start>| pb::SubscribeRequest {
        topics,
        ..Default::default()
    };
    let at = |at| pb::Start {
        at: Some(at),
        ..start("news")
    };
    let min = pb::Start {
        min_position: Some(pb::Position {
            epoch: 7,
            offset: 1,
        }),
        ..start("b")
    };
    let zero = pb::start::At::After(pb::Position {
        epoch: 0,
        offset: 0,
    });
    let cases = [
        (of(Vec::new()), Code::InvalidArgument, "topics"),
        (
            of(vec![start("news"), start("a b")]),
            Code::InvalidTopic,
            "topics[1].topic",
        ),
        (
            of(vec![start("a"), start("a")]),
            Code::InvalidArgument,
            "topics[1].topic",
        ),
        (
            of(vec![at(pb::start::At::Last(0))]),
            Code::InvalidArgument,
            "topics[0].last",
        ),
        (
            of(vec![at(pb::start::At::Last(1_001))]),
            Code::InvalidArgument,
            "topics[0].last",
        ),
        (of(vec![at(zero)]), Code::InvalidArgument, "topics[0].after"),
        (
            of(vec![at(pb::start::At::Latest(false))]),
            Code::InvalidArgument,
            "topics[0].latest",
        ),
        (
            of(vec![start("a"), min]),
            Code::InvalidArgument,
            "topics[1].min_position",
        ),
        (
            pb::SubscribeRequest {
                cursor: "AQHOpqnA".to_owned(),
                ..of(vec![start("news")])
            },
            Code::BadCursor,
            "cursor",
        ),
        (
            pb::SubscribeRequest {
                heartbeat_ms: 4_999,
                ..of(vec![start("news")])
            },
            Code::InvalidArgument,
            "heartbeat_ms",
        ),
    ];
    for (request, code, field) in cases {
        let status = subscribe(&public, request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        let told = told(&status);
        assert_eq!((told.code, told.outcome), (code, Outcome::None), "{field}");
        assert_eq!(told.field.as_deref(), Some(field));
    }
}

#[tokio::test]
async fn a_refused_session_says_which_topic() {
    let public = public().await;
    let request = pb::SubscribeRequest {
        topics: vec![start("vault")],
        ..Default::default()
    };
    let status = subscribe(&public, request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert_eq!(told(&status).topic, Some(topic("vault")));
}

#[tokio::test]
async fn a_page_has_its_gap_first_and_says_where_to_go_on() {
    let public = public().await;
    let mut client = HistoryClient::new(public.channel.clone());
    let request = pb::PageRequest {
        topic: "news".to_owned(),
        ..Default::default()
    };
    let page = client.page(request.clone()).await.unwrap().into_inner();
    assert!(matches!(page.items[0].item, Some(pb::item::Item::Gap(_))));
    assert!(matches!(
        page.items[1].item,
        Some(pb::item::Item::Message(_))
    ));
    assert_eq!(
        page.next,
        Some(pb::Position {
            epoch: 7,
            offset: 10
        })
    );
    assert!(page.more);
    for (bad, field) in [
        (
            pb::PageRequest {
                limit: 1_001,
                ..request.clone()
            },
            "limit",
        ),
        (
            pb::PageRequest {
                wait_ms: 50_001,
                ..request.clone()
            },
            "wait_ms",
        ),
        (
            pb::PageRequest {
                topic: String::new(),
                ..request
            },
            "topic",
        ),
    ] {
        let status = client.page(bad).await.unwrap_err();
        assert_eq!(told(&status).field.as_deref(), Some(field));
    }
}
