//! The layers of a configuration and how one is put over the other. Unknown keys are refused with
//! the nearest name.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

use super::validate::{Problem, Problems};
use super::{Config, lines, validate};

/// Where a value came from, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    /// The file's name and the line in it, from 1.
    File {
        name: String,
        line: usize,
    },
    /// The variable's name.
    Environment(String),
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One key as a node would read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: String,
    pub value: Value,
    pub source: Source,
    /// The value is nothing to show to whoever looks over a shoulder.
    pub secret: bool,
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
    const CLIENT: [&'static str; 7] = [
        "FANFARE_URL",
        "FANFARE_GRPC",
        "FANFARE_TOKEN",
        "FANFARE_TOKEN_FILE",
        "FANFARE_BIN",
        "FANFARE_OPS",
        "FANFARE_LOG",
    ];

    /// Puts a file over what is there. `name` is for messages.
    pub fn file(&mut self, name: &str, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => {
                let lines = lines::of(text);
                let source = |key: &str| Source::File {
                    name: name.to_owned(),
                    line: lines.get(key).copied().unwrap_or(1),
                };
                self.table("", table, &source);
            }
            Err(e) => {
                let line = e.span().map(|place| lines::line(text, &place));
                let at = line.map_or_else(String::new, |line| format!("line {line}: "));
                self.problems
                    .push(Problem::new(name, format!("{at}{}", e.message())));
            }
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

    /// Every key as a node would read it, in the order of the file. Unknown keys are none.
    pub fn settings(&self) -> Vec<Setting> {
        let root = Value::Table(defaults());
        let default = |key: &str| {
            key.split('.')
                .try_fold(&root, |at, part| at.as_table()?.get(part))
        };
        let setting = |key: String| {
            let (value, source) = match self.values.get(&key) {
                Some((value, source)) => (value.clone(), source.clone()),
                None => (default(&key)?.clone(), Source::Default),
            };
            let secret = is_secret(&key);
            Some(Setting {
                key,
                value,
                source,
                secret,
            })
        };
        all_keys().into_iter().filter_map(setting).collect()
    }

    /// The resolved configuration, or all that is wrong with it.
    pub fn resolve(mut self) -> Result<Config, Problems> {
        let mut root = defaults();
        let sources: BTreeMap<String, Source> = self
            .values
            .iter()
            .map(|(key, (_, source))| (key.clone(), source.clone()))
            .collect();
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
            for problem in &mut self.problems {
                if let Some(source) = sources.get(&problem.key) {
                    problem.source = source.clone();
                }
            }
            Err(Problems(self.problems))
        }
    }

    fn table(&mut self, prefix: &str, table: Table, source: &impl Fn(&str) -> Source) {
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
                | Value::Array(_)) => {
                    let source = source(&key);
                    self.set(key, other, source);
                }
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

/// True if the value of a key is a secret itself, not a file that holds one.
pub(super) fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    ["token", "secret", "password", "api_key"]
        .iter()
        .any(|word| last == *word || last.ends_with(&format!("_{word}")))
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
