//! Stories of drafts: sent, lost, sent again, given up.

use fanfare_core::position::Position;
use fanfare_core::receipt::Refusal;

use super::*;
use crate::testing::{acked, draft};
use crate::told::Status;

const S: Duration = Duration::from_secs(1);

fn outbox() -> Outbox {
    Outbox::new(Patience::default())
}

fn refused(code: Code) -> Sent {
    Sent::Refused(Told::new(
        Refusal::of_publish(code, "").into(),
        Status::None,
    ))
}

fn no_answer() -> Sent {
    Sent::NoAnswer("reset".to_owned())
}

fn ids(outbox: &mut Outbox, now: Duration) -> Vec<u64> {
    std::iter::from_fn(|| outbox.next_due(now).map(|due| due.0)).collect()
}

#[test]
fn an_unknown_draft_is_sent_again_as_it_was_with_the_age_of_its_key() {
    let mut outbox = outbox();
    let id = outbox.push(draft("news", Some("k1")), S);
    let (_, first) = outbox.next_due(S).unwrap();
    assert_eq!(first.key_age_ms, 0);
    assert_eq!(
        outbox.on_sent(id, refused(Code::OutcomeUnknown), 3 * S, 200),
        None
    );
    assert!(outbox.next_due(3 * S).is_none(), "after a back-off");
    let (_, again) = outbox.next_due(4 * S).unwrap();
    assert_eq!(again.key_age_ms, 3_000);
    assert_eq!(
        Draft {
            key_age_ms: 0,
            ..again
        },
        first
    );
    let report = outbox.on_sent(id, Sent::Acked(acked("news", 45)), 4 * S, 0);
    assert_eq!(
        report.unwrap().unwrap().position,
        Some(Position::new(7, 45))
    );
    assert!(outbox.is_empty());
}

#[test]
fn an_unknown_draft_without_a_key_is_never_sent_again() {
    for sent in [
        no_answer(),
        refused(Code::OutcomeUnknown),
        refused(Code::Internal),
    ] {
        let mut outbox = outbox();
        let id = outbox.push(draft("news", None), S);
        outbox.next_due(S).unwrap();
        let report = outbox.on_sent(id, sent, S, 0);
        assert!(
            matches!(report, Some(Err(PublishError::Unknown(_)))),
            "{report:?}"
        );
    }
    let mut outbox = outbox();
    outbox.push(draft("news", None), S);
    outbox.next_due(S).unwrap();
    let reports = outbox.on_broken("cut", S);
    assert!(matches!(&reports[..], [(1, Err(PublishError::Unknown(_)))]));
}

#[test]
fn after_half_the_window_an_unknown_draft_is_reported_unknown() {
    let mut outbox = outbox();
    let id = outbox.push(draft("news", Some("k")), S);
    let mut now = S;
    let report = loop {
        outbox.next_due(now).unwrap();
        if let Some(report) = outbox.on_sent(id, no_answer(), now, u64::MAX / 7) {
            break report;
        }
        now = outbox.due_at().unwrap();
        assert!(now <= 61 * S, "sent beyond half the window");
    };
    assert!(matches!(report, Err(PublishError::Unknown(_))));
    assert!(now > 30 * S, "given up too early, at {now:?}");
}

#[test]
fn an_expired_key_leaves_what_its_sendings_did_unknown() {
    let mut outbox = outbox();
    let id = outbox.push(draft("news", Some("k")), S);
    outbox.next_due(S).unwrap();
    let report = outbox.on_sent(id, refused(Code::IdempotencyExpired), S, 0);
    assert!(matches!(report, Some(Err(PublishError::Unknown(_)))));
}

#[test]
fn a_definite_refusal_is_told_unless_an_earlier_sending_is_unknown() {
    let mut outbox = outbox();
    let id = outbox.push(draft("news", Some("k")), S);
    outbox.next_due(S).unwrap();
    let report = outbox.on_sent(id, refused(Code::Forbidden), S, 0);
    assert!(matches!(report, Some(Err(PublishError::Refused(_)))));

    let id = outbox.push(draft("news", Some("k")), S);
    outbox.next_due(S).unwrap();
    assert_eq!(outbox.on_sent(id, no_answer(), S, 0), None);
    outbox.next_due(S).unwrap();
    let report = outbox.on_sent(id, refused(Code::Forbidden), S, 0);
    assert!(matches!(report, Some(Err(PublishError::Unknown(_)))), "C9");
}

#[test]
fn what_may_pass_is_tried_again_even_without_a_key_and_not_for_ever() {
    let mut outbox = outbox();
    let id = outbox.push(draft("news", None), S);
    let mut now = S;
    let report = loop {
        outbox.next_due(now).unwrap();
        if let Some(report) = outbox.on_sent(id, refused(Code::NoQuorum), now, 499) {
            break report;
        }
        now += S;
        assert!(now < 40 * S);
    };
    let Err(PublishError::Refused(told)) = report else {
        panic!("{report:?}")
    };
    assert_eq!(told.problem.code.known(), Some(Code::NoQuorum));
    assert!(now > 25 * S);
}

#[test]
fn a_new_stream_gets_the_unanswered_drafts_in_the_first_order() {
    let mut outbox = outbox();
    for _ in 0..4 {
        outbox.push(draft("news", Some("k")), S);
    }
    assert_eq!(ids(&mut outbox, S), [1, 2, 3, 4]);
    outbox.on_sent(2, Sent::Acked(acked("news", 1)), S, 0);
    outbox.push(draft("news", Some("k")), S);
    assert!(outbox.on_broken("cut", 2 * S).is_empty());
    assert_eq!(ids(&mut outbox, 2 * S), [1, 3, 4, 5]);
}

#[test]
fn a_draft_that_waits_to_be_sent_again_holds_up_its_topic_and_no_other() {
    let mut outbox = outbox();
    let first = outbox.push(draft("news", Some("a")), S);
    ids(&mut outbox, S);
    assert_eq!(outbox.on_sent(first, no_answer(), S, 400), None);
    let second = outbox.push(draft("news", Some("b")), S);
    let other = outbox.push(draft("chat", Some("c")), S);
    assert_eq!(ids(&mut outbox, S), [other]);
    assert_eq!(ids(&mut outbox, 2 * S), [first, second]);
}

#[test]
fn what_never_left_is_reported_as_unreachable() {
    let mut outbox = outbox();
    outbox.push(draft("news", Some("k")), S);
    outbox.on_unreachable(&Sent::NeverLeft("refused".to_owned()));
    assert!(outbox.expire(31 * S).is_empty());
    let wake = outbox.wake_at().unwrap();
    let reports = outbox.expire(wake);
    assert!(matches!(&reports[..], [(1, Err(PublishError::Unreachable(why)))] if why == "refused"));
    assert!(wake < 32 * S);
}

#[test]
fn an_overdue_answer_is_noticed() {
    let mut outbox = outbox();
    outbox.push(draft("news", Some("k")), S);
    outbox.next_due(S).unwrap();
    let wake = outbox.wake_at().unwrap();
    assert!(!outbox.is_overdue(wake - S));
    assert!(outbox.is_overdue(wake));
}
