//! A publisher over a WebSocket, against a door that answers by a script.

use fanfare_core::code::Code;
use fanfare_host::{Listener as _, TcpDoor};
use fanfare_protocol::spelling::Named;
use serde_json::Value;
use tokio_tungstenite::accept_hdr_async;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::*;
use crate::endpoint::Endpoints;
use crate::outbox::PublishError;
use crate::publisher::{PublishOptions, Publisher, Via};
use crate::testing::{ack_json, draft, machine};

/// What the door does with a draft.
#[derive(Clone, Copy)]
enum Act {
    Ack,
    Refuse,
    /// Cuts the connection.
    Cut,
}

/// An edge that takes a connection for each script, and a draft for each act of it; what it got.
async fn edge(scripts: Vec<Vec<Act>>) -> (Endpoints, mpsc::Receiver<Value>, AbortOnDropHandle<()>) {
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", door.local_addr().unwrap());
    let (got, rx) = mpsc::channel(16);
    let serving = TaskTracker::new().spawn(async move {
        let mut offset = 0;
        let mut kept = Vec::new();
        for script in scripts {
            let (stream, _) = door.accept().await.unwrap();
            #[expect(
                clippy::result_large_err,
                reason = "the callback's type is tungstenite's"
            )]
            let answer = |request: &http::Request<()>, mut response: http::Response<()>| {
                let wanted = request.headers()["sec-websocket-protocol"].clone();
                let headers = response.headers_mut();
                headers.insert("sec-websocket-protocol", wanted);
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, answer).await.unwrap();
            let hello = socket.next().await.unwrap().unwrap();
            assert!(hello.into_text().unwrap().contains(r#""type":"hello""#));
            for act in script {
                let frame = socket.next().await.unwrap().unwrap();
                let draft: Value = serde_json::from_str(&frame.into_text().unwrap()).unwrap();
                got.send(draft.clone()).await.unwrap();
                let id = &draft["id"];
                let text = match act {
                    Act::Ack => {
                        offset += 1;
                        let ack = ack_json("news", offset);
                        ack.replacen('{', &format!(r#"{{"type":"ack","id":{id},"#), 1)
                    }
                    Act::Refuse => format!(
                        r#"{{"type":"error","id":{id},"code":"forbidden","outcome":"not_placed","advice":"give_up"}}"#
                    ),
                    Act::Cut => break,
                };
                socket.send(Message::text(text)).await.unwrap();
            }
            // The last connection stays open until the test is over.
            kept.clear();
            kept.push(socket);
        }
        std::future::pending::<()>().await;
    });
    let endpoints = Endpoints::read(&[url], &[]).unwrap();
    (endpoints, rx, AbortOnDropHandle::new(serving))
}

fn publisher(endpoints: Endpoints) -> Publisher {
    let options = PublishOptions {
        via: Via::Ws,
        ..PublishOptions::default()
    };
    Publisher::start(machine(), endpoints, options)
}

#[tokio::test]
async fn drafts_are_acked_and_refused_one_by_one() {
    let (endpoints, mut got, _serving) = edge(vec![vec![Act::Ack, Act::Refuse, Act::Ack]]).await;
    let publisher = publisher(endpoints);
    let mut pending = Vec::new();
    for _ in 0..3 {
        pending.push(publisher.submit(draft("news", None)).await.unwrap());
    }
    let offset = |acked: crate::Acked| acked.position.unwrap().offset.0;
    assert_eq!(offset(pending[0].outcome().await.unwrap()), 1);
    let refused = pending[1].outcome().await.unwrap_err();
    let PublishError::Refused(told) = refused else {
        panic!("{refused}")
    };
    assert_eq!(told.problem.code, Named::Known(Code::Forbidden));
    assert_eq!(offset(pending[2].outcome().await.unwrap()), 2);
    assert_eq!(got.recv().await.unwrap()["topic"], "news");
    assert_eq!(publisher.sent_again(), 0);
}

#[tokio::test]
async fn after_a_cut_a_draft_is_sent_again_with_its_key() {
    let scripts = vec![vec![Act::Ack, Act::Cut], vec![Act::Ack]];
    let (endpoints, mut got, _serving) = edge(scripts).await;
    let publisher = publisher(endpoints);
    publisher.publish(draft("news", Some("a"))).await.unwrap();
    assert_eq!(publisher.sent_again(), 0);
    let acked = publisher.publish(draft("news", Some("b"))).await.unwrap();
    assert_eq!(acked.position.unwrap().offset.0, 2);
    assert_eq!(publisher.sent_again(), 1);
    let mut keys = Vec::new();
    for _ in 0..3 {
        keys.push(got.recv().await.unwrap()["key"].clone());
    }
    assert_eq!(keys, ["a", "b", "b"]);
}
