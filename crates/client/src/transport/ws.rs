//! A WebSocket: hello, then a subscribe for each topic; the rest is heard.

use std::collections::BTreeSet;
use std::time::Duration;

use fanfare_host::Stream;
use fanfare_protocol::header::SUBPROTOCOL;
use fanfare_protocol::json::client_frame::{ClientFrame, Hello, Subscribe};
use fanfare_protocol::json::server_frame::ServerFrame;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, header};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::url::authorization;
use super::{Said, Wish, malformed, said};
use crate::endpoint::Address;
use crate::http::{CONNECT, connect};
use crate::machine::Machine;
use crate::told::{Ending, Told};

pub(crate) struct Ws {
    socket: WebSocketStream<Stream>,
}

pub(super) async fn open(machine: &Machine, address: &Address, wish: Wish) -> Result<Ws, Ending> {
    let mut socket = shake_hands(machine, address, &wish).await?;
    for frame in first_frames(wish) {
        let mut out = Vec::new();
        frame.put(&mut out);
        let text = String::from_utf8(out).map_err(malformed)?;
        let sent = socket.feed(Message::text(text)).await;
        sent.map_err(|error| ending(&error))?;
    }
    socket.flush().await.map_err(|error| ending(&error))?;
    Ok(Ws { socket })
}

/// A socket after its `hello`, for publishing.
pub(crate) async fn publishing(
    machine: &Machine,
    address: &Address,
    authorization: Option<String>,
) -> Result<WebSocketStream<Stream>, Ending> {
    let wish = Wish {
        topics: Vec::new(),
        cursor: None,
        heartbeat: Duration::from_secs(15),
        fresh: BTreeSet::new(),
        authorization,
    };
    Ok(open(machine, address, wish).await?.socket)
}

async fn shake_hands(
    machine: &Machine,
    address: &Address,
    wish: &Wish,
) -> Result<WebSocketStream<Stream>, Ending> {
    let stream = connect(machine, address).await?;
    let request = handshake(address, wish)?;
    let opening = client_async(request, stream);
    let opened = tokio::select! { biased;
        opened = opening => opened.map_err(|error| ending(&error))?,
        () = machine.clock.sleep(CONNECT) => {
            return Err(Ending::Cut(format!("{address}: no answer to the handshake in time")));
        }
    };
    Ok(opened.0)
}

fn handshake(address: &Address, wish: &Wish) -> Result<Request<()>, Ending> {
    let bad = |error: Error| Ending::NotConnected(format!("{address}: {error}"));
    let url = format!("ws://{address}/v1/ws");
    let mut request = url.into_client_request().map_err(bad)?;
    let headers = request.headers_mut();
    let protocol = http::HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    if let Some(value) = authorization(wish)? {
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

fn first_frames(wish: Wish) -> impl Iterator<Item = ClientFrame<String>> {
    let hello = ClientFrame::Hello(Hello {
        id: Some(1),
        token: None,
        cursor: wish.cursor,
        heartbeat_ms: u64::try_from(wish.heartbeat.as_millis()).ok(),
        cursors: true,
        client: Some(concat!("fanfare-client/", env!("CARGO_PKG_VERSION")).to_owned()),
    });
    let subscribes = (2..).zip(wish.topics).map(|(id, (topic, since))| {
        ClientFrame::Subscribe(Subscribe {
            id,
            topic,
            cursor: None,
            from: Some(since),
            min_position: None,
        })
    });
    std::iter::once(hello).chain(subscribes)
}

impl Ws {
    pub(super) async fn next(&mut self) -> Result<Said, Ending> {
        match heard(&mut self.socket).await? {
            Some(frame) => said(frame),
            None => Ok(Said::Alive),
        }
    }
}

/// The next frame of a socket; `None`: a sign of life. Safe to cancel.
pub(crate) async fn heard(
    socket: &mut (impl futures_util::Stream<Item = Result<Message, Error>> + Unpin),
) -> Result<Option<ServerFrame>, Ending> {
    let message = match socket.next().await {
        Some(Ok(message)) => message,
        Some(Err(error)) => return Err(ending(&error)),
        None => return Err(Ending::Cut("the socket was cut".to_owned())),
    };
    match message {
        Message::Text(text) => Ok(Some(ServerFrame::read(text.as_bytes()).map_err(malformed)?)),
        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(None),
        Message::Binary(_) => Err(malformed("a binary frame")),
        Message::Close(Some(frame)) => Err(Told::of_close(frame.code.into(), &frame.reason).into()),
        Message::Close(None) => Err(Ending::Cut("closed without a code".to_owned())),
    }
}

fn ending(error: &Error) -> Ending {
    if let Error::Http(response) = error {
        let body = response.body().as_deref().unwrap_or_default();
        return Told::of_http(response.status().as_u16(), body).into();
    }
    Ending::Cut(format!("the socket broke: {error}"))
}
