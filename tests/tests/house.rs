//! The house rules that a machine can see: who imports whom, how long files are, that each says
//! what is in it, and that the project speaks of itself alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer of each crate, and whom it may import beside crates of the layers it names.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("host", &[]),
    ("protocol", &["core"]),
    ("rpc", &["core", "host"]),
    ("consensus", &["core", "host"]),
    ("cluster", &["core", "host", "consensus", "rpc"]),
    ("broker", &["core", "host", "consensus", "rpc"]),
    ("edge", &["core", "host", "protocol", "rpc"]),
    ("client", &["core", "host", "protocol", "rpc"]),
    ("checker", &["core"]),
    (
        "server",
        &[
            "core",
            "host",
            "consensus",
            "cluster",
            "broker",
            "edge",
            "rpc",
        ],
    ),
    ("cli", &["core", "host", "server", "client", "checker"]),
];

/// Third-party crates and the only ones of ours that may import them.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("openraft", &["consensus"]),
    ("openraft-rt-tokio", &["consensus"]),
    ("tonic", &["rpc"]),
    ("tonic-prost", &["rpc"]),
    ("tonic-types", &["rpc"]),
    ("prost", &["rpc"]),
    ("prost-types", &["rpc"]),
    ("axum", &["edge", "server"]),
    ("ractor", &["broker", "edge", "server"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Names under `[dependencies]` of a crate.
fn dependencies(krate: &str) -> Vec<String> {
    let manifest =
        fs::read_to_string(root().join("crates").join(krate).join("Cargo.toml")).unwrap();
    let section = manifest.split("[dependencies]").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" && !name.starts_with(".fanfare") {
                walk(&path, out);
            }
        } else {
            out.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for part in ["crates", "tests"] {
        walk(&root().join(part), &mut all);
    }
    all.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    all
}

#[test]
fn no_crate_imports_a_neighbour_or_a_higher_layer() {
    let mut crates: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    crates.sort();
    let allowed: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    for krate in crates {
        let may = allowed
            .get(krate.as_str())
            .unwrap_or_else(|| panic!("{krate} has no layer"));
        for dependency in dependencies(&krate) {
            if let Some(ours) = dependency.strip_prefix("fanfare-") {
                assert!(may.contains(&ours), "{krate} must not import {ours}");
            }
        }
    }
}

#[test]
fn a_wrapped_crate_is_imported_by_its_wrapper_alone() {
    for (krate, _) in LAYERS {
        for dependency in dependencies(krate) {
            let wrappers = WRAPPERS.iter().find(|(name, _)| *name == dependency);
            if let Some((name, only)) = wrappers {
                assert!(only.contains(krate), "{krate} must not import {name}");
            }
        }
    }
}

#[test]
fn every_file_says_what_is_in_it_and_stays_short() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display().to_string();
        assert!(text.starts_with("//!"), "{shown} has no //! header");
        let lines = text.lines().count();
        assert!(lines <= 500, "{shown} has {lines} lines");
    }
}

#[test]
fn the_protocol_of_core_and_checker_is_free_of_runtimes() {
    for dependency in dependencies("core") {
        let banned = ["tokio", "serde", "ractor", "rand", "futures-util"];
        assert!(
            !banned.contains(&dependency.as_str()),
            "core must not import {dependency}"
        );
    }
}
