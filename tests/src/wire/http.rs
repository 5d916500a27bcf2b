//! HTTP/1.1 by hyper, one connection a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// A header's text, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }

    /// The URL of `Link: <…>; rel="next"`.
    pub fn next(&self) -> Option<String> {
        let link = self.header("link");
        let (url, rest) = link.strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| url.to_owned())
    }
}

/// Sends a request and gives the answer's head and body as it comes.
pub async fn open(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<http::Response<Incoming>> {
    let stream = connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn(async move {
        // The connection's end shows in the body.
        drop(connection.with_upgrades().await);
    });
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = sender.send_request(request.body(Full::new(body))?).await?;
    Ok(answer)
}

/// Sends a request and reads the answer to its end.
pub async fn send(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer> {
    let answer = open(address, method, path, headers, body.into()).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// GET.
pub async fn get(address: &str, path: &str) -> Result<Answer> {
    send(address, Method::GET, path, &[], Bytes::new()).await
}

/// POST of a body of a content type.
pub async fn post(
    address: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Result<Answer> {
    send(
        address,
        Method::POST,
        path,
        &[("content-type", content_type)],
        body,
    )
    .await
}

/// Publishes text and gives the position's text. It has a key of its own, so that the node may send
/// it again if the leader changes on the way; a story that wants no key posts.
pub async fn publish(address: &str, topic: &str, text: &str) -> Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let key = format!("publish-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let path = format!("/v1/publish?topic={topic}&timeout=30");
    let headers = [
        ("content-type", "text/plain"),
        ("idempotency-key", key.as_str()),
    ];
    let answer = send(address, Method::POST, &path, &headers, text.to_owned()).await?;
    let json = answer.json()?;
    match json["position"].as_str() {
        Some(position) if answer.status == StatusCode::OK => Ok(position.to_owned()),
        _ => bail!("publish to {address}: {} {json}", answer.status),
    }
}

/// Percent-encodes a query's value.
pub fn encode(raw: &str) -> String {
    let mut out = String::new();
    for byte in raw.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A query string of pairs, encoded.
pub fn query(pairs: &[(&str, &str)]) -> String {
    let parts: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{k}={}", encode(v)))
        .collect();
    parts.join("&")
}

/// Values of a Prometheus text by metric line, labels included.
pub fn metrics(text: &str) -> BTreeMap<String, f64> {
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    })
    .collect()
}

pub(super) async fn connect(address: &str) -> Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(address).await;
    let stream = stream.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}
