//! A WebSocket client that speaks JSON frames by hand.

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// An open socket.
pub struct Ws {
    socket: WebSocketStream<TcpStream>,
}

/// What the socket gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Frame(Value),
    Ping,
    Closed {
        code: u16,
        reason: String,
    },
    /// The connection is gone without a close.
    Cut,
}

impl Ws {
    /// Connects to `/v1/ws` with a query, maybe empty, and subprotocol `fanfare.v1`.
    pub async fn open(address: &str, query: &str) -> Result<Self> {
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = format!("ws://{address}/v1/ws{mark}{query}").into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "fanfare.v1".parse()?);
        let stream = super::http::connect(address).await?;
        let config = WebSocketConfig::default().read_buffer_size(4 << 10);
        let (socket, answer) =
            tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        let chosen = answer.headers().get("sec-websocket-protocol");
        let chosen = chosen.and_then(|v| v.to_str().ok());
        if chosen != Some("fanfare.v1") {
            bail!("the subprotocol is {chosen:?}");
        }
        Ok(Self { socket })
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &Value) -> Result<()> {
        self.send_text(&frame.to_string()).await
    }

    /// Sends text, JSON or not.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// What comes next.
    pub async fn hear(&mut self) -> Result<Heard> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame = serde_json::from_str(text.as_str());
                    return Ok(Heard::Frame(frame.context("a frame that is no JSON")?));
                }
                Some(Ok(Message::Ping(_))) => return Ok(Heard::Ping),
                Some(Ok(Message::Close(Some(frame)))) => {
                    // The answer to the close leaves with the next poll, if the peer still reads.
                    let ended =
                        tokio::time::timeout(std::time::Duration::from_secs(2), self.socket.next());
                    drop(ended.await);
                    return Ok(Heard::Closed {
                        code: frame.code.into(),
                        reason: frame.reason.as_str().to_owned(),
                    });
                }
                Some(Ok(Message::Close(None))) => {
                    return Ok(Heard::Closed {
                        code: 1005,
                        reason: String::new(),
                    });
                }
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => bail!("a binary frame"),
                Some(Err(_)) | None => return Ok(Heard::Cut),
            }
        }
    }

    /// The next JSON frame, heartbeats and pings skipped.
    pub async fn frame(&mut self) -> Result<Value> {
        loop {
            match self.hear().await? {
                Heard::Frame(frame) if frame["type"] == "heartbeat" => {}
                Heard::Frame(frame) => return Ok(frame),
                Heard::Ping => {}
                other @ (Heard::Closed { .. } | Heard::Cut) => bail!("ended: {other:?}"),
            }
        }
    }

    /// Closes from this side and waits for the echo.
    pub async fn close(mut self) -> Result<()> {
        self.socket.close(None).await?;
        while let Some(Ok(_)) = self.socket.next().await {}
        Ok(())
    }
}

/// A socket after the handshake, and the bytes that came with it: for those who count and do not
/// read frames.
pub async fn raw(address: &str, query: &str) -> Result<(TcpStream, Vec<u8>)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = super::http::connect(address).await?;
    let request = format!(
        "GET /v1/ws?{query} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fanfare.v1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    let mut buffer = vec![0; 4 << 10];
    loop {
        let n = stream.read(&mut buffer).await?;
        anyhow::ensure!(n > 0, "the handshake was cut");
        read.extend_from_slice(&buffer[..n]);
        // The subscription has begun once its answer is here.
        let head = read.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = head
            && let Some(answer) = find(&read, b"\"subscribed\"")
            && answer > end
        {
            anyhow::ensure!(read.starts_with(b"HTTP/1.1 101"), "refused");
            return Ok((stream, read.split_off(end + 4)));
        }
    }
}

/// Length of the first frame whose text holds `needle`, header included.
pub fn frame_with(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let short = usize::from(*bytes.get(at + 1)? & 0x7f);
        let (len, header) = match short {
            126 => (
                usize::from(u16::from_be_bytes([
                    *bytes.get(at + 2)?,
                    *bytes.get(at + 3)?,
                ])),
                4,
            ),
            127 => return None,
            _ => (short, 2),
        };
        let frame = bytes.get(at + header..at + header + len)?;
        if find(frame, needle).is_some() {
            return Some(header + len);
        }
        at += header + len;
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|w| w == needle)
}
