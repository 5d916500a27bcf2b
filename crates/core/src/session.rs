//! Control of one session: hello, subscribe, publish, refresh, ping, heartbeats and the end. It
//! decides; sockets, credentials and delivery are its owner's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::code::Code;
use crate::grant::Grants;
use crate::name::TopicName;
use crate::receipt::Refusal;

/// Bounds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub topics: usize,
    /// Requests that may be unanswered before reading stops.
    pub in_flight: usize,
    /// The first frame comes within this.
    pub hello: Duration,
    /// A write without progress for so long ends the session.
    pub stall: Duration,
}

/// Highest request id: what JSON numbers hold exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;

/// Where a subscription stands, as far as control is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Topic {
    Attaching,
    Attached,
}

/// When the session last heard and said something. All on the node's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Any byte from the client; `None` on transports where a client says nothing.
    pub heard: Option<Duration>,
    /// The last byte the transport took.
    pub sent: Duration,
    /// Since when something waits that the transport does not take.
    pub stuck: Option<Duration>,
}

/// What the passing of time asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// Say that the session lives, and ask whether the client does.
    Heartbeat,
    /// End it.
    Close(Code),
}

/// A sign of life that the client owes since it was asked for one.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// From here on its answer is waited for.
    since: Duration,
    /// When it was last heard before.
    heard: Duration,
}

/// The control state of one session.
#[derive(Clone, Debug)]
pub struct Session {
    limits: Limits,
    opened: Duration,
    /// False until `hello` came, on a session that needs one.
    open: bool,
    /// A second `hello` is refused, and any if the URL said all.
    greeted: bool,
    grants: Arc<Grants>,
    subject: Option<Arc<str>>,
    heartbeat: Duration,
    asked: Option<Asked>,
    topics: BTreeMap<TopicName, Topic>,
    hashes: BTreeSet<u64>,
    unanswered: BTreeSet<u64>,
}

impl Session {
    /// A session that begins. `open`: its topics are in the request, so that no `hello` is needed
    /// or allowed.
    pub fn new(
        now: Duration,
        limits: Limits,
        heartbeat: Duration,
        open: bool,
        grants: Arc<Grants>,
        subject: Option<Arc<str>>,
    ) -> Self {
        Self {
            limits,
            opened: now,
            open,
            greeted: open,
            grants,
            subject,
            heartbeat,
            asked: None,
            topics: BTreeMap::new(),
            hashes: BTreeSet::new(),
            unanswered: BTreeSet::new(),
        }
    }

    /// Silence after which a heartbeat is due.
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// What its bearer may do.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// True once requests are served.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Topics attached or attaching.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// True while no more may be read from the client.
    pub fn is_full(&self) -> bool {
        self.unanswered.len() >= self.limits.in_flight
    }

    /// The first frame. `Err` ends the session if it needed one.
    pub fn on_hello(
        &mut self,
        heartbeat: Option<Duration>,
        bearer: Option<(Arc<Grants>, Option<Arc<str>>)>,
    ) -> Result<(), Refusal> {
        if self.greeted {
            return Err(invalid(
                "`hello` comes once, first, and not if the URL names topics",
                "type",
            ));
        }
        self.greeted = true;
        self.open = true;
        self.heartbeat = heartbeat.unwrap_or(self.heartbeat);
        if let Some((grants, subject)) = bearer {
            self.grants = grants;
            self.subject = subject;
        }
        Ok(())
    }

    /// Takes note of a request's id, which must be free. Without one it is not answered by id.
    pub fn on_request(&mut self, id: Option<u64>) -> Result<(), Refusal> {
        if !self.open {
            return Err(Refusal::new(
                Code::ProtocolError,
                "the first frame must be `hello`",
            ));
        }
        let Some(id) = id else { return Ok(()) };
        if id == 0 || id > MAX_ID {
            return Err(invalid("an id is an integer from 1 to 2^53-1", "id"));
        }
        if !self.unanswered.insert(id) {
            return Err(invalid("another request with this id is unanswered", "id"));
        }
        Ok(())
    }

    /// A request was answered.
    pub fn on_answered(&mut self, id: Option<u64>) {
        if let Some(id) = id {
            self.unanswered.remove(&id);
        }
    }

    /// May this topic be attached? `Ok`: it is attaching from now on.
    pub fn on_subscribe(&mut self, topic: &TopicName) -> Result<(), Refusal> {
        if !self.grants.may_subscribe(topic) {
            return Err(self.forbidden(topic));
        }
        if self.topics.contains_key(topic) {
            return Err(invalid("the session has this topic already", "topic").topic(topic.clone()));
        }
        if self.topics.len() >= self.limits.topics {
            let detail = format!("a session has at most {} topics", self.limits.topics);
            return Err(Refusal::new(Code::LimitExceeded, detail).topic(topic.clone()));
        }
        if !self.hashes.insert(topic.hash64()) {
            let detail = "another topic of this session has the same hash: use a second session";
            return Err(invalid(detail, "topic").topic(topic.clone()));
        }
        self.topics.insert(topic.clone(), Topic::Attaching);
        Ok(())
    }

    /// The answer to an attachment came. False if nobody wants it any more.
    #[must_use]
    pub fn on_attached(&mut self, topic: &TopicName) -> bool {
        match self.topics.get_mut(topic) {
            Some(state @ Topic::Attaching) => {
                *state = Topic::Attached;
                true
            }
            Some(Topic::Attached) | None => false,
        }
    }

    /// The topic is over, or never came to be. False if it was not there.
    pub fn on_detached(&mut self, topic: &TopicName) -> bool {
        self.hashes.remove(&topic.hash64());
        self.topics.remove(topic).is_some()
    }

    /// May this topic be left?
    pub fn on_unsubscribe(&mut self, topic: &TopicName) -> Result<(), Refusal> {
        if self.on_detached(topic) {
            Ok(())
        } else {
            Err(invalid("the session does not have this topic", "topic").topic(topic.clone()))
        }
    }

    /// New credentials. Returns the topics that they do not allow, which are over now.
    pub fn on_refresh(
        &mut self,
        grants: Arc<Grants>,
        subject: Option<&str>,
    ) -> Result<Vec<TopicName>, Refusal> {
        if subject != self.subject.as_deref() {
            let detail = "a session is refreshed with a token of the same `sub`";
            return Err(Refusal::new(Code::Unauthenticated, detail).field("token"));
        }
        let lost: Vec<_> = self
            .topics
            .keys()
            .filter(|topic| !grants.may_subscribe(topic))
            .cloned()
            .collect();
        for topic in &lost {
            self.on_detached(topic);
        }
        self.grants = grants;
        Ok(lost)
    }

    /// What is due now (protocol section 4; C25).
    pub fn on_tick(&mut self, now: Duration, pulse: Pulse) -> Due {
        let since = |then: Duration| now.saturating_sub(then);
        if !self.open {
            return if since(self.opened) >= self.limits.hello {
                Due::Close(Code::HelloTimeout)
            } else {
                Due::Nothing
            };
        }
        if pulse
            .stuck
            .is_some_and(|then| since(then) >= self.limits.stall)
        {
            return Due::Close(Code::SlowConsumer);
        }
        let quiet = pulse.stuck.is_none() && since(pulse.sent) >= self.heartbeat;
        match pulse.heard.map_or(Due::Nothing, |heard| {
            self.listen(now, heard, pulse.stuck.is_some())
        }) {
            Due::Nothing if quiet => Due::Heartbeat,
            due @ (Due::Nothing | Due::Heartbeat | Due::Close(_)) => due,
        }
    }

    /// Whether the client has to be asked for a sign of life, or owes one for too long. How much
    /// it is sent says nothing: who only reads has nothing to say until asked.
    fn listen(&mut self, now: Duration, heard: Duration, stuck: bool) -> Due {
        self.asked = self.asked.filter(|asked| asked.heard == heard);
        // Then neither the question gets through nor is the answer read.
        let deaf = stuck || self.is_full();
        match &mut self.asked {
            Some(asked) if deaf => asked.since = now,
            Some(asked) => {
                let patience = self.heartbeat.saturating_add(Duration::from_secs(10));
                if now.saturating_sub(asked.since) >= patience {
                    return Due::Close(Code::HeartbeatTimeout);
                }
            }
            None if !deaf && now.saturating_sub(heard) >= self.heartbeat => {
                self.asked = Some(Asked { since: now, heard });
                return Due::Heartbeat;
            }
            None => {}
        }
        Due::Nothing
    }

    fn forbidden(&self, topic: &TopicName) -> Refusal {
        // Without any credentials the remedy is to bring some.
        if self.subject.is_none() && *self.grants == Grants::default() {
            let detail = "reading this topic needs credentials";
            return Refusal::new(Code::Unauthenticated, detail).topic(topic.clone());
        }
        Refusal::new(Code::Forbidden, "no grant to subscribe to this topic").topic(topic.clone())
    }
}

fn invalid(detail: &str, field: &str) -> Refusal {
    Refusal::new(Code::InvalidArgument, detail).field(field)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
