//! Polls as HTTP users know them: bodies, `next`, tags, HEAD, caching (protocol section 6).

use anyhow::{Context as _, Result};
use bytes::Bytes;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::http::{self, send};
use http::get;

use ::http::Method;

#[test]
fn a_poll_follows_its_next_link_to_the_end() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=25).await?;
        let edge = &cluster.node(0).edge;
        let mut url = "/v1/poll?topic=news&from=earliest&limit=10".to_owned();
        let mut pages = Vec::new();
        loop {
            let answer = get(edge, &url).await?;
            let body = answer.json()?;
            let items = body["items"].as_array().context("no items")?;
            pages.push(items.len());
            url = answer.next().context("no next")?;
            assert!(url.contains("limit=10") && url.contains("cursor="), "{url}");
            if body["more"] == false {
                break;
            }
        }
        assert_eq!(pages, [10, 10, 5]);
        let nothing = get(edge, &url).await?.json()?;
        assert_eq!(nothing["items"], serde_json::json!([]));
        Ok(())
    })
}

#[test]
fn a_poll_without_news_is_not_modified_by_its_own_tag() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=2).await?;
        let edge = &cluster.node(0).edge;
        let first = get(edge, "/v1/poll?topic=news").await?;
        assert_eq!(first.header("cache-control"), "private, no-cache");
        let (tag, next) = (
            first.header("etag").to_owned(),
            first.next().context("no next")?,
        );
        assert!(tag.starts_with("W/\""), "{tag}");
        for url in [next.as_str(), "/v1/poll?topic=news"] {
            let headers = [("if-none-match", tag.as_str())];
            let again = send(edge, Method::GET, url, &headers, Bytes::new()).await?;
            assert_eq!(again.status, 304, "{url}");
            assert!(again.body.is_empty());
        }
        cluster.publish(0, "news", 3..=3).await?;
        let headers = [("if-none-match", tag.as_str())];
        let news = send(edge, Method::GET, &next, &headers, Bytes::new()).await?;
        assert_eq!(news.status, 200);
        assert_eq!(news.json()?["items"][0]["data"], "3");
        Ok(())
    })
}

#[test]
fn head_gives_the_headers_of_the_short_poll() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=2).await?;
        let edge = &cluster.node(0).edge;
        let path = "/v1/poll?topic=news&wait=20";
        let head = send(edge, Method::HEAD, path, &[], Bytes::new()).await?;
        assert_eq!(head.status, 200);
        assert!(head.body.is_empty());
        assert!(!head.header("etag").is_empty());
        Ok(())
    })
}

#[test]
fn min_position_is_the_head_or_not_ready() -> Result<()> {
    Cluster::run(3, async |cluster| {
        cluster.publish(0, "news", 1..=3).await?;
        let at = cluster.position("news", 3).await?;
        for node in 0..3 {
            let path = format!("/v1/poll?topic=news&min_position={at}");
            let answer = get(&cluster.node(node).edge, &path).await?;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()?["topics"]["news"]["head"], at.as_str());
            assert_eq!(answer.header("cache-control"), "no-store");
        }
        let beyond = cluster.position("news", 9).await?;
        let path = format!("/v1/poll?topic=news&min_position={beyond}");
        let answer = get(&cluster.node(1).edge, &path).await?;
        assert_eq!(answer.status, 503);
        let body = answer.json()?;
        assert_eq!(
            (&body["code"], &body["advice"]),
            (&"not_ready".into(), &"reroute".into())
        );
        Ok(())
    })
}

#[test]
fn a_long_poll_without_news_answers_empty_with_the_same_cursor() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=1).await?;
        let edge = &cluster.node(0).edge;
        let first = get(edge, "/v1/poll?topic=news").await?.json()?;
        let cursor = first["cursor"].as_str().context("no cursor")?;
        let path = format!("/v1/poll?topic=news&cursor={cursor}&wait=1");
        let second = get(edge, &path).await?.json()?;
        assert_eq!(
            (&second["items"], &second["cursor"]),
            (&serde_json::json!([]), &cursor.into())
        );
        Ok(())
    })
}
