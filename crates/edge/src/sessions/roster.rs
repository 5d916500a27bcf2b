//! Sessions as an operator sees them: looked up when somebody asks, so that an idle session pays
//! nothing for it.

use std::collections::BTreeMap;
use std::ops::Bound;

use fanfare_core::code::Code;
use fanfare_core::receipt::Refusal;
use fanfare_rpc::roster::{DisconnectWish, NAMED_TOPICS, SessionRow, SessionsPage, SessionsWish};

use super::{Row, Sessions, slot};
use crate::relay::locked;
use crate::session::actor::Msg;
use crate::session::delivery::Whereabouts;

/// Sessions that are looked at for one page, wanted or not.
const LOOKED_AT: usize = 2_000;

/// The list of this edge's sessions.
#[derive(Clone)]
pub struct Roster(pub(crate) Sessions);

impl Roster {
    /// A page of sessions in the order of their numbers.
    pub fn page(&self, wish: &SessionsWish) -> SessionsPage {
        let numbers = self.0.numbers(wish.after, LOOKED_AT);
        let all = numbers.len() < LOOKED_AT;
        let mut page = SessionsPage::default();
        for number in numbers {
            if page.sessions.len() >= wish.limit {
                return page;
            }
            page.next = Some(number);
            if let Some(row) = self.0.row(number)
                && let Some(row) = self.describe(number, &row, wish)
            {
                page.sessions.push(row);
            }
        }
        if all {
            page.next = None;
        }
        page
    }

    fn describe(&self, number: u64, row: &Row, wish: &SessionsWish) -> Option<SessionRow> {
        let subject = row.vitals.subject();
        if wish.subject.is_some() && wish.subject.as_deref() != subject {
            return None;
        }
        let Whereabouts {
            topics,
            count,
            lag,
            waiting,
        } = row.voice.whereabouts(wish.topic.as_ref(), NAMED_TOPICS)?;
        let now = self.0.state.deps.clock.now();
        Some(SessionRow {
            session: self.0.name(number),
            node: self.0.state.deps.node,
            transport: row.vitals.transport.to_owned(),
            subject: subject.map(ToOwned::to_owned),
            topics,
            topic_count: u32::try_from(count).unwrap_or(u32::MAX),
            lag,
            waiting_bytes: u64::try_from(waiting).unwrap_or(u64::MAX),
            delivered: row.voice.delivered(),
            age: now.saturating_sub(row.vitals.opened),
        })
    }

    /// Ends sessions with `disconnected`; says how many were told.
    pub fn disconnect(&self, wish: &DisconnectWish) -> u64 {
        let told = match wish {
            DisconnectWish::Session(name) => {
                let number = self.0.number(name);
                let row = number.and_then(|number| self.0.row(number));
                row.iter().filter(|row| end(row)).count()
            }
            DisconnectWish::Subject(subject) => {
                let of = |row: &&Row| row.vitals.subject() == Some(subject);
                let slots = self.0.shared.slots.iter();
                let rows = slots.map(|slot| locked(slot).values().filter(of).cloned().collect());
                rows.flat_map(|rows: Vec<Row>| rows).filter(end).count()
            }
        };
        u64::try_from(told).unwrap_or(u64::MAX)
    }
}

/// False: the session is over already.
fn end(row: &Row) -> bool {
    let why = Refusal::new(Code::Disconnected, "an operator ended this session");
    row.actor.cast(Msg::End(why)).is_ok()
}

impl Sessions {
    /// As `welcome` says it.
    pub(super) fn name(&self, number: u64) -> String {
        format!("s-{}-{number:x}", self.state.deps.node)
    }

    /// The number of a session of this node.
    fn number(&self, name: &str) -> Option<u64> {
        let rest = name.strip_prefix(&format!("s-{}-", self.state.deps.node))?;
        u64::from_str_radix(rest, 16).ok()
    }

    fn row(&self, number: u64) -> Option<Row> {
        locked(&self.shared.slots[slot(number)])
            .get(&number)
            .cloned()
    }

    /// The first numbers above `after`, at most `most`.
    fn numbers(&self, after: Option<u64>, most: usize) -> Vec<u64> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let first = |rows: &BTreeMap<u64, Row>| -> Vec<u64> {
            let above = rows.range((from, Bound::Unbounded));
            above.take(most).map(|(number, _)| *number).collect()
        };
        let slots = self.shared.slots.iter();
        let mut numbers: Vec<u64> = slots.flat_map(|slot| first(&locked(slot))).collect();
        numbers.sort_unstable();
        numbers.truncate(most);
        numbers
    }
}
