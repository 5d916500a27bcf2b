//! What a seed means: the sizes of a world, the faults it knows, and its steps. A step carries its
//! own chance, so that the others mean the same when one is left out.

use crate::chance::Chance;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) size: Size,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) nodes: u64,
    pub(crate) shards: u32,
    pub(crate) subscribers: usize,
    pub(crate) publishers: usize,
    /// Items that a session's connection holds unread.
    pub(crate) room: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) chance: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many things that are due happen, in any order: deliver, apply, commit, read …
    Run(u32),
    /// All happens that is due.
    Settle,
    /// Time passes, in ms.
    Wait(u64),
    Publish,
    /// A keyed draft is sent again: of unknown end, or long acked, or with another payload.
    Again,
    /// A publisher's connection breaks.
    Hangup,
    /// A subscriber without a session opens one.
    Subscribe,
    /// A session breaks with what is on its way; the subscriber may come back elsewhere at once.
    Drop,
    /// A subscriber stops reading, or reads on.
    Stall,
    Elect,
    /// Replicas that lead no more learn it.
    Notice,
    Crash,
    Restart,
    Snapshot,
    Install,
    /// Nothing is delivered between two nodes, until `Release`.
    Hold,
    Release,
    /// The connections between two nodes break.
    Break,
    /// Something a leader says is lost, though the connection lives.
    Eat,
    /// Something a leader says comes twice.
    Double,
    /// A read or its answer is lost.
    Lose,
    /// A leader has no room for what waits on a link.
    Squeeze,
    Rules,
    Create,
    Delete,
    Trim,
    /// Idle ephemeral streams end.
    Forget,
}

/// Weight of each kind, and whether it is a fault that a seed may leave out.
const WEIGHTS: &[(Kind, u64, bool)] = &[
    (Kind::Settle, 4, false),
    (Kind::Publish, 60, false),
    (Kind::Again, 8, true),
    (Kind::Hangup, 2, true),
    (Kind::Subscribe, 25, false),
    (Kind::Drop, 10, true),
    (Kind::Stall, 6, true),
    (Kind::Elect, 5, true),
    (Kind::Notice, 4, false),
    (Kind::Crash, 2, true),
    (Kind::Restart, 4, false),
    (Kind::Snapshot, 4, true),
    (Kind::Install, 4, true),
    (Kind::Hold, 3, true),
    (Kind::Release, 4, false),
    (Kind::Break, 4, true),
    (Kind::Eat, 3, true),
    (Kind::Double, 4, true),
    (Kind::Lose, 3, true),
    (Kind::Squeeze, 3, true),
    (Kind::Rules, 3, true),
    (Kind::Create, 2, true),
    (Kind::Delete, 3, true),
    (Kind::Trim, 2, true),
    (Kind::Forget, 2, true),
];

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let size = Size {
            nodes: [1, 3, 3, 3, 4][chance.below(5)],
            shards: [1, 1, 2][chance.below(3)],
            subscribers: 2 + chance.below(4),
            publishers: 1 + chance.below(3),
            room: 2 + chance.below(10),
        };
        let mut kinds: Vec<(Kind, u64)> = Vec::new();
        for (kind, weight, fault) in WEIGHTS {
            if !fault || !chance.one_in(3) {
                kinds.push((*kind, *weight));
            }
        }
        let total: u64 = kinds.iter().map(|(_, weight)| weight).sum();
        let count = 80 + chance.below(120);
        let most = [4, 20, 60][chance.below(3)];
        let waits = [3, 6, 12][chance.below(3)];
        let steps = (0..count)
            .flat_map(|_| {
                let work = Kind::Run(1 + u32::try_from(chance.below(most)).unwrap_or(0));
                let kind = if chance.one_in(waits) {
                    Kind::Wait(wait(&mut chance))
                } else {
                    drawn(&kinds, chance.next() % total)
                };
                [kind, work].map(|kind| Step {
                    kind,
                    chance: chance.next(),
                })
            })
            .collect();
        Self { seed, size, steps }
    }
}

fn drawn(kinds: &[(Kind, u64)], mut at: u64) -> Kind {
    for (kind, weight) in kinds {
        match at.checked_sub(*weight) {
            None => return *kind,
            Some(rest) => at = rest,
        }
    }
    Kind::Publish
}

/// Mostly moments; now and then long enough for windows to end, history to age, a day to pass.
fn wait(chance: &mut Chance) -> u64 {
    match chance.below(200) {
        0 => chance.within(80_000_000, 100_000_000),
        1..4 => chance.within(3_000_000, 8_000_000),
        4..14 => chance.within(10_000, 200_000),
        14..50 => chance.within(1_000, 4_000),
        _ => chance.within(1, 600),
    }
}
