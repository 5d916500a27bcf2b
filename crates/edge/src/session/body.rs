//! The wire of sessions that answer a request (SSE, tail): a bounded queue that the response body
//! takes from. The body is the pump: it runs when the connection has room.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fanfare_core::gap::Gap;
use fanfare_core::relay::Span;
use fanfare_protocol::json::server_frame::{Disconnect, Subscribed};
use fanfare_protocol::run::{Carrier, Format};
use http_body::Frame;

use super::delivery::{Delivery, Pumped};
use super::fetch::Fetch;
use super::wire::{Flush, Place, Said, Wire};
use crate::relay::EdgeRun;
use crate::sessions::Guard;

/// Bytes that may wait; what comes on top is one run at most.
const ROOM: usize = 64 << 10;

/// Pieces on their way to a response body.
pub(crate) struct BodyWire {
    carrier: Carrier,
    queue: VecDeque<Bytes>,
    bytes: usize,
    taken: bool,
}

impl BodyWire {
    /// A wire whose first piece is `first`.
    pub(crate) fn new(carrier: Carrier, first: Vec<u8>) -> Self {
        let mut wire = Self {
            carrier,
            queue: VecDeque::new(),
            bytes: 0,
            taken: false,
        };
        wire.push(first.into());
        wire
    }

    fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.queue.push_back(piece);
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let piece = self.queue.pop_front()?;
        self.bytes -= piece.len();
        self.taken = true;
        Some(piece)
    }
}

impl Wire for BodyWire {
    fn waiting(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, place: &Place<'_>, span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32 {
        if self.bytes >= ROOM {
            return 0;
        }
        let encoded = run.encoded(Format::new(self.carrier, place.solo), place.html);
        let range = skip as usize..span.count as usize;
        let piece = if place.solo {
            encoded.part(range)
        } else {
            encoded.part_with(range, &place.cursor_at(span.end()))
        };
        self.push(piece);
        span.count - skip
    }

    fn gap(&mut self, place: &Place<'_>, gap: &Gap) -> bool {
        if self.bytes >= ROOM {
            return false;
        }
        let mut out = Vec::new();
        self.carrier
            .put_gap(&mut out, place.topic, gap, Some(&place.cursor_at(gap.to)));
        self.push(out.into());
        true
    }

    fn say(&mut self, said: &Said) {
        let mut out = Vec::new();
        match said {
            Said::Subscribed {
                id,
                topic,
                standing,
                cursor,
            } => {
                let subscribed = Subscribed::new(*id, topic.clone(), standing, cursor.clone());
                self.carrier.put_subscribed(&mut out, &subscribed);
            }
            Said::Heartbeat => self.carrier.put_heartbeat(&mut out),
            Said::Disconnect { why, cursor } => {
                self.carrier
                    .put_disconnect(&mut out, &Disconnect::new(why, cursor.clone()));
            }
            // Nobody asks for anything here: these are answers of a WebSocket.
            Said::Welcome(_)
            | Said::Unsubscribed { .. }
            | Said::Ack { .. }
            | Said::Error { .. }
            | Said::Refreshed { .. }
            | Said::Pong { .. } => {}
        }
        self.push(out.into());
    }

    fn flush(&mut self) -> (bool, Flush) {
        let moved = std::mem::take(&mut self.taken);
        (
            moved,
            if self.queue.is_empty() {
                Flush::Clear
            } else {
                Flush::Waits
            },
        )
    }
}

/// The body of a stream's response. Dropping it ends the session.
pub(crate) struct SessionBody {
    delivery: Arc<Delivery<BodyWire>>,
    fetch: Fetch,
    _guard: Guard,
}

impl SessionBody {
    pub(crate) fn new(delivery: Arc<Delivery<BodyWire>>, fetch: Fetch, guard: Guard) -> Self {
        Self {
            delivery,
            fetch,
            _guard: guard,
        }
    }
}

impl http_body::Body for SessionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self {
            delivery, fetch, ..
        } = &mut *self;
        let pumped = delivery.poll_pump(cx, fetch);
        if let Some(piece) = delivery.take_from(BodyWire::pop) {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match pumped {
            Pumped::Over | Pumped::Broken => Poll::Ready(None),
            Pumped::Idle | Pumped::Waits => Poll::Pending,
        }
    }
}
