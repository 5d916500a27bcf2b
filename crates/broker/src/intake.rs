//! The drafts of one shard between admission and answer: the open batch, the batches proposed, and
//! the deadlines. A value: who proposes and who answers is not in here.

use std::collections::VecDeque;
use std::time::Duration;

use fanfare_core::shard::Batch;

use crate::fate::aged;
use crate::publish::Work;

/// Number of a proposed batch, within one reign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId(u64);

/// A batch to propose.
pub(crate) struct Closed {
    pub(crate) id: BatchId,
    pub(crate) batch: Batch,
    /// How long its result is waited for.
    pub(crate) within: Duration,
}

/// A batch whose result is known: its works, but those answered meanwhile, and the result.
pub(crate) struct Settled<R> {
    pub(crate) works: Vec<Option<Work>>,
    pub(crate) result: R,
}

/// `R` is the result of a batch.
pub(crate) struct Intake<R> {
    open: VecDeque<Work>,
    out: VecDeque<Out<R>>,
    next: u64,
}

struct Out<R> {
    id: BatchId,
    /// Of its first work.
    rules: u64,
    works: Vec<Option<Work>>,
    result: Option<R>,
}

/// Works whose deadline has passed.
#[derive(Default)]
pub(crate) struct Expired {
    /// Never proposed.
    pub(crate) waiting: Vec<Work>,
    /// Proposed: they may be placed.
    pub(crate) proposed: Vec<Work>,
}

impl<R> Intake<R> {
    /// Most bytes, by `Draft::cost`, and drafts of one batch. One draft may be larger.
    pub(crate) const MAX_BYTES: u64 = 1 << 20;
    pub(crate) const MAX_DRAFTS: usize = 1_000;
    /// Batches that may be between propose and result: the next fills meanwhile.
    const MAX_OUT: usize = 2;
    /// Longest wait for a result, whatever a publisher says.
    const MAX_WAIT: Duration = Duration::from_secs(60);

    pub(crate) fn new() -> Self {
        Self {
            open: VecDeque::new(),
            out: VecDeque::new(),
            next: 0,
        }
    }

    /// Takes a draft into the open batch.
    pub(crate) fn admit(&mut self, work: Work) {
        self.open.push_back(work);
    }

    /// Closes the open batch if one may be proposed now. Drafts whose publisher waits no longer go
    /// to `late`.
    pub(crate) fn close(
        &mut self,
        now: Duration,
        wall_ms: u64,
        late: &mut Vec<Work>,
    ) -> Option<Closed> {
        if self.out.len() >= Self::MAX_OUT {
            return None;
        }
        let (mut works, mut drafts, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut within = Duration::ZERO;
        let mut rules = None;
        while let Some(work) = self.open.front() {
            let cost = work.draft.cost();
            let full = drafts.len() >= Self::MAX_DRAFTS || bytes + cost > Self::MAX_BYTES;
            if full && !drafts.is_empty() {
                break;
            }
            let Some(mut work) = self.open.pop_front() else {
                break;
            };
            if work.deadline <= now {
                late.push(work);
                continue;
            }
            bytes += cost;
            within = within.max(work.deadline - now).min(Self::MAX_WAIT);
            rules.get_or_insert(work.rules);
            drafts.push(aged(&work, now));
            work.ticket.propose();
            works.push(Some(work));
        }
        if drafts.is_empty() {
            return None;
        }
        let id = BatchId(self.next);
        self.next += 1;
        self.out.push_back(Out {
            id,
            rules: rules.unwrap_or(0),
            works,
            result: None,
        });
        Some(Closed {
            id,
            batch: Batch { wall_ms, drafts },
            within,
        })
    }

    /// Takes the result of a batch.
    pub(crate) fn settle(&mut self, id: BatchId, result: R) {
        if let Some(out) = self.out.iter_mut().find(|out| out.id == id) {
            out.result = Some(result);
        }
    }

    /// The next batch to answer: in the order of proposal, so that answers keep it too.
    pub(crate) fn next_settled(&mut self) -> Option<Settled<R>> {
        let result = self.out.front_mut()?.result.take()?;
        let works = self.out.pop_front()?.works;
        Some(Settled { works, result })
    }

    /// Takes out what has waited too long.
    pub(crate) fn expire(&mut self, now: Duration) -> Expired {
        let mut expired = Expired::default();
        for work in self.out.iter_mut().flat_map(|out| &mut out.works) {
            if work.as_ref().is_some_and(|work| work.deadline <= now) {
                expired.proposed.extend(work.take());
            }
        }
        if self.open.iter().any(|work| work.deadline <= now) {
            let open = std::mem::take(&mut self.open);
            let (late, open): (Vec<_>, Vec<_>) = open.into_iter().partition(|w| w.deadline <= now);
            self.open = open.into();
            expired.waiting = late;
        }
        expired
    }

    /// Takes out everything, the proposed first.
    pub(crate) fn abandon(&mut self) -> Expired {
        let proposed = self
            .out
            .drain(..)
            .flat_map(|out| out.works)
            .flatten()
            .collect();
        Expired {
            waiting: self.open.drain(..).collect(),
            proposed,
        }
    }

    /// Takes out what was not proposed yet.
    pub(crate) fn take_waiting(&mut self) -> Vec<Work> {
        self.open.drain(..).collect()
    }

    /// The version of the rules by which the first work that is still here was admitted.
    pub(crate) fn oldest_rules(&self) -> Option<u64> {
        let out = self.out.front().map(|out| out.rules);
        out.or_else(|| self.open.front().map(|work| work.rules))
    }

    /// True if nothing is between propose and answer.
    pub(crate) fn is_settled(&self) -> bool {
        self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use fanfare_core::id::ShardId;
    use fanfare_core::link::PublishRequest;
    use fanfare_core::message::{Ack, Content, Draft, Key, Meta};

    use super::*;
    use crate::metrics::Metrics;
    use crate::publish::PublishLink;

    const MS: Duration = Duration::from_millis(1);

    fn request(seq: u64, bytes: usize, timeout_ms: u32) -> PublishRequest {
        let content = Content {
            payload: Bytes::from(vec![0; bytes]),
            meta: Arc::new(Meta::default()),
        };
        let draft = Draft {
            topic: "news".parse().unwrap(),
            content,
            key: Some(Key::new(Bytes::from_static(b"k")).unwrap()),
            key_age_ms: 5,
            ack: Ack::Committed,
            expect: None,
        };
        PublishRequest {
            seq,
            stream: 1,
            run: 1,
            shard: ShardId(0),
            draft,
            timeout_ms,
        }
    }

    fn intake(works: impl IntoIterator<Item = (usize, u32)>) -> Intake<&'static str> {
        let link = Arc::new(PublishLink::new(Arc::new(Metrics::default())));
        let mut intake = Intake::new();
        for (seq, (bytes, timeout)) in works.into_iter().enumerate() {
            let work = link.work(request(seq as u64, bytes, timeout), Duration::ZERO);
            intake.admit(work);
        }
        intake
    }

    fn close(intake: &mut Intake<&'static str>, at: Duration) -> Option<(Closed, usize)> {
        let mut late = Vec::new();
        let closed = intake.close(at, 0, &mut late)?;
        Some((closed, late.len()))
    }

    #[test]
    fn a_batch_ends_at_its_bytes_or_its_drafts() {
        let mut many = intake((0..1_500).map(|_| (1, 9_000)));
        assert_eq!(close(&mut many, MS).unwrap().0.batch.drafts.len(), 1_000);
        assert_eq!(close(&mut many, MS).unwrap().0.batch.drafts.len(), 500);
        let mut large = intake([(700 << 10, 9_000), (700 << 10, 9_000), (3 << 20, 9_000)]);
        assert_eq!(close(&mut large, MS).unwrap().0.batch.drafts.len(), 1);
        assert_eq!(close(&mut large, MS).unwrap().0.batch.drafts.len(), 1);
        assert!(close(&mut large, MS).is_none(), "two are out");
    }

    #[test]
    fn answers_keep_the_order_of_the_proposals() {
        let mut intake = intake([(700 << 10, 9_000), (700 << 10, 9_000), (1, 9_000)]);
        let first = close(&mut intake, MS).unwrap().0.id;
        let second = close(&mut intake, MS).unwrap().0.id;
        intake.settle(second, "second");
        assert!(intake.next_settled().is_none(), "the first is still out");
        intake.settle(first, "first");
        assert_eq!(intake.next_settled().unwrap().result, "first");
        assert_eq!(intake.next_settled().unwrap().result, "second");
        assert!(intake.is_settled());
    }

    #[test]
    fn a_key_is_older_by_the_time_its_draft_was_held() {
        let mut intake = intake([(1, 9_000)]);
        let (closed, _) = close(&mut intake, 40 * MS).unwrap();
        assert_eq!(closed.batch.drafts[0].key_age_ms, 45);
        assert_eq!(closed.within, 8_960 * MS);
    }

    #[test]
    fn who_waits_no_longer_is_late_before_proposal_and_unknown_after() {
        let mut intake = intake([(1, 10), (1, 100), (1, 1_000)]);
        let (closed, late) = close(&mut intake, 50 * MS).unwrap();
        assert_eq!((closed.batch.drafts.len(), late), (2, 1));
        let expired = intake.expire(200 * MS);
        assert_eq!((expired.proposed.len(), expired.waiting.len()), (1, 0));
        intake.settle(closed.id, "placed");
        let settled = intake.next_settled().unwrap();
        assert_eq!(
            settled.works.iter().flatten().count(),
            1,
            "one was answered meanwhile"
        );
    }
}
