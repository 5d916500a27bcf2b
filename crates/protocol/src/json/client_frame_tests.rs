//! Stories of clients' frames: the transcript of the protocol, what is refused and how.

use fanfare_core::code::Outcome;
use proptest::prelude::*;

use super::*;
use crate::json::server_frame::put_error;

fn read(json: &str) -> Result<ClientFrame, Box<BadFrame>> {
    ClientFrame::read(json.as_bytes(), &Limits::default())
}

#[test]
fn the_clients_side_of_the_transcript_is_understood() {
    let hello = read(r#"{"type":"hello","id":1,"token":"eyJ"}"#).unwrap();
    let ClientFrame::Hello(hello) = hello else {
        panic!("not hello")
    };
    assert_eq!((hello.id, hello.token.unwrap().expose()), (Some(1), "eyJ"));
    let subscribe = read(r#"{"type":"subscribe","id":2,"topic":"news","from":"7-41"}"#).unwrap();
    assert_eq!(
        subscribe,
        ClientFrame::Subscribe(Subscribe {
            id: 2,
            topic: "news".parse().unwrap(),
            cursor: None,
            from: Some(Since::After(Position::new(7, 41))),
            min_position: None,
        })
    );
    let publish =
        read(r#"{"type":"publish","id":4,"topic":"news","data":"hi","key":"b7"}"#).unwrap();
    let ClientFrame::Publish { id, draft } = publish else {
        panic!("not publish")
    };
    assert_eq!((id, draft.content.payload.as_ref()), (4, b"hi".as_slice()));
    assert_eq!(
        read(r#"{"type":"ping"}"#),
        Ok(ClientFrame::Ping { id: None })
    );
}

#[test]
fn an_unknown_member_is_named_as_in_the_transcript() {
    let bad =
        read(r#"{"type":"publish","id":3,"topic":"news","data":"hi","key":"b7","colour":"red"}"#)
            .unwrap_err();
    assert!(!bad.fatal);
    let mut out = Vec::new();
    put_error(&mut out, bad.id, &bad.refusal);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"type":"error","id":3,"code":"invalid_argument","outcome":"not_placed","advice":"give_up","field":"colour","detail":"unknown member"}"#
    );
}

#[test]
fn each_type_of_frame_refuses_what_is_not_its_own() {
    let stories = [
        (r#"{"type":"hello","topic":"news"}"#, "topic", None),
        (r#"{"type":"hello","id":0}"#, "id", None),
        (r#"{"type":"hello","id":9007199254740992}"#, "id", None),
        (r#"{"type":"hello","id":1.5}"#, "id", None),
        (r#"{"type":"hello","id":"1"}"#, "id", None),
        (
            r#"{"type":"hello","id":1,"heartbeat_ms":4999}"#,
            "heartbeat_ms",
            Some(1),
        ),
        (
            r#"{"type":"hello","id":1,"heartbeat_ms":55001}"#,
            "heartbeat_ms",
            Some(1),
        ),
        (r#"{"type":"hello","cursors":1}"#, "cursors", None),
        (r#"{"type":"hello","client":{}}"#, "client", None),
        (r#"{"type":"subscribe","topic":"news"}"#, "id", None),
        (r#"{"type":"subscribe","id":1}"#, "topic", Some(1)),
        (
            r#"{"type":"subscribe","id":1,"topic":"t","from":"last:0"}"#,
            "from",
            Some(1),
        ),
        (
            r#"{"type":"subscribe","id":1,"topic":"t","from":"last:1001"}"#,
            "from",
            Some(1),
        ),
        (
            r#"{"type":"subscribe","id":1,"topic":"t","from":"0-0"}"#,
            "from",
            Some(1),
        ),
        (
            r#"{"type":"subscribe","id":1,"topic":"t","from":7}"#,
            "from",
            Some(1),
        ),
        (
            r#"{"type":"subscribe","id":1,"topic":"t","min_position":"7"}"#,
            "min_position",
            Some(1),
        ),
        (
            r#"{"type":"unsubscribe","id":1,"topic":"t","x":1}"#,
            "x",
            Some(1),
        ),
        (r#"{"type":"refresh","id":1}"#, "token", Some(1)),
        (r#"{"type":"ping","id":1,"id":2}"#, "id", Some(1)),
        (r#"{"type":"dance","id":1}"#, "type", Some(1)),
        (r#"{"id":1}"#, "type", Some(1)),
    ];
    for (json, field, id) in stories {
        let bad = read(json).unwrap_err();
        assert_eq!(bad.refusal.code, Code::InvalidArgument, "{json}");
        assert_eq!(bad.refusal.field.as_deref(), Some(field), "{json}");
        assert_eq!(bad.refusal.outcome, Outcome::None, "{json}");
        assert_eq!((bad.id, bad.fatal), (id, false), "{json}");
    }
}

#[test]
fn bad_topics_and_cursors_have_codes_of_their_own() {
    let refusal = |json| read(json).unwrap_err().refusal;
    let topic = refusal(r#"{"type":"subscribe","id":1,"topic":"a b"}"#);
    assert_eq!(
        (topic.code, topic.field.as_deref()),
        (Code::InvalidTopic, Some("topic"))
    );
    let cursor = refusal(r#"{"type":"subscribe","id":1,"topic":"a","cursor":"AQHOpqnA"}"#);
    assert_eq!(
        (cursor.code, cursor.field.as_deref()),
        (Code::BadCursor, Some("cursor"))
    );
    let hello = read(r#"{"type":"hello","cursor":""}"#).unwrap();
    assert!(matches!(hello, ClientFrame::Hello(hello) if hello.cursor.is_none()));
    // Reading a topic of the system is for the grants to judge.
    assert!(read(r#"{"type":"subscribe","id":1,"topic":"$sys.a"}"#).is_ok());
}

#[test]
fn what_is_no_object_ends_the_session() {
    for bad in [
        "",
        "[]",
        "hello",
        "{\"type\":\"ping\"",
        "{\"type\":\"ping\"}{}",
    ] {
        let bad = read(bad).unwrap_err();
        assert!(bad.fatal);
        assert_eq!(bad.refusal.code, Code::ProtocolError);
    }
    assert!(BadFrame::binary().fatal);
    let long = format!(r#"{{"type":"hello","client":"{}"}}"#, "x".repeat(128 << 10));
    let bad = read(&long).unwrap_err();
    assert_eq!((bad.refusal.code, bad.fatal), (Code::PayloadTooLarge, true));
}

#[test]
fn frames_are_read_as_they_are_written() {
    let cursor: Cursor = "AQHOpqnAjq0BJAcqENr2Tw".parse().unwrap();
    let topic: TopicName = "a\"b\\c".parse().unwrap();
    let draft = draft::of_line(
        br#"{"topic":"t","data":[1],"ack":"none"}"#,
        &Limits::default(),
    );
    let frames = [
        ClientFrame::Hello(Hello::default()),
        ClientFrame::Hello(Hello {
            id: Some(MAX_ID),
            token: Some(Secret::new("eyJ\"")),
            cursor: Some(cursor.clone()),
            heartbeat_ms: Some(5_000),
            cursors: true,
            client: Some("é\n".to_owned()),
        }),
        ClientFrame::Subscribe(Subscribe {
            id: 2,
            topic: topic.clone(),
            cursor: Some(cursor),
            from: Some(Since::Last(1_000)),
            min_position: Some(Position::new(7, 0)),
        }),
        ClientFrame::Unsubscribe { id: 3, topic },
        ClientFrame::Publish {
            id: 4,
            draft: draft.unwrap(),
        },
        ClientFrame::Refresh {
            id: 5,
            token: Secret::new("eyJ"),
        },
        ClientFrame::Ping { id: Some(6) },
    ];
    for frame in frames {
        let mut out = Vec::new();
        frame.put(&mut out);
        assert_eq!(ClientFrame::read(&out, &Limits::default()), Ok(frame));
    }
}

#[test]
fn a_token_is_not_shown_by_debug() {
    let frame = read(r#"{"type":"refresh","id":1,"token":"eyJ"}"#).unwrap();
    assert!(!format!("{frame:?}").contains("eyJ"));
    let bad = read(r#"{"type":"refresh","id":1,"token":"eyJ","x":1}"#).unwrap_err();
    assert!(!format!("{bad:?}").contains("eyJ"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\{\"type\":\"(hello|subscribe|publish|ping)\"(,\"(id|topic|from|cursor|data|tags)\":[\\[\\]{}\"a1,:]{0,8}){0,4}\\}") {
        let _outcome = ClientFrame::read(&bytes, &Limits::default());
        let _outcome = ClientFrame::read(text.as_bytes(), &Limits::default());
    }
}
