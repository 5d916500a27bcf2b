//! Polls as a session: each begins where the last one ended. Long ones follow each other at once,
//! short ones after a while if there was nothing more.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare_protocol::poll::{PollBody, PolledTopic};

use super::url::{self, Route};
use super::{Attached, Said, Wish, malformed};
use crate::endpoint::Address;
use crate::http::Http;
use crate::machine::Machine;
use crate::told::{Ending, Told};

/// Safe behind proxies (protocol section 6).
const WAIT: Duration = Duration::from_secs(25);
/// What an answer may take beyond the wait asked for.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct Poll {
    machine: Machine,
    http: Http,
    wish: Wish,
    wait: Duration,
    every: Duration,
    cursor: Option<String>,
    /// When the next poll is due.
    due: Duration,
    begun: bool,
    heard: VecDeque<Said>,
}

impl Poll {
    pub(super) fn long(machine: &Machine, address: Address, wish: Wish) -> Self {
        Self::new(machine, address, wish, WAIT, Duration::ZERO)
    }

    pub(super) fn short(machine: &Machine, address: Address, wish: Wish, every: Duration) -> Self {
        Self::new(machine, address, wish, Duration::ZERO, every)
    }

    fn new(
        machine: &Machine,
        address: Address,
        wish: Wish,
        wait: Duration,
        every: Duration,
    ) -> Self {
        Self {
            machine: machine.clone(),
            http: Http::new(machine.clone(), address),
            wait,
            every,
            cursor: wish.cursor.clone(),
            wish,
            due: Duration::ZERO,
            begun: false,
            heard: VecDeque::new(),
        }
    }

    /// The longest time without an answer.
    pub(super) fn patience(&self) -> Duration {
        self.wait.saturating_add(self.every).saturating_add(GRACE)
    }

    pub(super) async fn next(&mut self) -> Result<Said, Ending> {
        if let Some(said) = self.heard.pop_front() {
            return Ok(said);
        }
        self.machine.clock.sleep_until(self.due).await;
        let body = self.ask().await?;
        let PollBody {
            topics,
            items,
            more,
            cursor,
        } = body;
        if !std::mem::replace(&mut self.begun, true) {
            for row in topics {
                let PolledTopic {
                    topic,
                    class: _,
                    answer,
                    from,
                    head,
                } = row;
                let attached = Attached {
                    topic,
                    answer,
                    from,
                    head,
                };
                self.heard.push_back(Said::Attached(attached, None));
            }
        }
        if !more {
            self.due = self.machine.clock.now().saturating_add(self.every);
        }
        self.cursor = Some(cursor.clone());
        self.heard.push_back(Said::Items(items, Some(cursor)));
        Ok(self.heard.pop_front().unwrap_or(Said::Alive))
    }

    async fn ask(&mut self) -> Result<PollBody, Ending> {
        // The first answer brings a cursor, so that a cut before the first message loses nothing:
        // it is not waited for.
        let wait = match self.cursor {
            Some(_) => self.wait,
            None => Duration::ZERO,
        };
        let route = Route::Poll { wait };
        let path = url::path(route, &self.wish, self.cursor.as_deref());
        let request = url::get(&path, "application/json", &self.wish)?;
        let response = self.http.ask(request).await?;
        match response.status().as_u16() {
            200 => PollBody::read(response.body()).map_err(malformed),
            status => Err(Told::of_http(status, response.body()).into()),
        }
    }
}
