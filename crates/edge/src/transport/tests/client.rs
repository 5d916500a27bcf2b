//! Clients for tests: an EventSource, a WebSocket, plain requests. Strict: what they do not
//! understand fails the test.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Body;
use fanfare_core::position::Position;
use fanfare_protocol::json::Received;
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::sse::{Event, Parser, SseItem};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tower::ServiceExt as _;

use crate::Cut;
use crate::session::stage::{Theatre, pipe};

/// What is waited for comes within this, by the clock of the test.
const SOON: Duration = Duration::from_secs(20);

/// Signs of life in a row after which a wait has failed: they come for ever.
const QUIET: usize = 10;

pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("never came: {what}"),
    }
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// A request without a body and its whole answer.
pub(super) async fn get(theatre: &Theatre, uri: &str, headers: &[(&str, &str)]) -> Answer {
    send(theatre, "GET", uri, headers).await
}

pub(super) async fn send(
    theatre: &Theatre,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let response = respond(theatre, method, uri, headers).await;
    let (parts, body) = response.into_parts();
    let body = soon("the end of a body", body.collect())
        .await
        .unwrap()
        .to_bytes();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

async fn respond(
    theatre: &Theatre,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> http::Response<Body> {
    answered(theatre, request(method, uri, headers)).await
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "edge.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

async fn answered(theatre: &Theatre, request: http::request::Builder) -> http::Response<Body> {
    let request = request.body(Body::empty()).unwrap();
    soon("an answer", theatre.router.clone().oneshot(request))
        .await
        .unwrap()
}

/// An EventSource.
pub(super) struct Events {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    body: Body,
    parser: Parser,
    ready: VecDeque<SseItem>,
}

impl Events {
    pub(super) async fn open(theatre: &Theatre, uri: &str, headers: &[(&str, &str)]) -> Self {
        Self::of(respond(theatre, "GET", uri, headers).await)
    }

    /// Over a stream that can be cut.
    pub(super) async fn cuttable(theatre: &Theatre, uri: &str, cut: Cut) -> Self {
        let request = request("GET", uri, &[]).extension(cut);
        Self::of(answered(theatre, request).await)
    }

    fn of(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let ready = VecDeque::new();
        Self {
            status,
            headers: parts.headers,
            body,
            parser: Parser::new(1 << 20),
            ready,
        }
    }

    /// The next item; `None` at the end of the stream.
    pub(super) async fn item(&mut self) -> Option<SseItem> {
        while self.ready.is_empty() {
            let frame = soon("an event", self.body.frame()).await?;
            let piece = frame.unwrap().into_data().unwrap();
            let mut items = Vec::new();
            self.parser.push(&piece, &mut items).unwrap();
            self.ready.extend(items);
        }
        self.ready.pop_front()
    }

    /// The next event, over `retry:` and comments.
    pub(super) async fn event(&mut self) -> Event {
        for _ in 0..QUIET {
            match self.item().await.expect("the stream has not ended") {
                SseItem::Event(event) => return event,
                SseItem::Retry(_) | SseItem::Comment => {}
            }
        }
        panic!("the stream beats and says nothing")
    }

    /// The next event, read as JSON.
    pub(super) async fn frame(&mut self) -> ServerFrame {
        self.event().await.into_frame().unwrap()
    }

    pub(super) fn last_id(&self) -> &str {
        self.parser.last_id().unwrap()
    }
}

/// A WebSocket on a connection of its own.
pub(super) struct Socket {
    socket: WebSocketStream<fanfare_host::Stream>,
    /// Items of a frame that were not asked for yet.
    ready: VecDeque<Received>,
}

impl Socket {
    pub(super) async fn open(theatre: &Theatre, uri: &str) -> Self {
        Self::with_room(theatre, uri, 64 << 10).await
    }

    /// `room`: bytes that may be on the way to this client.
    pub(super) async fn with_room(theatre: &Theatre, uri: &str, room: usize) -> Self {
        let (client, server) = pipe(room);
        let service = TowerToHyperService::new(theatre.router.clone());
        theatre.deps.tracker.spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            connection
                .serve_connection_with_upgrades(TokioIo::new(server), service)
                .await
                .ok();
        });
        let uri = format!("ws://edge.example{uri}");
        let handshake = tokio_tungstenite::client_async(uri, client);
        let (socket, response) = soon("a handshake", handshake).await.unwrap();
        assert_eq!(response.status(), 101);
        Self {
            socket,
            ready: VecDeque::new(),
        }
    }

    pub(super) async fn say(&mut self, json: &str) {
        self.message(Message::text(json)).await;
    }

    pub(super) async fn message(&mut self, message: Message) {
        soon("room for a frame", self.socket.send(message))
            .await
            .unwrap();
    }

    /// The next message; `None` if the connection is over.
    pub(super) async fn next(&mut self) -> Option<Message> {
        soon("a frame", self.socket.next()).await?.ok()
    }

    /// The next frame of the protocol, over pings.
    pub(super) async fn frame(&mut self) -> ServerFrame {
        loop {
            match self.next().await.expect("the connection lives") {
                Message::Text(text) => return ServerFrame::read(text.as_bytes()).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a frame of the protocol: {other:?}"),
            }
        }
    }

    /// The code of `disconnect` and of the Close that follows.
    pub(super) async fn ending(&mut self) -> (String, u16) {
        let ServerFrame::Disconnect(disconnect) = self.frame().await else {
            panic!("not the end")
        };
        loop {
            match self.next().await.expect("a Close comes") {
                Message::Close(Some(close)) => {
                    assert_eq!(close.reason.as_str(), disconnect.code.as_str());
                    return (disconnect.code.as_str().to_owned(), close.code.into());
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a Close: {other:?}"),
            }
        }
    }

    /// Messages of the next so many items, and the cursor after the last.
    pub(super) async fn items(&mut self, count: usize) -> (Vec<Received>, Option<String>) {
        let (mut all, mut last, mut beats) = (Vec::new(), None, 0);
        while all.len() < count {
            match self.frame().await {
                ServerFrame::Items { items, cursor } => {
                    all.extend(items);
                    last = cursor;
                }
                ServerFrame::Heartbeat if beats < QUIET => beats += 1,
                other => panic!("not items: {other:?}"),
            }
        }
        assert_eq!(all.len(), count);
        (all, last)
    }

    /// The next item, in short.
    pub(super) async fn one_item(&mut self) -> String {
        for _ in 0..QUIET {
            if let Some(item) = self.ready.pop_front() {
                return brief(&item);
            }
            match self.frame().await {
                ServerFrame::Items { items, .. } => self.ready.extend(items),
                ServerFrame::Heartbeat => {}
                other => panic!("not items: {other:?}"),
            }
        }
        panic!("the session beats and says nothing")
    }

    /// The next frame that is no sign of life.
    pub(super) async fn answer(&mut self) -> ServerFrame {
        for _ in 0..QUIET {
            match self.frame().await {
                ServerFrame::Heartbeat => {}
                frame => return frame,
            }
        }
        panic!("the session beats and says nothing")
    }

    /// Sends a Ping of 100 bytes; false if there is no room on the way for it.
    pub(super) async fn ping_soon(&mut self) -> bool {
        self.send_soon(Message::Ping(vec![7; 100].into())).await
    }

    /// Sends a frame; false if there is no room on the way for it.
    pub(super) async fn text_soon(&mut self, json: &str) -> bool {
        self.send_soon(Message::text(json)).await
    }

    async fn send_soon(&mut self, message: Message) -> bool {
        let sent = self.socket.send(message);
        tokio::time::timeout(Duration::from_millis(500), sent)
            .await
            .is_ok()
    }

    pub(super) async fn close(mut self) {
        self.socket.close(None).await.ok();
        while self.next().await.is_some() {}
    }
}

/// What an item says in short: `7-42 text` or `reason 7-42..7-50`.
pub(super) fn brief(item: &Received) -> String {
    match item {
        Received::Message(message) => {
            let message = &message.message;
            let text = String::from_utf8_lossy(&message.content.payload).into_owned();
            format!("{} {text}", message.position)
        }
        Received::Gap(gap) => format!("{} {}..{}", gap.reason, gap.from, gap.to),
        Received::Other(kind) => panic!("an item of unknown type {kind}"),
    }
}

pub(super) fn briefs(items: &[Received]) -> Vec<String> {
    items.iter().map(brief).collect()
}

/// The one item of a frame.
pub(super) fn one(frame: ServerFrame) -> String {
    match frame {
        ServerFrame::Items { items, .. } if items.len() == 1 => brief(&items[0]),
        other => panic!("not one item: {other:?}"),
    }
}

/// Answer, from, and head of `subscribed`.
pub(super) fn subscribed(frame: ServerFrame) -> (String, Option<Position>, Position) {
    match frame {
        ServerFrame::Subscribed(answer) => {
            (answer.answer.as_str().to_owned(), answer.from, answer.head)
        }
        other => panic!("not an answer: {other:?}"),
    }
}
