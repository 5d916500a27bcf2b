//! Publishing.

use fanfare_core::code::Outcome;
use pb::publisher_client::PublisherClient;

use super::*;

fn draft(name: &str) -> pb::Draft {
    pb::Draft {
        topic: name.to_owned(),
        payload: Bytes::from_static(b"hi"),
        content_type: "text/plain".to_owned(),
        ..Default::default()
    }
}

async fn publish(public: &Public, draft: pb::Draft) -> Result<pb::Receipt, tonic::Status> {
    let mut client = PublisherClient::new(public.channel.clone());
    let answer = client
        .publish(pb::PublishRequest { draft: Some(draft) })
        .await?;
    Ok(answer.into_inner().receipt.unwrap())
}

#[tokio::test]
async fn a_draft_is_placed_and_its_receipt_says_so() {
    let public = public().await;
    let keyed = pb::Draft {
        key: Bytes::from_static(b"b8"),
        ..draft("news")
    };
    let receipt = publish(&public, keyed).await.unwrap();
    assert_eq!(
        receipt.position,
        Some(pb::Position {
            epoch: 7,
            offset: 44
        })
    );
    assert_eq!(receipt.class(), pb::Class::Durable);
    assert_eq!(receipt.reached(), pb::Reached::Durable);
    assert_eq!(
        receipt.dedup,
        Some(pb::Dedup {
            remaining_ms: 120_000
        })
    );
    assert_eq!(publish(&public, draft("news")).await.unwrap().dedup, None);
}

#[tokio::test]
async fn the_door_hears_who_calls_and_how_long_it_may_take() {
    let public = public().await;
    let mut client = PublisherClient::new(public.channel.clone());
    let mut call = tonic::Request::new(pb::PublishRequest {
        draft: Some(draft("news")),
    });
    call.metadata_mut()
        .insert("authorization", "Bearer eyJ".parse().unwrap());
    call.set_timeout(Duration::from_secs(2));
    client.publish(call).await.unwrap();
    let callers = public.script.callers.lock().unwrap();
    assert_eq!(callers[0].authorization.as_deref(), Some("Bearer eyJ"));
    assert_eq!(callers[0].request_id, "r-7");
    assert!(!format!("{:?}", callers[0]).contains("eyJ"));
    assert_eq!(
        *public.script.withins.lock().unwrap(),
        [Duration::from_secs(2)]
    );
}

#[tokio::test]
async fn a_refusal_says_its_code_outcome_advice_and_when_to_come_back() {
    let public = public().await;
    let status = publish(&public, draft("full")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let refusal = Refusal::of_publish(Code::StorageFull, "the disk is full");
    assert_eq!(
        told(&status),
        refusal.topic(topic("full")).retry_after(1_500)
    );
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "STORAGE_FULL");
    assert_eq!(
        details.error_info().unwrap().metadata["advice"],
        "retry_later"
    );
}

#[tokio::test]
async fn bad_drafts_are_refused_by_their_field() {
    let public = public().await;
    let bad = |change: fn(&mut pb::Draft)| {
        let mut draft = draft("news");
        change(&mut draft);
        draft
    };
    let tag = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let invalid = Code::InvalidArgument;
    let mut tagged = draft("news");
    tagged.tags = tag("UPPER", "x");
    let cases = [
        (
            bad(|d| d.topic = "a..b".to_owned()),
            Code::InvalidTopic,
            "draft.topic",
        ),
        (bad(|d| d.topic.clear()), Code::InvalidTopic, "draft.topic"),
        (
            bad(|d| d.payload = Bytes::from(vec![0; 1_001])),
            Code::PayloadTooLarge,
            "draft.payload",
        ),
        (
            bad(|d| d.content_type = "text".to_owned()),
            invalid,
            "draft.content_type",
        ),
        (bad(|d| d.event = "open".to_owned()), invalid, "draft.event"),
        (tagged, invalid, "draft.tags"),
        (
            bad(|d| d.key = Bytes::from(vec![0; 129])),
            invalid,
            "draft.key",
        ),
        (bad(|d| d.key_age_ms = 1), invalid, "draft.key_age_ms"),
        (bad(|d| d.ack = 9), invalid, "draft.ack"),
        (
            bad(|d| {
                d.expect = Some(pb::Position {
                    epoch: 0,
                    offset: 1,
                })
            }),
            invalid,
            "draft.expect",
        ),
    ];
    for (draft, code, field) in cases {
        let status = publish(&public, draft).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{field}");
        let refusal = told(&status);
        assert_eq!(
            (refusal.code, refusal.outcome),
            (code, Outcome::NotPlaced),
            "{field}"
        );
        assert_eq!(refusal.field.as_deref(), Some(field));
        let violations = status.get_error_details().bad_request().unwrap().clone();
        assert_eq!(violations.field_violations[0].field, field);
    }
    let mut client = PublisherClient::new(public.channel.clone());
    let empty = client
        .publish(pb::PublishRequest { draft: None })
        .await
        .unwrap_err();
    assert_eq!(told(&empty).field.as_deref(), Some("draft"));
}

#[tokio::test]
async fn the_expectation_of_an_empty_topic_passes() {
    let public = public().await;
    let first = pb::Draft {
        expect: Some(pb::Position::default()),
        ..draft("news")
    };
    publish(&public, first).await.unwrap();
    let limit = pb::Draft {
        payload: Bytes::from(vec![0; 1_000]),
        ..draft("news")
    };
    publish(&public, limit).await.unwrap();
}

fn sent(id: u64, draft: pb::Draft) -> pb::PublishStreamRequest {
    pb::PublishStreamRequest {
        id,
        draft: Some(draft),
        timeout_ms: 0,
    }
}

async fn open(
    public: &Public,
    drafts: mpsc::Receiver<pb::PublishStreamRequest>,
) -> Result<tonic::Streaming<pb::PublishStreamResponse>, tonic::Status> {
    let mut client = PublisherClient::new(public.channel.clone());
    let answer = client.publish_stream(ReceiverStream::new(drafts)).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn a_stream_answers_in_order_and_after_the_half_close() {
    let public = public().await;
    let (drafts, rx) = mpsc::channel(4);
    let mut answers = open(&public, rx).await.unwrap();
    let sending = async {
        for id in 0..3_000 {
            drafts.send(sent(id, draft("news"))).await.unwrap();
        }
        drop(drafts);
    };
    let receiving = async {
        for id in 0..3_000 {
            let answer = answers.message().await.unwrap().unwrap();
            assert_eq!(answer.id, id);
            assert!(matches!(
                answer.result,
                Some(pb::publish_stream_response::Result::Receipt(_))
            ));
        }
        assert_eq!(answers.message().await.unwrap(), None);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_bad_draft_spoils_itself_alone_and_is_answered_in_its_turn() {
    let public = public().await;
    let (drafts, rx) = mpsc::channel(8);
    let mut answers = open(&public, rx).await.unwrap();
    let bad = |name: &str| pb::Draft {
        event: "open".to_owned(),
        ..draft(name)
    };
    drafts.send(sent(1, draft("slow"))).await.unwrap();
    drafts.send(sent(2, bad("slow"))).await.unwrap();
    drafts.send(sent(3, bad("other"))).await.unwrap();
    // Of another topic, it does not wait.
    assert_eq!(answers.message().await.unwrap().unwrap().id, 3);
    public.script.go.notify_one();
    let first = answers.message().await.unwrap().unwrap();
    assert_eq!(first.id, 1);
    let second = answers.message().await.unwrap().unwrap();
    assert_eq!(second.id, 2);
    let Some(pb::publish_stream_response::Result::Error(error)) = second.result else {
        panic!("a bad draft was placed");
    };
    let refusal = refusal_of(&error.get_error_details(), &error.message).unwrap();
    assert_eq!(refusal.field.as_deref(), Some("draft.event"));
    assert_eq!(refusal.outcome, Outcome::NotPlaced);
    let late = pb::PublishStreamRequest {
        timeout_ms: 30_001,
        ..sent(4, draft("news"))
    };
    drafts.send(late).await.unwrap();
    assert!(matches!(
        answers.message().await.unwrap().unwrap().result,
        Some(pb::publish_stream_response::Result::Error(_))
    ));
}

#[tokio::test]
async fn reading_stops_while_too_much_is_unanswered() {
    let public = public().await;
    let (drafts, rx) = mpsc::channel(16);
    let mut answers = open(&public, rx).await.unwrap();
    let sending = async {
        for id in 0..2 * STREAM_DRAFTS as u64 {
            drafts.send(sent(id, draft("hoard"))).await.unwrap();
        }
        drop(drafts);
    };
    let receiving = async {
        for id in 0..2 * STREAM_DRAFTS as u64 {
            assert_eq!(answers.message().await.unwrap().unwrap().id, id);
        }
        assert_eq!(answers.message().await.unwrap(), None);
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn a_stream_that_the_edge_ends_leaves_the_rest_unknown() {
    let public = public().await;
    let (drafts, rx) = mpsc::channel(8);
    let mut answers = open(&public, rx).await.unwrap();
    drafts.send(sent(1, draft("crash"))).await.unwrap();
    let status = answers.message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert_eq!(
        refusal_of(&status.get_error_details(), status.message()),
        None
    );
}

#[tokio::test]
async fn a_stream_with_bad_credentials_is_refused_as_a_whole() {
    let public = public().await;
    let (_drafts, rx) = mpsc::channel(8);
    let mut call = tonic::Request::new(ReceiverStream::new(rx));
    call.metadata_mut()
        .insert("authorization", "Bearer bad".parse().unwrap());
    let mut client = PublisherClient::new(public.channel.clone());
    let status = client.publish_stream(call).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert_eq!(told(&status).code, Code::Unauthenticated);
}
