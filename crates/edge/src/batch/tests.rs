//! Batches as clients see them.

use futures_util::StreamExt as _;
use http::Request;
use http::request::Builder;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::config::EdgeConfig;
use crate::testing::{Answer, door};

fn lines(answer: &Answer) -> Vec<Value> {
    answer
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn batch() -> Builder {
    Request::post("/v1/publish/batch").header("Content-Type", "application/x-ndjson")
}

#[tokio::test(start_paused = true)]
async fn a_bad_line_of_a_batch_spoils_itself_alone() {
    let door = door(EdgeConfig::default()).await;
    let long = format!(r#"{{"topic":"news","data":"{}"}}"#, "x".repeat(130 << 10));
    let body = [
        r#"{"topic":"news","data":{"n": 1},"key":"k1"}"#,
        "not json",
        "",
        r#"{"topic":"news","data":"a","colour":"red"}"#,
        r#"{"topic":"$sys.x","data":"a"}"#,
        &long,
        r#"{"topic":"news","data":"b","ack":"none"}"#,
        r#"{"topic":"chat.7","data_base64":"aGk="}"#,
        r#"{"topic":"news","data":"c"}"#,
    ];
    let answer = door.send(batch(), body.join("\n")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/x-ndjson")
    );
    let lines = lines(&answer);
    let ends: Vec<&str> = lines
        .iter()
        .map(|line| {
            line["ack"]["reached"]
                .as_str()
                .or(line["error"]["code"].as_str())
                .unwrap()
        })
        .collect();
    assert_eq!(
        ends,
        [
            "durable",
            "invalid_argument",
            "invalid_argument",
            "invalid_topic",
            "payload_too_large",
            "none",
            "durable",
            "durable"
        ]
    );
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(line["index"], index);
        assert!(
            line.get("error")
                .is_none_or(|error| error["outcome"] == "not_placed")
        );
    }
    assert_eq!(door.world.placed("news"), [r#"{"n":1}"#, "b", "c"]);
    assert_eq!(door.world.placed("chat.7"), ["hi"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_limits() {
    let mut config = EdgeConfig::default();
    config.publish.batch_lines = 2;
    config.publish.batch_bytes = 200;
    let door = door(config).await;
    let line = |n: usize| format!("{{\"topic\":\"news\",\"data\":\"{n}\"}}\n");
    let answer = door
        .send(batch(), (0..4).map(line).collect::<String>())
        .await;
    let ends = lines(&answer);
    assert_eq!(ends.len(), 3);
    assert_eq!(ends[2]["error"]["code"], "payload_too_large");
    assert_eq!(door.world.placed("news"), ["0", "1"]);
    let answer = door
        .send(batch().header("Content-Length", 201), Body::empty())
        .await;
    assert_eq!(answer.problem().0, 413);
    let large = format!("{{\"topic\":\"news\",\"data\":\"{}\"}}", "x".repeat(200));
    let parts = futures_util::stream::iter([large]).map(Ok::<_, std::io::Error>);
    let answer = door.send(batch(), Body::from_stream(parts)).await;
    assert_eq!(lines(&answer)[0]["error"]["code"], "payload_too_large");
}

#[tokio::test(start_paused = true)]
async fn a_line_is_answered_while_the_next_is_not_sent_yet() {
    let door = door(EdgeConfig::default()).await;
    let (client, lines) = mpsc::channel::<Result<String, std::io::Error>>(1);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(lines));
    let request = batch().header("host", "edge.example").body(body).unwrap();
    let response = door.router.clone().oneshot(request).await.unwrap();
    let mut answers = response.into_body().into_data_stream();
    let mut hear = async || -> Value {
        let line = answers.next().await.unwrap().unwrap();
        serde_json::from_slice(&line).unwrap()
    };
    for n in 0..3 {
        // The second half of the second line is not there yet: half a line is no line.
        let text = format!("{{\"topic\":\"news\",\"data\":\"{n}\"}}\n{{");
        client.send(Ok(text)).await.unwrap();
        let good = hear().await;
        assert_eq!(good["index"], 2 * n);
        assert_eq!(good["ack"]["position"], format!("1-{}", n + 1));
        client.send(Ok("}\n".to_owned())).await.unwrap();
        assert_eq!(hear().await["error"]["field"], "topic");
    }
    drop(client);
    assert!(answers.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_cut_publishes_no_half_line() {
    let door = door(EdgeConfig::default()).await;
    let cut = [
        Ok(
            "{\"topic\":\"news\",\"data\":\"whole\"}\n{\"topic\":\"news\",\"data\":\"cut\"}"
                .to_owned(),
        ),
        Err(std::io::Error::other("reset")),
    ];
    let answer = door
        .send(batch(), Body::from_stream(futures_util::stream::iter(cut)))
        .await;
    assert_eq!(lines(&answer).len(), 1);
    assert_eq!(door.world.placed("news"), ["whole"]);
}
