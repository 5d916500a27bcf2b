//! What waits until the shard has begun, or until a new stream has an epoch, in the order in which
//! it came. A value: who answers is not in here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanfare_core::attach::LinkId;
use fanfare_core::gap::{Page, Standing};
use fanfare_core::link::{AttachId, NoRead, PageRequest, StandRequest};
use fanfare_core::name::TopicName;
use tokio::sync::oneshot;

use crate::deliver::{DeliveryLink, Wish};
use crate::publish::Work;

/// One thing that waits. Bounded by its permits.
pub(super) enum Parked {
    Attach(Arc<DeliveryLink>, Wish),
    Publish(Box<Work>),
    Stand(StandRequest, oneshot::Sender<Result<Standing, NoRead>>),
    Page(PageRequest, oneshot::Sender<Result<Page, NoRead>>),
}

/// All that waits.
#[derive(Default)]
pub(super) struct Parking {
    all: Vec<Parked>,
    /// How many of them are drafts of a topic.
    drafts: BTreeMap<TopicName, usize>,
}

impl Parking {
    pub(super) fn push(&mut self, parked: Parked) {
        if let Parked::Publish(work) = &parked {
            *self.drafts.entry(work.draft.topic.clone()).or_default() += 1;
        }
        self.all.push(parked);
    }

    /// True if a draft of the topic waits: one that comes later must wait behind it (C3), whether
    /// or not the stream has an epoch by now.
    pub(super) fn holds_draft_of(&self, topic: &TopicName) -> bool {
        self.drafts.contains_key(topic)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Takes all out, to be judged again in their order.
    pub(super) fn take(&mut self) -> Vec<Parked> {
        self.drafts.clear();
        std::mem::take(&mut self.all)
    }

    /// An attachment that waits is over.
    pub(super) fn detach(&mut self, link: LinkId, id: AttachId) {
        self.all.retain(|parked| match parked {
            Parked::Attach(of, wish) => of.id != link || wish.attach.id != id,
            Parked::Publish(_) | Parked::Stand(..) | Parked::Page(..) => true,
        });
    }

    /// Takes out the drafts whose publishers wait no longer, and drops reads whose readers do not.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Work> {
        let late = |parked: &mut Parked| match parked {
            Parked::Publish(work) => work.deadline <= now,
            Parked::Stand(_, reply) => reply.is_closed(),
            Parked::Page(_, reply) => reply.is_closed(),
            Parked::Attach(..) => false,
        };
        let mut works = Vec::new();
        for parked in self.all.extract_if(.., late) {
            if let Parked::Publish(work) = parked {
                if let Some(drafts) = self.drafts.get_mut(&work.draft.topic) {
                    *drafts -= 1;
                }
                works.push(*work);
            }
        }
        self.drafts.retain(|_, drafts| *drafts > 0);
        works
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanfare_core::id::ShardId;
    use fanfare_core::link::PublishRequest;
    use fanfare_core::message::{Ack, Content, Draft, Meta};

    use super::*;
    use crate::metrics::Metrics;
    use crate::publish::PublishLink;

    const MS: Duration = Duration::from_millis(1);

    fn draft_of(topic: &str, timeout_ms: u32) -> Parked {
        let content = Content {
            payload: Bytes::from_static(b"x"),
            meta: Arc::new(Meta::default()),
        };
        let request = PublishRequest {
            seq: 1,
            stream: 1,
            run: 1,
            shard: ShardId(0),
            draft: Draft {
                topic: topic.parse().unwrap(),
                content,
                key: None,
                ack: Ack::Committed,
                expect: None,
                key_age_ms: 0,
            },
            timeout_ms,
        };
        let link = Arc::new(PublishLink::new(Arc::new(Metrics::default())));
        Parked::Publish(Box::new(link.work(request, Duration::ZERO)))
    }

    #[test]
    fn a_topic_waits_while_one_of_its_drafts_does() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let mut parking = Parking::default();
        parking.push(draft_of("a", 10));
        parking.push(draft_of("a", 20));
        parking.push(draft_of("b", 30));
        let late = parking.expire(10 * MS);
        assert_eq!(late.len(), 1);
        assert!(parking.holds_draft_of(&a) && parking.holds_draft_of(&b));
        assert_eq!(parking.expire(20 * MS).len(), 1);
        assert!(!parking.holds_draft_of(&a));
        assert_eq!(parking.take().len(), 1);
        assert!(parking.is_empty() && !parking.holds_draft_of(&b));
    }
}
