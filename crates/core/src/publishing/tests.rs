//! Stories of redirects, broken links and deadlines.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::id::Term;
use crate::link::Redirect;
use crate::message::{Ack, Content, Key, Meta};
use crate::name::TopicName;
use crate::position::Position;
use crate::receipt::Reached;
use crate::rule::Class;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
pub(super) const SHARD: ShardId = ShardId(0);

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn draft(id: u64, topic: &str, keyed: bool) -> Draft {
    Draft {
        topic: topic.parse().unwrap(),
        content: Content {
            payload: Bytes::copy_from_slice(&id.to_be_bytes()),
            meta: Arc::new(Meta::default()),
        },
        key: keyed.then(|| Key::new(Bytes::copy_from_slice(&id.to_be_bytes())).unwrap()),
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

pub(super) fn id_of(draft: &Draft) -> u64 {
    u64::from_be_bytes(draft.content.payload.as_ref().try_into().unwrap())
}

pub(super) fn receipt(topic: &TopicName, offset: u64) -> Receipt {
    Receipt {
        topic: topic.clone(),
        position: Some(Position::new(1, offset)),
        class: Class::Durable,
        reached: Reached::Durable,
        duplicate: false,
        dedup_remaining_ms: None,
    }
}

fn placed(request: &PublishRequest, offset: u64) -> PublishAnswer {
    PublishAnswer {
        seq: request.seq,
        verdict: Verdict::Placed(receipt(&request.draft.topic, offset)),
    }
}

fn rerouted(request: &PublishRequest, to: Option<NodeId>, term: u64) -> PublishAnswer {
    PublishAnswer {
        seq: request.seq,
        verdict: Verdict::Reroute(redirect(to, term)),
    }
}

pub(super) fn redirect(leader: Option<NodeId>, term: u64) -> Redirect {
    Redirect {
        leader,
        term: Term(term),
    }
}

pub(super) fn take_all(
    publishing: &mut Publishing,
    now: Duration,
    node: NodeId,
) -> Vec<PublishRequest> {
    std::iter::from_fn(|| publishing.take(now, node)).collect()
}

fn ids(requests: &[PublishRequest]) -> Vec<u64> {
    requests.iter().map(|r| id_of(&r.draft)).collect()
}

/// The codes (or "ok") of all answers so far, by ticket.
fn answers(publishing: &mut Publishing) -> Vec<(u64, &'static str)> {
    let answers = publishing.effects().filter_map(|effect| match effect {
        Effect::Answer(ticket, result) => {
            Some((ticket.0, result.map_or_else(|r| r.code.as_str(), |_| "ok")))
        }
        Effect::Seek { .. } => None,
    });
    answers.collect()
}

/// A publishing that believes in A, and has sent `keyed` drafts of one stream to it.
fn sent_to_a(keyed: &[bool]) -> (Publishing, Vec<PublishRequest>) {
    let mut publishing = Publishing::default();
    for (id, keyed) in (1..).zip(keyed) {
        publishing.submit(ms(0), 7, SHARD, draft(id, "news", *keyed), ms(5_000));
    }
    let seeks: Vec<_> = publishing.effects().collect();
    assert_eq!(
        seeks,
        [Effect::Seek {
            shard: SHARD,
            ask: false
        }]
    );
    publishing.leader(ms(0), SHARD, Some(redirect(Some(A), 1)));
    let sent = take_all(&mut publishing, ms(0), A);
    assert_eq!(sent.len(), keyed.len());
    (publishing, sent)
}

#[test]
fn a_redirect_sends_the_rest_of_the_run_again_in_order() {
    let (mut publishing, sent) = sent_to_a(&[false, false, false]);
    publishing.verdict(ms(1), placed(&sent[0], 1));
    publishing.verdict(ms(1), rerouted(&sent[1], Some(B), 2));
    let again = take_all(&mut publishing, ms(1), B);
    assert_eq!(ids(&again), [2, 3]);
    assert!(again.iter().all(|r| r.run == sent[0].run + 1));
    publishing.verdict(ms(2), rerouted(&sent[2], Some(B), 2));
    assert!(
        take_all(&mut publishing, ms(2), B).is_empty(),
        "its refusal was foreseen"
    );
    publishing.verdict(ms(3), placed(&again[0], 2));
    publishing.verdict(ms(3), placed(&again[1], 3));
    assert_eq!(answers(&mut publishing), [(1, "ok"), (2, "ok"), (3, "ok")]);
}

#[test]
fn a_new_run_waits_for_the_answers_of_the_old_one() {
    let (mut publishing, sent) = sent_to_a(&[false, false]);
    publishing.verdict(ms(1), rerouted(&sent[1], Some(B), 2));
    assert!(take_all(&mut publishing, ms(1), B).is_empty());
    publishing.verdict(ms(2), rerouted(&sent[0], Some(B), 2));
    assert_eq!(ids(&take_all(&mut publishing, ms(2), B)), [1, 2]);
}

#[test]
fn a_broken_link_sends_only_keyed_drafts_again() {
    let (mut publishing, _) = sent_to_a(&[true, false, true]);
    let fresh = publishing.submit(ms(1), 7, SHARD, draft(4, "news", false), ms(5_000));
    publishing.link_lost(ms(1), A);
    assert_eq!(answers(&mut publishing), [(2, "outcome_unknown")]);
    publishing.leader(ms(900), SHARD, Some(redirect(Some(B), 2)));
    let again = take_all(&mut publishing, ms(900), B);
    assert_eq!(ids(&again), [1, 3, fresh.0]);
    assert_eq!(
        again[0].draft.key_age_ms, 900,
        "the key grows old while it is held"
    );
    assert_eq!(again[2].draft.key_age_ms, 0);
}

#[test]
fn what_may_have_been_proposed_is_never_refused_for_good() {
    let (mut publishing, _) = sent_to_a(&[true]);
    publishing.link_lost(ms(1), A);
    publishing.leader(ms(1), SHARD, Some(redirect(Some(B), 2)));
    let again = take_all(&mut publishing, ms(1), B);
    let refusal = Refusal::of_publish(Code::Overloaded, "full");
    let verdict = Verdict::Refused(refusal);
    publishing.verdict(
        ms(2),
        PublishAnswer {
            seq: again[0].seq,
            verdict,
        },
    );
    assert_eq!(answers(&mut publishing), [(1, "outcome_unknown")]);
}

#[test]
fn a_draft_that_overtook_an_earlier_one_unheard_is_not_acked() {
    let (mut publishing, _) = sent_to_a(&[true, true, true]);
    // The first was refused and the others placed, but the link broke before anybody heard.
    publishing.link_lost(ms(1), A);
    publishing.leader(ms(1), SHARD, Some(redirect(Some(B), 2)));
    let again = take_all(&mut publishing, ms(1), B);
    for (request, offset) in again.iter().zip([3, 1, 4]) {
        publishing.verdict(ms(2), placed(request, offset));
    }
    let ends = answers(&mut publishing);
    assert_eq!(ends, [(1, "ok"), (2, "outcome_unknown"), (3, "ok")]);
}

#[test]
fn the_deadline_tells_whether_something_was_sent() {
    let (mut publishing, _) = sent_to_a(&[false]);
    publishing.submit(ms(0), 8, SHARD, draft(2, "news", false), ms(5_000));
    publishing.submit(ms(0), 8, ShardId(1), draft(3, "chat", false), ms(5_000));
    assert_eq!(publishing.next_wake(), Some(Publishing::SILENCE));
    publishing.tick(ms(5_000));
    let mut ends = answers(&mut publishing);
    ends.sort_unstable();
    assert_eq!(
        ends,
        [
            (1, "outcome_unknown"),
            (2, "deadline_exceeded"),
            (3, "no_quorum")
        ]
    );
    assert!(publishing.is_empty());
}

#[test]
fn two_that_send_each_other_the_drafts_are_asked_slower_and_slower() {
    let (mut publishing, sent) = sent_to_a(&[false]);
    publishing.verdict(ms(1), rerouted(&sent[0], Some(B), 1));
    let again = take_all(&mut publishing, ms(1), B);
    publishing.verdict(ms(2), rerouted(&again[0], Some(A), 1));
    assert!(take_all(&mut publishing, ms(2), A).is_empty());
    assert_eq!(publishing.effects().count(), 0, "it rests first");
    let wake = publishing.next_wake().unwrap();
    assert!(wake > ms(2) && wake < ms(50), "{wake:?}");
    publishing.tick(wake);
    let seeks: Vec<_> = publishing.effects().collect();
    assert_eq!(
        seeks,
        [Effect::Seek {
            shard: SHARD,
            ask: true
        }]
    );
}

#[test]
fn a_silent_leader_is_left_for_one_of_a_newer_term() {
    let (mut publishing, _) = sent_to_a(&[true, false]);
    publishing.tick(ms(1_000));
    let seeks: Vec<_> = publishing.effects().collect();
    assert_eq!(
        seeks,
        [Effect::Seek {
            shard: SHARD,
            ask: true
        }]
    );
    publishing.leader(ms(1_001), SHARD, Some(redirect(Some(A), 1)));
    assert!(
        take_all(&mut publishing, ms(1_001), A).is_empty(),
        "still the leader"
    );
    publishing.tick(ms(2_000));
    assert_eq!(publishing.effects().count(), 1);
    publishing.leader(ms(2_001), SHARD, Some(redirect(Some(B), 2)));
    assert_eq!(answers(&mut publishing), [(2, "outcome_unknown")]);
    assert_eq!(ids(&take_all(&mut publishing, ms(2_001), B)), [1]);
}

#[test]
fn a_deposed_leader_that_does_not_know_is_not_believed_in_until_it_must_know() {
    let (mut publishing, sent) = sent_to_a(&[false, true]);
    publishing.verdict(ms(1), rerouted(&sent[0], Some(B), 2));
    publishing.verdict(ms(1), rerouted(&sent[1], Some(B), 2));
    assert_eq!(ids(&take_all(&mut publishing, ms(1), B)), [1, 2]);
    publishing.link_lost(ms(2), B);
    let mut now = ms(2);
    loop {
        let seeks = publishing
            .effects()
            .filter(|e| matches!(e, Effect::Seek { .. }));
        for _ in 0..seeks.count() {
            publishing.leader(now, SHARD, Some(redirect(Some(A), 1)));
        }
        if !take_all(&mut publishing, now, A).is_empty() {
            break;
        }
        now = publishing.next_wake().unwrap();
        publishing.tick(now);
    }
    assert!((ms(1_500)..ms(4_000)).contains(&now), "{now:?}");
}

#[test]
fn a_leader_learnt_by_the_way_gets_what_was_not_sent() {
    let (mut publishing, sent) = sent_to_a(&[false]);
    publishing.leader(ms(10), SHARD, Some(redirect(Some(B), 2)));
    publishing.submit(ms(10), 7, SHARD, draft(2, "news", false), ms(5_000));
    assert!(
        take_all(&mut publishing, ms(10), B).is_empty(),
        "A still owes an answer"
    );
    publishing.verdict(ms(11), placed(&sent[0], 1));
    assert_eq!(ids(&take_all(&mut publishing, ms(11), B)), [2]);
}

#[test]
fn the_end_of_a_stream_leaves_nothing_behind() {
    let (mut publishing, sent) = sent_to_a(&[false]);
    publishing.close(7);
    publishing.verdict(ms(1), placed(&sent[0], 1));
    assert!(publishing.is_empty());
    assert!(publishing.shards[&SHARD].lanes.is_empty());
    assert!(publishing.streams.is_empty() && publishing.sent.is_empty());
}

#[test]
fn the_end_tells_what_was_sent_from_what_was_not() {
    let (mut publishing, _) = sent_to_a(&[false]);
    publishing.submit(ms(0), 7, SHARD, draft(2, "news", false), ms(5_000));
    publishing.end();
    assert_eq!(
        answers(&mut publishing),
        [(1, "outcome_unknown"), (2, "draining")]
    );
}
