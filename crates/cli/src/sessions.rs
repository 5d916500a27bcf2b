//! `fanfare sessions` and `fanfare disconnect`: every node is asked for its own.

use std::cmp::Reverse;
use std::io::IsTerminal as _;
use std::time::Duration;

use fanfare_client::{
    Admin, DisconnectWish, Everywhere, Machine, SESSIONS_PAGE, SessionRow, SessionsWish,
};
use fanfare_core::name::TopicName;
use serde_json::{Value, json};

use crate::args::{Disconnect, Sessions};
use crate::failure::Failure;
use crate::paint::{Ink, Paint};
use crate::table::{age, bytes, table, tame};
use crate::{output, reach};

/// Between two looks of `--watch`.
const AGAIN: Duration = Duration::from_secs(2);
/// Rows of a watched screen.
const SCREEN: usize = 40;

pub fn list(args: Sessions) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let topic = args.topic.as_ref().map(|raw| {
        raw.parse()
            .map_err(|e| Failure::Usage(format!("--topic `{raw}`: {e}")))
    });
    let topic: Option<TopicName> = topic.transpose()?;
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine.clone(), &endpoints);
        let look = async || look(&args, &admin, topic.clone()).await;
        if !args.watch {
            let found = look().await?;
            let silent = found.silent.len();
            found.print(&args, found.rows.len())?;
            return match silent {
                0 => Ok(()),
                n => Err(Failure::No(format!(
                    "{n} nodes did not answer: the list lacks their sessions"
                ))),
            };
        }
        let screen = std::io::stdout().is_terminal() && !args.json;
        loop {
            match look().await {
                Ok(mut found) => {
                    found
                        .rows
                        .sort_by_key(|row| (Reverse(row.lag), Reverse(row.waiting_bytes)));
                    if screen {
                        output::text("\x1b[H\x1b[J")?;
                    }
                    let most = if screen { SCREEN } else { found.rows.len() };
                    found.print(&args, most)?;
                }
                Err(Failure::Unreachable(why)) => output::note(&format!("{why}; asking again")),
                Err(failure) => return Err(failure),
            }
            machine.clock.sleep(AGAIN).await;
        }
    })
}

/// What the nodes said.
struct Found {
    rows: Vec<SessionRow>,
    /// There are more than were asked for.
    more: bool,
    /// Nodes that did not answer, and why.
    silent: Vec<String>,
    /// Names of nodes, by their ids.
    names: Vec<(u64, String)>,
}

async fn look(args: &Sessions, admin: &Admin, topic: Option<TopicName>) -> Result<Found, Failure> {
    let overview = admin.overview().await.map_err(reach::admin(&args.reach))?;
    let doors = admin.everywhere(&overview, args.node.as_deref()).await;
    if let (Some(node), None) = (&args.node, doors.names().next()) {
        return Err(Failure::Usage(format!(
            "--node {node}: the cluster has no node of that name or id"
        )));
    }
    let mut found = Found {
        rows: Vec::new(),
        more: false,
        silent: Vec::new(),
        names: overview
            .nodes
            .iter()
            .map(|node| (node.id.0, node.name.clone()))
            .collect(),
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    for name in doors.names() {
        if let Err(why) = collect(args, &doors, name, topic.clone(), limit, &mut found).await {
            found.silent.push(format!("{name}: {why}"));
        }
    }
    Ok(found)
}

/// All pages of one node, as far as there is room for them.
async fn collect(
    args: &Sessions,
    doors: &Everywhere,
    node: &str,
    topic: Option<TopicName>,
    limit: usize,
    found: &mut Found,
) -> Result<(), fanfare_client::AdminError> {
    let mut wish = SessionsWish {
        after: None,
        limit: usize::try_from(SESSIONS_PAGE).unwrap_or(1),
        subject: args.subject.clone(),
        topic,
    };
    loop {
        let page = doors.sessions(node, &wish).await?;
        let wanted = page.sessions.into_iter();
        let wanted = wanted.filter(|row| args.lagging.is_none_or(|least| row.lag >= least));
        for row in wanted {
            if found.rows.len() >= limit {
                found.more = true;
                return Ok(());
            }
            found.rows.push(row);
        }
        // A page that does not go on would come for ever.
        match page.next {
            Some(next) if Some(next) > wish.after => wish.after = Some(next),
            Some(_) | None => return Ok(()),
        }
    }
}

impl Found {
    fn print(&self, args: &Sessions, most: usize) -> Result<(), Failure> {
        if args.json {
            for row in &self.rows {
                output::line(&self.as_json(row).to_string())?;
            }
        } else {
            self.print_table(most)?;
        }
        for silent in &self.silent {
            output::note(&format!("no answer of {silent}"));
        }
        if self.more {
            output::note(&format!(
                "there are more than {}: see --limit",
                self.rows.len()
            ));
        }
        Ok(())
    }

    fn print_table(&self, most: usize) -> Result<(), Failure> {
        let names = [
            "SESSION",
            "NODE",
            "TRANSPORT",
            "SUBJECT",
            "LAG",
            "WAITING",
            "DELIVERED",
            "AGE",
            "TOPICS",
        ];
        let right = [false, false, false, false, true, true, true, true, false];
        let rows: Vec<_> = self
            .rows
            .iter()
            .take(most)
            .map(|row| self.cells(row))
            .collect();
        let paint = Paint::stdout();
        for (at, line) in table(names, right, &rows).iter().enumerate() {
            output::line(&match at {
                0 => paint.ink(Ink::Faint, line),
                _ => line.clone(),
            })?;
        }
        let (shown, all) = (rows.len(), self.rows.len());
        let count = match shown < all {
            true => format!("{shown} of {all} sessions"),
            false if all == 1 => "1 session".to_owned(),
            false => format!("{all} sessions"),
        };
        output::line(&format!("\n{count}"))
    }

    fn name(&self, row: &SessionRow) -> String {
        let found = self.names.iter().find(|(id, _)| *id == row.node.0);
        match found {
            Some((_, name)) if !name.is_empty() => name.clone(),
            Some(_) | None => row.node.to_string(),
        }
    }

    fn cells(&self, row: &SessionRow) -> [String; 9] {
        let mut topics: Vec<String> = row
            .topics
            .iter()
            .take(3)
            .map(|t| tame(t.topic.as_str(), 40))
            .collect();
        let shown = u32::try_from(topics.len()).unwrap_or(u32::MAX);
        if row.topic_count > shown {
            topics.push(format!("+{}", row.topic_count - shown));
        }
        [
            tame(&row.session, 40),
            self.name(row),
            tame(&row.transport, 10),
            row.subject
                .as_deref()
                .map_or_else(|| "-".to_owned(), |text| tame(text, 32)),
            row.lag.to_string(),
            bytes(row.waiting_bytes),
            row.delivered.to_string(),
            age(row.age),
            topics.join(" "),
        ]
    }

    fn as_json(&self, row: &SessionRow) -> Value {
        let topics = row.topics.iter().map(|topic| {
            json!({
                "topic": topic.topic.as_str(),
                "position": topic.position.to_string(),
                "lag": topic.lag,
            })
        });
        json!({
            "session": row.session,
            "node": self.name(row),
            "node_id": row.node.0,
            "transport": row.transport,
            "subject": row.subject,
            "topics": topics.collect::<Vec<_>>(),
            "topic_count": row.topic_count,
            "lag": row.lag,
            "waiting_bytes": row.waiting_bytes,
            "delivered": row.delivered,
            "age_ms": u64::try_from(row.age.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

pub fn disconnect(args: Disconnect) -> Result<(), Failure> {
    let endpoints = reach::endpoints(&args.reach)?;
    let wish = match (&args.session, &args.subject) {
        (Some(session), _) if !session.is_empty() => DisconnectWish::Session(session.clone()),
        (_, Some(subject)) if !subject.is_empty() => DisconnectWish::Subject(subject.clone()),
        (_, _) => {
            return Err(Failure::Usage(
                "a session or --subject is needed".to_owned(),
            ));
        }
    };
    let token = args.reach.token.clone();
    reach::with(&token, async move |machine: Machine| {
        let admin = Admin::new(machine, &endpoints);
        let overview = admin.overview().await.map_err(reach::admin(&args.reach))?;
        let doors = admin.everywhere(&overview, None).await;
        let (mut told, mut silent) = (0_u64, 0_u64);
        for (node, said) in doors.disconnect(&wish).await {
            match said {
                Ok(count) => told += count,
                Err(why) => {
                    silent += 1;
                    output::note(&format!("no answer of {node}: {why}"));
                }
            }
        }
        output::line(&match (args.json, told) {
            (true, told) => json!({ "disconnected": told, "silent_nodes": silent }).to_string(),
            (false, 1) => "1 session is told to end".to_owned(),
            (false, told) => format!("{told} sessions are told to end"),
        })?;
        match (told, silent) {
            (_, 1..) => Err(Failure::No(format!(
                "{silent} nodes did not answer: their sessions may go on"
            ))),
            (0, 0) => Err(Failure::No("no such session".to_owned())),
            (_, 0) => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use fanfare_client::SessionTopic;
    use fanfare_core::id::NodeId;
    use fanfare_core::position::Position;

    use super::*;

    fn found() -> (Found, SessionRow) {
        let topic = |name: &str| SessionTopic {
            topic: name.parse().unwrap(),
            position: Position::new(7, 42),
            lag: Some(3),
        };
        let row = SessionRow {
            session: "s-2-1f".to_owned(),
            node: NodeId(2),
            transport: "ws".to_owned(),
            subject: Some("alice\x1b[2J".to_owned()),
            topics: ["a", "b", "c", "d"].map(topic).to_vec(),
            topic_count: 12,
            lag: 36,
            waiting_bytes: 20_480,
            delivered: 42,
            age: Duration::from_secs(600),
        };
        let found = Found {
            rows: vec![row.clone()],
            more: false,
            silent: Vec::new(),
            names: vec![(2, "n2".to_owned())],
        };
        (found, row)
    }

    #[test]
    fn a_session_is_a_row_that_no_name_can_break() {
        let (found, row) = found();
        let cells = found.cells(&row);
        let wanted = [
            "s-2-1f",
            "n2",
            "ws",
            "alice?[2J",
            "36",
            "20 KiB",
            "42",
            "10m",
            "a b c +9",
        ];
        assert_eq!(cells, wanted);
    }

    #[test]
    fn a_program_gets_every_member() {
        let (found, row) = found();
        let json = found.as_json(&row);
        assert_eq!((&json["node"], &json["lag"]), (&json!("n2"), &json!(36)));
        assert_eq!(json["topics"][3]["position"], "7-42");
        assert_eq!(json["age_ms"], 600_000);
    }
}
