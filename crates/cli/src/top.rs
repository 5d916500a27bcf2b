//! `fanfare top`: the cluster at work. Looks are values, two of them make rates; a terminal is
//! redrawn, a pipe gets one look.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use fanfare_client::{Admin, Machine, NodeCounts, Overview};
use fanfare_core::id::NodeId;
use serde_json::{Value, json};

use crate::args::Top;
use crate::cluster::{name_of, state};
use crate::failure::Failure;
use crate::paint::{Ink, Paint};
use crate::table::{bytes, table, tame};
use crate::{output, reach};

pub fn run(args: Top) -> Result<(), Failure> {
    if args.interval < Duration::from_millis(100) {
        return Err(Failure::Usage("--interval: at least 100ms".to_owned()));
    }
    let endpoints = reach::endpoints(&args.reach)?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let screen = std::io::stdout().is_terminal() && !args.json;
        let mut left = args.count.or((!screen).then_some(1));
        let mut before = look(&admin).await.map_err(reach::admin(&args.reach))?;
        while left != Some(0) {
            machine.clock.sleep(args.interval).await;
            let now = match look(&admin).await {
                Ok(look) => look,
                Err(error) if screen => {
                    output::note(&format!("{error}; asking again"));
                    continue;
                }
                Err(error) => return Err(reach::admin(&args.reach)(error)),
            };
            let frame = Frame::between(&before, &now);
            before = now;
            left = left.map(|n| n - 1);
            if args.json {
                output::line(&frame.as_json().to_string())?;
                continue;
            }
            if screen {
                output::text("\x1b[H\x1b[J")?;
            }
            output::line(&frame.text(Paint::stdout()))?;
        }
        Ok(())
    })
}

/// What was seen at one time.
struct Look {
    overview: Overview,
    counts: BTreeMap<NodeId, NodeCounts>,
}

async fn look(admin: &Admin) -> Result<Look, fanfare_client::AdminError> {
    let overview = admin.joined().await?;
    let doors = admin.everywhere(&overview, None).await;
    let said = doors.counts().await.into_iter();
    let counts = said.filter_map(|(_, said)| said.ok().map(|counts| (counts.node, counts)));
    Ok(Look {
        counts: counts.collect(),
        overview,
    })
}

/// One node between two looks. `None`: it did not answer.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    state: &'static str,
    leads: usize,
    lag: u64,
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Told {
    sessions: u64,
    published: f64,
    delivered: f64,
    requests: f64,
    gaps: f64,
    log: u64,
}

/// What is shown at one time.
#[derive(Debug, PartialEq)]
struct Frame {
    version: u64,
    shards: usize,
    led: usize,
    lines: Vec<Line>,
}

impl Frame {
    fn between(before: &Look, now: &Look) -> Self {
        let overview = &now.overview;
        let line = |node: &fanfare_client::NodeOverview| {
            let led = overview.shards.iter().filter(|s| s.leader == Some(node.id));
            let behind = led.clone().flat_map(|shard| &shard.replicas);
            Line {
                name: name_of(overview, node.id),
                state: state(node),
                leads: led.count(),
                lag: behind.filter_map(|replica| replica.behind).sum(),
                told: now
                    .counts
                    .get(&node.id)
                    .map(|counts| told(before.counts.get(&node.id), counts)),
            }
        };
        let led = overview.shards.iter().filter(|s| s.leader.is_some());
        Self {
            version: overview.version,
            shards: overview.shards.len(),
            led: led.count(),
            lines: overview.nodes.iter().map(line).collect(),
        }
    }

    fn total(&self) -> Told {
        let told = self.lines.iter().filter_map(|line| line.told);
        told.fold(Told::default(), |sum, one| Told {
            sessions: sum.sessions + one.sessions,
            published: sum.published + one.published,
            delivered: sum.delivered + one.delivered,
            requests: sum.requests + one.requests,
            gaps: sum.gaps + one.gaps,
            log: sum.log + one.log,
        })
    }

    fn text(&self, paint: Paint) -> String {
        let names = [
            "NODE",
            "STATE",
            "LEADS",
            "LAG",
            "SESSIONS",
            "PUBLISH/s",
            "DELIVER/s",
            "REQUESTS/s",
            "GAPS/s",
            "LOG",
        ];
        let right = [false, false, true, true, true, true, true, true, true, true];
        let mut rows: Vec<[String; 10]> = self.lines.iter().map(cells).collect();
        let (leads, lag) = (
            self.lines.iter().map(|line| line.leads).sum(),
            self.lines.iter().map(|line| line.lag).sum(),
        );
        rows.push(cells(&Line {
            name: "all".to_owned(),
            state: "",
            leads,
            lag,
            told: Some(self.total()),
        }));
        let mut lines = table(names, right, &rows);
        lines[0] = paint.ink(Ink::Faint, &lines[0]);
        for (at, line) in self.lines.iter().enumerate() {
            if line.told.is_none() || line.state != "active" {
                lines[at + 1] = paint.ink(Ink::Warn, &lines[at + 1]);
            }
        }
        let Self {
            version,
            shards,
            led,
            lines: nodes,
        } = self;
        let head = format!(
            "view {version}, {} nodes, {led} of {shards} shards have a leader",
            nodes.len()
        );
        let head = match led == shards {
            true => head,
            false => paint.ink(Ink::Bad, &head),
        };
        format!("{head}\n{}", lines.join("\n"))
    }

    fn as_json(&self) -> Value {
        let node = |line: &Line| {
            let told = line.told.map(|told| {
                json!({
                    "sessions": told.sessions,
                    "published_per_s": told.published,
                    "delivered_per_s": told.delivered,
                    "requests_per_s": told.requests,
                    "gaps_per_s": told.gaps,
                    "log_bytes": told.log,
                })
            });
            json!({ "name": line.name, "state": line.state, "leads": line.leads, "lag": line.lag, "counts": told })
        };
        json!({
            "version": self.version,
            "shards": self.shards,
            "shards_led": self.led,
            "nodes": self.lines.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

fn told(before: Option<&NodeCounts>, now: &NodeCounts) -> Told {
    let value = |counts: &NodeCounts, name: &str| counts.values.get(name).copied().unwrap_or(0);
    // A clock or counter that goes back is a node that was started again: there is no rate yet.
    let rate = |name: &str| {
        let Some(before) = before.filter(|before| before.at < now.at) else {
            return 0.0;
        };
        let grown = value(now, name).saturating_sub(value(before, name));
        grown as f64 / now.at.saturating_sub(before.at).as_secs_f64()
    };
    Told {
        sessions: value(now, "sessions"),
        published: rate("published"),
        delivered: rate("delivered"),
        requests: rate("requests"),
        gaps: rate("gaps"),
        log: value(now, "log_bytes"),
    }
}

fn cells(line: &Line) -> [String; 10] {
    let number = |shown: fn(Told) -> String| line.told.map_or_else(|| "-".to_owned(), shown);
    [
        tame(&line.name, 24),
        line.state.to_owned(),
        line.leads.to_string(),
        line.lag.to_string(),
        number(|told| told.sessions.to_string()),
        number(|told| format!("{:.0}", told.published)),
        number(|told| format!("{:.0}", told.delivered)),
        number(|told| format!("{:.0}", told.requests)),
        number(|told| format!("{:.0}", told.gaps)),
        number(|told| bytes(told.log)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(at: u64, delivered: u64) -> NodeCounts {
        NodeCounts {
            node: NodeId(1),
            at: Duration::from_secs(at),
            values: BTreeMap::from([
                ("delivered".to_owned(), delivered),
                ("sessions".to_owned(), 7),
            ]),
        }
    }

    #[test]
    fn rates_are_what_has_grown_by_the_nodes_own_clock() {
        let rates = told(Some(&counts(10, 100)), &counts(12, 500));
        assert_eq!((rates.delivered, rates.sessions), (200.0, 7));
        let again = told(Some(&counts(100, 9_000)), &counts(1, 5));
        assert!(
            again.delivered.abs() < f64::EPSILON,
            "started again: no rate"
        );
        assert!(told(None, &counts(1, 5)).delivered.abs() < f64::EPSILON);
    }

    #[test]
    fn a_node_that_says_nothing_has_no_numbers() {
        let line = |name: &str, told| Line {
            name: name.to_owned(),
            state: "active",
            leads: 2,
            lag: 3,
            told,
        };
        let some = Told {
            sessions: 7,
            delivered: 200.0,
            ..Told::default()
        };
        let frame = Frame {
            version: 12,
            shards: 4,
            led: 4,
            lines: vec![line("n1", Some(some)), line("n2", None)],
        };
        let text = frame.text(Paint::plain());
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows[2],
            [
                "n1", "active", "2", "3", "7", "0", "200", "0", "0", "0", "B"
            ]
        );
        assert_eq!(
            rows[3],
            ["n2", "active", "2", "3", "-", "-", "-", "-", "-", "-"]
        );
        assert_eq!(
            rows[4],
            ["all", "4", "6", "7", "0", "200", "0", "0", "0", "B"]
        );
        let json = frame.as_json();
        assert_eq!(json["nodes"][1]["counts"], Value::Null);
        assert_eq!(json["nodes"][0]["counts"]["delivered_per_s"], 200.0);
    }
}
