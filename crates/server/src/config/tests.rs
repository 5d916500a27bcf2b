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
    let line = |line| Source::File {
        name: "node.toml".to_owned(),
        line,
    };
    assert_eq!(all.source("cluster"), line(2));
    assert_eq!(all.source("peer.listen"), line(9));
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
fn an_election_waits_for_a_few_heartbeats() {
    let with = |election: &str| layers(&format!("{GOOD}\n[raft]\nelection = \"{election}\""));
    for (election, sound) in [("499ms", false), ("2s", true), ("61s", false)] {
        let resolved = with(election).resolve();
        assert_eq!(resolved.is_ok(), sound, "{election}");
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
fn a_problem_says_where_it_stands() {
    let mut all = layers(&GOOD.replace("advertise", "advertize"));
    all.environment([("FANFARE_LOG__SEGMENT".to_owned(), "7".to_owned())]);
    let text = all.resolve().unwrap_err().to_string();
    assert!(
        text.contains("`peer.advertize` (node.toml:10): unknown key"),
        "{text}"
    );
    let segment = "`log.segment` (environment FANFARE_LOG__SEGMENT): must be";
    assert!(text.contains(segment), "{text}");
    let broken = layers("cluster = \"a\"\nname = \n").resolve().unwrap_err();
    assert!(
        broken.to_string().contains("`node.toml`: line 2: "),
        "{broken}"
    );
}

#[test]
fn every_setting_has_its_value_and_where_it_came_from() {
    let mut all = layers(&format!("{GOOD}[edge]\nper_ip = {{ requests = 5 }}\n"));
    all.environment([("FANFARE_EDGE__ALLOWED_HOSTS".to_owned(), "a,b".to_owned())]);
    all.flag("name", "flag");
    let settings = all.settings();
    let keys: Vec<&str> = settings.iter().map(|s| s.key.as_str()).collect();
    assert_eq!(keys, super::layers::all_keys());
    let of = |key: &str| {
        let found = settings.iter().find(|setting| setting.key == key).unwrap();
        format!("{} from {}", found.value, found.source)
    };
    assert_eq!(of("name"), "\"flag\" from flag");
    assert_eq!(of("edge.per_ip.requests"), "5 from node.toml:12");
    let hosts = "[\"a\", \"b\"] from environment FANFARE_EDGE__ALLOWED_HOSTS";
    assert_eq!(of("edge.allowed_hosts"), hosts);
    assert_eq!(of("edge.hello_timeout"), "\"10s\" from default");
}

#[test]
fn secrets_are_told_from_files_that_hold_them() {
    use super::layers::is_secret;
    assert!(is_secret("auth.join_token") && is_secret("token") && is_secret("a.api_key"));
    assert!(!is_secret("join_token_file") && !is_secret("peer.tls.key") && !is_secret("name"));
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
