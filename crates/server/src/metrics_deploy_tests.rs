//! What others name of the metrics: the operator's page, the alerts, the dashboard. A name that no
//! node shows would never alarm anybody.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const PAGE: &str = include_str!("../../../docs/metrics.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../../../deploy/grafana/fanfare.json");

/// The names of a scrape, without labels.
fn shown() -> BTreeSet<String> {
    let text = Exposition::new(Arc::default()).text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect()
}

/// The words of a text that look like a metric's name.
fn named(text: &str) -> BTreeSet<String> {
    let part_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split(|c| !part_of_name(c))
        .filter(|word| word.starts_with("fanfare_"))
        .map(str::to_owned)
        .collect()
}

/// The values of every member of this name, however deep.
fn members<'a>(value: &'a Value, name: &str, out: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            for (key, member) in object {
                match member.as_str().filter(|_| key == name) {
                    Some(text) => out.push(text),
                    None => members(member, name, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| members(item, name, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn all_shown(named: &BTreeSet<String>, by: &str) {
    let shown = shown();
    let strange: Vec<_> = named.difference(&shown).collect();
    assert!(
        strange.is_empty(),
        "{by} names what no node shows: {strange:?}"
    );
}

#[test]
fn the_page_names_no_metric_that_a_node_does_not_show() {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `fanfare_"));
    let names: BTreeSet<_> = rows
        .flat_map(|row| named(row).into_iter().take(1))
        .collect();
    assert!(names.len() > 40, "is the page still read as it is written?");
    all_shown(&names, "docs/metrics.md");
}

#[test]
fn every_alert_names_metrics_that_are_there_and_a_section_that_says_what_to_do() {
    let of = |key: &str| {
        let rows = ALERTS.lines().map(str::trim);
        let rows = rows.filter_map(|line| line.trim_start_matches("- ").strip_prefix(key));
        rows.map(str::trim).collect::<Vec<_>>()
    };
    let (alerts, rules) = (of("alert:"), of("expr:"));
    assert!(
        alerts.len() > 15,
        "are the alerts still read as they are written?"
    );
    assert_eq!(alerts.len(), rules.len());
    for (alert, rule) in alerts.iter().zip(rules) {
        all_shown(&named(rule), alert);
        assert!(
            !named(rule).is_empty() || rule.starts_with("up{"),
            "{alert}"
        );
    }
    let sections = of("section:");
    assert_eq!(sections.len(), alerts.len());
    for section in sections {
        let heading = format!("\n## {}\n", section.trim_matches('"'));
        assert!(OPERATIONS.contains(&heading), "no section {section}");
    }
}

#[test]
fn every_panel_asks_for_metrics_that_are_there() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = Vec::new();
    members(&dashboard["panels"], "expr", &mut asked);
    members(&dashboard["templating"], "query", &mut asked);
    assert!(
        asked.len() > 30,
        "is the dashboard still read as it is written?"
    );
    let mut names = BTreeSet::new();
    for text in asked {
        let of_one = named(text);
        assert!(!of_one.is_empty() || text == "prometheus", "{text}");
        names.extend(of_one);
    }
    all_shown(&names, "the dashboard");
}
