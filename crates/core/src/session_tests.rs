//! Stories of the control of one session.

use super::*;

const S: Duration = Duration::from_secs(1);

fn session(open: bool) -> Session {
    let limits = Limits {
        topics: 2,
        in_flight: 2,
        hello: 10 * S,
        stall: 60 * S,
    };
    Session::new(
        Duration::ZERO,
        limits,
        15 * S,
        open,
        Arc::new(Grants::open()),
        None,
    )
}

fn topic(name: &str) -> TopicName {
    name.parse().unwrap()
}

#[test]
fn nothing_is_served_before_hello_and_hello_comes_once() {
    let mut session = session(false);
    assert_eq!(
        session.on_request(Some(1)).unwrap_err().code,
        Code::ProtocolError
    );
    session.on_hello(Some(5 * S), None).unwrap();
    assert_eq!(session.heartbeat(), 5 * S);
    session.on_request(Some(1)).unwrap();
    assert_eq!(
        session.on_hello(None, None).unwrap_err().code,
        Code::InvalidArgument
    );
}

#[test]
fn an_id_is_free_again_once_it_is_answered() {
    let mut session = session(true);
    session.on_request(Some(1)).unwrap();
    assert_eq!(
        session.on_request(Some(1)).unwrap_err().field.as_deref(),
        Some("id")
    );
    assert_eq!(
        session.on_request(Some(0)).unwrap_err().field.as_deref(),
        Some("id")
    );
    session.on_request(Some(2)).unwrap();
    assert!(session.is_full());
    session.on_answered(Some(1));
    assert!(!session.is_full());
    session.on_request(Some(1)).unwrap();
}

#[test]
fn a_session_has_a_bounded_number_of_topics_each_once() {
    let mut session = session(true);
    session.on_subscribe(&topic("a")).unwrap();
    assert_eq!(
        session.on_subscribe(&topic("a")).unwrap_err().code,
        Code::InvalidArgument
    );
    session.on_subscribe(&topic("b")).unwrap();
    assert_eq!(
        session.on_subscribe(&topic("c")).unwrap_err().code,
        Code::LimitExceeded
    );
    session.on_unsubscribe(&topic("a")).unwrap();
    session.on_subscribe(&topic("c")).unwrap();
    assert_eq!(
        session.on_subscribe(&topic("$sys")).unwrap_err().code,
        Code::Forbidden
    );
}

#[test]
fn an_answer_for_a_topic_that_was_left_is_not_wanted() {
    let mut session = session(true);
    session.on_subscribe(&topic("a")).unwrap();
    session.on_unsubscribe(&topic("a")).unwrap();
    assert!(!session.on_attached(&topic("a")));
    session.on_subscribe(&topic("a")).unwrap();
    assert!(session.on_attached(&topic("a")));
    assert!(!session.on_attached(&topic("a")));
}

#[test]
fn a_narrower_token_ends_topics_and_another_subject_is_refused() {
    let mut session = session(true);
    session.on_subscribe(&topic("a")).unwrap();
    session.on_subscribe(&topic("b")).unwrap();
    let mut narrow = Grants::default();
    narrow.subscribe.push("a".parse().unwrap());
    let other = session.on_refresh(Arc::new(narrow.clone()), Some("eve"));
    assert_eq!(other.unwrap_err().code, Code::Unauthenticated);
    assert_eq!(
        session.on_refresh(Arc::new(narrow), None),
        Ok(vec![topic("b")])
    );
    assert_eq!(session.topics().collect::<Vec<_>>(), [&topic("a")]);
}

#[test]
fn time_ends_a_session_that_says_or_takes_nothing() {
    let mut silent = session(false);
    let pulse = Pulse::default();
    assert_eq!(silent.on_tick(9 * S, pulse), Due::Nothing);
    assert_eq!(
        silent.on_tick(10 * S, pulse),
        Due::Close(Code::HelloTimeout)
    );

    let mut open = session(true);
    let at = |sent, stuck| Pulse {
        heard: None,
        sent,
        stuck,
    };
    let zero = Duration::ZERO;
    assert_eq!(open.on_tick(14 * S, at(zero, None)), Due::Nothing);
    assert_eq!(open.on_tick(15 * S, at(zero, None)), Due::Heartbeat);
    assert_eq!(open.on_tick(59 * S, at(S, Some(zero))), Due::Nothing);
    assert_eq!(
        open.on_tick(60 * S, at(S, Some(zero))),
        Due::Close(Code::SlowConsumer)
    );
}

/// A client that is sent something all the time.
fn busy(heard: Duration, now: Duration, stuck: Option<Duration>) -> Pulse {
    Pulse {
        heard: Some(heard),
        sent: now,
        stuck,
    }
}

#[test]
fn who_only_reads_a_busy_topic_is_asked_and_kept_if_it_answers() {
    let mut open = session(true);
    let mut heard = Duration::ZERO;
    let mut asked = 0;
    for second in 1..=300 {
        let now = second * S;
        match open.on_tick(now, busy(heard, now, None)) {
            Due::Heartbeat => {
                heard = now + S / 2;
                asked += 1;
            }
            Due::Nothing => {}
            Due::Close(code) => panic!("{code:?} at {now:?}"),
        }
    }
    assert_eq!(asked, 300 / 16);
}

#[test]
fn who_does_not_answer_is_gone_however_much_is_sent() {
    let mut open = session(true);
    let at = |open: &mut Session, now| open.on_tick(now, busy(Duration::ZERO, now, None));
    assert_eq!(at(&mut open, 15 * S), Due::Heartbeat);
    assert_eq!(at(&mut open, 16 * S), Due::Nothing, "asked once");
    assert_eq!(at(&mut open, 39 * S), Due::Nothing);
    assert_eq!(
        at(&mut open, 40 * S),
        Due::Close(Code::HeartbeatTimeout),
        "twice the heartbeat and 10 s"
    );
}

#[test]
fn silence_does_not_count_while_nothing_gets_through() {
    let mut stuck = session(true);
    let zero = Duration::ZERO;
    assert_eq!(
        stuck.on_tick(15 * S, busy(zero, zero, None)),
        Due::Heartbeat
    );
    for second in 16..75 {
        let pulse = busy(zero, 15 * S, Some(15 * S));
        assert_eq!(stuck.on_tick(second * S, pulse), Due::Nothing);
    }
    let mut slow = stuck.clone();
    let pulse = busy(zero, 15 * S, Some(15 * S));
    assert_eq!(stuck.on_tick(75 * S, pulse), Due::Close(Code::SlowConsumer));
    // It takes all, and has as long to answer as any other.
    let pulse = |now| busy(zero, now, None);
    assert_eq!(slow.on_tick(98 * S, pulse(98 * S)), Due::Nothing);
    assert_eq!(
        slow.on_tick(99 * S, pulse(99 * S)),
        Due::Close(Code::HeartbeatTimeout)
    );

    let mut full = session(true);
    full.on_request(Some(1)).unwrap();
    full.on_request(Some(2)).unwrap();
    assert_eq!(full.on_tick(40 * S, pulse(40 * S)), Due::Nothing);
    full.on_answered(Some(1));
    assert_eq!(full.on_tick(41 * S, pulse(41 * S)), Due::Heartbeat);
}
