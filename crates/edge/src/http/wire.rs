//! The router behind real HTTP connections, without sockets.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::DuplexStream;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::{EdgeConfig, Hosts};
use crate::testing::{Door, door};

fn connect(door: &Door, tracker: &TaskTracker) -> TokioIo<DuplexStream> {
    let (client, server) = tokio::io::duplex(4 << 10);
    let service = TowerToHyperService::new(door.router.clone());
    tracker.spawn(async move {
        let server = TokioIo::new(server);
        auto::Builder::new(TokioExecutor::new())
            .serve_connection_with_upgrades(server, service)
            .await
            .ok();
    });
    TokioIo::new(client)
}

fn ours() -> EdgeConfig {
    let hosts = Hosts::Listed(vec!["push.example".to_owned()]);
    EdgeConfig {
        hosts,
        ..EdgeConfig::default()
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let door = door(ours()).await;
    let tracker = TaskTracker::new();
    let io = connect(&door, &tracker);
    let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tracker.spawn(connection);
    let large = Bytes::from("x".repeat(60 << 10));
    for (method, uri, body, status) in [
        (Method::POST, "/v1/publish?topic=news", large.clone(), 200),
        (Method::HEAD, "/v1/errors/internal", Bytes::new(), 200),
        (Method::OPTIONS, "/v1/publish", Bytes::new(), 204),
        (Method::DELETE, "/v1/publish", Bytes::new(), 405),
        (
            Method::POST,
            "/v1/publish?topic=news",
            Bytes::from("last"),
            200,
        ),
    ] {
        let request = Request::builder()
            .method(&method)
            .uri(uri)
            .header("host", "push.example");
        let answer = client
            .send_request(request.body(Full::new(body)).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status(), status, "{method} {uri}");
        assert!(answer.headers().contains_key("fanfare-request-id"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            body.is_empty(),
            matches!(method, Method::HEAD | Method::OPTIONS)
        );
    }
    assert_eq!(door.world.placed("news").last().unwrap(), "last");
}

#[tokio::test]
async fn http2_names_the_host_in_its_uri() {
    let door = door(ours()).await;
    let tracker = TaskTracker::new();
    let io = connect(&door, &tracker);
    let executor = TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tracker.spawn(connection);
    for (host, status) in [("push.example", 200), ("evil.example", 403)] {
        let uri = format!("http://{host}/v1/publish?topic=news");
        let request = Request::post(uri)
            .body(Full::new(Bytes::from("hi")))
            .unwrap();
        assert_eq!(
            client.send_request(request).await.unwrap().status(),
            status,
            "{host}"
        );
    }
    assert_eq!(door.world.placed("news"), ["hi"]);
}
