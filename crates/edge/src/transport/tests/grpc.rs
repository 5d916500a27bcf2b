//! The public gRPC services, without gRPC: what `rpc` is given to serve.

use std::time::Duration;

use fanfare_core::gap::{Answer, Since};
use fanfare_core::position::Position;
use fanfare_rpc::items;
use fanfare_rpc::public::{Caller, Event, HistoryRequest, Start, SubscribeRequest};
use tokio::sync::mpsc;

use super::client::soon;
use crate::config::EdgeConfig;
use crate::session::stage::Theatre;

fn start(topic: &str, since: Option<Since>) -> Start {
    Start {
        topic: topic.parse().unwrap(),
        since,
        min_position: None,
    }
}

async fn opened() -> Theatre {
    Theatre::open(EdgeConfig::default()).await
}

async fn subscribe(theatre: &Theatre, topics: Vec<Start>) -> mpsc::Receiver<Event> {
    let request = SubscribeRequest {
        topics,
        ..SubscribeRequest::default()
    };
    let service = theatre.edge.grpc_subscriber();
    soon("an answer", service.subscribe(Caller::default(), request))
        .await
        .unwrap()
}

fn request(topic: &str, after: Option<Position>) -> HistoryRequest {
    let topic = topic.parse().unwrap();
    HistoryRequest {
        topic,
        after,
        limit: 10,
        min_position: None,
        wait: Duration::ZERO,
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_hears_answers_items_and_the_end() {
    let theatre = opened().await;
    let head = theatre.stage.publish("news", "1");
    let mut events = subscribe(&theatre, vec![start("news", None)]).await;
    let Some(Event::Subscribed(answer)) = soon("an answer", events.recv()).await else {
        panic!()
    };
    assert_eq!((answer.answer, answer.head), (Answer::Latest, head));
    let at = theatre.stage.publish("news", "2");
    let Some(Event::Items(heard)) = soon("items", events.recv()).await else {
        panic!()
    };
    assert!(heard.cursor.is_some());
    let payload = b"2";
    assert!(heard.encoded.windows(1).any(|window| window == payload));
    let topic = "news".parse().unwrap();
    let page = theatre
        .edge
        .grpc_history()
        .page(Caller::default(), request("news", Some(head)));
    let page = page.await.unwrap().page;
    let expected = items::encode_messages(&topic, page.messages.iter().map(AsRef::as_ref));
    assert_eq!(heard.encoded, *expected.bytes());
    assert_eq!(page.messages[0].position, at);

    let told = async {
        let Some(Event::Disconnect(end)) = soon("the end", events.recv()).await else {
            panic!()
        };
        assert_eq!(end.code.as_str(), "draining");
        assert_eq!(soon("the channel's end", events.recv()).await, None);
    };
    tokio::join!(theatre.edge.drain(Duration::from_secs(1)), told);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_read_loses_nothing_and_one_that_is_dropped_leaves_nothing() {
    let theatre = opened().await;
    let mut events = subscribe(&theatre, vec![start("news", None)]).await;
    let mut cursors = Vec::new();
    for n in 0..500 {
        theatre.stage.publish("news", &n.to_string());
        theatre.deps.clock.sleep(Duration::from_millis(1)).await;
    }
    let last = theatre.stage.publish("news", "last");
    let topic: fanfare_core::name::TopicName = "news".parse().unwrap();
    let mut at = Position::NONE;
    while at < last {
        match soon("items", events.recv()).await.unwrap() {
            Event::Items(items) => {
                let cursor: fanfare_core::cursor::Cursor = items.cursor.unwrap().parse().unwrap();
                at = cursor.get(&topic).unwrap();
                cursors.push(at);
            }
            Event::Subscribed(_) | Event::Heartbeat => {}
            Event::Disconnect(end) => panic!("{end:?}"),
        }
    }
    assert!(cursors.is_sorted());
    drop(events);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn history_comes_in_pages_and_waits_if_asked() {
    let theatre = opened().await;
    let texts: Vec<String> = (1..=25).map(|n| n.to_string()).collect();
    let head = theatre.stage.publish_all(
        "news",
        &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let history = theatre.edge.grpc_history();
    let (mut after, mut sizes) = (None, Vec::new());
    loop {
        let answer = history
            .page(Caller::default(), request("news", after))
            .await
            .unwrap();
        sizes.push(answer.page.messages.len());
        after = Some(answer.next);
        if !answer.more {
            break;
        }
    }
    assert_eq!((sizes, after), (vec![10, 10, 5], Some(head)));

    let waiting = HistoryRequest {
        wait: Duration::from_secs(30),
        ..request("news", Some(head))
    };
    let waited = history.page(Caller::default(), waiting);
    let published = async {
        theatre.deps.clock.sleep(Duration::from_secs(3)).await;
        theatre.stage.publish("news", "26")
    };
    let (answer, at) = tokio::join!(waited, published);
    assert_eq!(answer.unwrap().next, at);

    theatre.stage.delete("news");
    let gone = history
        .page(Caller::default(), request("news", Some(at)))
        .await
        .unwrap();
    assert_eq!(
        gone.page.gap.map(|gap| (gap.from, gap.to)),
        Some((at, gone.next))
    );
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_refused_before_anything_is_attached() {
    let theatre = opened().await;
    let topics = vec![start("news", None), start("$vault", None)];
    let wish = SubscribeRequest {
        topics,
        ..SubscribeRequest::default()
    };
    let refused = theatre
        .edge
        .grpc_subscriber()
        .subscribe(Caller::default(), wish)
        .await;
    assert_eq!(refused.unwrap_err().code.as_str(), "unauthenticated");
    assert_eq!(theatre.stage.asked().len(), 0);
    theatre.close().await;
}
