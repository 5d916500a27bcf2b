//! Publishing over HTTP, WebSocket and gRPC, to any node, with the outcomes never confused.

use anyhow::{Context as _, Result};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::grpc::pb::publisher_client::PublisherClient;
use fanfare_tests::wire::grpc::{self, pb};
use fanfare_tests::wire::http;
use fanfare_tests::wire::ws::Ws;
use serde_json::json;

#[test]
fn any_node_takes_a_publish_and_gives_its_position() -> Result<()> {
    Cluster::run(3, async |cluster| {
        for n in 0..9_usize {
            let answer = http::post(
                &cluster.node(n % 3).edge,
                "/v1/publish?topic=news",
                "application/json",
                format!("{{\"n\": {n}}}"),
            )
            .await?;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let body = answer.json()?;
            let position = body["position"].as_str().context("no position")?;
            assert!(position.ends_with(&format!("-{}", n + 1)), "{position}");
            assert_eq!(
                (&body["class"], &body["reached"]),
                (&"durable".into(), &"durable".into())
            );
            assert_eq!(body["duplicate"], false);
            assert!(body.get("dedup").is_none(), "no key, no window: {body}");
        }
        Ok(())
    })
}

#[test]
fn ack_none_promises_nothing_and_still_arrives() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let path = "/v1/publish?topic=news&ack=none";
        let answer = http::post(&cluster.node(1).edge, path, "text/plain", "1").await?;
        assert_eq!(answer.status, 202);
        let body = answer.json()?;
        assert_eq!(body["reached"], "none");
        assert!(body.get("position").is_none());
        cluster.head(0, "news", 1).await
    })
}

#[test]
fn an_expectation_is_the_head_or_nothing_is_placed() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let publish = async |expect: &str| {
            let path = format!("/v1/publish?topic=news&expect={expect}");
            http::post(&cluster.node(1).edge, &path, "text/plain", "x").await
        };
        let first = publish("0-0").await?;
        assert_eq!(first.status, 200, "{}", first.text());
        let head = first.json()?["position"]
            .as_str()
            .context("no position")?
            .to_owned();
        let late = publish("0-0").await?;
        assert_eq!(late.status, 412);
        let body = late.json()?;
        assert_eq!(
            (&body["code"], &body["outcome"]),
            (&"expectation_failed".into(), &"not_placed".into())
        );
        assert_eq!(body["head"], head.as_str());
        assert_eq!(publish(&head).await?.status, 200);
        Ok(())
    })
}

#[test]
fn a_batch_is_answered_line_by_line_and_a_bad_line_spoils_itself_alone() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let lines = [
            r#"{"topic":"a","data":{"n": 1},"key":"k1"}"#,
            r#"{"topic":"bad topic","data":1}"#,
            r#"{"topic":"a","data":"two","colour":"red"}"#,
            r#"not json"#,
            r#"{"topic":"b","data_base64":"aGk="}"#,
            r#"{"topic":"a","data":"three"}"#,
        ];
        let path = "/v1/publish/batch";
        let kind = "application/x-ndjson";
        let answer = http::post(&cluster.node(2).edge, path, kind, lines.join("\n")).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let rows: Vec<serde_json::Value> = answer
            .text()
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        assert_eq!(rows.len(), lines.len());
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(row["index"], index);
        }
        let code = |n: usize| rows[n]["error"]["code"].as_str().unwrap_or("").to_owned();
        assert!(
            rows[0]["ack"]["position"]
                .as_str()
                .is_some_and(|p| p.ends_with("-1"))
        );
        assert_eq!(code(1), "invalid_topic");
        assert_eq!(code(2), "invalid_argument");
        assert_eq!(rows[2]["error"]["field"], "colour");
        assert!(!code(3).is_empty());
        assert!(
            rows[4]["ack"]["position"]
                .as_str()
                .is_some_and(|p| p.ends_with("-1"))
        );
        assert!(
            rows[5]["ack"]["position"]
                .as_str()
                .is_some_and(|p| p.ends_with("-2"))
        );
        Ok(())
    })
}

#[test]
fn a_websocket_is_one_publish_stream() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let mut ws = Ws::open(&cluster.node(1).edge, "topic=news").await?;
        let welcome = ws.frame().await?;
        assert_eq!(welcome["type"], "welcome");
        assert_eq!(ws.frame().await?["type"], "subscribed");
        for id in 1..=20 {
            let frame = json!({"type": "publish", "id": id, "topic": "news", "data": id});
            ws.send(&frame).await?;
        }
        let (mut acks, mut items) = (Vec::new(), Vec::new());
        while acks.len() < 20 || items.len() < 20 {
            let frame = ws.frame().await?;
            match frame["type"].as_str() {
                Some("ack") => {
                    let position = frame["position"]
                        .as_str()
                        .context("no position")?
                        .to_owned();
                    acks.push((frame["id"].as_u64().context("no id")?, position));
                }
                Some("items") => {
                    let new = frame["items"].as_array().context("no items")?;
                    items.extend(new.iter().map(|item| item["data"].as_u64()));
                }
                _ => anyhow::bail!("{frame}"),
            }
        }
        let offset = |position: &str| position.rsplit('-').next().and_then(|o| o.parse().ok());
        for (id, position) in acks {
            assert_eq!(
                offset(&position),
                Some(id),
                "drafts are placed in the order sent"
            );
        }
        assert_eq!(items, (1..=20).map(Some).collect::<Vec<_>>());
        Ok(())
    })
}

#[test]
fn a_grpc_stream_places_its_drafts_in_order_with_many_in_flight() -> Result<()> {
    Cluster::run(3, async |cluster| {
        let mut client = PublisherClient::new(grpc::channel(&cluster.node(2).grpc).await?);
        let request = |id: u64| pb::PublishStreamRequest {
            id,
            draft: Some(pb::Draft {
                topic: if id.is_multiple_of(2) { "even" } else { "odd" }.to_owned(),
                payload: id.to_string().into_bytes().into(),
                key: format!("k{id}").into_bytes().into(),
                ..pb::Draft::default()
            }),
            timeout_ms: 0,
        };
        let drafts = tokio_stream::iter((1..=500).map(request).collect::<Vec<_>>());
        let mut answers = client.publish_stream(drafts).await?.into_inner();
        let mut offsets = std::collections::BTreeMap::new();
        while let Some(answer) = answers.message().await? {
            let Some(pb::publish_stream_response::Result::Receipt(receipt)) = answer.result else {
                anyhow::bail!("{answer:?}");
            };
            assert_eq!(receipt.reached(), pb::Reached::Durable);
            assert!(receipt.dedup.is_some_and(|d| d.remaining_ms > 100_000));
            offsets.insert(answer.id, receipt.position.context("no position")?.offset);
        }
        assert_eq!(offsets.len(), 500);
        for (id, offset) in offsets {
            assert_eq!(offset, id.div_ceil(2), "draft {id}");
        }
        Ok(())
    })
}
