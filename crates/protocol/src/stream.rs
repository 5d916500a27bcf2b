//! What is said on a stream besides runs, for every carrier alike: answers, gaps, heartbeats, the
//! end. Each call appends whole frames, events or lines.

use fanfare_core::code::Code;
use fanfare_core::gap::Gap;
use fanfare_core::name::TopicName;

use crate::json::server_frame::{self, Disconnect, Subscribed};
use crate::json::{put_gap, put_name, put_string};
use crate::run::Carrier;
use crate::{html, sse, ws};

impl Carrier {
    /// Appends the answer to attaching a topic. It always carries its cursor.
    pub fn put_subscribed(self, out: &mut Vec<u8>, subscribed: &Subscribed) {
        let cursor = subscribed.cursor.as_deref();
        match self {
            Self::Ws => {
                ws::put_text_with(out, |out| {
                    server_frame::put_subscribed(out, subscribed, cursor);
                });
            }
            Self::Sse | Self::Html => {
                let mut data = Vec::new();
                server_frame::put_subscribed(&mut data, subscribed, None);
                sse::put_event(out, cursor, Some(sse::SUBSCRIBED), &data);
            }
            Self::Tail => {
                server_frame::put_subscribed(out, subscribed, cursor);
                out.push(b'\n');
            }
        }
    }

    /// Appends a gap; `cursor` is the session's after it, where it says one: with one topic always,
    /// with several at the end of a write (a WebSocket: if `hello.cursors`).
    pub fn put_gap(self, out: &mut Vec<u8>, topic: &TopicName, gap: &Gap, cursor: Option<&str>) {
        match self {
            Self::Ws => ws::put_text_with(out, |out| {
                out.extend_from_slice(b"{\"type\":\"items\",\"items\":[");
                put_gap(out, topic, gap, None);
                out.push(b']');
                if let Some(cursor) = cursor {
                    put_name(out, "cursor");
                    put_string(out, cursor);
                }
                out.push(b'}');
            }),
            Self::Sse | Self::Html => {
                let mut data = Vec::new();
                if self == Self::Html {
                    html::put_gap(&mut data, topic, gap);
                } else {
                    put_gap(&mut data, topic, gap, None);
                }
                sse::put_event(out, cursor, Some(sse::GAP), &data);
            }
            Self::Tail => {
                put_gap(out, topic, gap, cursor);
                out.push(b'\n');
            }
        }
    }

    /// Appends what says "still here": on a WebSocket a Ping, which asks the client the same, and a
    /// frame that browsers see.
    pub fn put_heartbeat(self, out: &mut Vec<u8>) {
        match self {
            Self::Ws => {
                ws::put_ping(out);
                ws::put_text_with(out, server_frame::put_heartbeat);
            }
            Self::Sse | Self::Html => sse::put_heartbeat(out),
            Self::Tail => {
                server_frame::put_heartbeat(out);
                out.push(b'\n');
            }
        }
    }

    /// Appends the end of a session: the last that is written. On a WebSocket the Close frame
    /// follows; on SSE the delay advised is the event's `retry`, and the cursor, if any, its id.
    pub fn put_disconnect(self, out: &mut Vec<u8>, disconnect: &Disconnect) {
        match self {
            Self::Ws => {
                ws::put_text_with(out, |out| server_frame::put_disconnect(out, disconnect));
                ws::put_close_of(out, disconnect.code.known().unwrap_or(Code::Internal));
            }
            Self::Sse | Self::Html => {
                if let Some(ms) = disconnect.retry_after_ms {
                    sse::put_retry_line(out, ms);
                }
                let mut data = Vec::new();
                server_frame::put_disconnect(&mut data, disconnect);
                let id = disconnect.cursor.as_deref();
                sse::put_event(out, id, Some(sse::DISCONNECT), &data);
            }
            Self::Tail => {
                server_frame::put_disconnect(out, disconnect);
                out.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
