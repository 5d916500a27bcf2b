//! What lies behind a session's lock: its subscriptions, its wire, and who waits for news.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use fanfare_core::cursor::Cursor;
use fanfare_core::name::TopicName;
use fanfare_core::relay::Follow as _;
use fanfare_core::rule::Class;
use fanfare_core::subscription::{Drained, Phase, Subscription};
use fanfare_rpc::roster::SessionTopic;

use super::fetch::Want;
use super::pour::{Counts, Pour, Tape};
use super::wire::{Flush, Wire};
use crate::relay::EdgeRun;

/// A subscription that stays ahead of its relay for so long asks the leader.
pub(super) const AHEAD: Duration = Duration::from_secs(2);

/// One topic of the session.
pub(super) struct Sub {
    pub(super) id: u64,
    /// Its place on the relay's list.
    pub(super) key: Option<u64>,
    pub(super) topic: TopicName,
    pub(super) hash: u64,
    pub(super) tape: Tape,
    pub(super) core: Subscription<Arc<EdgeRun>>,
    pub(super) ahead_since: Option<Duration>,
    /// A page is to come from the leader: a replica's had nothing.
    pub(super) ask_leader: bool,
    /// The last page had nothing new, or failed.
    pub(super) fruitless: bool,
}

impl Drop for Sub {
    /// Whatever becomes of the session, the relay does not keep its place.
    fn drop(&mut self) {
        if let (Tape::Relay(relay), Some(key)) = (&self.tape, self.key) {
            relay.leave(key);
        }
    }
}

/// How a session stands, for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) topics: Vec<SessionTopic>,
    /// All of its topics.
    pub(crate) count: usize,
    /// Messages that it has not got, over all topics whose head is known.
    pub(crate) lag: u64,
    /// Bytes that wait for the transport.
    pub(crate) waiting: usize,
}

/// All that whoever drains may touch.
pub(super) struct State<W> {
    pub(super) subs: Vec<Sub>,
    pub(super) wire: W,
    pub(super) cursor: Cursor,
    pub(super) waker: Option<Waker>,
    /// The pump was woken and has not looked yet.
    pub(super) news: bool,
    /// Nothing is said any more.
    pub(super) over: bool,
    pub(super) next_sub: u64,
    pub(super) sent: Duration,
    pub(super) stuck: Option<Duration>,
}

impl<W: Wire> State<W> {
    /// Moves the wire on and takes note of its progress.
    pub(super) fn flush(&mut self, now: Duration, counts: &Counts) -> Flush {
        let (moved, flush) = self.wire.flush();
        if moved {
            counts.metrics.writes.inc();
            self.sent = now;
        }
        self.stuck = match (flush, moved) {
            (Flush::Clear, _) => None,
            (Flush::Waits | Flush::Broken, true) => Some(now),
            (Flush::Waits | Flush::Broken, false) => self.stuck.or(Some(now)),
        };
        flush
    }

    /// True once: the pump has to be woken, and was not since it last looked.
    pub(super) fn wake(&mut self) -> Option<Waker> {
        if std::mem::replace(&mut self.news, true) {
            None
        } else {
            self.waker.take()
        }
    }

    /// True if the session's cursor is that of one topic: then shared bytes can carry it.
    pub(super) fn solo(&self) -> bool {
        self.cursor.rows().len() == 1
    }

    pub(super) fn whereabouts(
        &self,
        wanted: Option<&TopicName>,
        named: usize,
    ) -> Option<Whereabouts> {
        if wanted.is_some_and(|wanted| self.subs.iter().all(|sub| sub.topic != *wanted)) {
            return None;
        }
        let topic = |sub: &Sub| {
            let (at, head) = (sub.core.at(), sub.tape.last());
            // Of another epoch there is no saying how many are between.
            let head = head.filter(|head| head.epoch == at.epoch);
            SessionTopic {
                topic: sub.topic.clone(),
                position: at,
                lag: head.map(|head| head.offset.0.saturating_sub(at.offset.0)),
            }
        };
        let mut topics: Vec<SessionTopic> = self.subs.iter().map(topic).collect();
        let count = topics.len();
        let lag = topics.iter().filter_map(|topic| topic.lag).sum();
        // The worst, and the one that was asked for, are among those named.
        topics.sort_by_key(|row| (Some(&row.topic) != wanted, std::cmp::Reverse(row.lag)));
        topics.truncate(named);
        Some(Whereabouts {
            topics,
            count,
            lag,
            waiting: self.wire.waiting(),
        })
    }

    /// Drains every subscription that is not at head; says which page is wanted next.
    pub(super) fn drain(&mut self, now: Duration, counts: &Counts) -> Option<Want> {
        let solo = self.solo();
        let mut wanted: Option<Want> = None;
        let Self {
            subs, wire, cursor, ..
        } = self;
        for sub in subs
            .iter_mut()
            .filter(|sub| sub.core.phase() == Phase::Behind)
        {
            let Sub {
                topic,
                hash,
                tape,
                core,
                ..
            } = sub;
            let html = core.policy().html;
            let mut pour = Pour {
                wire,
                cursor,
                topic,
                hash: *hash,
                html,
                solo,
                counts,
            };
            let drained = core.drain(tape, &mut pour);
            let page = match drained {
                Drained::Head | Drained::Idle | Drained::Wait { ahead: false } => {
                    sub.ahead_since = None;
                    false
                }
                Drained::Blocked => break,
                Drained::Page(_) => true,
                Drained::Wait { ahead: true } => {
                    let since = *sub.ahead_since.get_or_insert(now);
                    sub.ask_leader = true;
                    now.saturating_sub(since) >= AHEAD
                }
            };
            let better = wanted
                .as_ref()
                .is_none_or(|other| other.pause && !sub.fruitless);
            if page && better {
                wanted = Some(Want {
                    sub: sub.id,
                    topic: sub.topic.clone(),
                    after: sub.core.at(),
                    leader: sub.ask_leader || sub.core.policy().class == Class::Ephemeral,
                    pause: sub.fruitless,
                });
            }
        }
        // Who waited for this page waits at the end of the line for the next.
        if let Some(want) = &wanted
            && let Some(at) = subs.iter().position(|sub| sub.id == want.sub)
        {
            let sub = subs.remove(at);
            subs.push(sub);
        }
        wanted
    }
}
