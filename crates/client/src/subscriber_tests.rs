//! A subscriber against a fake edge and a fake socket, over a fast clock.

use fanfare_core::position::Position;
use fanfare_host::{Listener as _, TcpDoor};
use fanfare_protocol::json::Reason;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message as WsMessage;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::*;
use crate::testing::{FakeEdge, answer, cut_after, machine, nowhere, silent_after};

fn news() -> TopicName {
    "news".parse().unwrap()
}

fn options(transports: &[Transport]) -> SubscribeOptions {
    SubscribeOptions {
        transports: transports.to_vec(),
        ..SubscribeOptions::new(vec![news()])
    }
}

fn message(topic: &str, offset: u64) -> String {
    format!(
        r#"{{"type":"message","topic":"{topic}","position":"7-{offset}","time":"2026-03-01T10:15:30.123Z","content_type":"text/plain","data":"m{offset}""#
    )
}

fn sse(id: &str, offset: u64) -> String {
    format!("id: {id}\ndata: {}}}\n\n", message("news", offset))
}

const SUBSCRIBED: &str = "retry: 2000\n\nid: C41\nevent: $subscribed\ndata: {\"type\":\"subscribed\",\"topic\":\"news\",\"answer\":\"latest\",\"head\":\"7-41\"}\n\n";
const DRAINING: &str = "event: $disconnect\ndata: {\"type\":\"disconnect\",\"code\":\"draining\",\"advice\":\"reroute\",\"retry_after_ms\":800}\n\n";

/// Positions of the next messages and gaps.
async fn items(subscriber: &mut Subscriber, count: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    while positions.len() < count {
        match subscriber.next().await.unwrap() {
            Event::Message(received) => positions.push(received.message.position),
            Event::Gap(gap) => positions.push(gap.to),
            Event::Attached(_) | Event::TopicEnded(_) | Event::Resuming { .. } => {}
        }
    }
    positions
}

fn at(offset: u64) -> Position {
    Position::new(7, offset)
}

#[tokio::test]
async fn a_cut_event_stream_is_resumed_after_the_last_item_processed() {
    let edge = FakeEdge::start(|number| match number {
        0 => cut_after(&[SUBSCRIBED, &sse("C42", 42)]),
        _ => silent_after(&[SUBSCRIBED, &sse("C42", 42), &sse("C43", 43)]),
    })
    .await;
    let endpoints = FakeEdge::endpoints(&[&edge]);
    let mut subscriber = Subscriber::new(machine(), endpoints, options(&[Transport::Sse]));
    assert_eq!(
        items(&mut subscriber, 2).await,
        [at(42), at(43)],
        "7-42 once"
    );
    let asked = edge.asked();
    assert_eq!(asked[0].uri, "/v1/sse?topic=news&from=latest&heartbeat=15");
    assert!(asked[1].uri.ends_with("&cursor=C42"), "{}", asked[1].uri);
    assert_eq!(
        subscriber.cursor(),
        Some("C42"),
        "7-43 is not processed yet"
    );
    subscriber.processed();
    assert_eq!(subscriber.cursor(), Some("C43"));
}

#[tokio::test]
async fn half_a_write_is_resumed_from_the_old_cursor_and_what_was_done_is_dropped() {
    let line = |topic, offset, cursor: &str| format!("{}{cursor}}}\n", message(topic, offset));
    let subscribed = |topic, cursor| {
        format!(
            r#"{{"type":"subscribed","topic":"{topic}","answer":"latest","head":"7-0","cursor":"{cursor}"}}"#
        ) + "\n"
    };
    let edge = FakeEdge::start(move |number| {
        let begin = subscribed("news", "N0") + &subscribed("chat", "B0");
        let write = line("news", 1, "") + &line("chat", 1, "") + &line("news", 2, "");
        match number {
            0 => cut_after(&[&begin, &write]),
            _ => silent_after(&[&begin, &write, &line("chat", 2, r#","cursor":"B4""#)]),
        }
    })
    .await;
    let mut options = options(&[Transport::Tail]);
    options.topics.push("chat".parse().unwrap());
    let endpoints = FakeEdge::endpoints(&[&edge]);
    let mut subscriber = Subscriber::new(machine(), endpoints, options);
    assert_eq!(
        items(&mut subscriber, 4).await,
        [at(1), at(1), at(2), at(2)]
    );
    assert!(edge.asked()[1].uri.ends_with("&cursor=B0"));
    subscriber.processed();
    assert_eq!(
        subscriber.progress().to_string(),
        "B4\n7-2 chat\n7-2 news\n"
    );
}

#[tokio::test]
async fn each_poll_begins_where_the_last_one_ended_and_a_gap_is_handed_on() {
    let body = |items: &str, more: bool, cursor: &str| {
        format!(
            r#"{{"topics":{{"news":{{"class":"durable","answer":"recovered","from":"7-40","head":"7-43"}}}},"items":[{items}],"more":{more},"cursor":"{cursor}"}}"#
        )
    };
    let first = body(&(message("news", 41) + "}"), true, "C41");
    let gap =
        r#"{"type":"gap","topic":"news","reason":"eclipse","from":"7-41","to":"7-90","missed":49}"#;
    let second = body(gap, false, "C90");
    let third = body(&(message("news", 91) + "}"), false, "C91");
    let edge = FakeEdge::start(move |number| match number {
        0 => answer(200, &first),
        1 => answer(503, r#"{"code":"not_ready","advice":"reroute"}"#),
        2 => answer(200, &second),
        _ => answer(200, &third),
    })
    .await;
    let options = SubscribeOptions {
        progress: "C40\n7-40 news\n".parse().unwrap(),
        ..options(&[Transport::LongPoll, Transport::Poll])
    };
    let endpoints = FakeEdge::endpoints(&[&edge]);
    let mut subscriber = Subscriber::new(machine(), endpoints, options);
    let mut reasons = Vec::new();
    let mut positions = Vec::new();
    while positions.len() < 2 {
        match subscriber.next().await.unwrap() {
            Event::Message(received) => positions.push(received.message.position),
            Event::Gap(gap) => reasons.push(gap.reason),
            Event::Attached(_) | Event::TopicEnded(_) | Event::Resuming { .. } => {}
        }
    }
    assert_eq!(positions, [at(41), at(91)]);
    assert_eq!(reasons, [Reason::Other("eclipse".to_owned())]);
    let uris: Vec<String> = edge.asked().into_iter().map(|asked| asked.uri).collect();
    assert!(
        uris[0].contains("wait=25") && uris[0].ends_with("cursor=C40"),
        "{uris:?}"
    );
    assert!(uris[1].ends_with("cursor=C41"), "more: at once");
    assert!(
        !uris[2].contains("wait") && uris[2].ends_with("cursor=C41"),
        "{uris:?}"
    );
    assert!(uris[3].ends_with("cursor=C90"));
}

#[tokio::test]
async fn a_node_that_leaves_is_left_at_once_for_the_next_address() {
    let leaving = FakeEdge::start(|_| silent_after(&[SUBSCRIBED, DRAINING])).await;
    let staying = FakeEdge::start(|_| silent_after(&[&sse("C42", 42)])).await;
    let endpoints = FakeEdge::endpoints(&[&leaving, &staying]);
    let mut subscriber = Subscriber::new(machine(), endpoints, options(&[Transport::Sse]));
    let mut waits = Vec::new();
    loop {
        match subscriber.next().await.unwrap() {
            Event::Resuming { after, .. } => waits.push(after),
            Event::Message(_) => break,
            Event::Attached(_) | Event::Gap(_) | Event::TopicEnded(_) => {}
        }
    }
    assert_eq!(waits, [Duration::ZERO]);
    assert!(staying.asked()[0].uri.ends_with("&cursor=C41"));
}

#[tokio::test]
async fn a_silent_session_is_given_up_after_two_heartbeats_and_five_seconds() {
    let edge = FakeEdge::start(|number| match number {
        0 => silent_after(&[SUBSCRIBED]),
        _ => silent_after(&[&sse("C42", 42)]),
    })
    .await;
    let machine = machine();
    let clock = machine.clock.clone();
    let endpoints = FakeEdge::endpoints(&[&edge]);
    let mut subscriber = Subscriber::new(machine, endpoints, options(&[Transport::Sse]));
    assert!(matches!(subscriber.next().await, Ok(Event::Attached(_))));
    let heard = clock.now();
    let Ok(Event::Resuming { why, .. }) = subscriber.next().await else {
        panic!("still there")
    };
    let waited = clock.now() - heard;
    assert!(waited >= Duration::from_secs(34), "{waited:?}");
    assert_eq!(why.to_string(), "nothing was heard for 35 s");
    assert_eq!(items(&mut subscriber, 1).await, [at(42)]);
}

#[tokio::test]
async fn a_refusal_that_repeating_cannot_help_is_told() {
    let edge = FakeEdge::start(|_| {
        answer(
            403,
            r#"{"code":"forbidden","advice":"give_up","detail":"no grant"}"#,
        )
    })
    .await;
    let endpoints = FakeEdge::endpoints(&[&edge]);
    let mut subscriber = Subscriber::new(machine(), endpoints, options(&[Transport::Tail]));
    let Err(Stopped::Told(told)) = subscriber.next().await else {
        panic!("not told")
    };
    assert_eq!(told.to_string(), "forbidden: no grant");
    assert_eq!(edge.asked().len(), 1);
}

#[tokio::test]
async fn a_first_contact_that_never_comes_is_told_in_time() {
    let options = SubscribeOptions {
        first_contact: Some(Duration::from_secs(5)),
        ..options(&[Transport::Ws, Transport::Sse])
    };
    let url = format!("http://{}", nowhere().await);
    let endpoints = Endpoints::read(&[url], &[]).unwrap();
    let mut subscriber = Subscriber::new(machine(), endpoints, options);
    let stopped = loop {
        match subscriber.next().await {
            Ok(Event::Resuming { .. }) => {}
            Ok(other) => panic!("{other:?}"),
            Err(stopped) => break stopped,
        }
    };
    assert!(matches!(stopped, Stopped::Unreachable(_)), "{stopped}");
}

/// A WebSocket edge: each connection gets what `script` says after its hello and subscribes.
async fn socket_edge(
    scripts: Vec<Vec<WsMessage>>,
) -> (
    Endpoints,
    tokio::sync::mpsc::Receiver<String>,
    AbortOnDropHandle<()>,
) {
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", door.local_addr().unwrap());
    let (heard, rx) = tokio::sync::mpsc::channel(16);
    let serving = TaskTracker::new().spawn(async move {
        let mut kept = Vec::new();
        for script in scripts {
            let (stream, _) = door.accept().await.unwrap();
            #[expect(
                clippy::result_large_err,
                reason = "the callback's type is tungstenite's"
            )]
            let answer = |request: &http::Request<()>, mut response: http::Response<()>| {
                let wanted = request.headers()["sec-websocket-protocol"].clone();
                response
                    .headers_mut()
                    .insert("sec-websocket-protocol", wanted);
                Ok(response)
            };
            let mut socket = tokio_tungstenite::accept_hdr_async(stream, answer)
                .await
                .unwrap();
            for _ in 0..2 {
                let frame = socket.next().await.unwrap().unwrap();
                heard
                    .send(frame.into_text().unwrap().to_string())
                    .await
                    .unwrap();
            }
            for frame in script {
                socket.send(frame).await.unwrap();
            }
            kept.push(socket);
        }
        std::future::pending::<()>().await;
    });
    let endpoints = Endpoints::read(&[url], &[]).unwrap();
    (endpoints, rx, AbortOnDropHandle::new(serving))
}

#[tokio::test]
async fn a_socket_says_hello_subscribes_and_goes_on_from_its_cursor() {
    let text = |json: &str| WsMessage::text(json.to_owned());
    let welcome = text(
        r#"{"type":"welcome","id":1,"session":"s","node":"n1","heartbeat_ms":15000,"limits":{}}"#,
    );
    let subscribed = text(
        r#"{"type":"subscribed","id":2,"topic":"news","class":"durable","answer":"latest","head":"7-41","cursor":"C41"}"#,
    );
    let items = |offset, cursor| {
        let item = message("news", offset);
        text(&format!(
            r#"{{"type":"items","items":[{item}}}],"cursor":"{cursor}"}}"#
        ))
    };
    let close = WsMessage::Close(Some(tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 1012.into(),
        reason: "draining".into(),
    }));
    let first = vec![welcome.clone(), subscribed.clone(), items(42, "C42"), close];
    let second = vec![
        welcome,
        subscribed,
        WsMessage::Ping("x".into()),
        items(43, "C43"),
    ];
    let (endpoints, mut heard, _serving) = socket_edge(vec![first, second]).await;
    let mut subscriber = Subscriber::new(machine(), endpoints, options(&[Transport::Ws]));
    assert_eq!(
        super::tests::items(&mut subscriber, 2).await,
        [at(42), at(43)]
    );
    let mut frames = Vec::new();
    while let Ok(frame) = heard.try_recv() {
        frames.push(frame);
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        frames[0],
        format!(
            r#"{{"type":"hello","id":1,"heartbeat_ms":15000,"cursors":true,"client":"fanfare-client/{version}"}}"#
        )
    );
    assert_eq!(
        frames[1],
        r#"{"type":"subscribe","id":2,"topic":"news","from":"latest"}"#
    );
    assert!(frames[2].contains(r#""cursor":"C42""#), "{}", frames[2]);
}

#[tokio::test]
async fn a_cut_while_topics_are_asked_for_again_forgets_none_of_them() {
    let text = |json: &str| WsMessage::text(json.to_owned());
    let subscribed = |topic: &str, cursor: &str| {
        text(&format!(
            r#"{{"type":"subscribed","id":2,"topic":"{topic}","class":"durable","answer":"latest","head":"7-41","cursor":"{cursor}"}}"#
        ))
    };
    let close = || WsMessage::Close(None);
    let both = vec![subscribed("news", "C1"), subscribed("chat", "C2"), close()];
    let one = vec![subscribed("news", "C3"), close()];
    let (endpoints, mut heard, _serving) = socket_edge(vec![both, one, Vec::new()]).await;
    let topics = vec!["news".parse().unwrap(), "chat".parse().unwrap()];
    let options = SubscribeOptions {
        topics,
        ..options(&[Transport::Ws])
    };
    let mut subscriber = Subscriber::new(machine(), endpoints, options);
    let reading = async {
        loop {
            subscriber.next().await.unwrap();
        }
    };
    // Of each connection two frames: its hello, and a subscribe.
    let hellos = async {
        let mut hellos = Vec::new();
        while hellos.len() < 3 {
            let frame = heard.recv().await.unwrap();
            if frame.contains("hello") {
                hellos.push(frame);
            }
        }
        hellos
    };
    let hellos = tokio::select! { biased;
        hellos = hellos => hellos,
        () = reading => unreachable!("it reads for ever"),
    };
    assert!(hellos[1].contains(r#""cursor":"C2""#), "{}", hellos[1]);
    assert!(hellos[2].contains(r#""cursor":"C2""#), "{}", hellos[2]);
}

#[tokio::test]
async fn a_topic_that_a_node_ends_is_told_and_is_not_asked_for_again() {
    let text = |json: &str| WsMessage::text(json.to_owned());
    let ended = text(
        r#"{"type":"unsubscribed","topic":"news","code":"topic_not_found","advice":"give_up","detail":"deleted"}"#,
    );
    let (endpoints, _heard, _serving) = socket_edge(vec![vec![ended]]).await;
    let mut subscriber = Subscriber::new(machine(), endpoints, options(&[Transport::Ws]));
    let Ok(Event::TopicEnded(end)) = subscriber.next().await else {
        panic!("not told")
    };
    assert_eq!((end.topic, end.detail.as_str()), (news(), "deleted"));
    assert_eq!(subscriber.next().await, Err(Stopped::NoTopics));
}
