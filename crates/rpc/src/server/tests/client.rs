//! The same doors, as this crate's own client sees them.

use fanfare_core::code::Outcome;
use fanfare_core::rule::RuleLayer;
use fanfare_host::TcpConnector;

use super::*;
use crate::client::{ClientSettings, PublicClient};
use crate::heard::{CallError, Heard, HeardAnswer, HeardItem, HeardReason};
use crate::public::Start;
use crate::testing::nowhere;

fn client(address: &str) -> PublicClient {
    let settings = ClientSettings::default();
    PublicClient::connect(
        address,
        Arc::new(TcpConnector),
        TaskTracker::new(),
        settings,
    )
    .unwrap()
}

fn draft(to: &str) -> Draft {
    Draft {
        topic: topic(to),
        content: message(1).content.clone(),
        key: Some(fanfare_core::message::Key::new(Bytes::from_static(b"k")).unwrap()),
        key_age_ms: 0,
        ack: fanfare_core::message::Ack::Committed,
        expect: None,
    }
}

fn wish(to: &str) -> SubscribeRequest {
    let start = Start {
        topic: topic(to),
        since: None,
        min_position: None,
    };
    SubscribeRequest {
        topics: vec![start],
        ..SubscribeRequest::default()
    }
}

#[tokio::test]
async fn a_draft_is_acked_or_refused_with_all_that_was_said() {
    let public = public().await;
    let client = client(&public._served.address.to_string())
        .authorized("Bearer x")
        .unwrap();
    let within = Duration::from_secs(2);
    let receipt = client.publish(draft("news"), within).await.unwrap();
    assert_eq!(receipt, place(&draft("news")).unwrap());
    let refused = client.publish(draft("full"), within).await.unwrap_err();
    assert_eq!(
        refused,
        CallError::Refused(place(&draft("full")).unwrap_err())
    );
    let callers = public.script.callers.lock().unwrap();
    assert_eq!(callers[0].authorization.as_deref(), Some("Bearer x"));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let client = client(&nowhere().await);
    let failed = client
        .publish(draft("news"), Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(matches!(failed, CallError::NotSent(_)), "{failed}");
}

#[tokio::test]
async fn a_stream_answers_many_drafts_and_then_ends_in_order() {
    let public = public().await;
    let client = client(&public._served.address.to_string());
    let (drafts, rx) = mpsc::channel(8);
    let mut answers = client.publish_stream(rx).await.unwrap();
    let within = Duration::from_secs(5);
    for (seq, to) in [(3, "news"), (4, "full"), (9, "news")] {
        drafts
            .send(StreamDraft {
                seq,
                draft: draft(to),
                within,
            })
            .await
            .unwrap();
    }
    drop(drafts);
    let mut got = Vec::new();
    while let Some((seq, result)) = answers.next().await.unwrap() {
        let outcome = result
            .map(|receipt| receipt.position)
            .map_err(|error| match error {
                CallError::Refused(refusal) => refusal.outcome,
                CallError::Other(_) | CallError::NotSent(_) | CallError::NoAnswer(_) => {
                    Outcome::Unknown
                }
            });
        got.push((seq, outcome));
    }
    let placed = Ok(Some(Position::new(7, 44)));
    got.sort_by_key(|row| row.0);
    assert_eq!(
        got,
        [(3, placed), (4, Err(Outcome::NotPlaced)), (9, placed)]
    );
}

#[tokio::test]
async fn a_stream_that_breaks_is_told_from_one_that_ends() {
    let public = public().await;
    let client = client(&public._served.address.to_string());
    let (drafts, rx) = mpsc::channel(8);
    let mut answers = client.publish_stream(rx).await.unwrap();
    let crash = StreamDraft {
        seq: 1,
        draft: draft("crash"),
        within: Duration::from_secs(5),
    };
    drafts.send(crash).await.unwrap();
    assert!(matches!(answers.next().await, Err(CallError::NoAnswer(_))));
}

#[tokio::test]
async fn a_session_is_heard_event_by_event() {
    let public = public().await;
    let client = client(&public._served.address.to_string());
    let mut events = client
        .subscribe(wish("news"), Some(String::new()))
        .await
        .unwrap();
    let mut heard = Vec::new();
    while let Ok(Some(event)) = events.next().await {
        heard.push(event);
    }
    assert!(matches!(&heard[0], Heard::Subscribed(s)
        if s.answer == Some(HeardAnswer::Gap) && s.cursor.as_deref() == Some("C2")));
    assert!(matches!(&heard[1], Heard::Items { items, cursor: None }
        if matches!(&items[0], HeardItem::Gap(told)
            if told.reason == HeardReason::Known(gap().reason) && told.to == gap().to)));
    let Heard::Items { items, cursor } = &heard[3] else {
        panic!("no items")
    };
    assert_eq!(
        items[0],
        HeardItem::Message(topic("news"), (*message(10)).clone())
    );
    assert_eq!((items.len(), cursor.as_deref()), (3, Some("C12")));
    assert_eq!(heard[4], Heard::Heartbeat);
    assert!(matches!(&heard[5], Heard::Disconnect(end)
        if end.known() == Some(Code::Draining) && end.retry_after_ms == Some(400)));
    let refused = client.subscribe(wish("vault"), None).await.unwrap_err();
    assert!(matches!(refused, CallError::Refused(r) if r.code == Code::Forbidden));
}

#[tokio::test]
async fn an_administrator_reads_what_the_doors_say() {
    let public = public().await;
    let client = client(&public._served.address.to_string());
    let news = topic("news");
    assert_eq!(client.topic(&news).await.unwrap(), info(&news));
    let rules = RuleLayer {
        retain_count: Some(5),
        ..RuleLayer::default()
    };
    assert_eq!(
        client
            .create(&news, rules.clone())
            .await
            .unwrap()
            .rules
            .retain_count,
        5
    );
    let (page, token) = client.list(None, 2, String::new()).await.unwrap();
    let (rest, end) = client.list(None, 2, token.unwrap()).await.unwrap();
    assert_eq!((page.len(), rest.len(), end), (2, 1, None));
    let pattern: TopicPattern = "chat.>".parse().unwrap();
    client.put_rule(&pattern, rules.clone()).await.unwrap();
    assert_eq!(client.rules().await.unwrap(), [(pattern, rules)]);
    let overview = client.overview().await.unwrap();
    assert_eq!(overview.nodes[0].name, "n1");
    assert_eq!(overview.shards[0].replicas[1].behind, Some(3));
    let mut watch = client.watch_overview().await.unwrap();
    assert_eq!(watch.next().await.unwrap(), Some(overview));
    assert_eq!(
        client.sample(&[news]).await.unwrap()[0].head,
        Position::new(7, 12)
    );
}

#[tokio::test]
async fn a_repair_is_asked_for_and_its_findings_heard() {
    let public = public().await;
    let client = client(&public._served.address.to_string());
    let wish = RepairWish {
        shard: None,
        accept_data_loss: true,
        lost: vec!["n2".to_owned()],
    };
    let told = client.repair(wish).await.unwrap();
    let (node, replica) = (NodeId(1), ReplicaId(4));
    assert_eq!(told.findings.verdict, Verdict::Ready { node, replica });
    assert_eq!(told.findings.silent, [NodeId(2)]);
    assert_eq!(told.findings.copies[0].1.last.unwrap().index, 80);
    assert!(told.done);
}
