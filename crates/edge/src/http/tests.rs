//! The edge listener as clients see it: every code that a publish can end in, guards, batches.

use std::time::Duration;

use fanfare_core::code::Outcome;
use futures_util::StreamExt as _;

use super::*;
use crate::config::{EdgeConfig, Hosts, Origins};
use crate::testing::{Mood, door};

const NEWS: &str = "/v1/publish?topic=news";
const BATCH: &str = "/v1/publish/batch";

fn post(uri: &str) -> http::request::Builder {
    Request::post(uri)
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_answered_with_its_position() {
    let door = door(EdgeConfig::default()).await;
    let answer = door.send(post(NEWS), "hi").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.body.strip_suffix('\n'),
        Some(
            r#"{"topic":"news","position":"1-1","class":"durable","reached":"durable","duplicate":false}"#
        )
    );
    let keyed = || post(NEWS).header("Idempotency-Key", "\"a1\"");
    assert_eq!(
        door.send(keyed(), "two").await.json()["dedup"]["remaining_ms"],
        120_000
    );
    let again = door
        .send(post(NEWS).header("Idempotency-Key", "a1"), "two")
        .await;
    assert_eq!(again.json()["duplicate"], true);
    assert_eq!(again.json()["position"], "1-2");
    assert_eq!(door.world.placed("news"), ["hi", "two"]);
}

#[tokio::test(start_paused = true)]
async fn ack_none_is_202_and_placed_in_the_background() {
    let door = door(EdgeConfig::default()).await;
    let answer = door
        .send(post("/v1/publish?topic=news&ack=none"), "quiet")
        .await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.body.strip_suffix('\n'),
        Some(r#"{"topic":"news","class":"durable","reached":"none"}"#),
        "a line, for terminals"
    );
    door.edge.publisher().idle().await;
    assert_eq!(door.world.placed("news"), ["quiet"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_has_wrong_is_named_and_nothing_is_placed() {
    let door = door(EdgeConfig::default()).await;
    let json = |body: &'static str| (post(NEWS).header("Content-Type", "application/json"), body);
    let cases = [
        ((post("/v1/publish"), "x"), 400, "invalid_argument", "topic"),
        (
            (post("/v1/publish?topic=a..b"), "x"),
            400,
            "invalid_topic",
            "topic",
        ),
        (
            (post("/v1/publish?topic=$sys.a"), "x"),
            400,
            "invalid_topic",
            "topic",
        ),
        (
            (post("/v1/publish?topic=news&colour=red"), "x"),
            400,
            "invalid_argument",
            "colour",
        ),
        (
            (post("/v1/publish?topic=news&timeout=31"), "x"),
            400,
            "invalid_argument",
            "timeout",
        ),
        (
            (post("/v1/publish?topic=news&event=$gap"), "x"),
            400,
            "invalid_argument",
            "event",
        ),
        (
            (post("/v1/publish?topic=news&tag=A:1"), "x"),
            400,
            "invalid_argument",
            "tag",
        ),
        (json("{oops"), 400, "invalid_payload", "body"),
        (
            (post(NEWS).header("Idempotency-Key", ""), "x"),
            400,
            "invalid_argument",
            "Idempotency-Key",
        ),
        (
            (post(NEWS).header("Idempotency-Age", "5"), "x"),
            400,
            "invalid_argument",
            "Idempotency-Age",
        ),
        (
            (post(NEWS).header("Content-Type", "nonsense"), "x"),
            400,
            "invalid_argument",
            "Content-Type",
        ),
        (
            (post(NEWS).header("Content-Encoding", "gzip"), "x"),
            415,
            "invalid_argument",
            "Content-Encoding",
        ),
        ((post(BATCH), "{}"), 400, "invalid_argument", "Content-Type"),
    ];
    for ((request, body), status, code, field) in cases {
        let answer = door.send(request, body).await;
        let (s, c, outcome, advice) = answer.problem();
        assert_eq!(
            (s, &*c, &*outcome, &*advice),
            (status, code, "not_placed", "give_up"),
            "{field}"
        );
        assert_eq!(answer.json()["field"], field);
    }
    let twice = post(NEWS)
        .header("Idempotency-Key", "a")
        .header("Idempotency-Key", "b");
    assert_eq!(
        door.send(twice, "x").await.json()["field"],
        "Idempotency-Key"
    );
    assert_eq!(door.world.reached(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_payload_above_the_limit_is_413_with_and_without_a_length() {
    let door = door(EdgeConfig::default()).await;
    let fits = "x".repeat(64 << 10);
    assert_eq!(door.send(post(NEWS), fits.clone()).await.status, 200);
    let answer = door.send(post(NEWS), fits.clone() + "x").await;
    assert_eq!(answer.problem().0, 413);
    let parts = futures_util::stream::iter([fits, "x".to_owned()]).map(Ok::<_, std::io::Error>);
    let answer = door.send(post(NEWS), Body::from_stream(parts)).await;
    assert_eq!(
        answer.problem(),
        (
            413,
            "payload_too_large".into(),
            "not_placed".into(),
            "give_up".into()
        )
    );
    let sized = post(NEWS).header("Content-Length", (64 << 10) + 1);
    assert_eq!(
        door.send(sized, Body::empty()).await.problem().0,
        413,
        "before the body is read"
    );
}

#[tokio::test(start_paused = true)]
async fn refusals_of_the_leader_keep_code_status_outcome_and_advice() {
    let door = door(EdgeConfig::default()).await;
    let cases = [
        (Code::NoQuorum, 503, "retry_later"),
        (Code::Overloaded, 503, "retry_later"),
        (Code::StorageFull, 507, "retry_later"),
        (Code::RateLimited, 429, "retry_later"),
        (Code::DeadlineExceeded, 503, "retry_later"),
        (Code::IdempotencyExpired, 422, "give_up"),
        (Code::TopicNotFound, 404, "give_up"),
        (Code::LimitExceeded, 403, "give_up"),
        (Code::NotReady, 503, "reroute"),
        (Code::OutcomeUnknown, 504, "retry_same_key"),
        (Code::Internal, 500, "retry_same_key"),
    ];
    for (code, status, advice) in cases {
        let refusal = Refusal::of_publish(code, "as a test wants").retry_after(1_500);
        door.world.mood(Mood::Refuse(refusal));
        let answer = door.send(post(NEWS), "x").await;
        let outcome = code.publish_outcome();
        let said = (
            status,
            code.to_string(),
            outcome.as_str().to_owned(),
            advice.to_owned(),
        );
        assert_eq!(answer.problem(), said);
        assert_eq!(answer.header("retry-after"), "2", "seconds, rounded up");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_ne!(outcome, Outcome::None);
    }
}

#[tokio::test(start_paused = true)]
async fn expectations_and_keys_are_judged_by_the_leader() {
    let door = door(EdgeConfig::default()).await;
    let first = "/v1/publish?topic=news&expect=0-0";
    assert_eq!(door.send(post(first), "a").await.status, 200);
    let answer = door.send(post(first), "b").await;
    assert_eq!(answer.problem().0, 412);
    assert_eq!(answer.json()["head"], "1-1");
    let keyed = || post(NEWS).header("Idempotency-Key", "k");
    door.send(keyed(), "c").await;
    let answer = door.send(keyed(), "another body").await;
    assert_eq!(
        (answer.problem().0, answer.problem().1),
        (422, "idempotency_mismatch".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_in_time_is_504_and_what_was_not_sent_503() {
    let door = door(EdgeConfig::default()).await;
    let url = "/v1/publish?topic=news&timeout=2";
    door.world.mood(Mood::Swallow);
    let answer = door.send(post(url), "x").await;
    assert_eq!(
        answer.problem(),
        (
            504,
            "outcome_unknown".into(),
            "unknown".into(),
            "retry_same_key".into()
        )
    );
    assert_eq!(answer.json()["topic"], "news");
    door.world.elect(None);
    door.world.mood(Mood::Serve);
    let answer = door.send(post(url), "x").await;
    assert_eq!(
        answer.problem(),
        (
            503,
            "no_quorum".into(),
            "not_placed".into(),
            "retry_later".into()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_408_without_a_body() {
    let door = door(EdgeConfig::default()).await;
    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let answer = door.send(post(NEWS), Body::from_stream(never)).await;
    assert_eq!((answer.status, answer.body.as_str()), (408, ""));
}

#[tokio::test(start_paused = true)]
async fn a_leaving_node_sends_publishers_elsewhere() {
    let door = door(EdgeConfig::default()).await;
    door.edge.drain(Duration::from_secs(1)).await;
    let answer = door.send(post(NEWS), "x").await;
    assert_eq!(
        answer.problem(),
        (
            503,
            "draining".into(),
            "not_placed".into(),
            "reroute".into()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_node_refuses_credentials_it_cannot_check() {
    let door = door(EdgeConfig::default()).await;
    for value in ["Bearer eyJ", "Bearer ffk_1", "Basic abc", "Bearer"] {
        let answer = door
            .send(post(NEWS).header("Authorization", value), "x")
            .await;
        assert_eq!(
            answer.problem(),
            (
                401,
                "unauthenticated".into(),
                "not_placed".into(),
                "reauthenticate".into()
            )
        );
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert!(!answer.body.contains("eyJ"));
    }
    let both = Request::get("/v1/sse?topic=news&token=eyJ").header("Authorization", "Bearer eyJ");
    let answer = door.send(both, "").await;
    assert_eq!(
        (answer.problem().0, answer.json()["field"].as_str()),
        (400, Some("token"))
    );
    let cookie = post(NEWS).header("Cookie", "fanfare_token=eyJ");
    assert_eq!(
        door.send(cookie, "x").await.status,
        200,
        "a cookie never publishes"
    );
    let misplaced = door
        .send(post("/v1/publish?topic=news&token=eyJ"), "x")
        .await;
    assert_eq!(misplaced.json()["field"], "token");
}

#[tokio::test(start_paused = true)]
async fn paths_and_methods_that_are_not_there_are_told() {
    let door = door(EdgeConfig::default()).await;
    let answer = door.send(Request::get("/v1/nothing"), "").await;
    assert_eq!(
        answer.problem(),
        (404, "no_route".into(), "none".into(), "give_up".into())
    );
    let answer = door.send(post("/v1/nothing"), "").await;
    assert_eq!(answer.problem().2, "not_placed");
    let answer = door.send(Request::get(NEWS), "").await;
    assert_eq!(
        (answer.problem().0, answer.header("allow")),
        (405, "POST, OPTIONS")
    );
    let answer = door.send(Request::head("/v1/sse?topic=news"), "").await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, "GET, OPTIONS")
    );
    let answer = door.send(Request::get("/v1/errors/no_quorum"), "").await;
    assert!(answer.status == 200 && answer.body.starts_with("no_quorum: "));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(
        door.send(Request::get("/v1/errors/nonsense"), "")
            .await
            .status,
        404
    );
    assert!(
        door.send(Request::get("/"), "")
            .await
            .body
            .contains("fanfare")
    );
}

#[tokio::test(start_paused = true)]
async fn pages_of_other_origins_neither_publish_nor_read() {
    let door = door(EdgeConfig::default()).await;
    let foreign = || post(NEWS).header("Origin", "https://evil.example");
    let answer = door.send(foreign(), "x").await;
    assert_eq!(
        answer.problem(),
        (
            403,
            "origin_not_allowed".into(),
            "not_placed".into(),
            "give_up".into()
        )
    );
    assert!(answer.body.contains("edge.allowed_origins"));
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = door
        .send(Request::get("/v1/ws").header("Origin", "null"), "")
        .await;
    assert_eq!(answer.problem().0, 403);
    let answer = door
        .send(
            Request::get("/v1/errors/draining").header("Origin", "https://evil.example"),
            "",
        )
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, "")
    );
    assert_eq!(door.world.reached(), 0);
}

#[tokio::test(start_paused = true)]
async fn allowed_pages_read_answers_and_errors() {
    let listed = vec!["https://app.example".to_owned()];
    let config = EdgeConfig {
        origins: Origins::Listed(listed),
        ..EdgeConfig::default()
    };
    let door = door(config).await;
    for uri in [NEWS, "/v1/publish"] {
        let answer = door
            .send(post(uri).header("Origin", "https://app.example"), "x")
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "https://app.example"
        );
        assert_eq!(answer.header("access-control-allow-credentials"), "true");
        assert!(
            answer
                .header("access-control-expose-headers")
                .contains("Fanfare-Request-Id")
        );
        assert_eq!(answer.header("vary"), "Origin");
    }
    let preflight = Request::options(NEWS)
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "POST");
    let answer = door.send(preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-methods"),
        "GET, HEAD, POST"
    );
    let headers = answer.header("access-control-allow-headers");
    for name in [
        "Idempotency-Key",
        "Last-Event-ID",
        "HX-Request",
        "HX-Source",
    ] {
        assert!(headers.contains(name), "{headers} lacks {name}");
    }
    assert_eq!(answer.header("access-control-max-age"), "7200");
    let foreign = Request::options(NEWS).header("Origin", "https://evil.example");
    assert_eq!(
        door.send(foreign, "")
            .await
            .header("access-control-allow-methods"),
        ""
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_ours_is_a_rebound_name() {
    let config = EdgeConfig {
        hosts: Hosts::Listed(vec!["push.example".to_owned()]),
        ..EdgeConfig::default()
    };
    let door = door(config).await;
    let answer = door.send(post(NEWS), "x").await;
    assert_eq!(
        (answer.problem().0, answer.problem().1),
        (403, "origin_not_allowed".to_owned())
    );
    assert!(answer.body.contains("allowed_hosts"));
}

#[tokio::test(start_paused = true)]
async fn one_address_does_not_ask_without_end() {
    let requests = Some(crate::limits::Rate {
        per_second: 1,
        burst: 2,
    });
    let door = door(EdgeConfig {
        requests,
        ..EdgeConfig::default()
    })
    .await;
    let from = |address: &str, uri: &str| {
        let address: SocketAddr = address.parse().unwrap();
        post(uri).extension(ConnectInfo(address))
    };
    for _ in 0..2 {
        assert_eq!(door.send(from("192.0.2.1:5", NEWS), "x").await.status, 200);
    }
    let answer = door.send(from("192.0.2.1:6", NEWS), "x").await;
    assert_eq!(
        answer.problem(),
        (
            429,
            "rate_limited".into(),
            "not_placed".into(),
            "retry_later".into()
        )
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(door.send(from("192.0.2.2:5", NEWS), "x").await.status, 200);
    assert_eq!(door.send(from("127.0.0.1:5", NEWS), "x").await.status, 200);
    let stream = Request::get("/v1/sse?topic=news");
    let stream = stream.extension(ConnectInfo("192.0.2.1:7".parse::<SocketAddr>().unwrap()));
    let answer = door.send(stream, "").await;
    assert_eq!(
        answer.status, 200,
        "an EventSource gives up on anything else"
    );
    assert!(answer.body.contains("rate_limited"), "{}", answer.body);
}
