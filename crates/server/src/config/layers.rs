//! The layers of a configuration and how one is put over the other. Unknown keys are refused with
//! the nearest name.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::validate::{Problem, Problems};
use super::{Config, validate};

/// Where a value came from, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(String),
    Environment(String),
    Flag,
}

/// Values by dotted key, each with its source; later layers win.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: BTreeMap<String, (Value, Source)>,
    problems: Vec<Problem>,
}

impl Layers {
    /// The prefix of environment variables: `FANFARE_EDGE__LISTEN` is `edge.listen`.
    pub const PREFIX: &'static str = "FANFARE_";

    /// Variables of the command line's clients, which are no keys of a node.
    const CLIENT: [&'static str; 6] = [
        "FANFARE_URL",
        "FANFARE_GRPC",
        "FANFARE_TOKEN",
        "FANFARE_BIN",
        "FANFARE_OPS",
        "FANFARE_LOG",
    ];

    /// Puts a file over what is there. `name` is for messages.
    pub fn file(&mut self, name: &str, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => self.table("", table, &Source::File(name.to_owned())),
            Err(e) => self
                .problems
                .push(Problem::new(name, e.message().to_owned())),
        }
    }

    /// Puts environment variables over what is there; those without the prefix are ignored.
    pub fn environment(&mut self, vars: impl IntoIterator<Item = (String, String)>) {
        for (name, raw) in vars {
            let Some(rest) = name.strip_prefix(Self::PREFIX) else {
                continue;
            };
            if Self::CLIENT.contains(&name.as_str()) {
                continue;
            }
            let key = rest.to_lowercase().replace("__", ".");
            let value = parse_scalar(&key, &raw);
            self.set(key, value, Source::Environment(name));
        }
    }

    /// Puts a flag over what is there.
    pub fn flag(&mut self, key: &str, value: impl Into<Value>) {
        self.set(key.to_owned(), value.into(), Source::Flag);
    }

    /// Where a key's value comes from.
    pub fn source(&self, key: &str) -> Source {
        self.values
            .get(key)
            .map_or(Source::Default, |(_, source)| source.clone())
    }

    /// The resolved configuration, or all that is wrong with it.
    pub fn resolve(mut self) -> Result<Config, Problems> {
        let mut root = defaults();
        for (key, (value, _)) in std::mem::take(&mut self.values) {
            if known(&key) {
                let mut trial = root.clone();
                put(&mut trial, &key, value);
                match deserialize(trial.clone()) {
                    Ok(_) => root = trial,
                    Err(why) => self.problems.push(Problem::new(&key, why)),
                }
            } else {
                self.problems.push(Problem::unknown(&key, nearest(&key)));
            }
        }
        let config = deserialize(root).map_err(|why| Problems(vec![Problem::new("", why)]))?;
        validate::check(&config, &mut self.problems);
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(Problems(self.problems))
        }
    }

    fn table(&mut self, prefix: &str, table: Table, source: &Source) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name
            } else {
                format!("{prefix}.{name}")
            };
            match value {
                Value::Table(inner) => self.table(&key, inner, source),
                other @ (Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)) => self.set(key, other, source.clone()),
            }
        }
    }

    fn set(&mut self, key: String, value: Value, source: Source) {
        self.values.insert(key, (value, source));
    }
}

fn deserialize(table: Table) -> Result<Config, String> {
    let result: Result<Config, _> = serde_path_to_error::deserialize(Value::Table(table));
    result.map_err(|e| e.into_inner().message().to_owned())
}

fn defaults() -> Table {
    match Value::try_from(Config::default()) {
        Ok(Value::Table(table)) => table,
        Ok(_) | Err(_) => Table::new(),
    }
}

fn flatten(prefix: &str, table: &Table, out: &mut Vec<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value.as_table() {
            Some(inner) => flatten(&key, inner, out),
            None => out.push(key),
        }
    }
}

pub(super) fn all_keys() -> Vec<String> {
    let mut keys = Vec::new();
    flatten("", &defaults(), &mut keys);
    keys
}

fn known(key: &str) -> bool {
    all_keys().iter().any(|k| k == key)
}

fn nearest(key: &str) -> Option<String> {
    let scored = all_keys()
        .into_iter()
        .map(|k| (strsim::jaro_winkler(key, &k), k));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

fn put(root: &mut Table, key: &str, value: Value) {
    let mut at = root;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            at.insert(part.to_owned(), value);
            return;
        }
        let next = at
            .entry(part.to_owned())
            .or_insert_with(|| Value::Table(Table::new()));
        match next.as_table_mut() {
            Some(table) => at = table,
            None => return,
        }
    }
}

/// A variable's text as the kind of value its key has by default.
fn parse_scalar(key: &str, raw: &str) -> Value {
    let text = || Value::String(raw.to_owned());
    let default = key
        .split('.')
        .try_fold(Value::Table(defaults()), |at, part| {
            at.as_table().and_then(|table| table.get(part).cloned())
        });
    match default {
        Some(Value::Integer(_)) => raw.parse().map_or_else(|_| text(), Value::Integer),
        Some(Value::Boolean(_)) => raw.parse().map_or_else(|_| text(), Value::Boolean),
        Some(Value::Array(_)) => {
            let items = raw
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        _ => text(),
    }
}
