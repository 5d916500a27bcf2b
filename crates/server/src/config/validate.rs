//! What must hold of a configuration: all problems are told at once, each with its key.

use std::fmt;
use std::time::Duration;

use fanfare_edge::limits::Network;

use super::Config;
use super::layers::Source;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key as it is written in the file.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
    /// Where the value came from.
    pub source: Source,
}

impl Problem {
    pub(super) fn new(key: &str, what: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            what: what.into(),
            source: Source::Default,
        }
    }

    pub(super) fn unknown(key: &str, nearest: Option<String>) -> Self {
        let hint = nearest
            .map(|n| format!(", did you mean `{n}`?"))
            .unwrap_or_default();
        Self::new(key, format!("unknown key{hint}"))
    }
}

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s)", self.0.len())?;
        for problem in &self.0 {
            let Problem { key, what, source } = problem;
            match source {
                Source::Default => write!(f, "\n  `{key}`: {what}")?,
                Source::File { .. } | Source::Environment(_) | Source::Flag => {
                    write!(f, "\n  `{key}` ({source}): {what}")?;
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

pub(super) fn check(config: &Config, out: &mut Vec<Problem>) {
    let mut must = |holds: bool, key: &str, what: &str| {
        if !holds {
            out.push(Problem::new(key, what));
        }
    };
    must(
        is_name(&config.cluster),
        "cluster",
        "required: 1 to 64 of a-z, A-Z, 0-9, `_`, `-`",
    );
    must(
        is_name(&config.name),
        "name",
        "required: 1 to 64 of a-z, A-Z, 0-9, `_`, `-`",
    );
    must(
        !config.data.as_os_str().is_empty(),
        "data",
        "required: the directory of this node's data",
    );
    for seed in &config.seeds {
        must(
            is_address(seed),
            "seeds",
            &format!("`{seed}` is not HOST:PORT"),
        );
    }
    let doors = [
        ("edge.advertise", &config.edge.advertise),
        ("grpc.advertise", &config.grpc.advertise),
        ("peer.advertise", &config.peer.advertise),
        ("ops.advertise", &config.ops.advertise),
    ];
    for (key, advertise) in doors {
        must(
            advertise.is_empty() || is_address(advertise),
            key,
            "is not HOST:PORT",
        );
    }
    let reached = !config.peer.listen.ip().is_unspecified() || !config.peer.advertise.is_empty();
    must(
        reached,
        "peer.advertise",
        "required when `peer.listen` is 0.0.0.0 or [::]: how the other nodes reach this one",
    );
    must(
        config.insecure_open,
        "insecure_open",
        "this release has no authentication yet: say `insecure_open = true` (or --insecure-open) \
         to let anybody who reaches the ports publish and subscribe",
    );
    must(
        config.ops.listen.ip().is_loopback(),
        "ops.listen",
        "must be a loopback address: the operator's door has no authentication yet",
    );
    for origin in &config.edge.allowed_origins {
        let good = origin.starts_with("http://") || origin.starts_with("https://");
        must(
            good && !origin.ends_with('/'),
            "edge.allowed_origins",
            &format!("`{origin}` is not an origin such as https://app.example"),
        );
    }
    must(
        config.edge.max_sessions > 0,
        "edge.max_sessions",
        "must be at least 1",
    );
    must(
        config.edge.publish_bytes >= 1 << 20,
        "edge.publish_bytes",
        "must be at least 1 MiB (1048576)",
    );
    must(
        config.edge.tail_bytes >= 1 << 16,
        "edge.tail_bytes",
        "must be at least 64 KiB (65536)",
    );
    must(
        config.edge.public_polls <= 60,
        "edge.public_polls",
        "must be from 0 to 60 seconds",
    );
    let base = &config.edge.base_path;
    must(
        base.is_empty() || is_path(base),
        "edge.base_path",
        "must be empty or a path such as /push, without a `/` at its end",
    );
    for network in &config.edge.trusted_proxies {
        must(
            network.parse::<Network>().is_ok(),
            "edge.trusted_proxies",
            &format!("`{network}` is not a network such as 10.0.0.0/8"),
        );
    }
    must(
        (1 << 20..=1 << 30).contains(&config.log.segment),
        "log.segment",
        "must be from 1 MiB to 1 GiB",
    );
    must(
        (Duration::from_millis(500)..=Duration::from_secs(60)).contains(&config.raft.election),
        "raft.election",
        "must be from 500ms to 60s",
    );
    must(
        config.history.budget >= 64 << 10,
        "history.budget",
        "must be at least 64 KiB (65536)",
    );
    must(
        config.log.snapshot_after >= 64 << 10,
        "log.snapshot_after",
        "must be at least 64 KiB (65536)",
    );
    must(
        config.log.budget / 4 >= config.log.segment,
        "log.budget",
        "must be at least 4 segments (4 × log.segment)",
    );
}

fn is_name(raw: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&raw.len()) && raw.bytes().all(allowed)
}

fn is_path(raw: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/._~-".contains(&b);
    raw.starts_with('/') && !raw.ends_with('/') && !raw.contains("//") && raw.bytes().all(allowed)
}

fn is_address(raw: &str) -> bool {
    let Some((host, port)) = raw.rsplit_once(':') else {
        return false;
    };
    !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0)
}
