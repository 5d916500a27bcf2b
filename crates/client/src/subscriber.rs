//! A subscriber: one stream of events over as many sessions as it takes. What was handed out counts
//! as processed when the next event is asked for, or when the application says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fanfare_core::gap::Since;
use fanfare_core::name::TopicName;
use fanfare_protocol::json::{Received, ReceivedGap, ReceivedMessage};
use fanfare_rpc::client::{ClientSettings, PublicClient};

use crate::course::{Course, Next};
use crate::endpoint::{Address, Endpoints};
use crate::machine::Machine;
use crate::progress::{Mark, Progress};
use crate::told::{Ending, Told};
use crate::transport::{self, Attached, Door, Said, Session, TopicEnd, Transport, Wish};

/// How long opening a session may take, from the connection to the node's first word.
const OPEN: Duration = Duration::from_secs(15);

/// What is wanted of a subscription.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    /// 1–100, none twice.
    pub topics: Vec<TopicName>,
    /// For topics that `progress` says nothing of. A position only with one topic.
    pub from: Since,
    /// What was processed before.
    pub progress: Progress,
    /// Each connection takes the next of them.
    pub transports: Vec<Transport>,
    /// Silence before a node's heartbeat, 5–55 s.
    pub heartbeat: Duration,
    /// The time between short polls.
    pub poll_every: Duration,
    /// How long the first contact may take; `None`: for ever.
    pub first_contact: Option<Duration>,
    /// Hand out what was handed out before, too, if it comes again: for those who judge a node.
    pub repeats: bool,
}

impl SubscribeOptions {
    /// Topics from their latest message on, over WebSocket.
    pub fn new(topics: Vec<TopicName>) -> Self {
        Self {
            topics,
            from: Since::Latest,
            progress: Progress::default(),
            transports: vec![Transport::Ws],
            heartbeat: Duration::from_secs(15),
            poll_every: Duration::from_secs(1),
            first_contact: None,
            repeats: false,
        }
    }
}

/// What a subscriber tells the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// How a topic stands in a new session.
    Attached(Attached),
    /// Each once, in order within its topic.
    Message(ReceivedMessage),
    /// Messages that will never come. A resume may tell one again.
    Gap(ReceivedGap),
    /// A node ended one topic; the others go on.
    TopicEnded(TopicEnd),
    /// The session ended; another begins after this time.
    Resuming { why: Ending, after: Duration },
}

/// Why there will be no more events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Repeating cannot help, or new credentials were refused too: act by the code.
    #[error("{0}")]
    Told(Box<Told>),
    /// All topics are over.
    #[error("no topic is left")]
    NoTopics,
    /// No address is known for a transport that was asked for.
    #[error("no address is given for the transport `{0}`")]
    NoAddress(Transport),
    /// No node was reached for the first time.
    #[error("no node was reached: {0}")]
    Unreachable(String),
}

enum Entry {
    Item(Received),
    Cursor(String),
    Attached(Attached),
    Left(TopicEnd),
}

/// See [`Event`].
pub struct Subscriber {
    machine: Machine,
    endpoints: Endpoints,
    options: SubscribeOptions,
    topics: Vec<TopicName>,
    fresh: BTreeSet<TopicName>,
    progress: Progress,
    queue: VecDeque<Entry>,
    /// What the application got and may not be done with.
    handed: Option<Mark>,
    session: Option<Session>,
    /// Topics of the presented cursor that this session has not answered yet: until then its cursors
    /// lack them.
    unanswered: BTreeSet<TopicName>,
    heartbeat: Duration,
    /// When something was heard in this session.
    heard_at: Duration,
    course: Course,
    connect_at: Duration,
    began: Duration,
    contacted: bool,
    renew: bool,
    /// Which address and which transport are next, counted on.
    node: usize,
    turn: usize,
    /// Connections to gRPC doors, by their place in the list.
    clients: BTreeMap<usize, PublicClient>,
}

impl Subscriber {
    /// A subscriber that has not connected yet.
    pub fn new(machine: Machine, endpoints: Endpoints, options: SubscribeOptions) -> Self {
        let now = machine.clock.now();
        let topics = options.topics.clone();
        let fresh = match options.progress.cursor() {
            Some(_) => BTreeSet::new(),
            None => topics.iter().cloned().collect(),
        };
        Self {
            machine,
            endpoints,
            topics,
            fresh,
            progress: options.progress.clone(),
            heartbeat: options.heartbeat,
            options,
            queue: VecDeque::new(),
            handed: None,
            session: None,
            unanswered: BTreeSet::new(),
            heard_at: now,
            course: Course::default(),
            connect_at: now,
            began: now,
            contacted: false,
            renew: false,
            node: 0,
            turn: 0,
            clients: BTreeMap::new(),
        }
    }

    /// The application is done with the last event it got.
    pub fn processed(&mut self) {
        if let Some(mark) = self.handed.take() {
            self.progress.on_processed(&mark);
        }
        while let Some(Entry::Cursor(_)) = self.queue.front() {
            if let Some(Entry::Cursor(cursor)) = self.queue.pop_front() {
                self.on_cursor(cursor);
            }
        }
    }

    /// What is processed: keep it, to go on from it later.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The cursor after the last item processed of which a node told one.
    pub fn cursor(&self) -> Option<&str> {
        self.progress.cursor()
    }

    /// The next event. The last one counts as processed. Safe to cancel.
    pub async fn next(&mut self) -> Result<Event, Stopped> {
        self.processed();
        loop {
            if let Some(event) = self.take_queued()? {
                return Ok(event);
            }
            if self.topics.is_empty() {
                return Err(Stopped::NoTopics);
            }
            let heard = match self.session {
                Some(_) => self.hear().await,
                None => {
                    self.machine.clock.sleep_until(self.connect_at).await;
                    match self.open().await? {
                        Ok(session) => {
                            self.session = Some(session);
                            continue;
                        }
                        Err(ending) => Err(ending),
                    }
                }
            };
            match heard {
                Ok(said) => self.on_said(said),
                Err(ending) => return self.on_end(ending),
            }
        }
    }

    fn on_cursor(&mut self, cursor: String) {
        if self.unanswered.is_empty() {
            self.progress.on_cursor(cursor);
        }
    }

    fn take_queued(&mut self) -> Result<Option<Event>, Stopped> {
        while let Some(entry) = self.queue.pop_front() {
            match entry {
                Entry::Cursor(cursor) => self.on_cursor(cursor),
                Entry::Attached(attached) => {
                    self.unanswered.remove(&attached.topic);
                    self.fresh.remove(&attached.topic);
                    return Ok(Some(Event::Attached(attached)));
                }
                Entry::Left(end) => {
                    self.unanswered.remove(&end.topic);
                    self.topics.retain(|topic| *topic != end.topic);
                    self.progress.on_topic_ended(&end.topic);
                    return Ok(Some(Event::TopicEnded(end)));
                }
                Entry::Item(item) if self.options.repeats || self.progress.is_new(&item) => {
                    self.handed = Mark::of(&item);
                    match item {
                        Received::Message(message) => return Ok(Some(Event::Message(message))),
                        Received::Gap(gap) => return Ok(Some(Event::Gap(gap))),
                        Received::Other(_) => {}
                    }
                }
                Entry::Item(_) => {}
            }
        }
        Ok(None)
    }

    /// The next thing said, or the end: of the session, or of our patience with its silence.
    async fn hear(&mut self) -> Result<Said, Ending> {
        let Some(session) = &mut self.session else {
            return Ok(Said::Alive);
        };
        let silence = session.silence(self.heartbeat);
        let silent = self.heard_at.saturating_add(silence);
        let said = tokio::select! { biased;
            said = session.next() => said?,
            () = self.machine.clock.sleep_until(silent) => {
                let why = format!("nothing was heard for {} s", silence.as_secs());
                return Err(Ending::Cut(why));
            }
        };
        self.heard_at = self.machine.clock.now();
        Ok(said)
    }

    fn on_said(&mut self, said: Said) {
        self.contacted = true;
        self.renew = false;
        self.course.on_good(self.heard_at);
        match said {
            Said::Alive => {}
            Said::Heartbeat(heartbeat) => self.heartbeat = heartbeat,
            Said::Attached(attached, cursor) => {
                self.queue.push_back(Entry::Attached(attached));
                self.queue.extend(cursor.map(Entry::Cursor));
            }
            Said::Items(items, cursor) => {
                self.queue.extend(items.into_iter().map(Entry::Item));
                self.queue.extend(cursor.map(Entry::Cursor));
            }
            Said::Left(end) => self.queue.push_back(Entry::Left(end)),
        }
    }

    fn on_end(&mut self, ending: Ending) -> Result<Event, Stopped> {
        self.session = None;
        // Everything the session said is processed: it was asked for more.
        if let Ending::Told(told) = &ending
            && let Some(cursor) = &told.cursor
        {
            self.on_cursor(cursor.clone());
        }
        let now = self.machine.clock.now();
        let next = self
            .course
            .on_end(&ending, now, self.machine.chance.next_u64());
        let Next::Again {
            after,
            elsewhere,
            renew,
        } = next
        else {
            return Err(match ending {
                Ending::Told(told) => Stopped::Told(told),
                Ending::NotConnected(why) | Ending::Cut(why) => Stopped::Unreachable(why),
            });
        };
        self.node = self.node.wrapping_add(usize::from(elsewhere));
        self.turn = self.turn.wrapping_add(1);
        self.renew |= renew;
        self.connect_at = now.saturating_add(after);
        let late = |limit: Duration| self.connect_at > self.began.saturating_add(limit);
        if !self.contacted && self.options.first_contact.is_some_and(late) {
            return Err(match ending {
                Ending::Told(told) => Stopped::Told(told),
                Ending::NotConnected(why) | Ending::Cut(why) => Stopped::Unreachable(why),
            });
        }
        Ok(Event::Resuming { why: ending, after })
    }

    /// Opens the next session: the next transport, at the present address.
    async fn open(&mut self) -> Result<Result<Session, Ending>, Stopped> {
        let transports = &self.options.transports;
        let transport = match transports.get(self.turn.checked_rem(transports.len()).unwrap_or(0)) {
            Some(transport) => *transport,
            None => Transport::Ws,
        };
        let door = self.door(transport)?;
        let since = |topic: &TopicName| {
            // Without a cursor, the position is the next best.
            let highest = self
                .progress
                .highest(topic)
                .filter(|_| self.topics.len() == 1);
            highest.map_or(self.options.from, Since::After)
        };
        let wish = Wish {
            topics: self
                .topics
                .iter()
                .map(|topic| (topic.clone(), since(topic)))
                .collect(),
            cursor: self.progress.cursor().map(str::to_owned),
            heartbeat: self.options.heartbeat,
            fresh: self.fresh.clone(),
            authorization: self.machine.authorization(self.renew).await,
        };
        self.unanswered = match wish.cursor {
            Some(_) => {
                let held = self.topics.iter();
                held.filter(|topic| !self.fresh.contains(*topic))
                    .cloned()
                    .collect()
            }
            None => BTreeSet::new(),
        };
        self.heartbeat = self.options.heartbeat;
        let opening = transport::open(
            &self.machine,
            transport,
            door,
            wish,
            self.options.poll_every,
        );
        let opened = tokio::select! { biased;
            opened = opening => opened,
            () = self.machine.clock.sleep(OPEN) => {
                Err(Ending::Cut("no answer to a session's opening in time".to_owned()))
            }
        };
        self.heard_at = self.machine.clock.now();
        Ok(opened)
    }

    fn door(&mut self, transport: Transport) -> Result<Door, Stopped> {
        let pick = |list: &[Address]| {
            let at = self.node.checked_rem(list.len())?;
            Some((at, list.get(at)?.clone()))
        };
        let missing = Stopped::NoAddress(transport);
        match transport {
            Transport::Grpc => {
                let (at, address) = pick(&self.endpoints.grpc).ok_or(missing)?;
                let Machine {
                    connector, tasks, ..
                } = &self.machine;
                if let Some(client) = self.clients.get(&at) {
                    return Ok(Door::Grpc(client.clone()));
                }
                let client = PublicClient::connect(
                    address.as_str(),
                    connector.clone(),
                    tasks.clone(),
                    ClientSettings::default(),
                );
                let client = client.ok_or(Stopped::NoAddress(transport))?;
                self.clients.insert(at, client.clone());
                Ok(Door::Grpc(client))
            }
            Transport::Ws
            | Transport::Sse
            | Transport::LongPoll
            | Transport::Poll
            | Transport::Tail => {
                let (_, address) = pick(&self.endpoints.edges).ok_or(missing)?;
                Ok(Door::Edge(address))
            }
        }
    }
}

#[cfg(test)]
#[path = "subscriber_tests.rs"]
mod tests;
