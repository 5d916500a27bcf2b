//! What operators see: health, readiness, metrics, and the door for backends describing itself.

use anyhow::{Context as _, Result};
use fanfare_tests::cluster::Cluster;
use fanfare_tests::wire::http;

#[test]
fn a_node_says_that_it_lives_and_that_it_is_ready() -> Result<()> {
    Cluster::run(1, async |cluster| {
        for path in ["/healthz", "/readyz"] {
            let answer = http::get(cluster.ops(0), path).await?;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
        Ok(())
    })
}

#[test]
fn metrics_count_what_was_published_and_delivered() -> Result<()> {
    Cluster::run(1, async |cluster| {
        cluster.publish(0, "news", 1..=10).await?;
        let text = http::get(cluster.ops(0), "/metrics").await?.text();
        let values = http::metrics(&text);
        let placed: f64 = values
            .iter()
            .filter(|(name, _)| name.starts_with("fanfare_published_total"))
            .map(|(_, value)| value)
            .sum();
        assert!(placed >= 10.0, "{text}");
        assert!(text.ends_with("# EOF\n"));
        Ok(())
    })
}

#[test]
fn every_metric_is_in_the_operators_page() -> Result<()> {
    Cluster::run(1, async |cluster| {
        let text = http::get(cluster.ops(0), "/metrics").await?.text();
        let page = include_str!("../../../docs/metrics.md");
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let name = line.split(' ').next().context("a help without a name")?;
            assert!(
                page.contains(&format!("`{name}")),
                "docs/metrics.md lacks {name}"
            );
        }
        Ok(())
    })
}
