//! What the tests share: drafts, items, and a fake edge that speaks canned bytes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::message::{Ack, Content, Draft, Key, Message, Meta};
use fanfare_core::position::Position;
use fanfare_host::{Clock, Listener as _, RealClock, SeededRng, TcpDoor};
use fanfare_protocol::json::ack::Acked;
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_protocol::json::{Received, ReceivedMessage};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody as BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::endpoint::Endpoints;
use crate::machine::Machine;

pub(crate) fn draft(topic: &str, key: Option<&'static str>) -> Draft {
    Draft {
        topic: topic.parse().unwrap(),
        content: Content {
            payload: Bytes::from_static(b"hi"),
            meta: Arc::new(Meta {
                content_type: "text/plain".parse().unwrap(),
                ..Meta::default()
            }),
        },
        key: key.map(|key| Key::new(Bytes::from_static(key.as_bytes())).unwrap()),
        key_age_ms: 0,
        ack: Ack::Committed,
        expect: None,
    }
}

pub(crate) fn acked(topic: &str, offset: u64) -> Acked {
    Acked::read(ack_json(topic, offset).as_bytes()).unwrap()
}

pub(crate) fn ack_json(topic: &str, offset: u64) -> String {
    format!(
        r#"{{"topic":"{topic}","position":"7-{offset}","class":"durable","reached":"durable","duplicate":false}}"#
    )
}

pub(crate) fn message(topic: &str, epoch: u64, offset: u64) -> Received {
    Received::Message(ReceivedMessage {
        topic: topic.parse().unwrap(),
        message: Message {
            position: Position::new(epoch, offset),
            wall_ms: 0,
            content: draft(topic, None).content,
        },
    })
}

pub(crate) fn gap(topic: &str, reason: &str, from: &str, to: &str) -> Received {
    let json = format!(
        r#"{{"type":"gap","topic":"{topic}","reason":"{reason}","from":"{from}","to":"{to}","missed":null}}"#
    );
    let ServerFrame::Items { mut items, .. } = ServerFrame::read(json.as_bytes()).unwrap() else {
        panic!("not an item")
    };
    items.remove(0)
}

/// A clock on which a minute takes a second and a half of the machine's: waits are real, and short.
#[derive(Clone, Copy)]
pub(crate) struct FastClock(RealClock);

const SPEED: u32 = 40;

impl Clock for FastClock {
    fn now(&self) -> Duration {
        self.0.now() * SPEED
    }

    fn wall_ms(&self) -> u64 {
        self.0.wall_ms()
    }

    fn sleep_until(&self, at: Duration) -> BoxFuture<'static, ()> {
        self.0.sleep_until(at / SPEED)
    }
}

/// Real sockets, a fast clock, the same chance each time.
pub(crate) fn machine() -> Machine {
    Machine {
        clock: Arc::new(FastClock(RealClock::new())),
        chance: Arc::new(SeededRng::new(7)),
        ..Machine::real()
    }
}

pub(crate) type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// An edge that answers requests from a script and keeps what it was asked.
pub(crate) struct FakeEdge {
    pub(crate) address: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    _accepting: AbortOnDropHandle<()>,
}

/// A request, as far as the tests look.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) uri: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl FakeEdge {
    /// `script` is given the number of the request, from 0.
    pub(crate) async fn start(script: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
        let address = door.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (Arc::new(script), asked.clone());
        let tasks = TaskTracker::new();
        let connections = tasks.clone();
        let accepting = tasks.spawn(async move {
            while let Ok((stream, _)) = door.accept().await {
                let (script, asked) = (script.clone(), kept.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (script, asked) = (script.clone(), asked.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let number = {
                            let mut asked = asked.lock().unwrap();
                            asked.push(Asked {
                                uri: parts.uri.to_string(),
                                headers: parts.headers,
                                body,
                            });
                            asked.len() - 1
                        };
                        Ok::<_, hyper::Error>(script(number))
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { served.await.ok() });
            }
        });
        Self {
            address,
            asked,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn endpoints(edges: &[&Self]) -> Endpoints {
        let urls: Vec<String> = edges
            .iter()
            .map(|e| format!("http://{}", e.address))
            .collect();
        Endpoints::read(&urls, &[]).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A whole answer.
pub(crate) fn answer(status: u16, body: &str) -> Answer {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {});
    let body = http_body_util::BodyExt::boxed_unsync(body);
    Response::builder().status(status).body(body).unwrap()
}

/// A stream of these pieces that is cut then.
pub(crate) fn cut_after(pieces: &[&str]) -> Answer {
    stream(pieces, false)
}

/// A stream of these pieces on which nothing comes then.
pub(crate) fn silent_after(pieces: &[&str]) -> Answer {
    stream(pieces, true)
}

fn stream(pieces: &[&str], silent: bool) -> Answer {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::from((*piece).to_owned()))))
        .collect();
    let rest = match silent {
        true => futures_util::stream::pending().boxed(),
        // A pause lets hyper write what it holds before the cut.
        false => futures_util::stream::once(async {
            tokio::task::yield_now().await;
            Err(std::io::Error::other("cut"))
        })
        .boxed(),
    };
    let frames = futures_util::stream::iter(pieces).chain(rest);
    Response::new(http_body_util::BodyExt::boxed_unsync(StreamBody::new(
        frames,
    )))
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> String {
    let door = TcpDoor::bind("127.0.0.1:0").await.unwrap();
    door.local_addr().unwrap().to_string()
}
