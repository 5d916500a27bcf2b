//! The SessionActor: owns a session's life (hello, subscribe, publish, refresh, heartbeat, the
//! end). Messages to the subscriber do not pass through it.

mod publish;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::Since;
use fanfare_core::message::Draft;
use fanfare_core::name::TopicName;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_core::session::{Due, Session};
use fanfare_protocol::json::client_frame::{BadFrame, ClientFrame, Hello, Subscribe};
use fanfare_protocol::json::server_frame::{Welcome, WelcomeLimits};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::OwnedSemaphorePermit;

use super::attach::{Attached, Wish, attach};
use super::delivery::Voice;
use super::wire::Said;
use crate::auth::Bearer;
use crate::publish::{PublishStream, Room};
use crate::sessions::{Lost, Sessions, Vitals};

/// Held from a frame's arrival until it is answered: without one, no frame is read.
pub(crate) type Permit = OwnedSemaphorePermit;

/// What a SessionActor hears.
pub(crate) enum Msg {
    Frame(Box<ClientFrame>, Permit),
    Bad(BadFrame, Permit),
    /// The end of an attachment's wait: which one, whose request, and what became of it.
    Attached {
        serial: u64,
        id: Option<u64>,
        topic: TopicName,
        result: Result<Box<Attached>, Refusal>,
    },
    /// There is room, or none, for the first draft that waits.
    Room(Result<Room, Refusal>),
    Published {
        id: u64,
        result: Result<Receipt, Refusal>,
    },
    /// A relay lost the topic of this subscription.
    Lost(u64, Refusal),
    /// Something may be due.
    Tick,
    End(Refusal),
}

pub(crate) struct SessionActor;

pub(crate) struct Args {
    pub(crate) sessions: Sessions,
    pub(crate) voice: Arc<dyn Voice>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) control: Session,
    pub(crate) expires_ms: Option<u64>,
    /// Of a WebSocket's URL, as if `hello` had it.
    pub(crate) cursor: Option<Cursor>,
    /// The name of the session.
    pub(crate) name: String,
    /// Topics that have their answers.
    pub(crate) attached: Vec<Attached>,
    /// Topics of a WebSocket's URL: what refuses one of them ends the session.
    pub(crate) wishes: Vec<Wish>,
    pub(crate) lost: Lost,
}

pub(crate) struct State {
    sessions: Sessions,
    voice: Arc<dyn Voice>,
    vitals: Arc<Vitals>,
    control: Session,
    expires_ms: Option<u64>,
    name: String,
    /// Of `hello`, else of the URL: for every `subscribe` without one of its own.
    cursor: Option<Cursor>,
    permits: BTreeMap<u64, Permit>,
    /// Attachments on their way: an answer with another serial is an old one's.
    attaching: BTreeMap<TopicName, u64>,
    serial: u64,
    stream: Option<Arc<PublishStream>>,
    drafts: VecDeque<(u64, Draft)>,
    over: bool,
}

impl Actor for SessionActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        args: Args,
    ) -> Result<State, ActorProcessingErr> {
        let Args {
            sessions,
            voice,
            vitals,
            control,
            expires_ms,
            cursor,
            name,
            attached,
            wishes,
            lost,
        } = args;
        lost.set(myself.clone());
        let mut state = State {
            sessions,
            voice,
            vitals,
            control,
            expires_ms,
            name,
            cursor,
            permits: BTreeMap::new(),
            attaching: BTreeMap::new(),
            serial: 0,
            stream: None,
            drafts: VecDeque::new(),
            over: false,
        };
        for one in attached {
            state.control.on_subscribe(&one.topic).ok();
            state.deliver(None, one);
        }
        if !wishes.is_empty() {
            state.welcome(None);
        }
        for wish in wishes {
            if let Err(refusal) = state.wish(&myself, None, wish) {
                state.end(refusal);
                break;
            }
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        msg: Msg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        if state.over {
            if matches!(msg, Msg::Tick) {
                state.leave();
            }
            return Ok(());
        }
        match msg {
            Msg::Frame(frame, permit) => state.frame(&myself, *frame, permit),
            Msg::Bad(bad, _permit) => state.bad(bad),
            Msg::Attached {
                serial,
                id,
                topic,
                result,
            } => state.attached(serial, id, &topic, result),
            Msg::Room(room) => state.room(&myself, room),
            Msg::Published { id, result } => state.published(id, result),
            Msg::Lost(sub, why) => state.lost(sub, why),
            Msg::Tick => state.tick(),
            Msg::End(why) => state.end(why),
        }
        Ok(())
    }
}

impl State {
    fn frame(&mut self, myself: &ActorRef<Msg>, frame: ClientFrame, permit: Permit) {
        let (id, publish) = match &frame {
            ClientFrame::Hello(hello) => return self.hello(hello),
            ClientFrame::Subscribe(Subscribe { id, .. })
            | ClientFrame::Unsubscribe { id, .. }
            | ClientFrame::Refresh { id, .. } => (Some(*id), false),
            ClientFrame::Publish { id, .. } => (Some(*id), true),
            ClientFrame::Ping { id } => (*id, false),
        };
        if let Err(refusal) = self.control.on_request(id) {
            if !self.control.is_open() {
                return self.end(refusal);
            }
            let refusal = if publish {
                refusal.as_publish()
            } else {
                refusal
            };
            return self.voice.say(&Said::Error { id, refusal });
        }
        if let Some(id) = id {
            self.permits.insert(id, permit);
        }
        match frame {
            ClientFrame::Hello(_) => {}
            ClientFrame::Subscribe(subscribe) => self.subscribe(myself, subscribe),
            ClientFrame::Unsubscribe { id, topic } => match self.control.on_unsubscribe(&topic) {
                Ok(()) => {
                    self.attaching.remove(&topic);
                    self.voice.end(&topic);
                    self.answer(
                        Some(id),
                        &Said::Unsubscribed {
                            id: Some(id),
                            topic,
                            why: None,
                        },
                    );
                }
                Err(refusal) => self.refuse(Some(id), refusal),
            },
            ClientFrame::Publish { id, draft } => {
                self.drafts.push_back((id, draft));
                if self.drafts.len() == 1 {
                    self.make_room(myself);
                }
            }
            ClientFrame::Refresh { id, token } => {
                let bearer = self.sessions.state.door.bearer(Some(&token));
                match bearer.and_then(|bearer| self.refresh(bearer)) {
                    Ok(expires_in_ms) => {
                        self.answer(Some(id), &Said::Refreshed { id, expires_in_ms });
                    }
                    Err(refusal) => self.end(refusal.field("token")),
                }
            }
            ClientFrame::Ping { id } => self.answer(id, &Said::Pong { id }),
        }
    }

    fn bad(&mut self, BadFrame { id, refusal, fatal }: BadFrame) {
        if fatal || !self.control.is_open() {
            self.end(refusal);
        } else {
            self.voice.say(&Said::Error { id, refusal });
        }
    }

    fn hello(&mut self, hello: &Hello) {
        let bearer = match &hello.token {
            None => Ok(None),
            Some(token) => self.sessions.state.door.bearer(Some(token)).map(Some),
        };
        let bearer = match bearer {
            Ok(bearer) => bearer,
            Err(refusal) => return self.end(refusal.field("token")),
        };
        let heartbeat = hello.heartbeat_ms.map(Duration::from_millis);
        let rights = bearer
            .as_ref()
            .map(|one| (one.grants.clone(), one.subject.clone()));
        if let Err(refusal) = self.control.on_hello(heartbeat, rights) {
            return self.voice.say(&Said::Error {
                id: hello.id,
                refusal,
            });
        }
        if let Some(bearer) = bearer {
            self.expires_ms = bearer.expires_ms;
            self.vitals.set_subject(bearer.subject.as_ref());
        }
        if hello.cursor.is_some() {
            self.cursor.clone_from(&hello.cursor);
        }
        self.vitals.set_heartbeat(self.control.heartbeat());
        self.vitals
            .cursors
            .fetch_or(hello.cursors, Ordering::Relaxed);
        self.welcome(hello.id);
    }

    fn welcome(&mut self, id: Option<u64>) {
        self.vitals.open.store(true, Ordering::Relaxed);
        self.voice.say(&Said::Welcome(Welcome {
            id,
            session: self.name.clone(),
            node: self.sessions.state.node_name(),
            heartbeat_ms: u64::try_from(self.control.heartbeat().as_millis()).unwrap_or(u64::MAX),
            expires_in_ms: self.expires_in_ms(),
            limits: WelcomeLimits::from(&self.sessions.state.limits()),
            features: Vec::new(),
        }));
    }

    fn subscribe(&mut self, myself: &ActorRef<Msg>, subscribe: Subscribe) {
        let Subscribe {
            id,
            topic,
            cursor,
            from,
            min_position,
        } = subscribe;
        let presented = match &cursor {
            Some(own) => own.get(&topic),
            None => self.cursor.as_ref().and_then(|hello| hello.get(&topic)),
        };
        let since = presented
            .map(Since::After)
            .or(from)
            .unwrap_or(Since::Latest);
        if let Err(refusal) = self.wish(myself, Some(id), Wish::stream(topic, since, min_position))
        {
            self.refuse(Some(id), refusal);
        }
    }

    /// Begins an attachment.
    fn wish(&mut self, myself: &ActorRef<Msg>, id: Option<u64>, wish: Wish) -> Result<(), Refusal> {
        self.control.on_subscribe(&wish.topic)?;
        self.serial += 1;
        let (serial, topic) = (self.serial, wish.topic.clone());
        self.attaching.insert(topic.clone(), serial);
        let (sessions, myself) = (self.sessions.clone(), myself.clone());
        self.sessions.state.deps.tracker.spawn(async move {
            let result = attach(&sessions, wish).await.map(Box::new);
            // A session that ended meanwhile wants no answer.
            myself
                .cast(Msg::Attached {
                    serial,
                    id,
                    topic,
                    result,
                })
                .ok();
        });
        Ok(())
    }

    fn attached(
        &mut self,
        serial: u64,
        id: Option<u64>,
        topic: &TopicName,
        result: Result<Box<Attached>, Refusal>,
    ) {
        if self.attaching.get(topic) != Some(&serial) {
            let detail = "the topic was left before it was attached";
            let refusal = Refusal::new(Code::InvalidArgument, detail).topic(topic.clone());
            return self.refuse(id, refusal);
        }
        self.attaching.remove(topic);
        match result {
            Ok(attached) => {
                self.deliver(id, *attached);
                self.answered(id);
            }
            Err(refusal) => {
                self.control.on_detached(topic);
                match id {
                    Some(_) => self.refuse(id, refusal),
                    None => self.end(refusal),
                }
            }
        }
    }

    fn deliver(&mut self, id: Option<u64>, attached: Attached) {
        let Attached {
            topic,
            tape,
            standing,
        } = attached;
        if !self.control.on_attached(&topic) {
            return;
        }
        if matches!(standing.answer, fanfare_core::gap::Answer::Recovered(_)) {
            self.vitals.resumed.fetch_add(1, Ordering::Relaxed);
        }
        self.voice.clone().begin(id, &topic, tape, &standing);
    }

    fn refresh(&mut self, bearer: Bearer) -> Result<Option<u64>, Refusal> {
        let lost = self
            .control
            .on_refresh(bearer.grants, bearer.subject.as_deref())?;
        self.expires_ms = bearer.expires_ms;
        for topic in lost {
            self.attaching.remove(&topic);
            self.voice.end(&topic);
            let detail = "the new credentials do not allow this topic";
            let why = Some(Refusal::new(Code::Forbidden, detail));
            self.voice.say(&Said::Unsubscribed {
                id: None,
                topic,
                why,
            });
        }
        Ok(self.expires_in_ms())
    }

    fn lost(&mut self, sub: u64, why: Refusal) {
        let Some(topic) = self.voice.topic_of(sub) else {
            return;
        };
        if !self.vitals.answers_requests {
            return self.end(why);
        }
        self.voice.end(&topic);
        self.control.on_detached(&topic);
        self.voice.say(&Said::Unsubscribed {
            id: None,
            topic,
            why: Some(why),
        });
    }

    fn tick(&mut self) {
        self.vitals.ticked.store(false, Ordering::Release);
        let now = self.sessions.state.deps.clock.now();
        let pulse = self.vitals.pulse(&*self.voice);
        match self.control.on_tick(now, pulse) {
            Due::Close(code) => {
                self.end(Refusal::new(code, code.title()));
                if code == Code::SlowConsumer {
                    self.voice.close();
                    self.vitals.cut();
                }
                return;
            }
            Due::Heartbeat => self.voice.say(&Said::Heartbeat),
            Due::Nothing => {}
        }
        if self.expires_in_ms() == Some(0) {
            self.end(Refusal::new(Code::TokenExpired, Code::TokenExpired.title()));
        }
    }

    /// The last word was said. A client that does not take even that is not waited for.
    fn leave(&self) {
        self.vitals.ticked.store(false, Ordering::Release);
        let now = self.sessions.state.deps.clock.now();
        let stall = self.sessions.state.config.sessions.write_stall;
        let stuck = self.voice.pulse().stuck;
        if stuck.is_some_and(|then| now.saturating_sub(then) >= stall) {
            self.voice.close();
            self.vitals.cut();
        }
    }

    fn expires_in_ms(&self) -> Option<u64> {
        let now = self.sessions.state.deps.clock.wall_ms();
        self.expires_ms.map(|at| at.saturating_sub(now))
    }

    fn answer(&mut self, id: Option<u64>, said: &Said) {
        self.voice.say(said);
        self.answered(id);
    }

    fn answered(&mut self, id: Option<u64>) {
        self.control.on_answered(id);
        if let Some(id) = id {
            self.permits.remove(&id);
        }
    }

    fn refuse(&mut self, id: Option<u64>, refusal: Refusal) {
        self.answer(id, &Said::Error { id, refusal });
    }

    /// The session is over: its last word, and whoever runs its connection is told.
    fn end(&mut self, why: Refusal) {
        self.over = true;
        let cursor = self.voice.cursor();
        self.voice.say(&Said::Disconnect { why, cursor });
        self.vitals.ended.notify_one();
    }
}
