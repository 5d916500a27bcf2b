//! The delivery state of one session: subscriptions and the wire, behind one small lock. Whoever
//! has news drains under it: the relay for a topic at head, the pump for all else.

use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::gap::{Answer, Page, Policy, Standing};
use fanfare_core::link::Run;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::Span;
use fanfare_core::session::Pulse;
use fanfare_core::subscription::{Paged, Phase, Subscription};
use fanfare_host::{Clock, Counter};

use super::fetch::{Fetch, Want};
pub(crate) use super::locked::Whereabouts;
use super::locked::{AHEAD, State, Sub};
use super::pour::{Counts, Pour, Tape};
use super::wire::{Flush, Said, Wire};
use crate::config::EdgeDeps;
use crate::relay::{Block, EdgeRun, Outlet, locked};

/// Pages and drains of one turn of the pump before others get the processor.
const TURNS: usize = 16;

/// A session's delivery as its actor sees it, whatever the wire.
pub(crate) trait Voice: Outlet {
    /// Says something that is no item. After [`Said::Disconnect`] nothing is said any more.
    fn say(&self, said: &Said);
    /// The answer to an attachment: says it, then delivers.
    fn begin(self: Arc<Self>, id: Option<u64>, topic: &TopicName, tape: Tape, standing: &Standing);
    /// No item of the topic is said any more. False if it was not there.
    fn end(&self, topic: &TopicName) -> bool;
    /// The topic of a subscription that a relay speaks of.
    fn topic_of(&self, id: u64) -> Option<TopicName>;
    /// Where the session stands.
    fn cursor(&self) -> Option<String>;
    /// When it last said something; a subscription that waits in vain is looked at.
    fn pulse(&self) -> Pulse;
    /// Nothing is said any more; all topics are let go.
    fn close(&self);
    /// Messages delivered.
    fn delivered(&self) -> u64;
    /// Where it stands, with at most so many topics by name; `None`: it has not the topic that is
    /// wanted.
    fn whereabouts(&self, wanted: Option<&TopicName>, named: usize) -> Option<Whereabouts>;
    /// The code it ended by, if by one.
    fn ended_by(&self) -> Option<Code>;
}

/// Told of a subscription that the relay lost, and why.
type OnLost = Box<dyn Fn(u64, &Refusal) + Send + Sync>;

/// One session's delivery.
pub(crate) struct Delivery<W> {
    state: Mutex<State<W>>,
    clock: Arc<dyn Clock>,
    /// Called when the relay loses a topic.
    on_lost: OnLost,
    counts: Counts,
    ended_by: Mutex<Option<Code>>,
}

/// What the pump is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// News.
    Idle,
    /// Room on the wire.
    Waits,
    /// Nothing: the session is over and all is with the transport.
    Over,
    /// The other end is gone.
    Broken,
}

impl<W: Wire> Delivery<W> {
    /// A session that says nothing yet. `cursor`: positions that were presented, carried until
    /// their topics have their answers. `on_lost`: told of topics that the relay lost.
    pub(crate) fn new(
        wire: W,
        cursor: Cursor,
        deps: &EdgeDeps,
        on_lost: impl Fn(u64, &Refusal) + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (clock, metrics) = (deps.clock.clone(), deps.metrics.clone());
        let sent = clock.now();
        let state = State {
            subs: Vec::new(),
            wire,
            cursor,
            waker: None,
            news: false,
            over: false,
            next_sub: 0,
            sent,
            stuck: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            clock,
            on_lost: Box::new(on_lost),
            counts: Counts {
                delivered: Counter::default(),
                metrics,
            },
            ended_by: Mutex::default(),
        })
    }

    /// Brings all that can be brought, as far as the wire takes it. Wakes `cx` when there is news.
    pub(crate) fn poll_pump(&self, cx: &mut Context<'_>, fetch: &mut Fetch) -> Pumped {
        for _ in 0..TURNS {
            let now = self.clock.now();
            let mut state = locked(&self.state);
            // Cleared before looking: news that comes after this wakes again.
            state.news = false;
            if !state
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                state.waker = Some(cx.waker().clone());
            }
            match state.flush(now, &self.counts) {
                Flush::Broken => return Pumped::Broken,
                Flush::Waits => return Pumped::Waits,
                Flush::Clear if state.over => return Pumped::Over,
                Flush::Clear => {}
            }
            let wanted = state.drain(now, &self.counts);
            match state.flush(now, &self.counts) {
                Flush::Broken => return Pumped::Broken,
                Flush::Waits => return Pumped::Waits,
                Flush::Clear => {}
            }
            drop(state);
            if let Some(want) = wanted {
                fetch.start(want);
            }
            match fetch.poll(cx) {
                Poll::Ready((want, result)) => self.on_page(&want, result),
                Poll::Pending => return Pumped::Idle,
            }
        }
        // Others get the processor; nothing else would wake this one.
        cx.waker().wake_by_ref();
        Pumped::Idle
    }

    fn on_page(&self, want: &Want, result: Result<Page, Refusal>) {
        let mut state = locked(&self.state);
        let Some(sub) = state.subs.iter_mut().find(|sub| sub.id == want.sub) else {
            return;
        };
        if sub.core.at() != want.after {
            return;
        }
        let page = match result {
            Ok(page) => page,
            Err(refusal) if refusal.code == Code::TopicNotFound => {
                drop(state);
                return (self.on_lost)(want.sub, &refusal);
            }
            Err(_) => {
                (sub.fruitless, sub.ask_leader) = (true, true);
                return;
            }
        };
        let after = page.gap.map_or(want.after, |gap| gap.to);
        let run = Run {
            after,
            messages: page.messages.clone(),
        };
        let run =
            Span::of(&run).map(|span| (span, Arc::new(EdgeRun::new(sub.topic.clone(), span, run))));
        match sub.core.on_page(&page, run) {
            Paged::Progress => {
                (sub.fruitless, sub.ask_leader, sub.ahead_since) = (false, false, None);
            }
            // A replica may be behind: the leader is not.
            Paged::Nothing => (sub.fruitless, sub.ask_leader) = (want.leader, true),
        }
    }

    /// Does something with the wire, then moves it on.
    pub(crate) fn with_wire<T>(&self, act: impl FnOnce(&mut W) -> T) -> T {
        let mut state = locked(&self.state);
        let result = act(&mut state.wire);
        self.settle(state, false);
        result
    }

    /// True if every subscription has all there is.
    pub(crate) fn is_at_head(&self) -> bool {
        locked(&self.state)
            .subs
            .iter()
            .all(|sub| sub.core.phase() == Phase::Live)
    }

    /// Where a topic stands.
    pub(crate) fn position(&self, topic: &TopicName) -> Option<Position> {
        let state = locked(&self.state);
        state
            .subs
            .iter()
            .find(|sub| sub.topic == *topic)
            .map(|sub| sub.core.at())
    }

    /// Takes something from the wire.
    pub(crate) fn take_from<T>(&self, take: impl FnOnce(&mut W) -> T) -> T {
        take(&mut locked(&self.state).wire)
    }

    /// Number of messages delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.counts.delivered.get()
    }

    /// The code it ended by, if by one.
    pub(crate) fn ended_by(&self) -> Option<Code> {
        *locked(&self.ended_by)
    }

    /// Nothing more is said, and no topic is held.
    pub(crate) fn close(&self) {
        let mut state = locked(&self.state);
        state.over = true;
        let subs = std::mem::take(&mut state.subs);
        let waker = state.wake();
        drop(state);
        drop(subs);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Flushes, lets go of the lock and wakes the pump if something waits.
    fn settle(&self, mut state: MutexGuard<'_, State<W>>, wake: bool) {
        let flush = state.flush(self.clock.now(), &self.counts);
        let news = wake || flush != Flush::Clear || state.wire.has_news();
        let waker = if news { state.wake() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// What `say` does under the lock, and that the last word was said.
    fn put(&self, state: &mut State<W>, said: &Said) {
        if state.over {
            return;
        }
        state.wire.say(said);
        if let Said::Disconnect { why, .. } = said {
            state.over = true;
            locked(&self.ended_by).get_or_insert(why.code);
        }
    }
}

impl<W: Wire> Outlet for Delivery<W> {
    fn offer(&self, id: u64, blocks: &[Block], moved: bool) {
        let mut state = locked(&self.state);
        let solo = state.solo();
        let State {
            subs,
            wire,
            cursor,
            over,
            ..
        } = &mut *state;
        let Some(sub) = subs.iter_mut().find(|sub| sub.id == id && !*over) else {
            return;
        };
        let Sub {
            topic, hash, core, ..
        } = sub;
        let (html, counts) = (core.policy().html, &self.counts);
        let mut pour = Pour {
            wire,
            cursor,
            topic,
            hash: *hash,
            html,
            solo,
            counts,
        };
        let mut wake = moved;
        for block in blocks {
            wake |= core.offer(block, &mut pour);
        }
        if moved {
            core.doubt();
        }
        self.settle(state, wake);
    }

    fn rule(&self, id: u64, policy: Policy) {
        let mut state = locked(&self.state);
        if let Some(sub) = state.subs.iter_mut().find(|sub| sub.id == id) {
            sub.core.set_policy(policy);
        }
    }

    fn lost(&self, id: u64, why: &Refusal) {
        (self.on_lost)(id, why);
    }
}

impl<W: Wire> Voice for Delivery<W> {
    fn say(&self, said: &Said) {
        let mut state = locked(&self.state);
        self.put(&mut state, said);
        self.settle(state, true);
    }

    fn begin(self: Arc<Self>, id: Option<u64>, topic: &TopicName, tape: Tape, standing: &Standing) {
        let mut core = Subscription::default();
        let at = core.begin(standing);
        if standing.answer != Answer::Latest {
            self.counts.metrics.resumes.inc();
        }
        let mut state = locked(&self.state);
        if state.over {
            return;
        }
        let sub = state.next_sub;
        state.next_sub += 1;
        let hash = topic.hash64();
        state.cursor.set(hash, at);
        let cursor = state.cursor.to_string();
        let (topic, standing) = (topic.clone(), standing.clone());
        self.put(
            &mut state,
            &Said::Subscribed {
                id,
                topic: topic.clone(),
                standing,
                cursor,
            },
        );
        // From here on runs are offered; what came before is in the tail, where the pump looks.
        let outlet: Weak<dyn Outlet> = Arc::downgrade(&(self.clone() as Arc<dyn Outlet>));
        let (key, refused) = match &tape {
            Tape::Relay(relay) => (Some(relay.join(sub, outlet)), relay.is_refused()),
            Tape::UpTo(_) => (None, false),
        };
        // Of a change before this the relay told others; of one after it, this one too.
        if let Tape::Relay(relay) = &tape
            && let Some(policy) = relay.policy()
        {
            core.set_policy(policy);
        }
        let row = Sub {
            id: sub,
            key,
            topic,
            hash,
            tape,
            core,
            ahead_since: None,
            ask_leader: false,
            fruitless: false,
        };
        state.subs.push(row);
        self.settle(state, true);
        if refused {
            (self.on_lost)(sub, &crate::relay::not_found());
        }
    }

    fn end(&self, topic: &TopicName) -> bool {
        let mut state = locked(&self.state);
        let Some(at) = state.subs.iter().position(|sub| sub.topic == *topic) else {
            return false;
        };
        let sub = state.subs.remove(at);
        state.cursor.remove(sub.hash);
        true
    }

    fn topic_of(&self, id: u64) -> Option<TopicName> {
        let state = locked(&self.state);
        state
            .subs
            .iter()
            .find(|sub| sub.id == id)
            .map(|sub| sub.topic.clone())
    }

    fn cursor(&self) -> Option<String> {
        let state = locked(&self.state);
        (!state.cursor.is_empty()).then(|| state.cursor.to_string())
    }

    fn pulse(&self) -> Pulse {
        let now = self.clock.now();
        let mut state = locked(&self.state);
        let late = |sub: &Sub| {
            sub.ahead_since
                .is_some_and(|then| now.saturating_sub(then) >= AHEAD)
        };
        let waker = if state.subs.iter().any(late) {
            state.wake()
        } else {
            None
        };
        let pulse = Pulse {
            heard: None,
            sent: state.sent,
            stuck: state.stuck,
        };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        pulse
    }

    fn close(&self) {
        Self::close(self);
    }

    fn delivered(&self) -> u64 {
        Self::delivered(self)
    }

    fn whereabouts(&self, wanted: Option<&TopicName>, named: usize) -> Option<Whereabouts> {
        locked(&self.state).whereabouts(wanted, named)
    }

    fn ended_by(&self) -> Option<Code> {
        Self::ended_by(self)
    }
}
