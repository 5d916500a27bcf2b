//! The WebSocket protocol frame by frame (protocol section 4).

use anyhow::{Result, bail};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::ws::{Heard, Ws};
use serde_json::json;

#[test]
fn hello_subscribe_unsubscribe_ping() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=1).await?;
        let mut ws = Ws::open(&cluster.node(0).edge, "").await?;
        ws.send(&json!({"type": "hello", "id": 1})).await?;
        let welcome = ws.frame().await?;
        assert_eq!(
            (&welcome["type"], &welcome["id"]),
            (&"welcome".into(), &1.into())
        );
        assert_eq!(welcome["heartbeat_ms"], 15_000);
        assert!(welcome["session"].is_string() && welcome["limits"]["max_topics"] == 100);
        ws.send(&json!({"type": "subscribe", "id": 2, "topic": "news", "from": "earliest"}))
            .await?;
        let subscribed = ws.frame().await?;
        assert_eq!(subscribed["answer"], "recovered");
        let items = ws.frame().await?;
        assert_eq!(items["items"][0]["data"], "1");
        assert!(
            items["cursor"].is_string(),
            "one topic: its frames have a cursor"
        );
        ws.send(&json!({"type": "ping", "id": 3})).await?;
        assert_eq!(ws.frame().await?, json!({"type": "pong", "id": 3}));
        ws.send(&json!({"type": "unsubscribe", "id": 4, "topic": "news"}))
            .await?;
        assert_eq!(ws.frame().await?["type"], "unsubscribed");
        cluster.publish(0, "news", 2..=2).await?;
        ws.send(&json!({"type": "ping", "id": 5})).await?;
        assert_eq!(
            ws.frame().await?["type"],
            "pong",
            "nothing of the topic comes any more"
        );
        ws.close().await
    })
}

#[test]
fn a_bad_frame_gets_an_error_and_the_session_goes_on() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let mut ws = Ws::open(&cluster.node(0).edge, "topic=news").await?;
        ws.frame().await?;
        ws.frame().await?;
        let bad = [
            (
                json!({"type": "publish", "id": 2, "topic": "news", "data": 1, "colour": "red"}),
                "colour",
            ),
            (
                json!({"type": "subscribe", "id": 3, "topic": "bad topic"}),
                "topic",
            ),
            (
                json!({"type": "subscribe", "id": 4, "topic": "x", "from": "yesterday"}),
                "from",
            ),
        ];
        for (frame, field) in bad {
            ws.send(&frame).await?;
            let error = ws.frame().await?;
            assert_eq!(
                (&error["type"], &error["id"]),
                (&"error".into(), &frame["id"])
            );
            assert_eq!(error["field"], field, "{error}");
        }
        ws.send(&json!({"type": "ping", "id": 5})).await?;
        assert_eq!(ws.frame().await?["type"], "pong");
        Ok(())
    })
}

async fn ending(ws: &mut Ws) -> Result<(String, u16)> {
    let mut code = String::new();
    loop {
        match ws.hear().await? {
            Heard::Frame(frame) if frame["type"] == "disconnect" => {
                code = frame["code"].as_str().unwrap_or("").to_owned();
            }
            Heard::Closed {
                code: close,
                reason,
            } => {
                assert_eq!(reason, code, "the reason is the code");
                return Ok((code, close));
            }
            Heard::Frame(_) | Heard::Ping => {}
            Heard::Cut => bail!("cut without a word"),
        }
    }
}

#[test]
fn what_is_no_frame_ends_the_session_with_its_code() -> Result<()> {
    Cluster::run(1, async |cluster| {
        for text in ["not json", "[1]", "42"] {
            let mut ws = Ws::open(&cluster.node(0).edge, "topic=news").await?;
            ws.send_text(text).await?;
            assert_eq!(
                ending(&mut ws).await?,
                ("protocol_error".to_owned(), 4605),
                "{text}"
            );
        }
        Ok(())
    })
}

#[test]
fn a_refusal_of_the_url_is_told_after_the_upgrade() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let cases = [
            ("topic=bad%20topic", "invalid_topic", 4601),
            ("topic=news&cursor=AQHOpqnA", "bad_cursor", 4602),
            ("topic=news&colour=red", "invalid_argument", 4600),
        ];
        for (query, code, close) in cases {
            let mut ws = Ws::open(&cluster.node(0).edge, query).await?;
            assert_eq!(ending(&mut ws).await?, (code.to_owned(), close), "{query}");
        }
        Ok(())
    })
}
