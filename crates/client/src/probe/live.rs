//! One stream that is watched: its opening, its bytes, its end.

use std::time::Duration;

use bytes::Bytes;
use fanfare_core::name::TopicName;
use fanfare_host::{Clock, Stream};
use fanfare_protocol::header::SUBPROTOCOL;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use http::{HeaderValue, Method, header};
use hyper::body::Incoming;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Answered, Probe, Silence, Target, ours, proxy, with_topic};
use crate::http::piece;
use crate::told::Ending;

/// The last bytes that are kept to be searched.
const KEPT: usize = 64 << 10;

/// Transports whose answer does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    Ws,
    Sse,
    Tail,
}

impl Flow {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Sse => "sse",
            Self::Tail => "tail",
        }
    }
}

/// Why there is no stream, or none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shut {
    /// No connection, or one that ended before the answer.
    Silence(Silence),
    /// An answer that is no stream.
    Answered(Box<Answered>),
    /// The stream's end, clean or not, and how; without a word of the node before it.
    Cut(String),
    /// The node ended it and said the code.
    Told(String),
}

/// What waiting came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// At this time of the clock.
    Heard(Duration),
    /// It did not come in time; the stream goes on.
    Late,
    Shut(Shut),
}

enum Source {
    Body(Incoming),
    Ws(Box<WebSocketStream<Stream>>),
}

struct Opened {
    source: Source,
    proxy: Option<String>,
}

/// A stream that is opened and read by waiting on it.
pub struct Live {
    clock: std::sync::Arc<dyn Clock>,
    opening: Option<BoxFuture<'static, Result<Opened, Shut>>>,
    source: Option<Source>,
    proxy: Option<String>,
    seen: String,
    heard: u64,
    heard_at: Duration,
    shut: Option<Shut>,
}

pub(super) fn open(probe: Probe, flow: Flow, topic: &TopicName, heartbeat: Duration) -> Live {
    let clock = probe.machine.clock.clone();
    let route = match flow {
        Flow::Ws => "/v1/ws?topic=",
        Flow::Sse => "/v1/sse?topic=",
        Flow::Tail => "/v1/tail?topic=",
    };
    let path = format!(
        "{}&heartbeat={}",
        with_topic(route, topic),
        heartbeat.as_secs()
    );
    let opening = match flow {
        Flow::Ws => upgrade(probe, path).boxed(),
        Flow::Sse | Flow::Tail => body(probe, path).boxed(),
    };
    Live {
        heard_at: clock.now(),
        clock,
        opening: Some(opening),
        source: None,
        proxy: None,
        seen: String::new(),
        heard: 0,
        shut: None,
    }
}

async fn body(probe: Probe, path: String) -> Result<Opened, Shut> {
    let began = probe.machine.clock.now();
    let sent = probe.send(Method::GET, &path, Bytes::new()).await;
    let response = sent.map_err(Shut::Silence)?;
    if response.status().as_u16() == 200 && ours(response.headers()) {
        let proxy = proxy(response.headers());
        let source = Source::Body(response.into_body());
        return Ok(Opened { source, proxy });
    }
    let head = probe.machine.clock.now().saturating_sub(began);
    let answered = probe.whole(response, began, head).await;
    Err(answered.map_or_else(Shut::Silence, |a| Shut::Answered(Box::new(a))))
}

async fn upgrade(probe: Probe, path: String) -> Result<Opened, Shut> {
    let Target {
        address,
        host,
        base,
    } = &probe.target;
    let cut = |e: Error| Shut::Silence(Silence::Cut(e.to_string()));
    let mut request = format!("ws://{host}{base}{path}")
        .into_client_request()
        .map_err(cut)?;
    let headers = request.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    if let Some(text) = probe.machine.authorization(false).await
        && let Ok(value) = HeaderValue::from_str(&text)
    {
        headers.insert(header::AUTHORIZATION, value);
    }
    let stream = probe.machine.connector.connect(address).await;
    let stream =
        stream.map_err(|e| Shut::Silence(Silence::NotConnected(format!("{address}: {e}"))))?;
    let began = probe.machine.clock.now();
    match client_async(request, stream).await {
        Ok((socket, response)) => Ok(Opened {
            source: Source::Ws(Box::new(socket)),
            proxy: proxy(response.headers()),
        }),
        Err(Error::Http(response)) => {
            let now = probe.machine.clock.now().saturating_sub(began);
            Err(Shut::Answered(Box::new(Answered {
                status: response.status().as_u16(),
                ours: ours(response.headers()),
                proxy: proxy(response.headers()),
                body: Bytes::from(response.body().clone().unwrap_or_default()),
                head: now,
                whole: now,
            })))
        }
        Err(error) => Err(cut(error)),
    }
}

impl Live {
    /// What a proxy said of itself.
    pub fn proxy(&self) -> Option<&str> {
        self.proxy.as_deref()
    }

    /// When something was heard last, by the clock; at first, when it was opened.
    pub fn heard_at(&self) -> Duration {
        self.heard_at
    }

    /// How many pieces were heard.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Waits until the first bytes of the answer's body, or first frame, are here.
    pub async fn first(&mut self, deadline: Duration) -> Waited {
        self.until(deadline, |live| live.heard > 0).await
    }

    /// Waits until a text was seen.
    pub async fn text(&mut self, text: &str, deadline: Duration) -> Waited {
        self.until(deadline, |live| live.seen.contains(text)).await
    }

    /// Waits for the next piece, whatever it is.
    pub async fn more(&mut self, deadline: Duration) -> Waited {
        let before = self.heard;
        self.until(deadline, |live| live.heard > before).await
    }

    async fn until(&mut self, deadline: Duration, done: impl Fn(&Self) -> bool) -> Waited {
        let clock = self.clock.clone();
        loop {
            if done(self) {
                return Waited::Heard(self.heard_at);
            }
            if let Some(shut) = &self.shut {
                return Waited::Shut(shut.clone());
            }
            let late = clock.sleep_until(deadline);
            let heard = tokio::select! { biased;
                heard = self.step() => heard,
                () = late => return Waited::Late,
            };
            if let Err(shut) = heard {
                self.source = None;
                self.opening = None;
                self.shut = Some(shut);
            }
        }
    }

    /// Opens it, or reads one piece. Safe to cancel.
    async fn step(&mut self) -> Result<(), Shut> {
        if let Some(opening) = &mut self.opening {
            let Opened { source, proxy } = opening.await?;
            self.opening = None;
            self.source = Some(source);
            self.proxy = proxy;
            self.heard_at = self.clock.now();
            return Ok(());
        }
        let said = |seen: &str, how: String| match ended_by(seen) {
            Some(code) => Shut::Told(code),
            None => Shut::Cut(how),
        };
        let bytes = match &mut self.source {
            None => return Err(Shut::Cut("it is over".to_owned())),
            Some(Source::Body(body)) => match piece(body).await {
                Ok(bytes) => bytes,
                Err(Ending::Cut(how) | Ending::NotConnected(how)) => {
                    return Err(said(&self.seen, how));
                }
                Err(Ending::Told(told)) => return Err(Shut::Told(told.to_string())),
            },
            Some(Source::Ws(socket)) => match socket.next().await {
                Some(Ok(Message::Text(text))) => Bytes::from(text.as_bytes().to_vec()),
                Some(Ok(
                    Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_),
                )) => Bytes::new(),
                Some(Ok(Message::Close(_))) | None => {
                    let how = "the socket was closed".to_owned();
                    return Err(said(&self.seen, how));
                }
                Some(Err(error)) => return Err(said(&self.seen, error.to_string())),
            },
        };
        self.heard += 1;
        self.heard_at = self.clock.now();
        self.seen.push_str(&String::from_utf8_lossy(&bytes));
        if self.seen.len() > 2 * KEPT {
            let from = self.seen.ceil_char_boundary(self.seen.len() - KEPT);
            self.seen.drain(..from);
        }
        Ok(())
    }
}

/// The code of a `disconnect`, if the last that was heard is one.
fn ended_by(seen: &str) -> Option<String> {
    let (_, last) = seen.rsplit_once("\"type\":\"disconnect\"")?;
    let (_, code) = last.split_once("\"code\":\"")?;
    let (code, _) = code.split_once('"')?;
    Some(code.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_node_is_told_from_a_cut() {
        let said = "event: $disconnect\ndata: {\"type\":\"disconnect\",\"code\":\"draining\"}\n\n";
        assert_eq!(ended_by(said), Some("draining".to_owned()));
        assert_eq!(
            ended_by("data: {\"type\":\"message\",\"code\":\"x\"}"),
            None
        );
    }
}
