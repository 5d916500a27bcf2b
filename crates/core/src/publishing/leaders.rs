//! In whom publishing believes: leaders found, learnt, deposed and fallen silent.

use std::time::Duration;

use super::lane::Way;
use super::{Effect, Publishing, StreamId};
use crate::id::{NodeId, ShardId, Term};
use crate::link::Redirect;

impl Publishing {
    /// Who leads, as the search found (`None`: nobody knows), or as was learnt by the way.
    pub fn leader(&mut self, now: Duration, shard: ShardId, found: Option<Redirect>) {
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        let found = found.and_then(|r| r.leader.map(|node| (node, r.term)));
        let found = found.filter(|(_, term)| *term >= row.oldest_term());
        match (row.way, found) {
            (Way::Asking, None) => {
                row.failures = row.failures.saturating_add(1);
                self.rest(now, shard);
            }
            (Way::Asking, Some((node, term))) => self.believe(now, shard, node, term),
            (Way::Known(old), Some((node, term))) if node == old => row.term = row.term.max(term),
            (Way::Known(_), Some((node, term))) if term > row.term => {
                self.believe(now, shard, node, term);
            }
            (Way::Resting | Way::Unasked, Some((node, term))) if term > row.term => {
                self.believe(now, shard, node, term);
            }
            (Way::Known(_) | Way::Resting | Way::Unasked, _) => {}
        }
    }

    /// The believed leader is none: follows the first redirect at once, later ones after a rest.
    pub(super) fn depose(&mut self, now: Duration, shard: ShardId, redirect: Option<Redirect>) {
        self.leave(shard);
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        let old = row.way;
        let first = row.failures == 0;
        row.failures = row.failures.saturating_add(1);
        let said = redirect.and_then(|r| r.leader.map(|node| (node, r.term)));
        let said = said.filter(|(_, term)| *term >= row.oldest_term());
        match said {
            Some((node, term)) if first && old != Way::Known(node) => {
                self.believe(now, shard, node, term);
            }
            _ if row.lanes.values().all(|lane| lane.flights.is_empty()) => row.way = Way::Unasked,
            _ if first => {
                row.way = Way::Asking;
                self.effects.push(Effect::Seek { shard, ask: true });
            }
            _ => self.rest(now, shard),
        }
    }

    fn believe(&mut self, now: Duration, shard: ShardId, node: NodeId, term: Term) {
        self.leave(shard);
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        let silent = row.debt.silent(now);
        row.way = Way::Known(node);
        row.term = row.term.max(term);
        row.reign += 1;
        row.since = now;
        row.debt.quiet = (row.debt.sent > 0).then_some(now);
        let streams: Vec<StreamId> = row.lanes.keys().copied().collect();
        if row.debt.sent > 0 {
            self.look_at(shard, now + Self::SILENCE);
        }
        if silent {
            self.abandon(shard);
        }
        for stream in streams {
            self.arm(shard, stream);
        }
    }

    /// Gives up what older leaders owe.
    fn abandon(&mut self, shard: ShardId) {
        let Some(row) = self.shards.get(&shard) else {
            return;
        };
        let old = row
            .lanes
            .iter()
            .filter(|(_, l)| l.sent > 0 && l.reign != row.reign);
        let old: Vec<StreamId> = old.map(|(stream, _)| *stream).collect();
        for stream in old {
            self.lose(shard, stream);
            self.arm(shard, stream);
        }
    }

    fn rest(&mut self, now: Duration, shard: ShardId) {
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        row.way = Way::Resting;
        let doublings = row.failures.saturating_sub(1).min(8);
        let rest = (Self::FIRST_REST * (1 << doublings)).min(Self::MAX_REST);
        self.look_at(shard, now + rest);
    }

    pub(super) fn look(&mut self, now: Duration, shard: ShardId) {
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        row.look = None;
        let needed = row.lanes.values().any(|lane| !lane.flights.is_empty());
        match row.way {
            Way::Resting if needed => {
                row.way = Way::Asking;
                self.effects.push(Effect::Seek { shard, ask: true });
            }
            Way::Resting => row.way = Way::Unasked,
            Way::Known(_) if row.debt.sent > 0 => {
                let replaced = now >= row.since + Self::SILENCE;
                if row.debt.silent(now) {
                    self.effects.push(Effect::Seek { shard, ask: true });
                }
                self.look_at(shard, now + Self::SILENCE);
                if replaced {
                    self.abandon(shard);
                }
            }
            Way::Known(_) | Way::Asking | Way::Unasked => {}
        }
    }

    pub(super) fn look_at(&mut self, shard: ShardId, at: Duration) {
        if let Some(row) = self.shards.get_mut(&shard) {
            if let Some(old) = row.look.replace(at) {
                self.looks.remove(&(old, shard));
            }
            self.looks.insert((at, shard));
        }
    }

    /// What was ready for the shard's leader is not any more.
    fn leave(&mut self, shard: ShardId) {
        let Some(row) = self.shards.get_mut(&shard) else {
            return;
        };
        if let Way::Known(old) = row.way {
            for lane in row.lanes.values_mut() {
                lane.queued = false;
            }
            if let Some(lanes) = self.ready.get_mut(&old) {
                lanes.retain(|(of, _)| *of != shard);
            }
        }
    }
}
