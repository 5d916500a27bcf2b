//! Sessions of an edge, as the edge has them: an answer, then what follows, as far as the
//! connection has room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::gap::{Gap, Page, Since, Standing};
use fanfare_core::id::NodeId;
use fanfare_core::link::Run;
use fanfare_core::message::Message;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::{Block, Follow, Next, Span};
use fanfare_core::rule::Class;
use fanfare_core::subscription::{Drained, Paged, Phase, Sink, Subscription};

use crate::reads::{Asker, What};
use crate::relay::On;
use crate::sabotage::Sabotage;
use crate::world::World;

/// A run as it is kept and delivered here.
pub(crate) type Items = Arc<Vec<Arc<Message>>>;

/// A session of one topic.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) subscriber: usize,
    pub(crate) topic: TopicName,
    core: Subscription<Items>,
    pub(crate) wire: Wire,
    ahead_since: Option<Duration>,
    ask_leader: bool,
    /// A page with nothing new is asked for again only after this.
    rests_until: Duration,
    asked: bool,
    pub(crate) news: bool,
}

/// What is on its way to a client.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) queue: VecDeque<Said>,
    room: usize,
    skips: bool,
}

#[derive(Debug)]
pub(crate) enum Said {
    Answer(Standing, Position),
    Message(Arc<Message>),
    Gap(Gap),
    End(Code),
}

/// Waiting for a relay that is behind, before the leader is asked.
const AHEAD: Duration = Duration::from_secs(2);
/// Pause before a page is asked for again that had nothing new.
const PAUSE: Duration = Duration::from_millis(200);
/// Messages of a page: few, so that more than one is needed.
pub(crate) const PAGE: u32 = 3;

impl Sink<Items> for Wire {
    fn run(&mut self, span: &Span, run: &Items, skip: u32) -> u32 {
        let free = self.room.saturating_sub(self.queue.len());
        let rest = &run[skip as usize..];
        let taken = rest.len().min(free);
        let said = rest[..taken]
            .iter()
            .map(|message| Said::Message(message.clone()));
        self.queue.extend(said);
        match self.skips {
            true => span.count - skip,
            false => u32::try_from(taken).unwrap_or(0),
        }
    }

    fn gap(&mut self, gap: &Gap) -> bool {
        let free = self.queue.len() < self.room;
        if free {
            self.queue.push_back(Said::Gap(*gap));
        }
        free
    }
}

impl World {
    /// A client opens a session: it gets its answer from the relay if that can say, else from the
    /// leader.
    pub(crate) fn open(
        &mut self,
        edge: NodeId,
        subscriber: usize,
        topic: &TopicName,
        since: Since,
    ) -> u64 {
        let id = self.fresh();
        let wire = Wire {
            queue: VecDeque::new(),
            room: self.room,
            skips: self.sabotage == Some(Sabotage::SkipWhenSlow),
        };
        let session = Session {
            subscriber,
            topic: topic.clone(),
            core: Subscription::default(),
            wire,
            ahead_since: None,
            ask_leader: false,
            rests_until: Duration::ZERO,
            asked: false,
            news: false,
        };
        self.lease(edge, topic);
        let stale = self.sabotage == Some(Sabotage::LatestFromRelay);
        let state = self.edge(edge);
        state.sessions.insert(id, session);
        let relay = &state.relays[topic];
        let known = match since {
            Since::After(at) => relay.stand(at),
            Since::Latest if stale => relay.stand_latest(),
            Since::Latest | Since::Earliest | Since::Last(_) => None,
        };
        match known {
            Some(standing) => self.begin(edge, id, Ok(standing)),
            None => self.ask(edge, topic, What::Stand(since), Asker::Session(id)),
        }
        id
    }

    /// The answer came, or a refusal.
    pub(crate) fn begin(&mut self, edge: NodeId, id: u64, result: Result<Standing, Refusal>) {
        let Some(session) = self.edge(edge).sessions.get_mut(&id) else {
            return;
        };
        match result {
            Ok(standing) => {
                let at = session.core.begin(&standing);
                session.wire.queue.push_back(Said::Answer(standing, at));
                session.news = true;
                let topic = session.topic.clone();
                self.lease(edge, &topic);
                if let Some(relay) = self.edge(edge).relays.get_mut(&topic) {
                    relay.members.insert(id);
                    if relay.on == On::Refused {
                        self.lose_topic(edge, id);
                    }
                }
            }
            Err(refusal) => {
                session.core.detach();
                session.wire.queue.push_back(Said::End(refusal.code));
            }
        }
    }

    /// The topic cannot be had any more.
    pub(crate) fn lose_topic(&mut self, edge: NodeId, id: u64) {
        if let Some(session) = self.edge(edge).sessions.get_mut(&id) {
            session.core.detach();
            session.wire.queue.push_back(Said::End(Code::TopicNotFound));
        }
    }

    /// The relay has new blocks for its sessions. `moved`: after them its tail changed in another
    /// way.
    pub(crate) fn offer(
        &mut self,
        edge: NodeId,
        topic: &TopicName,
        blocks: &[Block<Items>],
        moved: bool,
    ) {
        let unsaid = self.sabotage == Some(Sabotage::JumpUnsaid);
        let state = self.edge(edge);
        let Some(relay) = state.relays.get(topic) else {
            return;
        };
        for id in &relay.members {
            let Some(session) = state.sessions.get_mut(id) else {
                continue;
            };
            for block in blocks {
                session.news |= session.core.offer(block, &mut session.wire);
            }
            if moved && !(unsaid && session.core.phase() == Phase::Live) {
                session.core.doubt();
                session.news = true;
            }
        }
    }

    /// True if the pump of a session has something to look at.
    pub(crate) fn may_drain(&self, session: &Session) -> bool {
        session.news && !session.asked && session.core.phase() == Phase::Behind
    }

    /// The pump of a session brings what can be brought.
    pub(crate) fn drain(&mut self, edge: NodeId, id: u64) {
        let now = self.now;
        let state = self.edge(edge);
        let Some(session) = state.sessions.get_mut(&id) else {
            return;
        };
        if !session.news || session.asked {
            return;
        }
        let nothing = NoTail;
        session.news = false;
        let drained = match state.relays.get(&session.topic) {
            Some(relay) => session.core.drain(&relay.tail, &mut session.wire),
            None => session.core.drain(&nothing, &mut session.wire),
        };
        let (mut blocked, mut behind) = (false, false);
        let page = match drained {
            Drained::Head | Drained::Idle | Drained::Wait { ahead: false } => {
                session.ahead_since = None;
                false
            }
            Drained::Blocked => {
                blocked = true;
                false
            }
            Drained::Page(_) => true,
            Drained::Wait { ahead: true } => {
                behind = true;
                let since = *session.ahead_since.get_or_insert(now);
                session.ask_leader = true;
                now.saturating_sub(since) >= AHEAD
            }
        };
        let page = page && now >= session.rests_until;
        session.asked = page;
        let topic = session.topic.clone();
        let ephemeral = session.core.policy().class == Class::Ephemeral;
        let what = What::Page {
            after: session.core.at(),
            leader: session.ask_leader || ephemeral,
        };
        if blocked {
            self.oracle.reach("session: slow");
        }
        if behind {
            self.oracle.reach("session: ahead of its relay");
        }
        if page {
            self.ask(edge, &topic, what, Asker::Session(id));
        }
    }

    /// A page came for a session.
    pub(crate) fn on_session_page(
        &mut self,
        edge: NodeId,
        id: u64,
        after: Position,
        leader: bool,
        result: Result<Page, Refusal>,
    ) {
        let now = self.now;
        let Some(session) = self.edge(edge).sessions.get_mut(&id) else {
            return;
        };
        (session.asked, session.news) = (false, true);
        if session.core.at() != after {
            return;
        }
        let page = match result {
            Ok(page) => page,
            Err(refusal) if refusal.code == Code::TopicNotFound => {
                return self.lose_topic(edge, id);
            }
            Err(_) => {
                session.ask_leader = true;
                session.rests_until = now + PAUSE;
                return;
            }
        };
        let run = Run {
            after: page.gap.map_or(after, |gap| gap.to),
            messages: page.messages.clone(),
        };
        let run = Span::of(&run).map(|span| (span, Items::new(run.messages)));
        let paged = session.core.on_page(&page, run);
        match paged {
            Paged::Progress => (session.ask_leader, session.ahead_since) = (false, None),
            Paged::Nothing => {
                session.ask_leader = true;
                if leader {
                    session.rests_until = now + PAUSE;
                }
            }
        }
        self.oracle.reach(match paged {
            Paged::Progress => "session: page",
            Paged::Nothing => "session: page in vain",
        });
    }

    /// Sessions that wait in vain are looked at.
    pub(crate) fn tick_sessions(&mut self, edge: NodeId) {
        let now = self.now;
        for session in self.edge(edge).sessions.values_mut() {
            let late = |since: Duration| now.saturating_sub(since) >= AHEAD;
            let rested = session.rests_until > Duration::ZERO && now >= session.rests_until;
            session.news |= session.ahead_since.is_some_and(late) || rested;
        }
    }

    /// The session is gone.
    pub(crate) fn close(&mut self, edge: NodeId, id: u64) {
        let state = self.edge(edge);
        if let Some(session) = state.sessions.remove(&id)
            && let Some(relay) = state.relays.get_mut(&session.topic)
        {
            relay.members.remove(&id);
        }
    }

    /// True if a session has all there is and says so.
    pub(crate) fn is_live(&self, edge: NodeId, id: u64) -> bool {
        let session = self.nodes[&edge].edge.sessions.get(&id);
        session.is_some_and(|session| session.core.phase() == Phase::Live)
    }
}

/// The tail of a relay that was let go.
struct NoTail;

impl Follow<Items> for NoTail {
    fn next(&self, _at: Position) -> Next<Items> {
        Next::Unknown
    }

    fn last(&self) -> Option<Position> {
        None
    }
}
