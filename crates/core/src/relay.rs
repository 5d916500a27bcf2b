//! The edge's end of a topic: its tail (a bounded ring of blocks that sessions read), when to let
//! it go, and the watch over digests that finds a subscription which died in silence.

use std::collections::VecDeque;
use std::time::Duration;

use crate::gap::{Answer, Gap, GapReason};
use crate::link::Run;
use crate::position::{Offset, Position};

/// Which messages a run holds: `count` of them from `first` on, without holes. `first` follows
/// `after` in the same stream, or begins the stream that came after it (C27).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub after: Position,
    pub first: Position,
    /// At least 1.
    pub count: u32,
}

impl Span {
    /// The messages of a run; `None` if it has none.
    pub fn of(run: &Run) -> Option<Self> {
        let first = run.messages.first()?.position;
        let count = u32::try_from(run.messages.len()).unwrap_or(u32::MAX);
        Some(Self {
            after: run.after,
            first,
            count,
        })
    }

    /// The position of the message at `index`, from 0.
    pub fn position(&self, index: u32) -> Position {
        let offset = self.first.offset.0.saturating_add(u64::from(index));
        Position {
            epoch: self.first.epoch,
            offset: Offset(offset),
        }
    }

    /// The position after its last message.
    pub fn end(&self) -> Position {
        self.position(self.count.saturating_sub(1))
    }

    /// How many of its messages a reader at `at` has already; `None` if what it misses does not
    /// begin in here.
    pub fn skip(&self, at: Position) -> Option<u32> {
        if at == self.after {
            return Some(0);
        }
        if at >= self.first && at <= self.end() {
            let have = at.offset.0 - self.first.offset.0 + 1;
            return u32::try_from(have).ok();
        }
        // While a topic does not exist its head is the shard's counter, which grows: every such
        // head up to the stream's beginning stands before its first message.
        let before_birth = at.offset == Offset(0) && self.first.offset == Offset(1);
        (before_birth && self.after < at && at < self.first).then_some(0)
    }
}

/// What a tail is made of. `R` is a run in whatever form it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block<R> {
    Run(Span, R),
    Gap(Gap),
}

impl<R> Block<R> {
    /// The position before it.
    pub fn after(&self) -> Position {
        match self {
            Self::Run(span, _) => span.after,
            Self::Gap(gap) => gap.from,
        }
    }

    /// The position after it.
    pub fn end(&self) -> Position {
        match self {
            Self::Run(span, _) => span.end(),
            Self::Gap(gap) => gap.to,
        }
    }

    fn serves(&self, at: Position) -> bool {
        match self {
            Self::Run(span, _) => span.skip(at).is_some_and(|have| have < span.count),
            Self::Gap(gap) => gap.from == at,
        }
    }
}

/// What a reader at some position finds in a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<R> {
    /// What follows its position, maybe with messages it has already.
    Block(Block<R>),
    /// Nothing: it has all that the relay has.
    Head,
    /// It has more than the relay: the relay lags, or the reader's stream is not this one.
    Ahead,
    /// What follows is not in the tail: read pages.
    Below,
    /// The relay does not know yet where the topic stands.
    Unknown,
}

/// What readers ask of a tail. An edge answers under its lock, so a block is cheap to clone.
pub trait Follow<R> {
    /// What follows `at`.
    fn next(&self, at: Position) -> Next<R>;
    /// The position after the last block, if known.
    fn last(&self) -> Option<Position>;
}

/// Why a run was not taken into a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Readers of the tail have all of it already.
    Known,
    /// Something between the tail and this is missing: attach again.
    Hole,
}

/// The last blocks of a topic, at most `limit` bytes of them but always the newest.
#[derive(Clone, Debug)]
pub struct Tail<R> {
    blocks: VecDeque<(Block<R>, u64)>,
    bytes: u64,
    /// The position before the first block.
    base: Option<Position>,
    live: bool,
}

impl<R> Default for Tail<R> {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            base: None,
            live: false,
        }
    }
}

impl<R: Clone> Tail<R> {
    /// Begins anew at `head`: readers that are not exactly there read pages.
    pub fn reset(&mut self, head: Position) {
        self.blocks.clear();
        self.bytes = 0;
        self.base = Some(head);
    }

    /// True while runs come in: then what it holds up to `last` is all there was.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Says whether runs come in.
    pub fn set_live(&mut self, live: bool) {
        self.live = live;
    }

    /// Bytes of its blocks.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes the next run, of `bytes`.
    pub fn push_run(&mut self, span: Span, run: R, bytes: u64) -> Result<(), Misfit> {
        let last = self.last_position().ok_or(Misfit::Hole)?;
        match span.skip(last) {
            Some(have) if have < span.count => {}
            Some(_) => return Err(Misfit::Known),
            None if span.end() <= last => return Err(Misfit::Known),
            None => return Err(Misfit::Hole),
        }
        self.bytes += bytes;
        self.blocks.push_back((Block::Run(span, run), bytes));
        Ok(())
    }

    /// Takes a gap at its end. What stood before it is forgotten: whoever is not at its beginning
    /// is told by the leader what it misses, so that no gap covers what could still be had.
    pub fn push_gap(&mut self, gap: Gap) {
        self.blocks.clear();
        self.base = Some(gap.from);
        self.bytes = 0;
        self.blocks.push_back((Block::Gap(gap), 0));
    }

    /// Forgets the oldest blocks until at most `limit` bytes are left, but for the newest block.
    pub fn trim(&mut self, limit: u64) {
        while self.bytes > limit && self.blocks.len() > 1 {
            if let Some((block, bytes)) = self.blocks.pop_front() {
                self.bytes -= bytes;
                self.base = Some(block.end());
            }
        }
    }

    /// Answers a subscriber that has processed `at`, if this alone can (C13): it is live and holds
    /// all that follows.
    pub fn answer(&self, at: Position) -> Option<Answer> {
        if !self.live {
            return None;
        }
        match self.next(at) {
            Next::Block(Block::Gap(gap)) => Some(Answer::Gap(gap)),
            Next::Block(Block::Run(..)) => Some(Answer::Recovered(at)),
            Next::Head if Some(at) == self.last_position() => Some(Answer::Recovered(at)),
            Next::Head | Next::Ahead | Next::Below | Next::Unknown => None,
        }
    }

    fn last_position(&self) -> Option<Position> {
        self.blocks
            .back()
            .map(|(block, _)| block.end())
            .or(self.base)
    }

    /// Index of the only block that could serve `at`.
    fn find(&self, at: Position) -> Option<&Block<R>> {
        let (first, _) = self.blocks.front()?;
        if first.serves(at) {
            return Some(first);
        }
        // All but a leading gap ascend, and a leading gap serves its own beginning alone.
        let index = self.blocks.partition_point(|(block, _)| match block {
            Block::Gap(_) => true,
            Block::Run(span, _) => span.end() <= at,
        });
        self.blocks
            .get(index)
            .map(|(block, _)| block)
            .filter(|block| block.serves(at))
    }
}

impl<R: Clone> Follow<R> for Tail<R> {
    fn next(&self, at: Position) -> Next<R> {
        let Some(last) = self.last_position() else {
            return Next::Unknown;
        };
        if let Some(block) = self.find(at) {
            return Next::Block(block.clone());
        }
        let unborn = last.offset == Offset(0) && at.offset == Offset(0);
        match at.cmp(&last) {
            std::cmp::Ordering::Equal => Next::Head,
            std::cmp::Ordering::Greater if unborn => Next::Head,
            std::cmp::Ordering::Greater => Next::Ahead,
            std::cmp::Ordering::Less => Next::Below,
        }
    }

    fn last(&self) -> Option<Position> {
        self.last_position()
    }
}

/// The gap that skips a slow reader at `at` to the newest message, at `last` (C25), if it lags by
/// more than `lag` messages of one stream.
pub fn conflate(at: Position, last: Position, lag: u64) -> Option<Gap> {
    let behind = last.offset.0.checked_sub(at.offset.0)?;
    if at.epoch != last.epoch || behind <= lag.max(1) {
        return None;
    }
    Some(Gap {
        reason: GapReason::Conflated,
        from: at,
        to: last.before(),
        missed: Some(behind - 1),
    })
}

/// How long a relay without readers is kept, so that a storm of reconnects finds its tail.
pub const LINGER: Duration = Duration::from_secs(30);

/// Watch over the digests of one shard on one link (replication section 6).
#[derive(Clone, Copy, Debug)]
pub struct DigestWatch {
    heard: Duration,
    mismatches: u8,
}

impl DigestWatch {
    /// Silence after which all attachments of the shard are dead.
    pub const SILENCE: Duration = Duration::from_secs(3);

    /// Begins when the shard's first attachment does.
    pub fn new(now: Duration) -> Self {
        Self {
            heard: now,
            mismatches: 0,
        }
    }

    /// A digest came. True if all must attach again: two in a row did not match.
    #[must_use]
    pub fn on_digest(&mut self, now: Duration, matches: bool) -> bool {
        self.heard = now;
        self.mismatches = if matches { 0 } else { self.mismatches + 1 };
        self.mismatches >= 2
    }

    /// True if none came for too long.
    pub fn is_silent(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard) > Self::SILENCE
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
