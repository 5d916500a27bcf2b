//! Names of numbers: none twice, and a scrape shows the numbers of now.

use super::*;

#[test]
fn every_metric_is_on_the_operators_page() {
    let page = include_str!("../../../docs/metrics.md");
    for row in Metrics::default().rows() {
        let name = match row.value {
            Value::Counter(_) => format!("| `fanfare_{}_total` |", row.name),
            Value::Gauge(_) => format!("| `fanfare_{}` |", row.name),
        };
        assert!(page.contains(&name), "docs/metrics.md lacks {name}");
    }
}

#[test]
fn no_name_stands_for_two_numbers() {
    let mut names: Vec<_> = Metrics::default()
        .rows()
        .iter()
        .map(|row| row.name)
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn a_scrape_shows_the_numbers_of_now() {
    let metrics = Arc::new(Metrics::default());
    let exposition = Exposition::new(Arc::clone(&metrics));
    assert!(exposition.text().contains("fanfare_published_total 0\n"));
    metrics.broker.placed.add(3);
    metrics.edge.sessions.inc();
    let text = exposition.text();
    assert!(text.contains("fanfare_published_total 3\n"), "{text}");
    assert!(text.contains("fanfare_sessions 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}
