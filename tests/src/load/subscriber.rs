//! A subscriber that never gives up: it keeps its cursor, and when a session ends it resumes at
//! another node, each time on the next transport of its list.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fanfare_checker::{Event, SinceText, hash};
use fanfare_core::position::Position;
use tokio::sync::watch;

use super::book::Book;
use super::doors::Doors;
use crate::wire::seen::{self, Seen};
use crate::wire::session::{Begin, Node, Session, Transport};

/// One subscriber of the run.
pub(super) struct Subscriber {
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) transports: Vec<Transport>,
    pub(super) doors: Doors,
    pub(super) home: usize,
    pub(super) book: Arc<Book>,
    /// True once the load is over: read up to the last ack, then stop.
    pub(super) over: watch::Receiver<bool>,
}

/// Where a subscriber stands.
struct State {
    cursor: Option<String>,
    processed: Option<Position>,
}

impl Subscriber {
    /// Reads until the load is over and all that was acked has come. The error says what is still
    /// missing when the book gives up.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut state = State {
            cursor: None,
            processed: None,
        };
        let mut session = 0_usize;
        while !self.finished(&state) {
            anyhow::ensure!(
                self.book.now() < self.book.give_up(),
                "{} on {}: stands at {:?}, acked is {:?}",
                self.name,
                self.topic,
                state.processed,
                self.book.acked(&self.topic)
            );
            let transport = self.transports[session % self.transports.len()];
            let door = self.doors.at(self.home + session);
            let node = door.context("no node is known")?;
            let id = format!("{}/{session}", self.name);
            session += 1;
            let left = self.book.give_up().saturating_sub(self.book.now());
            let served = self.session(&id, transport, &node, &mut state);
            let why = match tokio::time::timeout(left, served).await {
                Ok(Ok(())) => "ended".to_owned(),
                Ok(Err(e)) => format!("{e:#}"),
                Err(_) => "the run is over".to_owned(),
            };
            let code = String::new();
            self.book.note(
                &self.name,
                Event::Closed {
                    session: id,
                    code,
                    why,
                },
            );
            if !self.finished(&state) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    }

    fn finished(&self, state: &State) -> bool {
        *self.over.borrow() && self.book.acked(&self.topic) <= state.processed
    }

    async fn session(
        &mut self,
        id: &str,
        transport: Transport,
        node: &Node,
        state: &mut State,
    ) -> Result<()> {
        let begin = match &state.cursor {
            Some(cursor) => Begin::Cursor(cursor.clone()),
            None => Begin::From("earliest".to_owned()),
        };
        let since = state
            .processed
            .map_or("earliest".to_owned(), |p| p.to_string());
        self.book.note(
            &self.name,
            Event::Subscribe {
                sub: self.name.clone(),
                session: id.to_owned(),
                transport: transport.to_string(),
                node: node.edge.clone(),
                topic: self.topic.clone(),
                since: SinceText(since),
            },
        );
        let topics = [self.topic.as_str()];
        let open = Session::open(transport, node, &topics, &begin);
        let mut session = tokio::time::timeout(Duration::from_secs(10), open).await??;
        let mut over = self.over.clone();
        loop {
            let seen = tokio::select! { biased;
                seen = session.next() => seen?,
                () = self.wait_finished(&mut over, state.processed) => return Ok(()),
            };
            match seen {
                Some(Seen::Disconnect { code, .. }) => anyhow::bail!("disconnected: {code}"),
                Some(seen) => self.note(id, seen, state),
                None => anyhow::bail!("the stream ended without a word"),
            }
            if let Some(cursor) = session.cursor() {
                state.cursor = Some(cursor.to_owned());
            }
            if self.finished(state) {
                return Ok(());
            }
        }
    }

    async fn wait_finished(&self, over: &mut watch::Receiver<bool>, at: Option<Position>) {
        // The sender lives as long as the run.
        drop(over.wait_for(|over| *over).await);
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        while self.book.acked(&self.topic) > at && self.book.now() < self.book.give_up() {
            tick.tick().await;
        }
    }

    fn note(&self, id: &str, seen: Seen, state: &mut State) {
        let session = id.to_owned();
        match seen {
            Seen::Attached(seen::Attached {
                topic,
                answer,
                from,
                head,
                ..
            }) => {
                let (from, head) = (from.map(checked), Some(checked(head)));
                self.book.note(
                    &self.name,
                    Event::Attached {
                        session,
                        topic,
                        answer,
                        from,
                        head,
                    },
                );
            }
            Seen::Message(message) => {
                state.processed = state.processed.max(Some(message.position));
                let text = message.text();
                let draft = text.split(' ').next().unwrap_or_default().to_owned();
                self.book.note(
                    &self.name,
                    Event::Message {
                        session,
                        topic: message.topic,
                        epoch: message.position.epoch.0,
                        offset: message.position.offset.0,
                        draft,
                        hash: hash(&message.payload),
                    },
                );
            }
            Seen::Gap(gap) => {
                state.processed = state.processed.max(Some(gap.to));
                self.book.note(
                    &self.name,
                    Event::Gap {
                        session,
                        topic: gap.topic,
                        reason: gap.reason,
                        trimmed_by: gap.by,
                        from: checked(gap.from),
                        to: checked(gap.to),
                        missed: gap.missed,
                    },
                );
            }
            Seen::Heartbeat | Seen::Disconnect { .. } => {}
        }
    }
}

fn checked(at: Position) -> fanfare_checker::Position {
    fanfare_checker::Position {
        epoch: at.epoch.0,
        offset: at.offset.0,
    }
}
