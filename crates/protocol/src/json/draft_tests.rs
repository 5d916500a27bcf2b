//! Stories of drafts: what is stored, and what is refused by which name.

use fanfare_core::code::Outcome;
use proptest::prelude::*;

use super::*;

fn line(json: &str) -> Result<Draft, Refusal> {
    of_line(json.as_bytes(), &Limits::default())
}

/// A request with a query of its own, headers and a body.
fn request(query: &str, headers: DraftHeaders<'_>, body: &[u8]) -> Result<Draft, Refusal> {
    let query = PublishQuery::read(query)?;
    let body = Bytes::copy_from_slice(body);
    of_request(query, headers, body, &Limits::default())
}

fn named<'a>(content_type: &'a str) -> DraftHeaders<'a> {
    DraftHeaders {
        content_type: Some(content_type.as_bytes()),
        ..DraftHeaders::default()
    }
}

fn stored(draft: &Draft) -> (&str, &[u8]) {
    let Content { payload, meta } = &draft.content;
    (meta.content_type.as_str(), payload)
}

#[test]
fn the_draft_of_the_protocol_is_read_whole() {
    let draft = line(
        r#"{"topic":"news","data":{"n": 1},"content_type":"application/json","event":"e","tags":{"lang":"en"},"key":"k1","key_age_ms":3,"ack":"none","expect":"7-41"}"#,
    )
    .unwrap();
    assert_eq!(draft.topic.as_str(), "news");
    assert_eq!(
        stored(&draft),
        ("application/json", br#"{"n":1}"#.as_slice())
    );
    assert_eq!(draft.content.meta.event.as_ref().unwrap().as_str(), "e");
    assert_eq!(
        draft.content.meta.tags.iter().collect::<Vec<_>>(),
        [("lang", "en")]
    );
    assert_eq!(draft.key.unwrap().as_bytes().as_ref(), b"k1");
    assert_eq!((draft.key_age_ms, draft.ack), (3, Ack::None));
    assert_eq!(draft.expect, Some(Position::new(7, 41)));
}

#[test]
fn a_line_without_a_content_type_has_one_of_its_data() {
    let of = |json: &str| {
        let draft = line(json).unwrap();
        let (content_type, payload) = stored(&draft);
        (content_type.to_owned(), payload.to_vec())
    };
    assert_eq!(
        of(r#"{"topic":"t","data":"h\u00e9\n"}"#),
        (
            "text/plain; charset=utf-8".to_owned(),
            "hé\n".as_bytes().to_vec()
        )
    );
    for json in ["null", "1.0e5", "[1,2]", "false"] {
        let (content_type, payload) = of(&format!(r#"{{"topic":"t","data":{json}}}"#));
        assert_eq!(
            (content_type.as_str(), payload.as_slice()),
            ("application/json", json.as_bytes())
        );
    }
    assert_eq!(
        of(r#"{"topic":"t","data_base64":"AP8="}"#),
        ("application/octet-stream".to_owned(), vec![0, 255])
    );
}

#[test]
fn a_content_type_says_how_data_is_stored() {
    let of = |json| line(json).map(|draft| stored(&draft).1.to_vec());
    assert_eq!(
        of(r#"{"topic":"t","data":"a b","content_type":"a/b+json"}"#).unwrap(),
        br#""a b""#
    );
    assert_eq!(
        of(r#"{"topic":"t","data":"a b","content_type":"text/html"}"#).unwrap(),
        b"a b"
    );
    assert_eq!(
        of(r#"{"topic":"t","data":"<x/>","content_type":"application/xml"}"#).unwrap(),
        b"<x/>"
    );
    for bad in [
        r#"{"topic":"t","data":{"a":1},"content_type":"text/plain"}"#,
        r#"{"topic":"t","data":"\ud800"}"#,
    ] {
        let refusal = of(bad).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.field.as_deref()),
            (Code::InvalidPayload, Some("data"))
        );
    }
    let refusal =
        of(r#"{"topic":"t","data_base64":"e319","content_type":"application/json"}"#).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.field.as_deref()),
        (Code::InvalidPayload, Some("data_base64"))
    );
}

#[test]
fn a_bad_member_is_named_and_nothing_is_placed() {
    let tags: Vec<String> = (0..17).map(|n| format!("\"k{n}\":\"\"")).collect();
    let tags = format!(r#""data":1,"tags":{{{}}}"#, tags.join(","));
    let key = format!(r#""data":1,"key":"{}""#, "k".repeat(129));
    let long_type = format!(r#""data":1,"content_type":"a/{}""#, "b".repeat(127));
    let value = format!(r#""data":1,"tags":{{"a":"{}"}}"#, "v".repeat(257));
    let event = format!(r#""data":1,"event":"{}""#, "e".repeat(65));
    let stories = [
        (r#""data":1,"colour":"red""#, "colour"),
        (r#""data":1,"data":2"#, "data"),
        (r#""data":1,"data_base64":"""#, "data_base64"),
        (r#""event":"e""#, "data"),
        (r#""data_base64":"AP8""#, "data_base64"),
        (r#""data_base64":"A_8=""#, "data_base64"),
        (r#""data_base64":7"#, "data_base64"),
        (r#""data":1,"event":"open""#, "event"),
        (r#""data":1,"event":"$e""#, "event"),
        (r#""data":1,"event":"""#, "event"),
        (event.as_str(), "event"),
        (r#""data":1,"tags":[]"#, "tags"),
        (r#""data":1,"tags":{"A":"x"}"#, "tags"),
        (r#""data":1,"tags":{"a":1}"#, "tags"),
        (r#""data":1,"tags":{"a":"1","a":"2"}"#, "tags"),
        (tags.as_str(), "tags"),
        (value.as_str(), "tags"),
        (r#""data":1,"key":"""#, "key"),
        (r#""data":1,"key":"a b""#, "key"),
        (r#""data":1,"key":"é""#, "key"),
        (key.as_str(), "key"),
        (r#""data":1,"key_age_ms":1"#, "key_age_ms"),
        (r#""data":1,"key":"k","key_age_ms":-1"#, "key_age_ms"),
        (r#""data":1,"key":"k","key_age_ms":"1""#, "key_age_ms"),
        (r#""data":1,"ack":"all""#, "ack"),
        (r#""data":1,"ack":null"#, "ack"),
        (r#""data":1,"expect":"7""#, "expect"),
        (r#""data":1,"expect":"0-5""#, "expect"),
        (r#""data":1,"content_type":"json""#, "content_type"),
        (long_type.as_str(), "content_type"),
    ];
    for (members, field) in stories {
        let refusal = line(&format!(r#"{{"topic":"t",{members}}}"#)).unwrap_err();
        assert_eq!(refusal.field.as_deref(), Some(field), "{members}");
        assert_eq!(refusal.code, Code::InvalidArgument, "{members}");
        assert_eq!(refusal.outcome, Outcome::NotPlaced, "{members}");
    }
}

#[test]
fn nobody_publishes_to_what_is_no_topic_or_the_systems() {
    for topic in ["", "a..b", "a b", "a.*", "$sys.probe", &"t".repeat(256)] {
        let refusal = line(&format!(r#"{{"topic":"{topic}","data":1}}"#)).unwrap_err();
        assert_eq!(refusal.code, Code::InvalidTopic, "{topic}");
        assert_eq!(refusal.field.as_deref(), Some("topic"), "{topic}");
    }
    let missing = line(r#"{"data":1}"#).unwrap_err();
    assert_eq!(missing.code, Code::InvalidArgument);
    assert_eq!(missing.field.as_deref(), Some("topic"));
}

#[test]
fn payloads_and_lines_beyond_the_limit_are_too_large() {
    let limits = Limits {
        payload: 4,
        frame: 60,
        ..Limits::default()
    };
    let read = |json: &str| of_line(json.as_bytes(), &limits).map(|draft| draft.content.payload);
    assert!(read(r#"{"topic":"t","data":"1234"}"#).is_ok());
    assert!(read(r#"{"topic":"t","data": [1, 2]}"#).is_err());
    let large = read(r#"{"topic":"t","data":"12345"}"#).unwrap_err();
    assert_eq!(
        (large.code, large.field.as_deref()),
        (Code::PayloadTooLarge, Some("data"))
    );
    let line = read(&format!(r#"{{"topic":"t","data":"{}"}}"#, "x".repeat(60))).unwrap_err();
    assert_eq!((line.code, line.field), (Code::PayloadTooLarge, None));
    let body = vec![b'x'; (64 << 10) + 1];
    let large = request("topic=t", DraftHeaders::default(), &body).unwrap_err();
    assert_eq!(large.code, Code::PayloadTooLarge);
    assert!(request("topic=t", DraftHeaders::default(), &body[1..]).is_ok());
}

#[test]
fn what_is_no_object_is_refused() {
    for bad in ["", "[]", "1", "{", "{} x"] {
        assert_eq!(line(bad).unwrap_err().code, Code::InvalidArgument, "{bad}");
    }
}

#[test]
fn a_body_is_stored_as_it_is_and_typed_if_it_names_no_type() {
    let form = named("application/x-www-form-urlencoded");
    for headers in [DraftHeaders::default(), form] {
        let draft = request("topic=t", headers, b"{ } ").unwrap();
        assert_eq!(
            stored(&draft),
            ("text/plain; charset=utf-8", b"{ } ".as_slice())
        );
        let draft = request("topic=t", headers, b"\xff").unwrap();
        assert_eq!(
            stored(&draft),
            ("application/octet-stream", b"\xff".as_slice())
        );
    }
    let draft = request("topic=t", named("application/json"), b"{ } ").unwrap();
    assert_eq!(stored(&draft), ("application/json", b"{ } ".as_slice()));
    let bad = request("topic=t", named("a/b+json"), b"").unwrap_err();
    assert_eq!(bad.code, Code::InvalidPayload);
    let bad = request("topic=t", named("json"), b"").unwrap_err();
    assert_eq!(bad.field.as_deref(), Some("Content-Type"));
}

#[test]
fn a_request_takes_its_key_from_the_headers() {
    let headers = DraftHeaders {
        key: Some(b"\"c9\""),
        key_age: Some(b"5200"),
        ..DraftHeaders::default()
    };
    let draft = request(
        "topic=news&tag=lang:en&event=e&expect=0-0&ack=none",
        headers,
        b"x",
    )
    .unwrap();
    assert_eq!(
        draft.key,
        Some(Key::new(Bytes::from_static(b"c9")).unwrap())
    );
    assert_eq!(draft.key_age_ms, 5_200);
    assert_eq!((draft.expect, draft.ack), (Some(Position::NONE), Ack::None));
    let alone = DraftHeaders {
        key: None,
        ..headers
    };
    let refusal = request("topic=news", alone, b"x").unwrap_err();
    assert_eq!(refusal.field.as_deref(), Some("Idempotency-Age"));
    assert_eq!(refusal.outcome, Outcome::NotPlaced);
}

#[test]
fn json_with_white_space_is_sent_so_that_the_same_bytes_are_stored() {
    let draft = request("topic=t", named("application/json"), b"{ }").unwrap();
    let mut out = Vec::new();
    put_line(&mut out, &draft);
    assert_eq!(
        String::from_utf8(out.clone()).unwrap(),
        "{\"topic\":\"t\",\"data_base64\":\"eyB9\",\"content_type\":\"application/json\"}\n"
    );
    assert_eq!(of_line(&out, &Limits::default()).unwrap(), draft);
}

proptest! {
    #[test]
    fn a_draft_comes_back_from_its_line(
        payload in prop::collection::vec(any::<u8>(), 0..100),
        content_type in "text/plain|image/png|application/octet-stream",
        event in prop::option::of("[a-z]{1,4}x"),
        tags in prop::collection::btree_map("[a-z0-9_.-]{1,8}", "\\PC{0,20}", 0..16),
        key in prop::option::of("[!-~]{1,128}"),
        expect in prop::option::of((1..u64::MAX, any::<u64>())),
    ) {
        let draft = Draft {
            topic: "news".parse().unwrap(),
            content: content(
                payload.into(),
                content_type.parse().unwrap(),
                event.map(|e| e.parse().unwrap()),
                Tags::new(tags).unwrap(),
            ),
            key_age_ms: if key.is_some() { 7 } else { 0 },
            key: key.map(|k| Key::new(k.into()).unwrap()),
            ack: Ack::Committed,
            expect: expect.map(|(epoch, offset)| Position::new(epoch, offset)),
        };
        let mut out = Vec::new();
        put_line(&mut out, &draft);
        prop_assert_eq!(of_line(&out, &Limits::default()).unwrap(), draft);
    }

    #[test]
    fn no_line_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\{(\"(topic|data|tags|key|ack)\":[\\[\\]{}\"a1, ]{0,8},?){0,4}\\}") {
        let _outcome = of_line(&bytes, &Limits::default());
        let _outcome = of_line(text.as_bytes(), &Limits::default());
    }
}
