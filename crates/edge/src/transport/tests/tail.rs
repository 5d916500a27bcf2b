//! NDJSON tail.

use axum::body::Body;
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::ndjson::Lines;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::client::soon;
use crate::config::EdgeConfig;
use crate::session::stage::Theatre;

struct Tail {
    body: Body,
    lines: Lines,
    ready: std::collections::VecDeque<Value>,
}

impl Tail {
    async fn open(theatre: &Theatre, uri: &str) -> Self {
        let request = Request::get(uri)
            .header("host", "edge.example")
            .body(Body::empty())
            .unwrap();
        let response = soon("an answer", theatre.router.clone().oneshot(request))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let ready = std::collections::VecDeque::new();
        Self {
            body: response.into_body(),
            lines: Lines::new(1 << 20),
            ready,
        }
    }

    async fn line(&mut self) -> Option<Value> {
        while self.ready.is_empty() {
            let piece = soon("a line", self.body.frame())
                .await?
                .unwrap()
                .into_data()
                .unwrap();
            let ready = &mut self.ready;
            let take = |line: &[u8]| {
                // Every line is a frame of the protocol, or an item.
                ServerFrame::read(line).unwrap();
                ready.push_back(serde_json::from_slice(line).unwrap());
            };
            self.lines.push(&piece, take).unwrap();
        }
        self.ready.pop_front()
    }
}

#[tokio::test(start_paused = true)]
async fn each_line_of_one_topic_says_where_it_stands() {
    let theatre = Theatre::open(EdgeConfig::default()).await;
    let first = theatre.stage.publish("news", "1");
    let mut tail = Tail::open(&theatre, "/v1/tail?topic=news&from=earliest").await;
    let answer = tail.line().await.unwrap();
    assert_eq!(
        (answer["type"].as_str(), answer["answer"].as_str()),
        (Some("subscribed"), Some("recovered"))
    );
    assert!(answer["cursor"].is_string());
    let line = tail.line().await.unwrap();
    assert_eq!(line["position"], first.to_string());
    assert!(line["cursor"].is_string());
    theatre.stage.publish("news", "2");
    let cursor = tail.line().await.unwrap()["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(tail);
    let missed = theatre.stage.publish("news", "3");
    let mut tail = Tail::open(&theatre, &format!("/v1/tail?topic=news&cursor={cursor}")).await;
    tail.line().await;
    assert_eq!(tail.line().await.unwrap()["position"], missed.to_string());
    drop(tail);
    theatre.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_tail_beats_and_a_leaving_node_ends_it() {
    let theatre = Theatre::open(EdgeConfig::default()).await;
    let mut tail = Tail::open(&theatre, "/v1/tail?topic=a&topic=b&heartbeat=5").await;
    tail.line().await;
    tail.line().await;
    assert_eq!(tail.line().await.unwrap()["type"], "heartbeat");
    let told = async {
        let end = tail.line().await.unwrap();
        assert_eq!(
            (end["type"].as_str(), end["code"].as_str()),
            (Some("disconnect"), Some("draining"))
        );
        assert!(end["cursor"].is_string());
        assert!(tail.line().await.is_none());
        drop(tail);
    };
    tokio::join!(theatre.edge.drain(std::time::Duration::from_secs(1)), told);
    theatre.close().await;
}
