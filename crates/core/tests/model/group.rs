//! One shard's group as raft guarantees it: one committed sequence, leaders of growing terms, and
//! replicas that apply it at their own pace, after a crash from their snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::Redirect;
use fanfare_core::shard::{At, Block, Effects, Entry, Outcome, Restore, Shard};

use crate::reign::Reign;
use crate::sabotage::Sabotage;
use crate::world::World;

/// An entry of the log; without a command it is raft's own.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) term: Term,
    pub(crate) entry: Option<Entry>,
}

pub(crate) struct Group {
    pub(crate) voters: Vec<NodeId>,
    /// Committed.
    pub(crate) log: Vec<Logged>,
    /// Proposed by the present leader: a prefix of it may be committed yet.
    pub(crate) pending: VecDeque<Logged>,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    leaders: BTreeMap<Term, NodeId>,
    pub(crate) replicas: BTreeMap<NodeId, Replica>,
    /// The shard's chain after each entry, as the first replica had it.
    chains: Vec<u128>,
}

pub(crate) struct Replica {
    pub(crate) rows: Shard,
    pub(crate) applied: usize,
    /// Entries from here on are not known to a leader that was deposed and has not heard of it.
    horizon: usize,
    disk: Option<(usize, Vec<Block>)>,
    /// The term it was elected in, and the place of raft's first entry of that term.
    elected: Option<(Term, usize)>,
    /// When another leader was elected, if this one has not heard of it.
    cut_off: Option<Duration>,
    pub(crate) reign: Option<Box<Reign>>,
    pub(crate) follows: Redirect,
}

impl Replica {
    fn new(shards: u32) -> Self {
        Self {
            rows: Shard::new(shards),
            applied: 0,
            horizon: usize::MAX,
            disk: None,
            elected: None,
            cut_off: None,
            reign: None,
            follows: Redirect::default(),
        }
    }

    /// The term it believes to lead in.
    pub(crate) fn leads(&self) -> Option<Term> {
        self.elected.map(|(term, _)| term)
    }
}

impl Group {
    pub(crate) fn new(voters: Vec<NodeId>, shards: u32) -> Self {
        let replicas = voters.iter().map(|node| (*node, Replica::new(shards)));
        Self {
            replicas: replicas.collect(),
            voters,
            log: Vec::new(),
            pending: VecDeque::new(),
            term: Term(0),
            leader: None,
            leaders: BTreeMap::new(),
            chains: Vec::new(),
        }
    }
}

/// How long a leader that hears nobody goes on (R12), in ms.
const LEASE: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn majority_up(&self, shard: ShardId) -> bool {
        let group = &self.groups[&shard];
        let up = group
            .voters
            .iter()
            .filter(|node| self.is_up(**node))
            .count();
        up > group.voters.len() / 2
    }

    /// True if this replica leads, and a majority would confirm it.
    pub(crate) fn truly_leads(&self, shard: ShardId, node: NodeId) -> bool {
        self.groups[&shard].leader == Some(node) && self.is_up(node) && self.majority_up(shard)
    }

    /// True if it heard a majority within its lease, as far as it knows.
    pub(crate) fn hears(&self, shard: ShardId, node: NodeId) -> bool {
        let Some(replica) = self.groups[&shard].replicas.get(&node) else {
            return false;
        };
        match replica.cut_off {
            Some(then) => self.now.saturating_sub(then) < LEASE,
            None => self.majority_up(shard),
        }
    }

    /// Commits the oldest pending entries.
    pub(crate) fn commit(&mut self, shard: ShardId, count: usize) {
        if !self.majority_up(shard) {
            return;
        }
        let group = self.group(shard);
        let count = count.min(group.pending.len());
        group.log.extend(group.pending.drain(..count));
    }

    /// Proposes; the place at which the entry will be if it is committed, `None` if it never is.
    pub(crate) fn propose(&mut self, shard: ShardId, node: NodeId, entry: Entry) -> Option<usize> {
        let group = self.group(shard);
        if group.leader != Some(node) {
            return None;
        }
        let term = group.term;
        group.pending.push_back(Logged {
            term,
            entry: Some(entry),
        });
        Some(group.log.len() + group.pending.len())
    }

    /// Another leader: of what the old one had proposed `keep` are committed, the rest never was.
    pub(crate) fn elect(&mut self, shard: ShardId, node: NodeId, keep: usize, told: bool) {
        if !self.is_up(node) || !self.majority_up(shard) {
            return;
        }
        let now = self.now;
        let old = self.groups[&shard].leader;
        let group = self.group(shard);
        for (of, replica) in &mut group.replicas {
            if Some(*of) == old {
                replica.horizon = group.log.len();
                replica.cut_off = Some(now);
            }
        }
        let keep = keep.min(group.pending.len());
        let dropped = group.pending.len() - keep;
        group.log.extend(group.pending.drain(..keep));
        group.pending.clear();
        group.term = Term(group.term.0 + 1);
        group.leader = Some(node);
        group.leaders.insert(group.term, node);
        let blank = Logged {
            term: group.term,
            entry: None,
        };
        group.pending.push_back(blank);
        let (term, place) = (group.term, group.log.len() + 1);
        self.trace(|| format!("{node} is elected in term {term}, {keep} pending entries stay"));
        if keep > 0 {
            self.oracle.reach("election: pending entries stay");
        }
        if dropped > 0 {
            self.oracle.reach("election: pending entries go");
        }
        if let Some(old) = old.filter(|old| told || *old == node) {
            self.notice(shard, old);
        }
        self.notice(shard, node);
        if let Some(replica) = self.group(shard).replicas.get_mut(&node) {
            replica.elected = Some((term, place));
            replica.follows = Redirect {
                leader: Some(node),
                term,
            };
        }
    }

    /// A replica learns who leads; if it did, its reign is over.
    pub(crate) fn notice(&mut self, shard: ShardId, node: NodeId) {
        let group = self.group(shard);
        let follows = Redirect {
            leader: group.leader,
            term: group.term,
        };
        let leads = group.leader == Some(node);
        let Some(replica) = group.replicas.get_mut(&node) else {
            return;
        };
        let own = replica.leads() == Some(follows.term);
        if leads && own {
            return;
        }
        replica.elected = None;
        replica.horizon = usize::MAX;
        replica.cut_off = None;
        replica.follows = follows;
        if let Some(reign) = replica.reign.take() {
            self.oracle.reach("reign: ended");
            self.trace(|| format!("{node} leads {shard} no more"));
            self.abdicate(shard, node, *reign);
        }
    }

    /// Applies the next committed entry on one replica. False if there is none.
    pub(crate) fn apply(&mut self, shard: ShardId, node: NodeId) -> bool {
        let own_clock = self.sabotage == Some(Sabotage::OwnClock);
        let group = self.group(shard);
        let Some(replica) = group.replicas.get_mut(&node) else {
            return false;
        };
        if replica.applied >= group.log.len().min(replica.horizon) {
            return false;
        }
        let logged = group.log[replica.applied].clone();
        let place = replica.applied + 1;
        let at = At {
            term: logged.term,
            index: place as u64,
        };
        let (outcome, effects) = match logged.entry {
            None => {
                replica.rows.pass(at);
                (Outcome::Done, Effects::default())
            }
            Some(mut entry) => {
                entry.running_ms += if own_clock { node.0 * 2_000 } else { 0 };
                replica.rows.apply(at, &entry)
            }
        };
        replica.applied = place;
        if replica.elected.is_none()
            && let Some(leader) = group.leaders.get(&logged.term)
            && replica.follows.term < logged.term
        {
            replica.follows = Redirect {
                leader: Some(*leader),
                term: logged.term,
            };
        }
        let chain = replica.rows.chain();
        let first = group.chains.len() < place;
        if first {
            group.chains.push(chain);
        }
        let known = group.chains[place - 1];
        let begins = replica.elected.filter(|(_, blank)| *blank == place);
        self.oracle.inside(known == chain, "REPLICA_DIVERGED", || {
            format!("{shard}: {node} has another chain after entry {place}")
        });
        self.applied(shard, node, &outcome, &effects, first);
        if let Some((term, _)) = begins.filter(|(term, _)| *term == logged.term) {
            self.begin_reign(shard, node, term);
        }
        self.on_applied(shard, node, place, logged.term, outcome, &effects);
        true
    }

    /// True if a replica has something to apply.
    pub(crate) fn may_apply(&self, shard: ShardId, node: NodeId) -> bool {
        let group = &self.groups[&shard];
        let replica = &group.replicas[&node];
        replica.applied < group.log.len().min(replica.horizon)
    }

    /// A replica writes its state out.
    pub(crate) fn snapshot(&mut self, shard: ShardId, node: NodeId) {
        if let Some(replica) = self.group(shard).replicas.get_mut(&node) {
            let blocks = replica.rows.freeze().blocks().collect();
            replica.disk = Some((replica.applied, blocks));
        }
    }

    /// A replica that lags takes the state of another.
    pub(crate) fn install(&mut self, shard: ShardId, from: NodeId, to: NodeId) {
        let group = &self.groups[&shard];
        let (source, target) = (&group.replicas[&from], &group.replicas[&to]);
        if target.applied >= source.applied || target.elected.is_some() {
            return;
        }
        let snapshot = (source.applied, source.rows.freeze().blocks().collect());
        self.trace(|| format!("{to} installs a snapshot of {from} up to {}", snapshot.0));
        self.oracle.reach("snapshot: installed");
        self.restore(shard, to, Some(snapshot));
    }

    pub(crate) fn restart_replica(&mut self, shard: ShardId, node: NodeId) {
        let disk = self.groups[&shard].replicas[&node].disk.clone();
        self.oracle.reach(match disk {
            Some(_) => "crash: with a snapshot",
            None => "crash: without one",
        });
        self.restore(shard, node, disk);
    }

    fn restore(&mut self, shard: ShardId, node: NodeId, disk: Option<(usize, Vec<Block>)>) {
        let keyless = self.sabotage == Some(Sabotage::SnapshotWithoutKeys);
        let shards = self.shards;
        let (applied, rows) = match &disk {
            None => (0, Shard::new(shards)),
            Some((applied, blocks)) => {
                let rows = match keyless {
                    true => without_keys(shards, blocks),
                    false => Shard::restore(shards, blocks.iter().cloned())
                        .expect("a snapshot is read as it was written"),
                };
                let again: Vec<Block> = rows.freeze().blocks().collect();
                self.oracle
                    .inside(again == *blocks, "REPLICA_DIVERGED", || {
                        format!("{shard}: {node} is not what its snapshot says")
                    });
                (*applied, rows)
            }
        };
        if let Some(replica) = self.group(shard).replicas.get_mut(&node) {
            let follows = replica.follows;
            *replica = Replica {
                rows,
                applied,
                disk,
                follows,
                ..Replica::new(shards)
            };
        }
    }
}

/// B5: nothing but the checksum tells that rows are missing, and it is not asked.
fn without_keys(shards: u32, blocks: &[Block]) -> Shard {
    let mut restore = Restore::new(shards);
    for block in blocks {
        let keys = matches!(block, Block::Keys { .. });
        if !keys && let Err(error) = restore.take(block) {
            assert!(matches!(block, Block::End(_)), "{error}");
        }
    }
    restore.finish().expect("all is there but the keys")
}
