//! One relay: the topic's tail, who reads it live, and where it is attached. Shared by its
//! RelayActor, which alone writes the tail, and the sessions that read it.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::gap::{Gap, Policy, Standing};
use fanfare_core::id::Term;
use fanfare_core::link::AttachId;
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::relay::{Follow, Misfit, Next, Tail};

use super::link::Link;
use super::locked;
use super::run::EdgeRun;

/// What tails are made of here.
pub(crate) type Block = fanfare_core::relay::Block<Arc<EdgeRun>>;

/// A session as its relays see it.
pub(crate) trait Outlet: Send + Sync + 'static {
    /// New blocks of the subscription `sub`: written at once if it is at head, else its pump is
    /// woken. `moved`: after them the tail changed in another way, so the pump looks in any case.
    fn offer(&self, sub: u64, blocks: &[Block], moved: bool);
    /// The rules that the subscription is served by from now on.
    fn rule(&self, sub: u64, policy: Policy);
    /// The subscription is over: the topic cannot be had any more.
    fn lost(&self, sub: u64, why: &Refusal);
}

/// A subscription on a relay's list.
#[derive(Clone)]
pub(super) struct Member {
    key: u64,
    /// The subscription's number in its session.
    sub: u64,
    /// `None` once it has left.
    outlet: Option<Weak<dyn Outlet>>,
}

impl Member {
    /// Its number in its session, and the session, if both are still there.
    pub(super) fn reach(&self) -> Option<(u64, Arc<dyn Outlet>)> {
        Some((self.sub, self.outlet.as_ref()?.upgrade()?))
    }
}

/// Who reads a topic live, by ascending key.
#[derive(Default)]
struct Members {
    list: Arc<Vec<Member>>,
    /// How many of the list have left. Their places are cleared when they are half of it, so that
    /// a crowd that leaves costs each of them the same.
    gone: usize,
}

impl Members {
    fn leave(&mut self, key: u64) {
        let Ok(at) = self.list.binary_search_by_key(&key, |member| member.key) else {
            return;
        };
        let list = Arc::make_mut(&mut self.list);
        if list[at].outlet.take().is_none() {
            return;
        }
        self.gone += 1;
        if self.gone * 2 >= list.len() {
            list.retain(|member| member.outlet.is_some());
            list.shrink_to(list.len() * 2);
            self.gone = 0;
        }
    }
}

/// Where a relay is attached.
#[derive(Default)]
pub(super) enum Attachment {
    /// Nowhere: a leader is looked for, or pages fill a hole.
    #[default]
    Nowhere,
    /// Asked for, or live.
    On(Arc<Link>, AttachId),
    /// There is no such topic, and none is made by use.
    Refused,
    /// Let go for good.
    Over,
}

/// A topic on this edge.
pub(crate) struct Relay {
    topic: TopicName,
    hash: u64,
    worker: usize,
    tail: Mutex<Known>,
    members: Mutex<Members>,
    pub(super) attachment: Mutex<Attachment>,
    next_key: AtomicU64,
    leases: AtomicUsize,
    idle_since: Mutex<Option<Duration>>,
}

/// The tail and what the leader said of the topic.
#[derive(Default)]
struct Known {
    tail: Tail<Arc<EdgeRun>>,
    start: Position,
    policy: Policy,
    exists: bool,
    term: Term,
}

impl Relay {
    pub(super) fn new(topic: TopicName, hash: u64, worker: usize) -> Self {
        Self {
            topic,
            hash,
            worker,
            tail: Mutex::default(),
            members: Mutex::default(),
            attachment: Mutex::default(),
            next_key: AtomicU64::new(1),
            leases: AtomicUsize::new(0),
            idle_since: Mutex::default(),
        }
    }

    pub(crate) fn topic(&self) -> &TopicName {
        &self.topic
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    /// The standing of a subscriber that has processed `at`, if the tail alone can say.
    pub(crate) fn stand(&self, at: Position) -> Option<Standing> {
        let known = locked(&self.tail);
        let answer = known.tail.answer(at)?;
        let head = known.tail.last()?;
        Some(Standing {
            answer,
            start: known.start,
            head,
            exists: known.exists,
            policy: known.policy,
            term: known.term,
        })
    }

    /// Puts a subscription on the list. From now on it is offered what comes.
    pub(crate) fn join(&self, sub: u64, outlet: Weak<dyn Outlet>) -> u64 {
        let mut members = locked(&self.members);
        let key = self.next_key.fetch_add(1, Ordering::Relaxed);
        let outlet = Some(outlet);
        Arc::make_mut(&mut members.list).push(Member { key, sub, outlet });
        key
    }

    /// Takes a subscription off the list.
    pub(crate) fn leave(&self, key: u64) {
        locked(&self.members).leave(key);
    }

    /// Tells all subscriptions that the topic cannot be had.
    pub(super) fn lose_members(&self) {
        let why = not_found().topic(self.topic.clone());
        for member in self.members().iter() {
            if let Some((sub, outlet)) = member.reach() {
                outlet.lost(sub, &why);
            }
        }
    }

    /// True if there is no such topic.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(*locked(&self.attachment), Attachment::Refused)
    }

    /// True if the topic was refused: then it is asked for again.
    pub(super) fn revive(&self) -> bool {
        let mut attachment = locked(&self.attachment);
        let refused = matches!(*attachment, Attachment::Refused);
        if refused {
            *attachment = Attachment::Nowhere;
        }
        refused
    }

    pub(super) fn members(&self) -> Arc<Vec<Member>> {
        locked(&self.members).list.clone()
    }

    /// Takes note of what an attachment said.
    pub(super) fn learn(&self, policy: Policy, exists: bool, start: Position, term: Term) {
        let mut known = locked(&self.tail);
        (known.policy, known.exists, known.start, known.term) = (policy, exists, start, term);
    }

    /// The topic's rules, if the leader tells of every change: a topic whose rules change ends its
    /// attachments, to be attached again.
    pub(crate) fn policy(&self) -> Option<Policy> {
        let known = locked(&self.tail);
        known.tail.is_live().then_some(known.policy)
    }

    pub(super) fn last(&self) -> Option<Position> {
        locked(&self.tail).tail.last()
    }

    pub(super) fn set_live(&self, live: bool) {
        locked(&self.tail).tail.set_live(live);
    }

    /// Begins the tail anew.
    pub(super) fn reset(&self, head: Position, budget: &AtomicU64) {
        let mut known = locked(&self.tail);
        budget.fetch_sub(known.tail.bytes(), Ordering::Relaxed);
        known.tail.reset(head);
    }

    /// Takes a run into the tail, which forgets what is beyond its share of the budget.
    pub(super) fn push(
        &self,
        run: Arc<EdgeRun>,
        budget: &AtomicU64,
        limit: u64,
    ) -> Result<(), Misfit> {
        let (span, cost) = (run.span(), run.cost());
        let mut known = locked(&self.tail);
        known.tail.push_run(span, run, cost)?;
        known.exists = true;
        let total = budget.fetch_add(cost, Ordering::Relaxed) + cost;
        let before = known.tail.bytes();
        // Over the node's budget a topic keeps but its newest run; sessions behind read pages.
        known.tail.trim(if total > limit {
            0
        } else {
            super::Relays::TAIL_BYTES
        });
        budget.fetch_sub(before - known.tail.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Takes a gap into the tail.
    pub(super) fn push_gap(&self, gap: Gap, budget: &AtomicU64) {
        let mut known = locked(&self.tail);
        budget.fetch_sub(known.tail.bytes(), Ordering::Relaxed);
        known.tail.push_gap(gap);
    }

    /// True if nobody has used it for `linger`.
    pub(super) fn is_idle(&self, now: Duration, linger: Duration) -> bool {
        let mut since = locked(&self.idle_since);
        if self.leases.load(Ordering::Acquire) > 0 {
            *since = None;
            return false;
        }
        now.saturating_sub(*since.get_or_insert(now)) >= linger
    }

    /// Lets go of the topic: off the list already, so nobody finds it.
    pub(super) fn forget(&self, budget: &AtomicU64) {
        let attachment = std::mem::replace(&mut *locked(&self.attachment), Attachment::Over);
        if let Attachment::On(link, id) = attachment {
            link.detach(id);
        }
        self.reset(Position::NONE, budget);
    }
}

impl Follow<Arc<EdgeRun>> for Relay {
    fn next(&self, at: Position) -> Next<Arc<EdgeRun>> {
        locked(&self.tail).tail.next(at)
    }

    fn last(&self) -> Option<Position> {
        Self::last(self)
    }
}

/// A relay in use: it is kept while anybody holds a lease.
pub(crate) struct Lease(Arc<Relay>);

impl Lease {
    /// Made under the lock of the rows, so that a sweep sees it.
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        relay.leases.fetch_add(1, Ordering::AcqRel);
        Self(relay)
    }
}

impl Deref for Lease {
    type Target = Relay;

    fn deref(&self) -> &Relay {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leases.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a topic cannot be had any more.
pub(crate) fn not_found() -> Refusal {
    Refusal::new(
        Code::TopicNotFound,
        "there is no such topic, and topics are not made by use",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl Outlet for Deaf {
        fn offer(&self, _: u64, _: &[Block], _: bool) {}
        fn rule(&self, _: u64, _: Policy) {}
        fn lost(&self, _: u64, _: &Refusal) {}
    }

    fn here(relay: &Relay) -> Vec<u64> {
        let reached = relay.members();
        reached
            .iter()
            .filter_map(|member| Some(member.reach()?.0))
            .collect()
    }

    #[test]
    fn who_left_is_reached_no_more_and_takes_no_place_for_long() {
        let relay = Relay::new("crowd".parse().unwrap(), 0, 0);
        let deaf: Arc<dyn Outlet> = Arc::new(Deaf);
        let keys: Vec<u64> = (0..100)
            .map(|sub| relay.join(sub, Arc::downgrade(&deaf)))
            .collect();
        for sub in (0..100).filter(|sub| sub % 3 != 0) {
            relay.leave(keys[sub]);
            relay.leave(keys[sub]);
        }
        let kept: Vec<u64> = (0..100).filter(|sub| sub % 3 == 0).collect();
        assert_eq!(here(&relay), kept);
        assert!(relay.members().len() < 2 * kept.len());
        let late = relay.join(100, Arc::downgrade(&deaf));
        for sub in kept {
            relay.leave(keys[usize::try_from(sub).unwrap()]);
        }
        assert_eq!(here(&relay), [100]);
        relay.leave(late);
        assert!(relay.members().is_empty());
    }
}
