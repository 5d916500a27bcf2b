//! Bodies that do not come, or come in pieces.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use tower::ServiceExt as _;

use crate::config::EdgeConfig;
use crate::testing::door;

const NEWS: &str = "/v1/publish?topic=news";

#[tokio::test(start_paused = true)]
async fn bodies_that_do_not_come_keep_no_room_from_others() {
    let door = door(EdgeConfig::default()).await;
    let mut idle = Vec::new();
    for n in 0..1_100 {
        let mut request = Request::post(NEWS).header("host", "edge.example");
        if n % 2 == 0 {
            // Announced, and not sent.
            request = request.header("content-length", "65536");
        }
        let nothing = stream::pending::<Result<Bytes, Infallible>>();
        let request = request.body(Body::from_stream(nothing)).unwrap();
        let mut answer = Box::pin(door.router.clone().oneshot(request));
        assert!(futures_util::poll!(&mut answer).is_pending());
        idle.push(answer);
    }
    let held = door.edge.publisher().bytes_in_flight();
    assert!((1_100..1 << 20).contains(&held), "{held} bytes");
    let honest = door.send(Request::post(NEWS), "hi").await;
    assert_eq!(honest.status, 200, "{}", honest.body);
    drop(idle);
    assert_eq!(door.edge.publisher().bytes_in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_in_pieces_is_one_payload_and_takes_room_piece_by_piece() {
    let mut config = EdgeConfig::default();
    config.publish.bytes = 4_000;
    let door = door(config).await;
    let pieces = |count: usize| {
        let piece = |n: usize| Ok::<_, Infallible>(Bytes::from(vec![b'a' + n as u8; 1_000]));
        Body::from_stream(stream::iter(0..count).map(piece))
    };
    let whole = door.send(Request::post(NEWS), pieces(3)).await;
    assert_eq!(whole.status, 200, "{}", whole.body);
    let letters = ["a", "b", "c"].map(|letter| letter.repeat(1_000));
    assert_eq!(door.world.placed("news"), [letters.concat()]);

    let large = door.send(Request::post(NEWS), pieces(5)).await;
    assert_eq!(large.status, 503, "{}", large.body);
    assert_eq!(large.json()["code"], "overloaded");
    assert_eq!(door.edge.publisher().bytes_in_flight(), 0);
}
