//! Who is to be attached where: for each shard with relays that wait, one task finds the leader and
//! attaches them in batches, with growing pauses while nobody leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId};

use super::link::Link;
use super::row::Relay;
use super::{Relays, locked};

/// Longest pause between two looks for a leader.
const PAUSE: Duration = Duration::from_secs(1);
/// Relays of one batch.
const BATCH: usize = 1_000;

/// Links by leader, and what waits for one.
#[derive(Default)]
pub(super) struct Attacher {
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
    shards: Mutex<BTreeMap<ShardId, Waiting>>,
    /// Relays of topics whose shard is not known yet: the view has none.
    homeless: Mutex<Vec<Arc<Relay>>>,
}

#[derive(Default)]
struct Waiting {
    relays: Vec<Arc<Relay>>,
    running: bool,
    failures: u32,
}

impl Attacher {
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        locked(&self.links).values().cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn attachments(&self) -> usize {
        self.links().iter().map(|link| link.attachments()).sum()
    }

    /// An attachment of this shard came to be: whoever waits need not pause.
    pub(super) fn succeeded(&self, shard: ShardId) {
        if let Some(waiting) = locked(&self.shards).get_mut(&shard) {
            waiting.failures = 0;
        }
    }

    /// One failed: the next look comes a little later each time.
    pub(super) fn failed(&self, shard: ShardId) {
        locked(&self.shards).entry(shard).or_default().failures += 1;
    }

    fn take(&self, shard: ShardId) -> Option<(Vec<Arc<Relay>>, u32)> {
        let mut shards = locked(&self.shards);
        let waiting = shards.get_mut(&shard)?;
        if waiting.relays.is_empty() {
            waiting.running = false;
            return None;
        }
        let batch = waiting.relays.len().min(BATCH);
        Some((waiting.relays.drain(..batch).collect(), waiting.failures))
    }

    fn put_back(&self, shard: ShardId, relays: Vec<Arc<Relay>>) {
        let mut shards = locked(&self.shards);
        let waiting = shards.entry(shard).or_default();
        waiting.failures += 1;
        waiting.relays.extend(relays);
    }
}

impl Relays {
    /// A relay is to be attached at its topic's leader.
    pub(super) fn want(self: &Arc<Self>, relay: &Arc<Relay>) {
        let Some(shard) = self.state.directory.shard_of(relay.topic()) else {
            locked(&self.attacher.homeless).push(relay.clone());
            return;
        };
        let mut shards = locked(&self.attacher.shards);
        let waiting = shards.entry(shard).or_default();
        waiting.relays.push(relay.clone());
        if !std::mem::replace(&mut waiting.running, true) {
            self.state.deps.tracker.spawn(self.clone().attach(shard));
        }
    }

    /// Looks again for the shards of topics that had none.
    pub(crate) fn house(self: &Arc<Self>) {
        let homeless = std::mem::take(&mut *locked(&self.attacher.homeless));
        for relay in homeless {
            self.want(&relay);
        }
    }

    async fn attach(self: Arc<Self>, shard: ShardId) {
        let deps = self.state.deps.clone();
        while let Some((relays, failures)) = self.attacher.take(shard) {
            if deps.stop.is_cancelled() {
                return;
            }
            if let Some(pause) = pause(failures, deps.rng.next_u64()) {
                tokio::select! {
                    biased;
                    () = deps.stop.cancelled() => return,
                    () = deps.clock.sleep(pause) => {}
                }
            }
            let link = self.leader_link(shard, failures).await;
            let attached = link.is_some_and(|link| link.attach(shard, &relays, deps.clock.now()));
            if !attached {
                self.attacher.put_back(shard, relays);
            }
        }
    }

    /// The link to the shard's leader. After a failure the replicas are asked first.
    async fn leader_link(self: &Arc<Self>, shard: ShardId, failures: u32) -> Option<Arc<Link>> {
        let directory = &self.state.directory;
        let known = if failures > 1 {
            None
        } else {
            directory.leader(shard)
        };
        let leader = match known {
            Some(leader) => leader,
            None => match directory.seek(shard).await {
                Some(redirect) => redirect.leader?,
                None => directory.leader(shard)?,
            },
        };
        let peer = directory.peer(leader)?;
        let mut links = locked(&self.attacher.links);
        if let Some(link) = links.get(&leader).filter(|link| !link.is_over()) {
            return Some(link.clone());
        }
        let link = Link::open(self, leader, &peer);
        links.insert(leader, link.clone());
        Some(link)
    }
}

/// How long to wait before looking again: not at all at first, then 25 ms doubled each time up to
/// [`PAUSE`], less up to half of it by chance.
fn pause(failures: u32, chance: u64) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?;
    let full = Duration::from_millis(25)
        .saturating_mul(1 << doublings.min(10))
        .min(PAUSE);
    Some(full - full.mul_f64((chance % 1_000) as f64 / 2_000.0))
}
