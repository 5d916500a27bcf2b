//! Publishing as an edge does it: which draft goes to which leader in which run, what is sent
//! again after a redirect or a broken link, and when to say that the end is not known. The links
//! themselves, and where leaders are looked for, are not in here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::code::{Code, Outcome};
use crate::id::{NodeId, ShardId};
use crate::link::{PublishAnswer, PublishRequest, Verdict};
use crate::message::Draft;
use crate::receipt::{Receipt, Refusal};

mod lane;
mod leaders;

use lane::{Flight, Lane, Shard, Way, lane_mut};

/// Number of a draft, ascending in the order of [`Publishing::submit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A publish stream of this edge.
pub type StreamId = u64;

/// What the shell does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The end of a draft.
    Answer(Ticket, Result<Receipt, Refusal>),
    /// Find the shard's leader and tell [`Publishing::leader`] in any case. `ask`: what is believed
    /// was wrong or is silent, so the replicas have to be asked; else a belief will do.
    Seek { shard: ShardId, ask: bool },
}

/// All drafts of an edge that are on their way. Each draft ends in exactly one answer; a draft
/// that may have been proposed never ends in a definite failure, and without a key it is never
/// sent again.
#[derive(Debug, Default)]
pub struct Publishing {
    shards: BTreeMap<ShardId, Shard>,
    /// Shards in which a stream has a lane.
    streams: HashMap<StreamId, Vec<ShardId>, FixedState>,
    /// Lanes with something to send, by node; each lane at most once.
    ready: BTreeMap<NodeId, VecDeque<(ShardId, StreamId)>>,
    /// Where the drafts are that were sent and not answered.
    sent: HashMap<u64, (ShardId, StreamId, Ticket), FixedState>,
    deadlines: BTreeSet<(Duration, Ticket, ShardId, StreamId)>,
    /// When to look at a shard again: its rest is over, or its leader may have fallen silent.
    looks: BTreeSet<(Duration, ShardId)>,
    next_ticket: u64,
    next_seq: u64,
    effects: Vec<Effect>,
}

impl Publishing {
    /// A leader that owes an answer for so long is asked about, and given up if there is another.
    pub const SILENCE: Duration = Duration::from_secs(1);
    /// Longest pause between two searches for a leader.
    pub const MAX_REST: Duration = Duration::from_millis(500);
    const FIRST_REST: Duration = Duration::from_millis(10);

    /// Takes a draft. Drafts of one stream and topic are placed in the order of these calls (C3).
    /// It is answered at the latest by the first [`tick`](Self::tick) at or after `deadline`.
    pub fn submit(
        &mut self,
        now: Duration,
        stream: StreamId,
        shard: ShardId,
        draft: Draft,
        deadline: Duration,
    ) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        let row = self.shards.entry(shard).or_default();
        let lane = row.lanes.entry(stream).or_insert_with(|| {
            self.streams.entry(stream).or_default().push(shard);
            Lane::default()
        });
        lane.flights.insert(
            ticket,
            Flight {
                draft,
                submitted: now,
                deadline,
                seq: None,
                maybe: false,
            },
        );
        self.deadlines.insert((deadline, ticket, shard, stream));
        self.arm(shard, stream);
        ticket
    }

    /// The stream submits nothing more; what it has submitted goes on.
    pub fn close(&mut self, stream: StreamId) {
        for shard in self.streams.remove(&stream).unwrap_or_default() {
            let Some(row) = self.shards.get_mut(&shard) else {
                continue;
            };
            if let Some(lane) = row.lanes.get_mut(&stream) {
                lane.closed = true;
                if lane.flights.is_empty() {
                    row.lanes.remove(&stream);
                }
            }
        }
    }

    /// The next request for a node's link; `None` if nothing waits for it. What is taken counts as
    /// sent: it may be proposed.
    pub fn take(&mut self, now: Duration, node: NodeId) -> Option<PublishRequest> {
        loop {
            let (shard, stream) = self.ready.get_mut(&node)?.pop_front()?;
            let Some(row) = self.shards.get_mut(&shard) else {
                continue;
            };
            let Some(lane) = row.lanes.get_mut(&stream) else {
                continue;
            };
            lane.queued = false;
            if row.way != Way::Known(node) || lane.reign != row.reign {
                continue;
            }
            let Some((&ticket, flight)) = lane.flights.range_mut(lane.cursor..).next() else {
                continue;
            };
            if flight.deadline <= now {
                self.expire(ticket, shard, stream);
                continue;
            }
            self.next_seq += 1;
            flight.seq = Some(self.next_seq);
            self.sent.insert(self.next_seq, (shard, stream, ticket));
            let request = PublishRequest {
                seq: self.next_seq,
                stream,
                run: lane.run,
                shard,
                draft: flight.aged(now),
                timeout_ms: millis(flight.deadline.saturating_sub(now)).max(1),
            };
            lane.cursor = Ticket(ticket.0 + 1);
            lane.sent += 1;
            row.debt.sent += 1;
            row.debt.quiet.get_or_insert(now);
            if row.look.is_none() {
                self.look_at(shard, now + Self::SILENCE);
            }
            self.arm(shard, stream);
            return Some(request);
        }
    }

    /// Nodes for which something waits.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        let waiting = self.ready.iter().filter(|(_, lanes)| !lanes.is_empty());
        waiting.map(|(node, _)| *node)
    }

    /// The shard of a sending that is not answered.
    pub fn shard_of(&self, seq: u64) -> Option<ShardId> {
        self.sent.get(&seq).map(|sent| sent.0)
    }

    /// A verdict came. One that belongs to no sending (any more) is ignored.
    pub fn verdict(&mut self, now: Duration, answer: PublishAnswer) {
        let Some((shard, stream, ticket)) = self.sent.get(&answer.seq).copied() else {
            return;
        };
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        let Some(lane) = row.lanes.get(&stream) else {
            return;
        };
        let current = lane.reign == row.reign && matches!(row.way, Way::Known(_));
        if current {
            row.debt.quiet = Some(now);
        }
        match answer.verdict {
            Verdict::Reroute(redirect) => {
                self.reroute(shard, stream, ticket);
                if current {
                    self.depose(now, shard, Some(redirect));
                }
                self.arm(shard, stream);
            }
            Verdict::Placed(receipt) => {
                row.failures = if current { 0 } else { row.failures };
                let result = self.in_order(shard, stream, ticket, receipt);
                self.finish(ticket, shard, stream, |_| result);
            }
            Verdict::Refused(refusal) => {
                row.failures = if current { 0 } else { row.failures };
                self.finish(ticket, shard, stream, |flight| {
                    Err(match (flight.maybe, refusal.outcome) {
                        (true, _) => {
                            unknown("an earlier sending got no answer, and a later one was refused")
                        }
                        (false, Outcome::None) => refusal.as_publish(),
                        (false, Outcome::NotPlaced | Outcome::Unknown) => refusal,
                    })
                });
            }
        }
    }

    /// The link to a node is gone, or could not be opened: nothing more is answered on it.
    pub fn link_lost(&mut self, now: Duration, node: NodeId) {
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        for shard in shards {
            let Some(row) = self.shards.get(&shard) else {
                continue;
            };
            let led = row.way == Way::Known(node);
            let lost = row
                .lanes
                .iter()
                .filter(|(_, l)| l.sent > 0 && l.node == node);
            let lost: Vec<StreamId> = lost.map(|(stream, _)| *stream).collect();
            for &stream in &lost {
                self.lose(shard, stream);
            }
            if led {
                self.depose(now, shard, None);
            }
            for stream in lost {
                self.arm(shard, stream);
            }
        }
    }

    /// Ends what is over at `now` and looks where it is time to look.
    pub fn tick(&mut self, now: Duration) {
        while let Some(&(at, ticket, shard, stream)) = self.deadlines.first() {
            if at > now {
                break;
            }
            self.expire(ticket, shard, stream);
        }
        while let Some(&(at, shard)) = self.looks.first() {
            if at > now {
                break;
            }
            self.looks.pop_first();
            self.look(now, shard);
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub fn next_wake(&self) -> Option<Duration> {
        let deadline = self.deadlines.first().map(|first| first.0);
        let look = self.looks.first().map(|first| first.0);
        deadline.into_iter().chain(look).min()
    }

    /// Ends everything: what was never sent is `draining`, the rest is not known.
    pub fn end(&mut self) {
        while let Some(&(_, ticket, shard, stream)) = self.deadlines.first() {
            self.finish(ticket, shard, stream, |flight| {
                Err(if flight.maybe_proposed() {
                    unknown("the node stopped before the answer came")
                } else {
                    Refusal::of_publish(Code::Draining, "the node stopped before it was sent")
                })
            });
        }
    }

    /// Drafts without an answer.
    pub fn len(&self) -> usize {
        self.deadlines.len()
    }

    /// True if every draft is answered.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty()
    }

    /// What is to be done, in order.
    pub fn effects(&mut self) -> impl Iterator<Item = Effect> {
        self.effects.drain(..)
    }

    /// Makes a lane that has something to send ready, in a new run if its leader is a new one. A
    /// new run waits for the answers of the one before: its drafts may yet come back.
    fn arm(&mut self, shard: ShardId, stream: StreamId) {
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        let Some(lane) = row.lanes.get_mut(&stream) else {
            return;
        };
        if lane.flights.range(lane.cursor..).next().is_none() {
            return;
        }
        match row.way {
            Way::Unasked => {
                row.way = Way::Asking;
                let ask = row.failures > 0;
                self.effects.push(Effect::Seek { shard, ask });
            }
            Way::Known(node) => {
                if lane.reign != row.reign && lane.sent == 0 {
                    lane.run += u32::from(lane.reign > 0);
                    lane.reign = row.reign;
                    lane.node = node;
                }
                if lane.reign == row.reign && !lane.queued {
                    lane.queued = true;
                    self.ready
                        .entry(node)
                        .or_default()
                        .push_back((shard, stream));
                }
            }
            Way::Asking | Way::Resting => {}
        }
    }

    /// Of drafts that were sent again, an earlier one may have been refused at first, unheard, while
    /// a later one was placed: then the later one stands before it. Told as unknown, since acks of
    /// one stream and topic are in order (C3).
    fn in_order(
        &mut self,
        shard: ShardId,
        stream: StreamId,
        ticket: Ticket,
        receipt: Receipt,
    ) -> Result<Receipt, Refusal> {
        let Some((_, lane)) = lane_mut(&mut self.shards, shard, stream) else {
            return Ok(receipt);
        };
        let again = |flight: &&mut Flight| flight.maybe;
        let Some(flight) = lane.flights.get_mut(&ticket).filter(again) else {
            return Ok(receipt);
        };
        flight.maybe = false;
        let high = lane.again.entry(receipt.topic.clone()).or_default();
        let late = receipt.position.is_some_and(|position| position < *high);
        *high = receipt
            .position
            .map_or(*high, |position| position.max(*high));
        if !lane.flights.values().any(|flight| flight.maybe) {
            lane.again.clear();
        }
        if late {
            return Err(unknown(
                "it was placed before an earlier draft of its stream",
            ));
        }
        Ok(receipt)
    }

    /// The draft and all that were sent after it in its run wait again: the leader refuses them.
    fn reroute(&mut self, shard: ShardId, stream: StreamId, from: Ticket) {
        let Some((debt, lane)) = lane_mut(&mut self.shards, shard, stream) else {
            return;
        };
        for flight in lane.flights.range_mut(from..).map(|(_, flight)| flight) {
            if let Some(seq) = flight.seq.take() {
                self.sent.remove(&seq);
                lane.sent -= 1;
                debt.answered();
            }
        }
        lane.cursor = lane.cursor.min(from);
    }

    /// What was sent in the lane gets no answer: keyed drafts wait again, the others end.
    fn lose(&mut self, shard: ShardId, stream: StreamId) {
        let Some((_, lane)) = lane_mut(&mut self.shards, shard, stream) else {
            return;
        };
        let gone: Vec<Ticket> = lane
            .flights
            .iter()
            .filter(|(_, flight)| flight.seq.is_some() && flight.draft.key.is_none())
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in gone {
            self.finish(ticket, shard, stream, |_| {
                Err(unknown(
                    "the link to the leader broke before the answer came",
                ))
            });
        }
        let Some((debt, lane)) = lane_mut(&mut self.shards, shard, stream) else {
            return;
        };
        for flight in lane.flights.values_mut() {
            if let Some(seq) = flight.seq.take() {
                self.sent.remove(&seq);
                flight.maybe = true;
                lane.sent -= 1;
                debt.answered();
            }
        }
        lane.cursor = Ticket::default();
    }

    fn expire(&mut self, ticket: Ticket, shard: ShardId, stream: StreamId) {
        let led = self
            .shards
            .get(&shard)
            .is_some_and(|row| matches!(row.way, Way::Known(_)));
        self.finish(ticket, shard, stream, |flight| {
            Err(if flight.maybe_proposed() {
                unknown("no answer came in time")
            } else if led {
                Refusal::of_publish(
                    Code::DeadlineExceeded,
                    "the time was over before it was sent",
                )
            } else {
                Refusal::of_publish(Code::NoQuorum, "the topic's shard has no leader")
            })
        });
    }

    /// Answers a draft and forgets it.
    fn finish(
        &mut self,
        ticket: Ticket,
        shard: ShardId,
        stream: StreamId,
        result: impl FnOnce(&Flight) -> Result<Receipt, Refusal>,
    ) {
        let Some((debt, lane)) = lane_mut(&mut self.shards, shard, stream) else {
            return;
        };
        let Some(flight) = lane.flights.remove(&ticket) else {
            return;
        };
        self.deadlines
            .remove(&(flight.deadline, ticket, shard, stream));
        if let Some(seq) = flight.seq {
            self.sent.remove(&seq);
            lane.sent -= 1;
            debt.answered();
        }
        let result = result(&flight).map_err(|refusal| match refusal.topic {
            Some(_) => refusal,
            None => refusal.topic(flight.draft.topic.clone()),
        });
        self.effects.push(Effect::Answer(ticket, result));
        let over = lane.closed && lane.flights.is_empty();
        if over && let Some(row) = self.shards.get_mut(&shard) {
            row.lanes.remove(&stream);
        } else {
            self.arm(shard, stream);
        }
    }
}

fn unknown(detail: &str) -> Refusal {
    Refusal::of_publish(Code::OutcomeUnknown, detail)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;
