//! What the leader of a shard hears of each applied entry: which of the topics that somebody
//! attends have news, and the epochs set aside for its ephemeral streams. News is a mark, never a
//! queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_core::id::Term;
use fanfare_core::name::TopicName;
use fanfare_core::position::Epoch;
use fanfare_core::shard::{Effects, EpochBlock};

/// Wakes whoever reads the news. Casts, so it never blocks.
pub(crate) type Ring = Box<dyn Fn() + Send + Sync>;

/// A mark that there is news, and the way to say so: at most one call is pending.
pub(crate) struct Bell {
    rung: AtomicBool,
    ring: Ring,
}

impl Bell {
    pub(crate) fn new(ring: Ring) -> Self {
        Self {
            rung: AtomicBool::new(false),
            ring,
        }
    }

    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            (self.ring)();
        }
    }

    /// Call it before looking for news, never after.
    pub(crate) fn answer(&self) {
        self.rung.store(false, Ordering::Release);
    }
}

/// Who attends a topic.
#[derive(Clone)]
pub(crate) enum Seat {
    /// An actor that reads the topic itself.
    Reader(Arc<Bell>),
    /// The shard's actor: it only wants to know that the topic was made or ended.
    Shard,
}

/// The news of one reign.
pub(crate) struct Attended {
    term: Term,
    bell: Bell,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seats: BTreeMap<TopicName, Seat>,
    news: News,
    block: Option<EpochBlock>,
}

/// What the shard's actor has not looked at yet. Bounded by the seats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Attended topics that were made or ended.
    pub(crate) changed: BTreeSet<TopicName>,
    pub(crate) rules_changed: bool,
    pub(crate) repaired: bool,
}

impl Attended {
    /// `ring` wakes the shard's actor.
    pub(crate) fn new(term: Term, ring: Ring) -> Self {
        Self {
            term,
            bell: Bell::new(ring),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats someone. Look at the topic after this, not before: what comes between is missed else.
    pub(crate) fn seat(&self, topic: TopicName, seat: Seat) {
        self.state().seats.insert(topic, seat);
    }

    pub(crate) fn leave(&self, topic: &TopicName) {
        self.state().seats.remove(topic);
    }

    /// Takes what happened. Called under the shard's lock, in the order of the log.
    pub(crate) fn note(&self, term: Term, effects: &Effects) {
        if effects.is_empty() {
            return;
        }
        let mut guard = self.state();
        let state = &mut *guard;
        if effects.block_ended {
            state.block = None;
        }
        if effects.reserved.is_some() && term == self.term {
            state.block = effects.reserved;
        }
        let made = effects.created.iter();
        for topic in made.chain(effects.deleted.iter().map(|(topic, _)| topic)) {
            if let Some(seat) = state.seats.get(topic) {
                state.news.changed.insert(topic.clone());
                if let Seat::Reader(bell) = seat {
                    bell.ring();
                }
            }
        }
        for topic in effects.placed.keys() {
            if let Some(Seat::Reader(bell)) = state.seats.get(topic) {
                bell.ring();
            }
        }
        state.news.rules_changed |= effects.rules_changed;
        state.news.repaired |= effects.repaired;
        if effects.repaired {
            state.seats.values().for_each(|seat| {
                if let Seat::Reader(bell) = seat {
                    bell.ring();
                }
            });
        }
        let wake = state.news != News::default();
        drop(guard);
        if wake {
            self.bell.ring();
        }
    }

    /// The news since the last call.
    pub(crate) fn take(&self) -> News {
        self.bell.answer();
        std::mem::take(&mut self.state().news)
    }

    /// An epoch for a stream that begins now; `None` if a block must be reserved first. Call it
    /// under the shard's read lock: so no delete is applied before and not seen here.
    pub(crate) fn next_epoch(&self) -> Option<Epoch> {
        let mut state = self.state();
        let EpochBlock { first, last } = state.block.take()?;
        if first < last {
            state.block = Some(EpochBlock {
                first: Epoch(first.0 + 1),
                last,
            });
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn attended() -> (Attended, Arc<AtomicU32>) {
        let rings = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&rings);
        let ring = move || {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        (Attended::new(Term(3), Box::new(ring)), rings)
    }

    fn reserved(first: u64, last: u64) -> Effects {
        let block = EpochBlock {
            first: Epoch(first),
            last: Epoch(last),
        };
        Effects {
            reserved: Some(block),
            ..Effects::default()
        }
    }

    #[test]
    fn epochs_come_from_the_block_of_this_reign_until_it_ends() {
        let (attended, _) = attended();
        attended.note(Term(2), &reserved(1, 9));
        assert_eq!(attended.next_epoch(), None, "another reign's block");
        attended.note(Term(3), &reserved(10, 11));
        assert_eq!(attended.next_epoch(), Some(Epoch(10)));
        assert_eq!(attended.next_epoch(), Some(Epoch(11)));
        assert_eq!(attended.next_epoch(), None);
        attended.note(Term(3), &reserved(20, 30));
        attended.note(
            Term(3),
            &Effects {
                block_ended: true,
                ..Effects::default()
            },
        );
        assert_eq!(attended.next_epoch(), None);
    }

    #[test]
    fn news_of_an_attended_topic_rings_once_until_it_is_looked_at() {
        let (attended, rings) = attended();
        let news: TopicName = "news".parse().unwrap();
        let created = Effects {
            created: vec![news.clone()],
            ..Effects::default()
        };
        attended.note(Term(3), &created);
        assert_eq!(rings.load(Ordering::Relaxed), 0, "nobody attends it");
        attended.seat(news.clone(), Seat::Shard);
        attended.note(Term(3), &created);
        attended.note(Term(3), &created);
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert_eq!(attended.take().changed, BTreeSet::from([news.clone()]));
        attended.leave(&news);
        attended.note(Term(3), &created);
        assert_eq!(attended.take(), News::default());
    }
}
