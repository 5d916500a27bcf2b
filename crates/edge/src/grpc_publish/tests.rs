//! Publish streams of gRPC: order within topics, independence between them, refusals.

use bytes::Bytes;
use fanfare_core::message::{Ack, Content, Meta};

use super::*;
use crate::Edge;
use crate::config::EdgeConfig;
use crate::testing::{Mood, World};

fn draft(topic: &str, text: &str) -> Draft {
    Draft {
        topic: topic.parse().unwrap(),
        content: Content {
            payload: Bytes::copy_from_slice(text.as_bytes()),
            meta: Arc::new(Meta::default()),
        },
        key: None,
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

async fn opened(edge: &Edge) -> (mpsc::Sender<StreamDraft>, mpsc::Receiver<StreamAnswer>) {
    let (client, drafts) = mpsc::channel(64);
    let stream = edge
        .grpc_publisher()
        .publish_stream(Caller::default(), drafts);
    (client, stream.await.unwrap())
}

async fn say(client: &mpsc::Sender<StreamDraft>, seq: u64, draft: Draft) {
    let within = Duration::from_secs(5);
    client
        .send(StreamDraft { seq, draft, within })
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_answered_in_order_and_the_end_after_all_is_answered() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let (client, mut answers) = opened(&edge).await;
    for seq in 0..40 {
        let topic = if seq % 2 == 0 { "news" } else { "chat" };
        say(&client, seq, draft(topic, &seq.to_string())).await;
    }
    drop(client);
    let mut seen = Vec::new();
    while let Some(answer) = answers.recv().await {
        assert!(answer.result.is_ok());
        seen.push(answer.seq);
    }
    assert_eq!(seen.len(), 40);
    for parity in [0, 1] {
        let of_topic: Vec<u64> = seen
            .iter()
            .copied()
            .filter(|seq| seq % 2 == parity)
            .collect();
        assert!(of_topic.is_sorted());
    }
    let even: Vec<String> = (0..40).step_by(2).map(|seq| seq.to_string()).collect();
    assert_eq!(world.placed("news"), even);
}

#[tokio::test(start_paused = true)]
async fn a_refused_draft_spoils_itself_alone_and_keeps_its_turn() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let (client, mut answers) = opened(&edge).await;
    let mut bad = draft("news", "{oops");
    bad.content.meta = Arc::new(Meta {
        content_type: "application/json".parse().unwrap(),
        ..Meta::default()
    });
    say(&client, 1, draft("news", "a")).await;
    say(&client, 2, bad).await;
    say(&client, 3, draft("news", "b")).await;
    drop(client);
    let mut ends = Vec::new();
    while let Some(StreamAnswer { seq, result }) = answers.recv().await {
        ends.push((seq, result.map_err(|refusal| refusal.code).map(drop)));
    }
    assert_eq!(
        ends,
        [(1, Ok(())), (2, Err(Code::InvalidPayload)), (3, Ok(()))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_single_publish_keeps_the_callers_deadline() {
    let world = World::default();
    let (edge, deps, _view) = world.edge(EdgeConfig::default()).await;
    world.mood(Mood::Swallow);
    let start = deps.clock.now();
    let within = Duration::from_secs(2);
    let call = edge
        .grpc_publisher()
        .publish(Caller::default(), draft("news", "x"), within);
    assert_eq!(call.await.unwrap_err().code, Code::OutcomeUnknown);
    assert_eq!(deps.clock.now() - start, within);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_checked_is_refused() {
    let world = World::default();
    let (edge, ..) = world.edge(EdgeConfig::default()).await;
    let caller = || Caller {
        authorization: Some("Bearer eyJ".to_owned()),
        ..Caller::default()
    };
    let call = edge
        .grpc_publisher()
        .publish(caller(), draft("news", "x"), Duration::from_secs(5));
    let refusal = call.await.unwrap_err();
    assert_eq!(refusal.code, Code::Unauthenticated);
    assert_eq!(refusal.outcome, fanfare_core::code::Outcome::NotPlaced);
    let (_client, drafts) = mpsc::channel(1);
    let stream = edge.grpc_publisher().publish_stream(caller(), drafts);
    assert_eq!(stream.await.unwrap_err().code, Code::Unauthenticated);
}
