//! The wire of a WebSocket: whole frames on their way to the socket, written by whoever has news.
//! Nothing lands inside a frame that is half written.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf as _, Bytes};
use fanfare_core::gap::Gap;
use fanfare_core::relay::Span;
use fanfare_host::Socket;
use fanfare_protocol::json::server_frame::{
    Disconnect, Refreshed, Subscribed, Unsubscribed, put_ack, put_error, put_pong, put_refreshed,
    put_unsubscribed, put_welcome,
};
use fanfare_protocol::run::{Carrier, Format};
use fanfare_protocol::ws::put_text_with;

use crate::relay::EdgeRun;
use crate::session::wire::{Flush, Place, Said, Wire};
use crate::sessions::Vitals;

/// Bytes of items that may wait for one write; what comes on top is one run at most.
const ROOM: usize = 64 << 10;
/// Bytes that wait beyond which no frame is read: a client that does not read is not answered.
const CLOGGED: usize = 128 << 10;
/// Frames of one write.
const PIECES: usize = 16;

/// Frames on their way to one socket.
pub(super) struct WsWire {
    socket: Arc<dyn Socket>,
    vitals: Arc<Vitals>,
    out: VecDeque<Bytes>,
    bytes: usize,
    blocked: bool,
    broken: bool,
}

impl WsWire {
    pub(super) fn new(socket: Arc<dyn Socket>, vitals: Arc<Vitals>) -> Self {
        Self {
            socket,
            vitals,
            out: VecDeque::new(),
            bytes: 0,
            blocked: false,
            broken: false,
        }
    }

    /// Takes whole frames.
    pub(super) fn push(&mut self, frames: Bytes) {
        if !frames.is_empty() {
            self.bytes += frames.len();
            self.out.push_back(frames);
        }
    }

    /// True while nothing more should be read from the client.
    pub(super) fn is_clogged(&self) -> bool {
        self.bytes > CLOGGED
    }

    fn has_room(&self) -> bool {
        !self.blocked && self.bytes < ROOM
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while written > 0 {
            let Some(front) = self.out.front_mut() else {
                return;
            };
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                self.out.pop_front();
            }
        }
    }

    fn write(&self) -> std::io::Result<usize> {
        match (self.out.front(), self.out.len()) {
            (Some(only), 1) => self.socket.try_write(only),
            _ => {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(&self.out) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                self.socket.try_write_vectored(&slices[..count])
            }
        }
    }
}

impl Wire for WsWire {
    fn waiting(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, place: &Place<'_>, span: &Span, run: &Arc<EdgeRun>, skip: u32) -> u32 {
        if !self.has_room() {
            return 0;
        }
        let encoded = run.encoded(Format::new(Carrier::Ws, place.solo), place.html);
        let range = skip as usize..span.count as usize;
        let frames = if !place.solo && self.vitals.cursors.load(Ordering::Relaxed) {
            encoded.part_with(range, &place.cursor_at(span.end()))
        } else {
            encoded.part(range)
        };
        self.push(frames);
        span.count - skip
    }

    fn gap(&mut self, place: &Place<'_>, gap: &Gap) -> bool {
        if !self.has_room() {
            return false;
        }
        let told = place.solo || self.vitals.cursors.load(Ordering::Relaxed);
        let cursor = told.then(|| place.cursor_at(gap.to));
        let mut out = Vec::new();
        Carrier::Ws.put_gap(&mut out, place.topic, gap, cursor.as_deref());
        self.push(out.into());
        true
    }

    fn say(&mut self, said: &Said) {
        let mut out = Vec::new();
        match said {
            Said::Welcome(welcome) => put_text_with(&mut out, |out| put_welcome(out, welcome)),
            Said::Subscribed {
                id,
                topic,
                standing,
                cursor,
            } => {
                let subscribed = Subscribed::new(*id, topic.clone(), standing, cursor.clone());
                Carrier::Ws.put_subscribed(&mut out, &subscribed);
            }
            Said::Unsubscribed { id, topic, why } => {
                let advice = |why: &fanfare_core::receipt::Refusal| why.code.advice(why.outcome);
                let unsubscribed = Unsubscribed {
                    id: *id,
                    topic: topic.clone(),
                    code: why.as_ref().map(|why| why.code.into()),
                    advice: why.as_ref().map(|why| advice(why).into()),
                    detail: why.as_ref().map(|why| why.detail.clone()),
                };
                put_text_with(&mut out, |out| put_unsubscribed(out, &unsubscribed));
            }
            Said::Ack { id, receipt } => put_text_with(&mut out, |out| put_ack(out, *id, receipt)),
            Said::Error { id, refusal } => {
                put_text_with(&mut out, |out| put_error(out, *id, refusal));
            }
            Said::Refreshed { id, expires_in_ms } => {
                let refreshed = Refreshed {
                    id: *id,
                    expires_in_ms: *expires_in_ms,
                };
                put_text_with(&mut out, |out| put_refreshed(out, refreshed));
            }
            Said::Pong { id } => put_text_with(&mut out, |out| put_pong(out, *id)),
            Said::Heartbeat => Carrier::Ws.put_heartbeat(&mut out),
            Said::Disconnect { why, cursor } => {
                Carrier::Ws.put_disconnect(&mut out, &Disconnect::new(why, cursor.clone()));
            }
        }
        self.push(out.into());
    }

    fn flush(&mut self) -> (bool, Flush) {
        let mut moved = false;
        while !self.out.is_empty() && !self.broken {
            match self.write() {
                Ok(0) => self.broken = true,
                Ok(written) => {
                    moved = true;
                    self.advance(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return (moved, Flush::Waits);
                }
                Err(_) => self.broken = true,
            }
        }
        self.blocked = false;
        (
            moved,
            if self.broken {
                Flush::Broken
            } else {
                Flush::Clear
            },
        )
    }
}
