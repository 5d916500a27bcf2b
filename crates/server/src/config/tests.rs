//! Configurations as operators write them, well and badly.

use super::*;

const GOOD: &str = r#"
cluster = "prod"
name = "n1"
data = "/var/lib/fanfare"
seeds = ["n1:7070", "n2:7070"]
insecure_open = true

[peer]
listen = "0.0.0.0:7070"
advertise = "n1:7070"
"#;

fn layers(text: &str) -> Layers {
    let mut layers = Layers::default();
    layers.file("node.toml", text);
    layers
}

fn problems(layers: Layers) -> Vec<(String, String)> {
    layers
        .resolve()
        .unwrap_err()
        .0
        .into_iter()
        .map(|p| (p.key, p.what))
        .collect()
}

#[test]
fn later_layers_win() {
    let mut all = layers(GOOD);
    let var = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    all.environment([
        var("FANFARE_EDGE__MAX_SESSIONS", "7"),
        var("FANFARE_NAME", "env"),
        var("FANFARE_URL", "http://elsewhere"),
        var("HOME", "/"),
    ]);
    all.flag("name", "flag");
    assert_eq!(all.source("name"), Source::Flag);
    assert_eq!(all.source("cluster"), Source::File("node.toml".to_owned()));
    let config = all.resolve().unwrap();
    assert_eq!(
        (config.name.as_str(), config.edge.max_sessions),
        ("flag", 7)
    );
    assert_eq!(config.peer.advertise, "n1:7070");
    assert_eq!(config.edge.hello_timeout, Duration::from_secs(10));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_name() {
    let found = problems(layers(&GOOD.replace("advertise", "advertize")));
    assert!(
        found.iter().any(|(key, what)| key == "peer.advertize"
            && what.contains("did you mean `peer.advertise`?"))
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "name = \"n 1\"\nseeds = [\"nowhere\"]\n[edge]\nmax_sessions = \"many\"\nheader_timeout = \"soon\"";
    let keys: Vec<String> = problems(layers(text))
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    for key in [
        "cluster",
        "name",
        "data",
        "seeds",
        "edge.max_sessions",
        "edge.header_timeout",
        "insecure_open",
    ] {
        assert!(
            keys.iter().any(|k| k == key),
            "{key} is missing in {keys:?}"
        );
    }
}

#[test]
fn a_node_without_authentication_says_so_or_does_not_start() {
    let found = problems(layers(&GOOD.replace("insecure_open = true", "")));
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("--insecure-open"));
}

#[test]
fn a_file_that_is_no_toml_is_a_problem_and_no_panic() {
    let found = problems(layers("cluster = "));
    assert_eq!(found[0].0, "node.toml");
}

#[test]
fn every_key_is_on_the_operators_page() {
    let page = include_str!("../../../../docs/configuration.md");
    for key in super::layers::all_keys() {
        assert!(
            page.contains(&format!("| `{key}` |")),
            "docs/configuration.md lacks `{key}`"
        );
    }
}

#[test]
fn what_stands_before_the_edge_is_parsed() {
    let edge = "[edge]\nbase_path = \"/push\"\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n";
    let config = layers(&format!("{GOOD}{edge}per_ip = {{ requests = 5 }}\n"));
    assert_eq!(config.resolve().unwrap().edge.per_ip.requests, 5);
    let edge = "[edge]\nbase_path = \"/push/\"\ntrusted_proxies = [\"10.0.0.0/40\"]\n";
    let found = problems(layers(&format!("{GOOD}{edge}")));
    let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["edge.base_path", "edge.trusted_proxies"]);
}
