//! SSE as an EventSource needs it (protocol section 5).

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::http;
use fanfare_tests::wire::sse::{Event, Parser, Part};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use ::http::Method;

struct Source {
    body: Incoming,
    parser: Parser,
    parts: std::collections::VecDeque<Part>,
}

impl Source {
    async fn open(edge: &str, query: &str, last: Option<&str>) -> Result<Self> {
        let path = format!("/v1/sse?{query}");
        let headers: Vec<_> = last.map(|id| ("last-event-id", id)).into_iter().collect();
        let answer = http::open(edge, Method::GET, &path, &headers, Bytes::new()).await?;
        assert_eq!(answer.status(), 200);
        let header = |name: &str| {
            answer
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or("")
                .to_owned()
        };
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "no-store, no-transform");
        assert_eq!(header("x-accel-buffering"), "no");
        let body = answer.into_body();
        Ok(Self {
            body,
            parser: Parser::default(),
            parts: std::collections::VecDeque::new(),
        })
    }

    async fn part(&mut self) -> Result<Part> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Ok(part);
            }
            let frame = self.body.frame().await.context("the stream ended")??;
            if let Ok(bytes) = frame.into_data() {
                self.parts.extend(self.parser.push(&bytes)?);
            }
        }
    }

    async fn event(&mut self) -> Result<Event> {
        loop {
            if let Part::Event(event) = self.part().await? {
                return Ok(event);
            }
        }
    }
}

#[test]
fn a_stream_begins_with_retry_and_its_answer_with_an_id() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let mut source = Source::open(&cluster.node(0).edge, "topic=news", None).await?;
        let Part::Retry(retry) = source.part().await? else {
            anyhow::bail!("no retry first")
        };
        assert!((1000..=3000).contains(&retry), "{retry}");
        let first = source.event().await?;
        assert_eq!(first.name, "$subscribed");
        assert!(
            !first.id.is_empty(),
            "a drop before the first message must lose nothing"
        );
        let data: serde_json::Value = serde_json::from_str(&first.data)?;
        assert_eq!(data["answer"], "latest");
        assert!(data.get("cursor").is_none());
        Ok(())
    })
}

#[test]
fn the_last_event_id_wins_over_the_url_the_page_was_opened_with() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=3).await?;
        let query = "topic=news&from=earliest";
        let mut first = Source::open(&cluster.node(0).edge, query, None).await?;
        let mut id = String::new();
        for wanted in ["$subscribed", "message", "message"] {
            let event = first.event().await?;
            assert_eq!(event.name, wanted);
            id = event.id;
        }
        drop(first);
        let mut second = Source::open(&cluster.node(2).edge, query, Some(&id)).await?;
        let answer = second.event().await?;
        assert!(answer.data.contains("\"recovered\""), "{}", answer.data);
        let third: serde_json::Value = serde_json::from_str(&second.event().await?.data)?;
        assert_eq!(third["data"], "3");
        let mut third = Source::open(&cluster.node(1).edge, query, Some("")).await?;
        third.event().await?;
        let from_start: serde_json::Value = serde_json::from_str(&third.event().await?.data)?;
        assert_eq!(from_start["data"], "1", "an empty header is absent");
        Ok(())
    })
}

#[test]
fn events_have_their_names_and_html_its_lines() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        let path = "/v1/publish?topic=news&event=score";
        http::post(edge, path, "text/plain", "line 1\r\nline 2").await?;
        let mut json = Source::open(edge, "topic=news&from=earliest", None).await?;
        json.event().await?;
        assert_eq!(json.event().await?.name, "score");
        let mut html = Source::open(edge, "topic=news&from=earliest&format=html", None).await?;
        html.event().await?;
        let event = html.event().await?;
        assert_eq!(event.name, "score");
        assert!(
            event.data.contains("<p>line 1\nline 2</p>"),
            "{}",
            event.data
        );
        Ok(())
    })
}
