//! Stories of drafts that come too early.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::id::{NodeId, ShardId, Term};
use fanfare_core::link::{PublishRequest, Redirect, Verdict};
use fanfare_core::message::{Ack, Content, Draft, Meta};
use tokio::sync::mpsc;

use super::*;
use crate::metrics::Metrics;
use crate::publish::PublishLink;

fn link() -> Arc<PublishLink> {
    Arc::new(PublishLink::new(Arc::new(Metrics::default())))
}

fn work(link: &Arc<PublishLink>, seq: u64, bytes: usize) -> Work {
    let content = Content {
        payload: Bytes::from(vec![0; bytes]),
        meta: Arc::new(Meta::default()),
    };
    let draft = Draft {
        topic: "news".parse().unwrap(),
        content,
        key: None,
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    };
    let request = PublishRequest {
        seq,
        stream: 1,
        run: 1,
        shard: ShardId(0),
        draft,
        timeout_ms: 1_000,
    };
    link.work(request, Duration::ZERO)
}

/// The numbers of the drafts that were sent back to `redirect`.
async fn sent_back(link: Arc<PublishLink>, redirect: Redirect) -> Vec<u64> {
    let (verdicts, mut answers) = mpsc::channel(16);
    link.close();
    link.write(verdicts).await;
    let mut seqs = Vec::new();
    while let Some(answer) = answers.recv().await {
        assert_eq!(answer.verdict, Verdict::Reroute(redirect));
        seqs.push(answer.seq);
    }
    seqs
}

#[tokio::test]
async fn who_waits_in_vain_is_sent_on_in_order() {
    let (porch, link) = (Porch::default(), link());
    assert_eq!(porch.since(), None);
    for seq in 1..=3 {
        assert!(porch.draft(work(&link, seq, 1)).is_none());
    }
    assert_eq!(porch.since(), Some(Duration::ZERO));
    let redirect = Redirect {
        leader: Some(NodeId(2)),
        term: Term(7),
    };
    porch.clear(redirect);
    assert_eq!(porch.since(), None);
    assert_eq!(sent_back(link, redirect).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_has_no_room_is_given_back_and_so_is_all_that_follows_in_its_run() {
    let (porch, link) = (Porch::default(), link());
    assert!(porch.draft(work(&link, 1, 7 << 20)).is_none());
    let Some(large) = porch.draft(work(&link, 2, 2 << 20)) else {
        panic!("there is no room for it");
    };
    large.ticket.reroute(Redirect::default());
    let Some(small) = porch.draft(work(&link, 3, 1)) else {
        panic!("one before it was sent back");
    };
    small.ticket.reroute(Redirect::default());
    porch.clear(Redirect::default());
    assert_eq!(sent_back(link, Redirect::default()).await, [2, 3, 1]);
}
