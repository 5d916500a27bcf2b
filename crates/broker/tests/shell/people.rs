//! Who uses a broker: a publisher on its link, an edge on its link.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::gap::{Page, Since, Standing};
use fanfare_core::id::NodeId;
use fanfare_core::link::{
    Attach, AttachId, Attached, EdgeSays, Ended, LeaderSays, NoRead, PageRequest, PublishAnswer,
    PublishRequest, Run, StandRequest, Verdict,
};
use fanfare_core::message::{Ack, Content, Draft, Key, Meta};
use fanfare_core::position::Position;
use fanfare_core::receipt::{Receipt, Refusal};
use fanfare_rpc::peer::Peer;
use tokio::sync::mpsc;

use crate::world::{SHARD, in_time};

pub(crate) fn draft(topic: &str, payload: &str) -> Draft {
    Draft {
        topic: topic.parse().unwrap(),
        content: Content {
            payload: Bytes::from(payload.to_owned()),
            meta: Arc::new(Meta::default()),
        },
        key: None,
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

pub(crate) fn keyed(topic: &str, payload: &str, key: &str) -> Draft {
    Draft {
        key: Some(Key::new(Bytes::from(key.to_owned())).unwrap()),
        ..draft(topic, payload)
    }
}

/// A publish link with one stream.
pub(crate) struct Publisher {
    drafts: mpsc::Sender<PublishRequest>,
    answers: mpsc::Receiver<PublishAnswer>,
    pub(crate) run: u32,
    pub(crate) timeout_ms: u32,
    seq: u64,
}

impl Publisher {
    pub(crate) fn of(peer: &Arc<dyn Peer>) -> Self {
        let (drafts, received) = mpsc::channel(16);
        let answers = peer.publish(received);
        Self {
            drafts,
            answers,
            run: 1,
            timeout_ms: 20_000,
            seq: 0,
        }
    }

    /// Sends without waiting for the verdict.
    pub(crate) async fn send(&mut self, draft: Draft) -> u64 {
        self.seq += 1;
        let request = PublishRequest {
            seq: self.seq,
            stream: 1,
            run: self.run,
            shard: SHARD,
            draft,
            timeout_ms: self.timeout_ms,
        };
        in_time("the link takes a draft", self.drafts.send(request))
            .await
            .unwrap();
        self.seq
    }

    pub(crate) async fn answer(&mut self) -> Option<PublishAnswer> {
        in_time("a verdict", self.answers.recv()).await
    }

    pub(crate) async fn publish(&mut self, draft: Draft) -> Verdict {
        let seq = self.send(draft).await;
        let answer = self.answer().await.expect("the link is open");
        assert_eq!(answer.seq, seq);
        answer.verdict
    }

    pub(crate) async fn place(&mut self, draft: Draft) -> Receipt {
        placed(self.publish(draft).await)
    }

    /// Sends no more; what was sent is still answered.
    pub(crate) fn half_close(self) -> mpsc::Receiver<PublishAnswer> {
        self.answers
    }
}

pub(crate) fn placed(verdict: Verdict) -> Receipt {
    let Verdict::Placed(receipt) = verdict else {
        panic!("not placed: {verdict:?}")
    };
    receipt
}

pub(crate) fn refused(verdict: Verdict) -> Refusal {
    let Verdict::Refused(refusal) = verdict else {
        panic!("not refused: {verdict:?}")
    };
    refusal
}

/// A delivery link.
pub(crate) struct Edge {
    says: mpsc::Sender<EdgeSays>,
    hears: mpsc::Receiver<LeaderSays>,
    next: u64,
}

impl Edge {
    pub(crate) fn of(peer: &Arc<dyn Peer>) -> Self {
        let (says, heard) = mpsc::channel(16);
        let hears = peer.deliver(NodeId(9), heard);
        Self {
            says,
            hears,
            next: 0,
        }
    }

    pub(crate) async fn wish(&mut self, topic: &str, after: Option<Position>) -> AttachId {
        self.next += 1;
        let id = AttachId(self.next);
        let attach = Attach {
            id,
            shard: SHARD,
            topic: topic.parse().unwrap(),
            after,
        };
        self.say(EdgeSays::Attach(vec![attach])).await;
        id
    }

    pub(crate) async fn say(&self, say: EdgeSays) {
        in_time("the link takes a wish", self.says.send(say))
            .await
            .unwrap();
    }

    /// The next thing that is no digest.
    pub(crate) async fn hear(&mut self) -> LeaderSays {
        loop {
            let say = in_time("something of the leader", self.hears.recv()).await;
            let say = say.expect("the link is open");
            if !matches!(say, LeaderSays::Digest { .. }) {
                return say;
            }
        }
    }

    pub(crate) async fn digest(&mut self) -> (u64, u64) {
        loop {
            let say = in_time("a digest", self.hears.recv()).await;
            if let LeaderSays::Digest { count, sum, .. } = say.expect("the link is open") {
                return (count, sum);
            }
        }
    }

    pub(crate) async fn attach(&mut self, topic: &str, after: Option<Position>) -> Attached {
        let id = self.wish(topic, after).await;
        let say = self.hear().await;
        let LeaderSays::Attached(attached) = say else {
            panic!("not attached: {say:?}")
        };
        assert_eq!(attached.id, id);
        attached
    }

    /// Payloads of the next runs until there are `count`; each follows the one before.
    pub(crate) async fn payloads(
        &mut self,
        mut at: Position,
        count: usize,
    ) -> (Position, Vec<String>) {
        let mut payloads = Vec::new();
        while payloads.len() < count {
            let say = self.hear().await;
            let LeaderSays::Run(_, run) = say else {
                panic!("no run: {say:?}")
            };
            assert_eq!(run.after, at, "neither skipped nor repeated");
            payloads.extend(texts(&run));
            at = run.end();
            self.say(EdgeSays::Credit(run.cost())).await;
        }
        (at, payloads)
    }

    pub(crate) async fn ended(&mut self) -> (AttachId, Ended) {
        loop {
            let say = self.hear().await;
            if let LeaderSays::Ended(id, why) = say {
                return (id, why);
            }
            assert!(matches!(say, LeaderSays::Run(..)), "not ended: {say:?}");
        }
    }
}

pub(crate) fn texts(run: &Run) -> Vec<String> {
    let text = |m: &Arc<fanfare_core::message::Message>| {
        String::from_utf8(m.content.payload.to_vec()).unwrap()
    };
    run.messages.iter().map(text).collect()
}

pub(crate) fn wish(topic: &str, since: Since) -> StandRequest {
    StandRequest {
        topic: topic.parse().unwrap(),
        since,
        poll: false,
        min_position: None,
    }
}

pub(crate) async fn stand(
    peer: &Arc<dyn Peer>,
    wish: StandRequest,
    wait_ms: u32,
) -> Result<Standing, NoRead> {
    let mut standings = in_time("a standing", peer.stand(SHARD, vec![wish], wait_ms)).await;
    standings.pop().unwrap()
}

pub(crate) async fn page(
    peer: &Arc<dyn Peer>,
    topic: &str,
    after: Position,
    leader: bool,
) -> Result<Page, NoRead> {
    let topic = topic.parse().unwrap();
    let request = PageRequest {
        shard: SHARD,
        topic,
        after,
        limit: 100,
        bytes: 1 << 20,
        leader,
    };
    in_time("a page", peer.page(request)).await
}
