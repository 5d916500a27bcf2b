//! The routes of an edge as answers, bytes and times, for whoever looks at what lies between here
//! and there: nothing is resumed or retried, and every end says what was heard. What to think of it
//! is the caller's.

mod live;

use std::time::Duration;

use bytes::Bytes;
use fanfare_core::name::TopicName;
use fanfare_protocol::json::problem::Problem;
use fanfare_protocol::query::put_encoded;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;

use crate::machine::Machine;

pub use live::{Flow, Live, Shut, Waited};

/// Most bytes of an answer that is read whole.
const MAX_BODY: usize = 4 << 20;

/// Where to look: the URL of an edge, or of a proxy before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`.
    address: String,
    /// As it was typed, for the header `Host`.
    host: String,
    /// What stands before `/v1/…`.
    base: String,
}

/// Why a text is no URL to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error("`{0}` is no URL: write `http://HOST:PORT`")]
    Scheme(String),
    #[error("`{0}`: TLS is not spoken by this client; reach the edge over `http://`")]
    Tls(String),
    #[error("`{0}`: only `http://HOST:PORT` and a path, without a query or user")]
    More(String),
}

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]`.
    pub fn read(url: &str) -> Result<Self, BadTarget> {
        let (scheme, rest) = url
            .trim()
            .split_once("://")
            .ok_or_else(|| BadTarget::Scheme(url.to_owned()))?;
        match scheme {
            "http" => {}
            "https" => return Err(BadTarget::Tls(url.to_owned())),
            _ => return Err(BadTarget::Scheme(url.to_owned())),
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() || rest.contains(['?', '#', '@']) || rest.contains(char::is_whitespace) {
            return Err(BadTarget::More(url.to_owned()));
        }
        let inside = host.rsplit(']').next().unwrap_or(host);
        let address = match inside.contains(':') {
            true => host.to_owned(),
            false => format!("{host}:80"),
        };
        Ok(Self {
            address,
            host: host.to_owned(),
            base: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// A whole answer and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// True if an edge answered: it names each request.
    pub ours: bool,
    /// What a proxy says of itself in `Server` or `Via`.
    pub proxy: Option<String>,
    pub body: Bytes,
    /// From the request to the head of the answer, and to its end.
    pub head: Duration,
    pub whole: Duration,
}

impl Answered {
    /// The code and detail of a refusal.
    pub fn refusal(&self) -> Option<(String, String)> {
        let problem = Problem::read(&self.body).ok()?;
        Some((problem.code.as_str().to_owned(), problem.detail))
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    /// No connection.
    #[error("{0}")]
    NotConnected(String),
    /// The connection ended before the answer did.
    #[error("the connection was cut: {0}")]
    Cut(String),
    #[error("no answer in time")]
    Late,
}

/// Looks at one target.
#[derive(Clone)]
pub struct Probe {
    machine: Machine,
    target: Target,
}

impl Probe {
    /// A probe of `target` with the credentials of `machine`.
    pub fn new(machine: Machine, target: Target) -> Self {
        Self { machine, target }
    }

    /// GET of a path and query below the target, whole, on a connection of its own.
    pub async fn get(&self, path: &str, within: Duration) -> Result<Answered, Silence> {
        self.ask(Method::GET, path, Bytes::new(), within).await
    }

    /// Publishes text to a topic and waits for its ack.
    pub async fn publish(
        &self,
        topic: &TopicName,
        text: &str,
        within: Duration,
    ) -> Result<Answered, Silence> {
        let path = with_topic("/v1/publish?topic=", topic);
        let body = Bytes::from(text.to_owned());
        self.ask(Method::POST, &path, body, within).await
    }

    /// A stream of a topic's new messages. It is opened by waiting on it.
    pub fn stream(&self, flow: Flow, topic: &TopicName, heartbeat: Duration) -> Live {
        live::open(self.clone(), flow, topic, heartbeat)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Answered, Silence> {
        let clock = &self.machine.clock;
        let began = clock.now();
        let asked = async {
            let response = self.send(method, path, body).await?;
            let head = clock.now().saturating_sub(began);
            self.whole(response, began, head).await
        };
        tokio::select! { biased;
            answered = asked => answered,
            () = clock.sleep_until(began.saturating_add(within)) => Err(Silence::Late),
        }
    }

    async fn whole(
        &self,
        response: Response<Incoming>,
        began: Duration,
        head: Duration,
    ) -> Result<Answered, Silence> {
        let (parts, body) = response.into_parts();
        let read = Limited::new(body, MAX_BODY).collect().await;
        let body = read.map_err(|e| Silence::Cut(e.to_string()))?.to_bytes();
        Ok(Answered {
            status: parts.status.as_u16(),
            ours: ours(&parts.headers),
            proxy: proxy(&parts.headers),
            body,
            head,
            whole: self.machine.clock.now().saturating_sub(began),
        })
    }

    /// Sends a request on a connection of its own; the head of the answer.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Silence> {
        let Target {
            address,
            host,
            base,
        } = &self.target;
        let unsent = |error: http::Error| Silence::NotConnected(error.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(header::HOST, host);
        if let Some(text) = self.machine.authorization(false).await {
            request = request.header(header::AUTHORIZATION, text);
        }
        let request = request.body(Full::new(body)).map_err(unsent)?;
        let stream = self.machine.connector.connect(address).await;
        let stream = stream.map_err(|e| Silence::NotConnected(format!("{address}: {e}")))?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Silence::Cut(e.to_string()))?;
        self.machine.tasks.spawn(async move {
            // How it ended is told by the answer.
            drop(connection.await);
        });
        let answered = sender.send_request(request).await;
        answered.map_err(|e| Silence::Cut(e.to_string()))
    }
}

fn with_topic(path: &str, topic: &TopicName) -> String {
    let mut out = path.as_bytes().to_vec();
    put_encoded(&mut out, topic.as_str());
    // Everything in it is ASCII.
    String::from_utf8(out).unwrap_or_default()
}

fn ours(headers: &HeaderMap) -> bool {
    headers.contains_key("fanfare-request-id")
}

fn proxy(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::SERVER).or(headers.get(header::VIA))?;
    let text = value.to_str().ok()?;
    Some(text.chars().filter(|c| !c.is_control()).take(80).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_a_port_and_what_stands_before_the_routes() {
        let parts = |url: &str| {
            let Target {
                address,
                host,
                base,
            } = Target::read(url).unwrap();
            format!("{address} {host} {base}")
        };
        assert_eq!(parts("http://n1:8080"), "n1:8080 n1:8080 ");
        assert_eq!(
            parts("http://push.example/"),
            "push.example:80 push.example "
        );
        assert_eq!(parts("http://n1/a/push/"), "n1:80 n1 /a/push");
        assert_eq!(parts("http://[::1]"), "[::1]:80 [::1] ");
        assert_eq!(parts("http://[::1]:81"), "[::1]:81 [::1]:81 ");
        for url in [
            "n1:80",
            "ftp://n1",
            "https://n1",
            "http://",
            "http://me@n1",
            "http://n1/?a",
        ] {
            let told = Target::read(url).unwrap_err().to_string();
            assert!(told.contains(url), "{told}");
        }
    }
}
