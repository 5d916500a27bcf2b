//! The leader's end of attachments: who listens to a topic, from where, and what each is sent of
//! every batch. What waits on a link is in `outbox`; how a topic stands is an argument.

mod outbox;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gap::{Page, Policy};
use crate::id::Term;
use crate::link::{AttachId, Attached, Ended, Live, Run};
use crate::message::Message;
use crate::position::Position;

pub use outbox::{Outbox, Pushed};

/// A delivery link of this node. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One attachment of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    pub link: LinkId,
    pub id: AttachId,
}

/// How a topic stands at the moment of an attachment, read under one lock with its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scene {
    pub term: Term,
    pub head: Position,
    pub start: Position,
    pub exists: bool,
    pub policy: Policy,
}

/// What a listener is told of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Run(Listener, Run),
    /// It listens no more.
    Ended(Listener, Ended),
}

/// The listeners of one topic. Each has a position and is sent what follows it, once and in order:
/// the seam between the run of its attachment and the offers after it.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    rows: BTreeMap<Listener, Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    at: Position,
    /// True while the first message of a newer stream may follow `at` (C27).
    opens: bool,
}

impl Listeners {
    /// Most messages and bytes of an attachment's own run; beyond, the edge reads pages.
    pub const CATCH_UP: (u32, u64) = (Run::MAX_MESSAGES as u32, Run::MAX_BYTES);

    /// Begins an attachment. `page` is what follows `after` in the same reading as `scene`, cut at
    /// [`Self::CATCH_UP`]; it is not needed if `after` is absent or the head.
    pub fn attach(
        &mut self,
        who: Listener,
        after: Option<Position>,
        scene: &Scene,
        page: Option<Page>,
    ) -> Attached {
        let run = match after {
            None => Some(Run {
                after: scene.head,
                messages: Vec::new(),
            }),
            Some(after) if after == scene.head => Some(Run {
                after,
                messages: Vec::new(),
            }),
            Some(after) => page.and_then(|page| catch_up(after, scene, page)),
        };
        let live = match run {
            Some(run) => {
                let at = run.end();
                let opens = !scene.exists || at.epoch < scene.head.epoch;
                self.rows.insert(who, Row { at, opens });
                Live::Yes(run)
            }
            None => {
                self.rows.remove(&who);
                Live::No
            }
        };
        let Scene {
            term,
            head,
            start,
            exists,
            policy,
        } = *scene;
        Attached {
            id: who.id,
            term,
            head,
            start,
            exists,
            policy,
            live,
        }
    }

    /// Takes messages just placed, in order and contiguous. Each listener gets those above its
    /// position; one for whom the first of them is not the next is sent back to pages.
    pub fn offer(&mut self, messages: &[Arc<Message>]) -> Vec<Told> {
        let mut told = Vec::new();
        self.rows.retain(|who, row| {
            let seen = messages.partition_point(|message| message.position <= row.at);
            let Some(first) = messages.get(seen) else {
                return true;
            };
            if !row.is_next(first.position) {
                told.push(Told::Ended(*who, Ended::Lagging));
                return false;
            }
            for run in runs(row.at, &messages[seen..]) {
                *row = Row {
                    at: run.end(),
                    opens: false,
                };
                told.push(Told::Run(*who, run));
            }
            true
        });
        told
    }

    /// Sends back to pages whoever stands below `start`: what follows it is not retained any more.
    pub fn trimmed(&mut self, start: Position) -> Vec<Told> {
        let mut told = Vec::new();
        self.rows.retain(|who, row| {
            let kept = row.opens || row.at >= start.before();
            if !kept {
                told.push(Told::Ended(*who, Ended::Lagging));
            }
            kept
        });
        told
    }

    /// Ends all, for one reason.
    pub fn end_all(&mut self, why: &Ended) -> Vec<Told> {
        let rows = std::mem::take(&mut self.rows);
        rows.into_keys()
            .map(|who| Told::Ended(who, why.clone()))
            .collect()
    }

    /// Forgets one; false if it did not listen.
    pub fn detach(&mut self, who: Listener) -> bool {
        self.rows.remove(&who).is_some()
    }

    /// Forgets all of a link.
    pub fn unlink(&mut self, link: LinkId) {
        let first = Listener {
            link,
            id: AttachId(0),
        };
        let last = Listener {
            link,
            id: AttachId(u64::MAX),
        };
        let gone: Vec<_> = self.rows.range(first..=last).map(|(who, _)| *who).collect();
        for who in gone {
            self.rows.remove(&who);
        }
    }

    /// Position up to which a listener has been sent.
    pub fn position(&self, who: Listener) -> Option<Position> {
        self.rows.get(&who).map(|row| row.at)
    }

    /// The lowest position of all.
    pub fn lowest(&self) -> Option<Position> {
        self.rows.values().map(|row| row.at).min()
    }

    /// Who listens, in order.
    pub fn iter(&self) -> impl Iterator<Item = Listener> {
        self.rows.keys().copied()
    }

    /// True if nobody listens.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Number of listeners.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

impl Row {
    fn is_next(self, position: Position) -> bool {
        let begins = position.offset.0 == 1 && position.epoch > self.at.epoch;
        position == self.at.next() || (self.opens && begins)
    }
}

/// The run from `after` to the head, if the page has all of it and `after` is of this stream.
fn catch_up(after: Position, scene: &Scene, page: Page) -> Option<Run> {
    let Page {
        gap,
        messages,
        head,
        start: _,
    } = page;
    let reaches = messages
        .last()
        .map_or(head.offset.0 == 0, |last| last.position == scene.head);
    let whole = gap.is_none() && after < scene.head && head == scene.head && reaches;
    whole.then_some(Run { after, messages })
}

/// Cuts messages that follow `after` into runs within the bounds of one.
pub fn runs(after: Position, messages: &[Arc<Message>]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut bytes = 0;
    for message in messages {
        let cost = message.content.cost();
        let last = runs
            .last_mut()
            .filter(|run| run.messages.len() < Run::MAX_MESSAGES && bytes + cost <= Run::MAX_BYTES);
        if let Some(run) = last {
            run.messages.push(Arc::clone(message));
            bytes += cost;
        } else {
            let after = runs.last().map_or(after, Run::end);
            runs.push(Run {
                after,
                messages: vec![Arc::clone(message)],
            });
            bytes = cost;
        }
    }
    runs
}
