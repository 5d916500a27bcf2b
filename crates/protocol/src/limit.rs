//! The limits of protocol section 2 that bound what is read here, and the bounds of what is written.

/// Limits of what clients may send. A node takes them from its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a payload; the same on every node. Default: 64 KiB.
    pub payload: usize,
    /// Most topics of a session or poll. Default: 100.
    pub topics: usize,
    /// Most bytes of a WebSocket frame from a client, and of a line of a batch. Default: 128 KiB.
    pub frame: usize,
    /// Most unanswered requests of a WebSocket before reading stops. Default: 64.
    pub in_flight: usize,
    /// Most lines of a batch. Default: 1,000.
    pub batch_lines: usize,
    /// Most bytes of a batch. Default: 8 MiB.
    pub batch_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 64 << 10,
            topics: 100,
            frame: 128 << 10,
            in_flight: 64,
            batch_lines: 1_000,
            batch_bytes: 8 << 20,
        }
    }
}

/// Most items of an `items` frame.
pub const FRAME_ITEMS: usize = 256;
/// Most bytes of an `items` frame's JSON, unless it holds one item.
pub const FRAME_BYTES: usize = 256 << 10;
/// Most bytes of payload in a poll's answer, unless it holds one item.
pub const POLL_BYTES: usize = 1 << 20;
/// The greatest `id` of a client's frame: 2^53 − 1, the last integer a JavaScript number tells
/// from its neighbours.
pub const MAX_ID: u64 = (1 << 53) - 1;
