//! HTML fragments as htmx uses them (protocol section 7).

use anyhow::Result;
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::http;
use http::get;

/// The `hx-get` of the poller in a page, its entities decoded.
fn poller(html: &str) -> Option<String> {
    let after = html.split("class=\"fanfare-poller\" hx-get=\"").nth(1)?;
    Some(after.split('"').next()?.replace("&amp;", "&"))
}

#[test]
fn a_page_that_polls_every_five_seconds_works_as_it_stands() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        http::publish(edge, "news", "2 < 3 & \"so on\"").await?;
        let view = get(edge, "/v1/poll?topic=news&format=html").await?;
        assert_eq!(view.status, 200);
        assert!(view.header("content-type").starts_with("text/html"));
        assert_eq!(
            view.header("content-security-policy"),
            "default-src 'none'; sandbox"
        );
        let text = view.text();
        assert!(
            text.contains("<article class=\"fanfare-message\" data-topic=\"news\""),
            "{text}"
        );
        assert!(
            text.contains("<p>2 &lt; 3 &amp; &quot;so on&quot;</p>"),
            "{text}"
        );
        assert!(poller(&text).is_none(), "a view has no poller");
        Ok(())
    })
}

#[test]
fn a_follower_takes_its_place_with_a_cursor_and_then_nothing_swaps() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        cluster.publish(0, "news", 1..=2).await?;
        let first = get(edge, "/v1/poll?topic=news&format=html&follow=5")
            .await?
            .text();
        assert!(
            first.contains("hx-trigger=\"every 5s\" hx-swap=\"outerHTML\""),
            "{first}"
        );
        let next = poller(&first).expect("a poller");
        assert_eq!(get(edge, &next).await?.status, 204);
        cluster.publish(0, "news", 3..=3).await?;
        let news = get(edge, &next).await?;
        assert_eq!(news.status, 200);
        assert!(news.text().contains("<p>3</p>") && !news.text().contains("<p>2</p>"));
        assert!(poller(&news.text()).is_some_and(|url| url != next));
        Ok(())
    })
}

#[test]
fn a_refusal_that_repeating_cannot_help_ends_the_following() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let edge = &cluster.node(0).edge;
        let path = "/v1/poll?topic=news&format=html&follow=5&cursor=AQHOpqnA";
        let answer = get(edge, path).await?;
        assert_eq!(answer.status, 200, "htmx swaps only what is fine");
        let text = answer.text();
        assert!(
            text.contains("<aside class=\"fanfare-error\" data-code=\"bad_cursor\""),
            "{text}"
        );
        assert!(poller(&text).is_none());
        let plain = get(edge, "/v1/poll?topic=news&format=html&cursor=AQHOpqnA").await?;
        assert_eq!(plain.status, 400);
        assert!(plain.text().contains("data-code=\"bad_cursor\""));
        Ok(())
    })
}
