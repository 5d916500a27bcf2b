//! `fanfare config`: what `serve` would read, from where, and what is wrong with it; and the layers
//! that `serve` itself reads.

use std::path::Path;

use fanfare_server::config::{Config, Layers, Problems, Setting, Source};
use serde_json::json;

use crate::args::{self, ConfigCheck, ConfigCommand, ConfigPrint, NodeFlags};
use crate::failure::Failure;
use crate::output;
use crate::paint::{Ink, Paint};

pub fn run(args: &args::Config) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Print(args) => print(args),
    }
}

/// The layers of a node's configuration: a file, the environment, flags.
#[expect(
    clippy::disallowed_methods,
    reason = "the configuration file is no part of a node's disk"
)]
pub fn layers(file: Option<&Path>, env: bool, flags: &NodeFlags) -> Result<Layers, Failure> {
    let mut layers = Layers::default();
    if let Some(path) = file {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::Usage(format!("cannot read {shown}: {e}")))?;
        layers.file(&shown, &text);
    }
    if env {
        layers.environment(std::env::vars());
    }
    put_flags(&mut layers, flags);
    Ok(layers)
}

fn put_flags(layers: &mut Layers, flags: &NodeFlags) {
    let NodeFlags {
        cluster,
        name,
        data,
        edge,
        grpc,
        peer,
        ops,
        seeds,
        insecure_open,
    } = flags;
    let texts = [
        ("cluster", cluster.clone()),
        ("name", name.clone()),
        ("data", data.as_ref().map(|path| path.display().to_string())),
        ("edge.listen", edge.map(|a| a.to_string())),
        ("grpc.listen", grpc.map(|a| a.to_string())),
        ("peer.listen", peer.map(|a| a.to_string())),
        ("ops.listen", ops.map(|a| a.to_string())),
    ];
    for (key, value) in texts {
        if let Some(value) = value {
            layers.flag(key, value);
        }
    }
    if !seeds.is_empty() {
        layers.flag("seeds", seeds.clone());
    }
    if *insecure_open {
        layers.flag("insecure_open", true);
    }
}

/// The resolved configuration, or all that is wrong with it.
pub fn resolve(layers: Layers) -> Result<Config, Failure> {
    layers.resolve().map_err(wrong)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the problems end here, as text"
)]
fn wrong(problems: Problems) -> Failure {
    Failure::Usage(problems.to_string())
}

fn check(args: &ConfigCheck) -> Result<(), Failure> {
    let shown = args.file.display();
    let layers = layers(Some(&args.file), !args.no_env, &args.flags)?;
    let settings = layers.settings();
    let resolved = layers.resolve();
    if args.json {
        let problems = resolved.as_ref().err().map_or(&[][..], |all| &all.0);
        let problem = |p: &fanfare_server::config::Problem| {
            let from = (p.source != Source::Default).then(|| p.source.to_string());
            json!({ "key": p.key, "what": p.what, "from": from })
        };
        output::line(
            &json!({
                "file": shown.to_string(),
                "good": problems.is_empty(),
                "problems": problems.iter().map(problem).collect::<Vec<_>>(),
            })
            .to_string(),
        )?;
    }
    resolved.map_err(wrong)?;
    if args.json {
        return Ok(());
    }
    let of = |is: fn(&Source) -> bool| settings.iter().filter(|s| is(&s.source)).count();
    let file = of(|source| matches!(source, Source::File { .. }));
    let environment = of(|source| matches!(source, Source::Environment(_)));
    let flags = of(|source| *source == Source::Flag);
    let good = Paint::stdout().ink(Ink::Good, "good");
    output::line(&format!(
        "{shown}: {good} ({file} keys of the file, {environment} of the environment, {flags} of flags; \
         the rest as by default)"
    ))
}

fn print(args: &ConfigPrint) -> Result<(), Failure> {
    let layers = layers(args.file.as_deref(), !args.no_env, &args.flags)?;
    let mut settings = layers.settings();
    settings.retain(|setting| !args.set || setting.source != Source::Default);
    let rows: Vec<(String, String)> = settings
        .iter()
        .map(|setting| (setting.key.clone(), shown(setting)))
        .collect();
    let width = |cell: fn(&(String, String)) -> &String| {
        let widths = rows.iter().map(|row| cell(row).chars().count());
        widths.max().unwrap_or(0).min(40)
    };
    let (keys, values) = (width(|row| &row.0), width(|row| &row.1));
    let paint = Paint::stdout();
    for (setting, (key, value)) in settings.iter().zip(&rows) {
        output::line(&match args.json {
            true => as_json(setting),
            false => {
                let source = setting.source.to_string();
                let ink = match setting.source {
                    Source::Default => Ink::Faint,
                    Source::File { .. } | Source::Environment(_) | Source::Flag => Ink::Good,
                };
                format!(
                    "{key:<keys$} = {value:<values$}  {}",
                    paint.ink(ink, &format!("# {source}"))
                )
            }
        })?;
    }
    layers.resolve().map(drop).map_err(wrong)
}

fn shown(setting: &Setting) -> String {
    match setting.secret {
        true => "(hidden)".to_owned(),
        false => setting.value.to_string(),
    }
}

fn as_json(setting: &Setting) -> String {
    let value = match setting.secret {
        true => serde_json::Value::Null,
        false => serde_json::to_value(&setting.value).unwrap_or_default(),
    };
    json!({
        "key": setting.key,
        "value": value,
        "hidden": setting.secret,
        "from": setting.source.to_string(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str, secret: bool) -> Setting {
        Setting {
            key: key.to_owned(),
            value: "s3cret".into(),
            source: Source::Flag,
            secret,
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let hidden = setting("join_token", true);
        assert_eq!(shown(&hidden), "(hidden)");
        assert!(!as_json(&hidden).contains("s3cret"));
        assert_eq!(shown(&setting("name", false)), "\"s3cret\"");
        assert!(as_json(&setting("name", false)).contains("\"s3cret\""));
    }

    #[test]
    fn flags_are_keys() {
        let flags = NodeFlags {
            edge: Some(([127, 0, 0, 1], 80).into()),
            seeds: vec!["n1:7070".to_owned()],
            insecure_open: true,
            ..NodeFlags::default()
        };
        let layers = layers(None, false, &flags).unwrap();
        let settings = layers.settings();
        let set = settings.iter().filter(|s| s.source == Source::Flag);
        let set: Vec<String> = set.map(|s| format!("{}={}", s.key, s.value)).collect();
        assert_eq!(
            set,
            [
                "edge.listen=\"127.0.0.1:80\"",
                "insecure_open=true",
                "seeds=[\"n1:7070\"]"
            ]
        );
    }
}
