//! Reads of standings and pages, with redirects: the edge asks until somebody answers or the time is
//! over; a leader has itself confirmed before it tells a head.

use std::time::Duration;

use fanfare_core::code::Code;
use fanfare_core::gap::{Answer, Gap, GapReason, Page, Since, Standing};
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{NoRead, Run};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::Class;
use fanfare_core::shard::Unread;

use crate::reign::Reign;
use crate::sabotage::Sabotage;
use crate::seats::Source;
use crate::session::PAGE;
use crate::world::World;

/// A read on its way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) edge: NodeId,
    topic: TopicName,
    shard: ShardId,
    what: What,
    asker: Asker,
    deadline: Duration,
    pub(crate) not_before: Duration,
    /// Whom it was sent to, and when.
    pub(crate) target: Option<(NodeId, Duration)>,
    attempt: u32,
    /// What the leader must have applied, in its term, since a majority confirmed it.
    confirmed: Option<(Term, usize)>,
    /// It waits for more than this to be applied.
    pub(crate) stuck_at: Option<usize>,
    pub(crate) back: Option<Result<Reply, NoRead>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Stand(Since),
    Page { after: Position, leader: bool },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Session(u64),
    /// A hole in a relay's tail, after so many pages.
    Relay(u32),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Standing(Standing),
    Page(Page),
}

/// What a node has to say to a read: nothing yet, or this.
type Served = Option<Result<Reply, NoRead>>;

const READY_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(25);

impl World {
    pub(crate) fn ask(&mut self, edge: NodeId, topic: &TopicName, what: What, asker: Asker) {
        let id = self.fresh();
        let call = Call {
            edge,
            topic: topic.clone(),
            shard: self.shard_of(topic),
            what,
            asker,
            deadline: self.now + READY_WITHIN,
            not_before: self.now,
            target: None,
            attempt: 0,
            confirmed: None,
            stuck_at: None,
            back: None,
        };
        self.calls.insert(id, call);
    }

    /// The edge sends a read to whom it believes to know.
    pub(crate) fn route(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id).cloned() else {
            return;
        };
        if call.target.is_some() || self.now < call.not_before {
            return;
        }
        if self.now >= call.deadline {
            self.calls.remove(&id);
            let refusal = Refusal::new(Code::NotReady, "nobody answered");
            return self.deliver_read(&call, Err(refusal));
        }
        let leader = match call.what {
            What::Stand(_) => true,
            What::Page { leader, .. } => leader,
        };
        let target = if !leader {
            let voters = self.groups[&call.shard].voters.clone();
            match voters.contains(&call.edge) && call.attempt == 0 {
                true => Some(call.edge),
                false => self.chance.pick(&voters),
            }
        } else if call.attempt <= 1 {
            Some(self.believed(call.edge, call.shard).0)
        } else {
            self.seek(call.edge, call.shard)
                .and_then(|found| found.leader)
        };
        let reached = target.filter(|node| self.is_up(*node));
        let now = self.now;
        if let Some(call) = self.calls.get_mut(&id) {
            call.target = reached.map(|node| (node, now));
            call.confirmed = None;
            call.stuck_at = None;
            if reached.is_none() {
                call.attempt += 1;
                call.not_before = now + PAUSE;
            }
        }
    }

    /// True if a node has a call to look at.
    pub(crate) fn may_serve(&self, call: &Call) -> bool {
        let Some((target, _)) = call.target.filter(|_| call.back.is_none()) else {
            return false;
        };
        let replica = self.groups[&call.shard].replicas.get(&target);
        let moved = replica.is_none_or(|replica| call.stuck_at != Some(replica.applied));
        moved && self.is_up(target) && !self.is_held(call.edge, target)
    }

    /// The node that was asked answers, or waits until it can.
    pub(crate) fn serve_read(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id).cloned() else {
            return;
        };
        let Some((node, _)) = call.target else { return };
        let shard = call.shard;
        if !self.groups[&shard].replicas.contains_key(&node) {
            return self.send_back(id, Err(NoRead::Reroute(self.redirect(shard, node))));
        }
        let served = match call.what {
            What::Stand(since) => self.serve_stand(id, &call, node, since),
            What::Page { after, leader } => self.serve_page(id, &call, node, after, leader),
        };
        let applied = self.groups[&shard].replicas[&node].applied;
        match served {
            Some(answer) => self.send_back(id, answer),
            None => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.stuck_at = Some(applied);
                }
            }
        }
    }

    fn send_back(&mut self, id: u64, answer: Result<Reply, NoRead>) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.back = Some(answer);
        }
    }

    /// The leader asks a majority, then waits until it has applied what was committed by then.
    /// `None`: it waits. `Some(false)`: it is not confirmed.
    fn confirm(&mut self, id: u64, call: &Call, node: NodeId) -> Option<bool> {
        if self.sabotage == Some(Sabotage::AnswerUnconfirmed) {
            return Some(true);
        }
        let group = &self.groups[&call.shard];
        let term = group.term;
        let replica = &group.replicas[&node];
        if replica.reign.is_none() || !self.truly_leads(call.shard, node) {
            return Some(false);
        }
        let (index, applied) = (group.log.len(), replica.applied);
        let waits = applied < index;
        let wanted = match call.confirmed {
            Some((of, wanted)) if of == term => wanted,
            Some(_) | None => index,
        };
        if let Some(call) = self.calls.get_mut(&id) {
            call.confirmed = Some((term, wanted));
        }
        if waits {
            self.oracle.reach("read: waits for apply");
        }
        (applied >= wanted).then_some(true)
    }

    fn serve_stand(&mut self, id: u64, call: &Call, node: NodeId, since: Since) -> Served {
        let (shard, topic) = (call.shard, &call.topic);
        let reroute = NoRead::Reroute(self.redirect(shard, node));
        if !self.confirm(id, call, node)? {
            return Some(Err(reroute));
        }
        let group = &self.groups[&shard];
        let read = group.replicas[&node]
            .rows
            .stand(topic, since, false, group.term);
        let mut standing = match read {
            Ok(standing) => standing,
            Err(Unread::TopicNotFound) => return Some(Err(not_found())),
            Err(Unread::NotBegun) => return None,
            Err(Unread::Ephemeral) => {
                let term = group.term;
                let read = self.with_reign(shard, node, |world, reign| {
                    world.with_stream(shard, node, reign, topic, |stream| {
                        stream.stand(since, term)
                    })
                });
                match read {
                    None => return Some(Err(reroute)),
                    Some(read) => match read? {
                        Ok(standing) => standing,
                        Err(no) => return Some(Err(no)),
                    },
                }
            }
        };
        if self.sabotage == Some(Sabotage::RecoverBelowStart)
            && let Answer::Gap(Gap {
                reason: GapReason::Trimmed(_),
                to,
                ..
            }) = standing.answer
        {
            standing.answer = Answer::Recovered(to);
        }
        Some(Ok(Reply::Standing(standing)))
    }

    fn serve_page(
        &mut self,
        id: u64,
        call: &Call,
        node: NodeId,
        after: Position,
        leader: bool,
    ) -> Served {
        let (shard, topic) = (call.shard, &call.topic);
        let reroute = Some(Err(NoRead::Reroute(self.redirect(shard, node))));
        let replica = &self.groups[&shard].replicas[&node];
        let serves = replica.reign.is_some() && self.hears(shard, node);
        if leader && !serves {
            return reroute;
        }
        let limit = 1 + u32::try_from(self.chance.below(PAGE as usize)).unwrap_or(0);
        let read = replica.rows.page(topic, after, limit, Run::MAX_BYTES);
        let ahead = |page: &Page| after > page.head;
        let mut page = match read {
            Ok(page) => page,
            Err(Unread::TopicNotFound) => return Some(Err(not_found())),
            Err(Unread::NotBegun) => return reroute,
            Err(Unread::Ephemeral) => {
                let read = self.with_reign(shard, node, |world, reign| {
                    world.with_stream(shard, node, reign, topic, |stream| {
                        stream.page(after, limit, Run::MAX_BYTES)
                    })
                });
                match read {
                    None => return reroute,
                    Some(read) => match read? {
                        Ok(page) => page,
                        Err(no) => return Some(Err(no)),
                    },
                }
            }
        };
        if ahead(&page) {
            if !serves || !self.confirm(id, call, node)? {
                return reroute;
            }
            page.gap.get_or_insert(Gap {
                reason: GapReason::PositionAhead,
                from: after,
                to: page.head,
                missed: None,
            });
        }
        Some(Ok(Reply::Page(page)))
    }

    /// Reads an ephemeral stream, begun if need be; `None` until it has an epoch.
    fn with_stream<T>(
        &mut self,
        shard: ShardId,
        node: NodeId,
        reign: &mut Reign,
        topic: &TopicName,
        read: impl FnOnce(&fanfare_core::ephemeral::Ephemeral) -> T,
    ) -> Option<Result<T, NoRead>> {
        if !reign.begun {
            return None;
        }
        let rows = &self.groups[&shard].replicas[&node].rows;
        let explicit = rows.create_policy() == fanfare_core::rule::CreatePolicy::Explicit;
        if explicit && rows.get(topic).is_none() {
            return Some(Err(not_found()));
        }
        if !self.seat(shard, node, reign, topic, Class::Ephemeral) {
            return None;
        }
        let running_ms = self.running_ms(reign, shard, node);
        let Source::Stream(stream) = &mut reign.seats.get_mut(topic)?.source else {
            return None;
        };
        stream.tick(running_ms);
        self.oracle.trimmed(topic, stream.history().start());
        Some(Ok(read(stream)))
    }

    /// The edge hears the answer.
    pub(crate) fn hear_read(&mut self, id: u64) {
        let Some(mut call) = self.calls.remove(&id) else {
            return;
        };
        let now = self.now;
        match call.back.take() {
            Some(Ok(reply)) => self.deliver_read(&call, Ok(reply)),
            Some(Err(NoRead::Refused(refusal))) => self.deliver_read(&call, Err(refusal)),
            Some(Err(NoRead::Reroute(redirect))) => {
                let news = self.learn(call.edge, call.shard, redirect);
                let at_once = news && redirect.leader.is_some() && call.attempt == 0;
                call.attempt += 1;
                call.not_before = if at_once { now } else { now + PAUSE };
                call.target = None;
                self.calls.insert(id, call);
            }
            None => drop(self.calls.insert(id, call)),
        }
    }

    fn deliver_read(&mut self, call: &Call, result: Result<Reply, Refusal>) {
        let (edge, topic) = (call.edge, call.topic.clone());
        match (call.asker, call.what) {
            (Asker::Session(id), What::Stand(_)) => {
                let standing = result.map(|reply| match reply {
                    Reply::Standing(standing) => standing,
                    Reply::Page(_) => unreachable!("a standing was asked for"),
                });
                self.begin(edge, id, standing);
            }
            (Asker::Session(id), What::Page { after, leader }) => {
                self.on_session_page(edge, id, after, leader, page_of(result));
            }
            (Asker::Relay(pages), _) => {
                self.on_relay_page(edge, &topic, pages, page_of(result));
            }
        }
    }

    /// Reads that are not answered are sent again, or end.
    pub(crate) fn tick_reads(&mut self) {
        let now = self.now;
        for call in self.calls.values_mut() {
            call.stuck_at = None;
            let late = call
                .target
                .is_some_and(|(_, then)| now.saturating_sub(then) >= ANSWER_WITHIN);
            if late || (call.target.is_some() && now >= call.deadline) {
                call.target = None;
                call.back = None;
                call.attempt += 1;
                call.not_before = now;
            }
        }
    }
}

fn page_of(result: Result<Reply, Refusal>) -> Result<Page, Refusal> {
    result.map(|reply| match reply {
        Reply::Page(page) => page,
        Reply::Standing(_) => unreachable!("a page was asked for"),
    })
}

fn not_found() -> NoRead {
    NoRead::Refused(Refusal::new(Code::TopicNotFound, "no such topic"))
}
