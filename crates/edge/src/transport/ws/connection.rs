//! The task of one WebSocket: reads frames for the session's actor, and pumps what the relay does
//! not write itself. tungstenite reads; its own answers (pong, close) join the session's wire.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use fanfare_core::cursor::Cursor;
use fanfare_core::receipt::Refusal;
use fanfare_host::{Clock, Stream};
use fanfare_protocol::json::client_frame::{BadFrame, ClientFrame};
use fanfare_protocol::json::server_frame::Disconnect;
use fanfare_protocol::limit::Limits;
use fanfare_protocol::query::{ReadQuery, ReadRoute};
use fanfare_protocol::run::Carrier;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::CapacityError};

use super::wire::WsWire;
use crate::auth::Bearer;
use crate::session::actor::Msg;
use crate::session::attach::Wish;
use crate::session::delivery::{Delivery, Pumped};
use crate::session::fetch::Fetch;
use crate::sessions::{Guard, Lost, Opening, Seat, Sessions, Vitals};
use crate::transport::since;

/// How long the last word and the client's Close may take.
const PARTING: Duration = Duration::from_secs(2);
/// Bytes of reading that a connection keeps.
const READ_BUFFER: usize = 512;

/// Serves one connection from its upgrade to its end.
pub(super) async fn run(
    sessions: Sessions,
    seat: Seat,
    stream: Stream,
    early: Vec<u8>,
    opening: Result<(ReadQuery, Bearer), Refusal>,
) {
    let clock = sessions.state.deps.clock.clone();
    let (query, bearer) = match opening {
        Ok(opening) => opening,
        Err(refusal) => return refuse(&clock, stream, &refusal).await,
    };
    let mut cursor = Cursor::default();
    let mut wishes = Vec::new();
    for topic in &query.topics {
        let wanted = since(&query, ReadRoute::Ws, topic);
        if let Some(at) = query
            .cursor
            .as_ref()
            .and_then(|presented| presented.get(topic))
        {
            cursor.set(topic.hash64(), at);
        }
        wishes.push(Wish::stream(topic.clone(), wanted, query.min_position));
    }
    let lost = Lost::default();
    let teller = lost.teller();
    let opening = Opening {
        transport: "ws",
        bearer,
        heartbeat: query.heartbeat,
        open: !query.topics.is_empty(),
        cursor: query.cursor,
        cut: None,
        attached: Vec::new(),
        wishes,
        lost,
    };
    let vitals = sessions.vitals(&opening, true);
    vitals
        .cursors
        .store(query.cursors, std::sync::atomic::Ordering::Relaxed);
    let wire = WsWire::new(stream.socket().clone(), vitals.clone());
    let delivery = Delivery::new(wire, cursor, &sessions.state.deps, teller);
    let voice = delivery.clone();
    let guard = match sessions.open(seat, opening, voice, vitals.clone()).await {
        Ok(guard) => guard,
        Err(refusal) => return refuse(&clock, stream, &refusal).await,
    };
    let limits = sessions.state.limits();
    let shared = Shared {
        stream,
        delivery: delivery.clone(),
        vitals,
        clock: clock.clone(),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 10)
        .max_message_size(Some(limits.frame))
        .max_frame_size(Some(limits.frame));
    let socket =
        WebSocketStream::from_partially_read(shared, early, Role::Server, Some(config)).await;
    let fetch = Fetch::new(sessions.reading().clone(), clock);
    let gate = Arc::new(Semaphore::new(limits.in_flight));
    Connection {
        socket,
        delivery,
        fetch,
        guard,
        gate,
        limits,
        sessions,
    }
    .serve()
    .await;
}

/// Says why there is no session, and closes.
async fn refuse(clock: &Arc<dyn Clock>, mut stream: Stream, refusal: &Refusal) {
    let mut out = Vec::new();
    Carrier::Ws.put_disconnect(&mut out, &Disconnect::new(refusal, None));
    let said = async {
        stream.write_all(&out).await?;
        part(&mut stream).await
    };
    tokio::select! {
        biased;
        // Whatever came of it: the client is told, or gone.
        _ = said => {}
        () = clock.sleep(PARTING) => {}
    }
}

/// Ends the writing side and reads until the client ends its own, so that nothing said is lost.
async fn part(stream: &mut Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 256];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

struct Connection {
    socket: WebSocketStream<Shared>,
    delivery: Arc<Delivery<WsWire>>,
    fetch: Fetch,
    guard: Guard,
    gate: Arc<Semaphore>,
    limits: Limits,
    sessions: Sessions,
}

impl Connection {
    async fn serve(mut self) {
        let clock = self.sessions.state.deps.clock.clone();
        let stop = self.sessions.state.deps.stop.clone();
        let vitals = self.guard.vitals().clone();
        let mut permit = None;
        // Set once the last word was said: then the client has a moment to take it.
        let mut parting: Option<futures_util::future::BoxFuture<'static, ()>> = None;
        let mut reading = true;
        loop {
            let clogged = self.delivery.take_from(|wire| wire.is_clogged());
            let Self {
                socket,
                delivery,
                fetch,
                gate,
                ..
            } = &mut self;
            let stream = socket.get_ref().stream.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = vitals.ended.notified(), if parting.is_none() => {
                    parting = Some(clock.sleep(PARTING));
                }
                () = async { match &mut parting { Some(parting) => parting.await, None => std::future::pending().await } } => return,
                stopped = pump(delivery, fetch, &stream, clogged) => match stopped {
                    // Reading goes on.
                    Stopped::Eased => {}
                    Stopped::Gone => return,
                    Stopped::Said => {
                        let mut stream = stream;
                        let ended = part(&mut stream);
                        tokio::select! {
                            biased;
                            // Both ends have said all they had to say, or the client is gone.
                            _ = ended => {}
                            () = clock.sleep(PARTING) => {}
                        }
                        return;
                    }
                },
                free = gate.clone().acquire_owned(), if permit.is_none() && reading => {
                    permit = free.ok();
                }
                message = socket.next(), if permit.is_some() && reading && !clogged => {
                    if let Some(permit) = permit.take() {
                        if matches!(message, Some(Ok(Message::Close(_)))) {
                            // tungstenite has its answer ready: onto the wire with it.
                            socket.flush().await.ok();
                        }
                        reading = self.take(message, permit);
                    }
                }
            }
        }
    }

    /// Hands a frame to the actor. False: nothing more is read.
    fn take(
        &self,
        message: Option<Result<Message, Error>>,
        permit: tokio::sync::OwnedSemaphorePermit,
    ) -> bool {
        let actor = self.guard.actor();
        let msg = match message {
            Some(Ok(Message::Text(text))) => {
                match ClientFrame::read(text.as_bytes(), &self.limits) {
                    Ok(frame) => Msg::Frame(Box::new(frame), permit),
                    Err(wrong) => Msg::Bad(*wrong, permit),
                }
            }
            Some(Ok(Message::Binary(_))) => Msg::Bad(BadFrame::binary(), permit),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return true,
            Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. }))) => {
                let detail = format!("a frame has at most {} bytes", self.limits.frame);
                let code = fanfare_core::code::Code::PayloadTooLarge;
                let bad = BadFrame {
                    id: None,
                    refusal: Refusal::new(code, detail),
                    fatal: true,
                };
                // An actor that is gone reads no more either.
                actor.cast(Msg::Bad(bad, permit)).ok();
                return false;
            }
            // The Close was answered on the wire; nothing of ours follows it.
            Some(Ok(Message::Close(_)) | Err(_)) | None => {
                self.delivery.close();
                return false;
            }
        };
        actor.cast(msg).is_ok()
    }
}

/// Why a pump stopped.
enum Stopped {
    /// The session is over and all was said.
    Said,
    /// The other end is gone.
    Gone,
    /// It was clogged, and is not any more.
    Eased,
}

/// Pumps until the session is over, or until a clogged wire has room again.
async fn pump(
    delivery: &Delivery<WsWire>,
    fetch: &mut Fetch,
    stream: &Stream,
    clogged: bool,
) -> Stopped {
    poll_fn(|cx| {
        loop {
            let pumped = delivery.poll_pump(cx, fetch);
            match pumped {
                Pumped::Over => return Poll::Ready(Stopped::Said),
                Pumped::Broken => return Poll::Ready(Stopped::Gone),
                Pumped::Idle | Pumped::Waits => {}
            }
            if clogged && !delivery.take_from(|wire| wire.is_clogged()) {
                return Poll::Ready(Stopped::Eased);
            }
            if pumped == Pumped::Idle {
                return Poll::Pending;
            }
            if std::task::ready!(stream.socket().poll_write_ready(cx)).is_err() {
                return Poll::Ready(Stopped::Gone);
            }
        }
    })
    .await
}

/// What tungstenite reads from and writes its own small frames to.
struct Shared {
    stream: Stream,
    delivery: Arc<Delivery<WsWire>>,
    vitals: Arc<Vitals>,
    clock: Arc<dyn Clock>,
}

impl AsyncRead for Shared {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.vitals.hear(self.clock.now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Shared {
    /// tungstenite writes whole frames at once: they join the wire as they are.
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        frames: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.delivery
            .with_wire(|wire| wire.push(Bytes::copy_from_slice(frames)));
        Poll::Ready(Ok(frames.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
