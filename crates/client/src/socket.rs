//! Drafts over a WebSocket: a task writes them, the answers are heard here. Nothing is subscribed.

use fanfare_host::Stream;
use fanfare_protocol::json::client_frame::ClientFrame;
use fanfare_protocol::json::server_frame::ServerFrame;
use fanfare_rpc::public::StreamDraft;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::endpoint::Address;
use crate::machine::Machine;
use crate::outbox::Sent;
use crate::told::{Ending, Status, Told};
use crate::transport::{malformed, ws};

/// Most drafts in flight: a node reads no further (protocol section 4).
pub(crate) const WINDOW: usize = 64;

/// What a node answers.
pub(crate) struct Answers(SplitStream<WebSocketStream<Stream>>);

/// Connects, and writes what comes from `drafts` until there is no more. The socket is closed when
/// both halves are dropped.
pub(crate) async fn open(
    machine: &Machine,
    address: &Address,
    authorization: Option<String>,
    drafts: mpsc::Receiver<StreamDraft>,
) -> Result<Answers, Ending> {
    let socket = ws::publishing(machine, address, authorization).await?;
    let (sink, answers) = socket.split();
    machine.tasks.spawn(async move {
        if let Err(error) = write(sink, drafts).await {
            // The half that hears is told of the same.
            tracing::debug!(%error, "a socket of a publisher broke");
        }
    });
    Ok(Answers(answers))
}

async fn write(
    mut sink: SplitSink<WebSocketStream<Stream>, Message>,
    mut drafts: mpsc::Receiver<StreamDraft>,
) -> Result<(), Error> {
    let mut ready = Vec::new();
    while drafts.recv_many(&mut ready, WINDOW).await > 0 {
        for StreamDraft { seq, draft, .. } in ready.drain(..) {
            let mut out = Vec::new();
            ClientFrame::<String>::Publish { id: seq, draft }.put(&mut out);
            // What is put is JSON.
            let text = String::from_utf8(out).unwrap_or_default();
            sink.feed(Message::text(text)).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

impl Answers {
    /// The next draft's outcome, or the end. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<(u64, Sent), Ending> {
        loop {
            let Some(frame) = ws::heard(&mut self.0).await? else {
                continue;
            };
            match frame {
                ServerFrame::Ack { id, ack } => return Ok((id, Sent::Acked(ack))),
                ServerFrame::Error { id, problem } => {
                    let told = Told::new(problem, Status::None);
                    return match id {
                        Some(id) => Ok((id, Sent::Refused(told))),
                        None => Err(told.into()),
                    };
                }
                ServerFrame::Disconnect(end) => return Err(end.into()),
                ServerFrame::Subscribed(_)
                | ServerFrame::Unsubscribed(_)
                | ServerFrame::Items { .. } => {
                    return Err(malformed("items, and nothing was subscribed"));
                }
                ServerFrame::Welcome(_)
                | ServerFrame::Refreshed(_)
                | ServerFrame::Pong { .. }
                | ServerFrame::Heartbeat
                | ServerFrame::Other(_) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
