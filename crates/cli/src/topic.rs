//! `fanfare topic …`: topics and their rules, through an administrator's calls.

use std::time::Duration;

use fanfare_client::{Admin, AdminError, Machine, Spelled as _, TopicInfo};
use fanfare_core::name::{TopicName, TopicPattern};
use fanfare_core::rule::{Class, Html, RuleLayer, Rules as Resolved, Slow};
use serde_json::{Value, json};

use crate::args::{Reach, Rules, Topic, TopicCommand};
use crate::failure::Failure;
use crate::{output, reach};

pub fn run(args: Topic) -> Result<(), Failure> {
    match args.command {
        TopicCommand::List {
            pattern,
            reach,
            json,
        } => {
            let pattern = pattern.map(|raw| self::pattern(&raw)).transpose()?;
            ask(&reach, async |admin| {
                list(admin, pattern.as_ref(), json).await
            })
        }
        TopicCommand::Show { topic, reach, json } => {
            let name = name(&topic)?;
            ask(&reach, async |admin| {
                let info = admin.topic(&name).await?;
                Ok(output::line(&match json {
                    true => info_json(&info).to_string(),
                    false => info_text(&info),
                }))
            })
        }
        TopicCommand::Create {
            topic,
            rules,
            reach,
        } => {
            let name = name(&topic)?;
            let layer = layer(&rules);
            ask(&reach, async |admin| {
                let info = admin.create(&name, &layer).await?;
                Ok(output::line(&format!(
                    "{name} created, {} {}",
                    class(info.class),
                    info.head
                )))
            })
        }
        TopicCommand::Set {
            pattern,
            rules,
            reach,
        } => {
            let pattern = self::pattern(&pattern)?;
            let layer = layer(&rules);
            if layer == RuleLayer::default() {
                let why =
                    "no rule is given, such as --retain-age 24h; `topic rules --forget` forgets";
                return Err(Failure::Usage(why.to_owned()));
            }
            ask(&reach, async |admin| {
                admin.put_rule(&pattern, &layer).await?;
                let text = format!("{}: {}", pattern.as_str(), layer_text(&layer));
                Ok(output::line(&text))
            })
        }
        TopicCommand::Rules {
            forget: Some(forget),
            reach,
            json: _,
        } => {
            let pattern = self::pattern(&forget)?;
            ask(&reach, async |admin| {
                admin.delete_rule(&pattern).await?;
                Ok(output::line(&format!(
                    "{}: no rules of its own",
                    pattern.as_str()
                )))
            })
        }
        TopicCommand::Rules {
            forget: None,
            reach,
            json,
        } => ask(&reach, async |admin| {
            let rules = admin.rules().await?;
            Ok(print_rules(&rules, json))
        }),
        TopicCommand::Delete { topic, reach } => {
            let name = name(&topic)?;
            ask(&reach, async |admin| {
                admin.delete(&name, None).await?;
                Ok(output::line(&format!("{name} deleted")))
            })
        }
    }
}

/// Runs one command of an administrator: what fails is a call, or the printing of its answer.
fn ask(
    reach: &Reach,
    command: impl AsyncFnOnce(&Admin) -> Result<Result<(), Failure>, AdminError>,
) -> Result<(), Failure> {
    let endpoints = reach::endpoints(reach)?;
    reach::with(&reach.token, async |machine: Machine| {
        let admin = Admin::new(machine, &endpoints);
        command(&admin).await.map_err(reach::admin(reach))?
    })
}

fn name(raw: &str) -> Result<TopicName, Failure> {
    raw.parse()
        .map_err(|e| Failure::Usage(format!("TOPIC `{raw}`: {e}")))
}

fn pattern(raw: &str) -> Result<TopicPattern, Failure> {
    raw.parse()
        .map_err(|e| Failure::Usage(format!("PATTERN `{raw}`: {e}")))
}

/// The rules that were typed. Words are checked by the grammar.
pub fn layer(rules: &Rules) -> RuleLayer {
    let Rules {
        class,
        retain_count,
        retain_bytes,
        retain_age,
        slow,
        slow_lag,
        dedup_age,
        html,
    } = rules;
    RuleLayer {
        class: class.as_deref().and_then(Class::spelled),
        retain_count: *retain_count,
        retain_bytes: *retain_bytes,
        retain_age: *retain_age,
        slow: slow.as_deref().map(|word| match word {
            "conflate" => Slow::Conflate,
            _ => Slow::CatchUp,
        }),
        slow_lag: *slow_lag,
        dedup_age: *dedup_age,
        html: html.as_deref().map(|word| match word {
            "verbatim" => Html::Verbatim,
            _ => Html::Escape,
        }),
    }
}

async fn list(
    admin: &Admin,
    pattern: Option<&TopicPattern>,
    json: bool,
) -> Result<Result<(), Failure>, AdminError> {
    let mut token = Some(String::new());
    let mut headed = json;
    while let Some(page) = token {
        let (topics, next) = admin.topics(pattern, &page).await?;
        for info in topics {
            let row = match json {
                true => info_json(&info).to_string(),
                false => row(
                    class(info.class),
                    &info.start.to_string(),
                    &info.head.to_string(),
                    &info.bytes.to_string(),
                    info.name.as_str(),
                ),
            };
            let head = match std::mem::replace(&mut headed, true) {
                false => output::line(&row_of_names()),
                true => Ok(()),
            };
            if let Err(failure) = head.and_then(|()| output::line(&row)) {
                return Ok(Err(failure));
            }
        }
        token = next;
    }
    Ok(Ok(()))
}

fn row_of_names() -> String {
    row("CLASS", "START", "HEAD", "BYTES", "TOPIC")
}

fn row(class: &str, start: &str, head: &str, bytes: &str, topic: &str) -> String {
    format!("{class:<10} {start:>18} {head:>18} {bytes:>10}  {topic}")
}

fn print_rules(rules: &[(TopicPattern, RuleLayer)], json: bool) -> Result<(), Failure> {
    if rules.is_empty() && !json {
        return output::line("no rules but the defaults");
    }
    for (pattern, layer) in rules {
        output::line(&match json {
            true => json!({ "pattern": pattern.as_str(), "rules": layer_json(layer) }).to_string(),
            false => format!("{}: {}", pattern.as_str(), layer_text(layer)),
        })?;
    }
    Ok(())
}

fn class(class: Class) -> &'static str {
    class.spelling()
}

fn whole(rules: &Resolved) -> RuleLayer {
    let Resolved {
        class,
        retain_count,
        retain_bytes,
        retain_age,
        slow,
        slow_lag,
        dedup_age,
        html,
    } = rules.clone();
    RuleLayer {
        class: Some(class),
        retain_count: Some(retain_count),
        retain_bytes: Some(retain_bytes),
        retain_age: Some(retain_age),
        slow: Some(slow),
        slow_lag: Some(slow_lag),
        dedup_age: Some(dedup_age),
        html: Some(html),
    }
}

fn info_text(info: &TopicInfo) -> String {
    let TopicInfo {
        name,
        class: of,
        epoch,
        start,
        head,
        bytes,
        rules,
    } = info;
    let (of, epoch) = (class(*of), epoch.0);
    let rules = layer_text(&whole(rules));
    format!(
        "topic  {name}\nclass  {of}\nepoch  {epoch}\nstart  {start}\nhead   {head}\nbytes  {bytes}\nrules  {rules}"
    )
}

fn info_json(info: &TopicInfo) -> Value {
    let TopicInfo {
        name,
        class: of,
        epoch,
        start,
        head,
        bytes,
        rules,
    } = info;
    json!({
        "name": name.as_str(),
        "class": class(*of),
        "epoch": epoch.0,
        "start": start.to_string(),
        "head": head.to_string(),
        "bytes": bytes,
        "rules": layer_json(&whole(rules)),
    })
}

fn slow(slow: Slow) -> &'static str {
    match slow {
        Slow::CatchUp => "catch_up",
        Slow::Conflate => "conflate",
    }
}

fn html(html: Html) -> &'static str {
    match html {
        Html::Escape => "escape",
        Html::Verbatim => "verbatim",
    }
}

fn layer_json(layer: &RuleLayer) -> Value {
    let RuleLayer {
        class: of,
        retain_count,
        retain_bytes,
        retain_age,
        slow: slowness,
        slow_lag,
        dedup_age,
        html: shown,
    } = layer;
    let millis = |age: &Duration| json!(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let rows = [
        ("class", of.map(|c| json!(class(c)))),
        ("retain_count", retain_count.map(|n| json!(n))),
        ("retain_bytes", retain_bytes.map(|n| json!(n))),
        ("retain_age_ms", retain_age.as_ref().map(millis)),
        ("slow", slowness.map(|s| json!(slow(s)))),
        ("slow_lag", slow_lag.map(|n| json!(n))),
        ("dedup_age_ms", dedup_age.as_ref().map(millis)),
        ("html", shown.map(|h| json!(html(h)))),
    ];
    let set = rows
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect())
}

/// The rules as flags would set them.
fn layer_text(layer: &RuleLayer) -> String {
    let RuleLayer {
        class: of,
        retain_count,
        retain_bytes,
        retain_age,
        slow: slowness,
        slow_lag,
        dedup_age,
        html: shown,
    } = layer;
    let rows = [
        ("class", of.map(|c| class(c).to_owned())),
        ("retain-count", retain_count.map(|n| n.to_string())),
        ("retain-bytes", retain_bytes.map(|n| n.to_string())),
        ("retain-age", retain_age.map(age)),
        ("slow", slowness.map(|s| slow(s).to_owned())),
        ("slow-lag", slow_lag.map(|n| n.to_string())),
        ("dedup-age", dedup_age.map(age)),
        ("html", shown.map(|h| html(h).to_owned())),
    ];
    let set = rows
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    match set.collect::<Vec<_>>().join(", ") {
        text if text.is_empty() => "the defaults".to_owned(),
        text => text,
    }
}

/// A time in its largest whole unit, as the flags read it.
fn age(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    let fits = units
        .into_iter()
        .find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit));
    match fits {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_shown_as_they_are_typed() {
        let typed = Rules {
            class: Some("ephemeral".to_owned()),
            retain_age: Some(Duration::from_secs(86_400)),
            slow: Some("conflate".to_owned()),
            html: Some("verbatim".to_owned()),
            ..Rules::default()
        };
        let layer = layer(&typed);
        assert_eq!(
            layer_text(&layer),
            "class ephemeral, retain-age 1d, slow conflate, html verbatim"
        );
        assert_eq!(
            layer_json(&layer).to_string(),
            r#"{"class":"ephemeral","html":"verbatim","retain_age_ms":86400000,"slow":"conflate"}"#
        );
        assert_eq!(layer_text(&RuleLayer::default()), "the defaults");
        assert_eq!(age(Duration::from_secs(90)), "90s");
        assert_eq!(age(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(age(Duration::ZERO), "0ms");
    }
}
