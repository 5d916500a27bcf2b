//! Runs encoded once for each format and shared by all sessions that read it: whole, cut where a
//! session resumes inside, or ended by a session's own cursor.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_core::cursor::Cursor;
use fanfare_core::message::{EventName, Message};
use fanfare_core::name::TopicName;
use fanfare_core::position::Position;
use fanfare_core::rule::Html;

use crate::json::{put_message, put_name, put_string};
use crate::limit::{FRAME_BYTES, FRAME_ITEMS};
use crate::{html, sse, ws};

/// The formats in which runs are shared. `One`: a session of one topic, whose cursor is in the
/// bytes. `Many`: of several, whose cursor only the session knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    WsOne,
    WsMany,
    SseOne,
    SseMany,
    /// SSE with `format=html`.
    HtmlOne,
    HtmlMany,
    TailOne,
    TailMany,
}

/// What carries a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Frames of `items`.
    Ws,
    /// Events whose data is JSON.
    Sse,
    /// Events whose data is HTML.
    Html,
    /// Lines of JSON.
    Tail,
}

impl Format {
    /// All formats, each at its [`index`](Self::index).
    pub const ALL: [Self; 8] = [
        Self::WsOne,
        Self::WsMany,
        Self::SseOne,
        Self::SseMany,
        Self::HtmlOne,
        Self::HtmlMany,
        Self::TailOne,
        Self::TailMany,
    ];

    /// The format of a session.
    pub fn new(carrier: Carrier, one_topic: bool) -> Self {
        match (carrier, one_topic) {
            (Carrier::Ws, true) => Self::WsOne,
            (Carrier::Ws, false) => Self::WsMany,
            (Carrier::Sse, true) => Self::SseOne,
            (Carrier::Sse, false) => Self::SseMany,
            (Carrier::Html, true) => Self::HtmlOne,
            (Carrier::Html, false) => Self::HtmlMany,
            (Carrier::Tail, true) => Self::TailOne,
            (Carrier::Tail, false) => Self::TailMany,
        }
    }

    /// The place of this format's slot, below `ALL.len()`.
    pub fn index(self) -> usize {
        self as usize
    }

    /// What carries it.
    pub fn carrier(self) -> Carrier {
        match self {
            Self::WsOne | Self::WsMany => Carrier::Ws,
            Self::SseOne | Self::SseMany => Carrier::Sse,
            Self::HtmlOne | Self::HtmlMany => Carrier::Html,
            Self::TailOne | Self::TailMany => Carrier::Tail,
        }
    }

    /// True if the cursor is in the shared bytes.
    pub fn one_topic(self) -> bool {
        match self {
            Self::WsOne | Self::SseOne | Self::HtmlOne | Self::TailOne => true,
            Self::WsMany | Self::SseMany | Self::HtmlMany | Self::TailMany => false,
        }
    }
}

/// A run in one format. Clones of its bytes share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRun {
    format: Format,
    topic_hash: u64,
    bytes: Bytes,
    spans: Box<[Span]>,
}

/// Where a message stands: its event or line; in a frame the message alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    begin: usize,
    end: usize,
    position: Position,
}

/// What a frame says after its items.
#[derive(Clone, Copy)]
enum Mark<'a> {
    Nothing,
    /// The cursor of the one topic of this hash.
    Topic(u64),
    /// A session's own cursor, in the last frame.
    Session(&'a str),
}

impl EncodedRun {
    /// Encodes a run's messages, contiguous ones of `topic`. `html` is the topic's rule.
    pub fn new(format: Format, topic: &TopicName, html: Html, messages: &[Arc<Message>]) -> Self {
        let topic_hash = topic.hash64();
        let (mut out, mut data) = (Vec::new(), Vec::new());
        let mut spans = Vec::with_capacity(messages.len());
        for message in messages {
            let begin = out.len();
            let position = message.position;
            let own = format
                .one_topic()
                .then(|| topic_cursor(topic_hash, position));
            let own = own.as_deref();
            match format.carrier() {
                Carrier::Ws => put_message(&mut out, topic, message, None),
                Carrier::Tail => {
                    put_message(&mut out, topic, message, own);
                    out.push(b'\n');
                }
                Carrier::Sse => {
                    put_message(&mut data, topic, message, None);
                    put_event(&mut out, message, own, &data);
                }
                Carrier::Html => {
                    html::put_message(&mut data, topic, message, html);
                    put_event(&mut out, message, own, &data);
                }
            }
            data.clear();
            let end = out.len();
            spans.push(Span {
                begin,
                end,
                position,
            });
        }
        if format.carrier() == Carrier::Ws {
            let mark = mark_of(format, topic_hash);
            let items = out;
            out = Vec::with_capacity(items.len() + 128);
            spans = put_frames(&mut out, &items, &spans, mark);
        }
        // Runs are kept while anyone may read them: what growing has left over is given back.
        out.shrink_to_fit();
        Self {
            format,
            topic_hash,
            bytes: out.into(),
            spans: spans.into(),
        }
    }

    /// The format it is in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// All of it, ready to be written.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True if there is no message.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The positions of its messages, in order.
    pub fn positions(&self) -> impl DoubleEndedIterator<Item = Position> + ExactSizeIterator {
        self.spans.iter().map(|span| span.position)
    }

    /// Number of messages up to and including `position`: where a session that stands there goes on.
    pub fn index_after(&self, position: Position) -> usize {
        self.spans.partition_point(|span| span.position <= position)
    }

    /// The bytes of some of its messages, ready to be written. All of them, and any slice of events
    /// or lines, share the run's bytes; frames are put together anew. Outside of the run is nothing.
    pub fn part(&self, range: Range<usize>) -> Bytes {
        if range == (0..self.spans.len()) {
            return self.bytes.clone();
        }
        let Some((first, last)) = self.ends(&range) else {
            return Bytes::new();
        };
        match self.format.carrier() {
            Carrier::Ws => self.frames(range, mark_of(self.format, self.topic_hash)),
            Carrier::Sse | Carrier::Html | Carrier::Tail => self.bytes.slice(first.begin..last.end),
        }
    }

    /// The bytes of some of its messages, the last of which carries a session's own `cursor`. In a
    /// format of one topic the cursor is there already, and `cursor` is not used.
    pub fn part_with(&self, range: Range<usize>, cursor: &str) -> Bytes {
        if self.format.one_topic() {
            return self.part(range);
        }
        let Some((first, last)) = self.ends(&range) else {
            return Bytes::new();
        };
        let mut out = Vec::with_capacity(last.end - first.begin + cursor.len() + 16);
        match self.format.carrier() {
            Carrier::Ws => return self.frames(range, Mark::Session(cursor)),
            Carrier::Sse | Carrier::Html => {
                out.extend_from_slice(&self.bytes[first.begin..last.begin]);
                sse::put_id(&mut out, cursor);
                out.extend_from_slice(&self.bytes[last.begin..last.end]);
            }
            Carrier::Tail => {
                // Into the last object, before its brace and line feed.
                out.extend_from_slice(&self.bytes[first.begin..last.end - 2]);
                put_name(&mut out, "cursor");
                put_string(&mut out, cursor);
                out.extend_from_slice(b"}\n");
            }
        }
        out.into()
    }

    fn ends(&self, range: &Range<usize>) -> Option<(Span, Span)> {
        let spans = self.spans.get(range.clone())?;
        Some((*spans.first()?, *spans.last()?))
    }

    fn frames(&self, range: Range<usize>, mark: Mark<'_>) -> Bytes {
        let mut out = Vec::new();
        put_frames(&mut out, &self.bytes, &self.spans[range], mark);
        out.into()
    }
}

/// The text of the cursor of one topic.
pub fn topic_cursor(topic_hash: u64, position: Position) -> String {
    let mut cursor = Cursor::default();
    cursor.set(topic_hash, position);
    cursor.to_string()
}

fn mark_of(format: Format, topic_hash: u64) -> Mark<'static> {
    if format.one_topic() {
        Mark::Topic(topic_hash)
    } else {
        Mark::Nothing
    }
}

fn put_event(out: &mut Vec<u8>, message: &Message, id: Option<&str>, data: &[u8]) {
    let event = message.content.meta.event.as_ref();
    sse::put_event(out, id, event.map(EventName::as_str), data);
}

const FRAME_BEGIN: &[u8] = b"{\"type\":\"items\",\"items\":[";
/// Room in a frame for what is not an item: its beginning and the longest cursor.
const FRAME_ROOM: usize = 64 + Cursor::MAX_TEXT;

/// Appends the `items` frames of items that stand in `source`, as many as they need. Returns where
/// the items stand in `out`.
fn put_frames(out: &mut Vec<u8>, source: &[u8], spans: &[Span], mark: Mark<'_>) -> Vec<Span> {
    let mut placed = Vec::with_capacity(spans.len());
    let mut rest = spans;
    while !rest.is_empty() {
        let (frame, after) = rest.split_at(frame_len(rest));
        rest = after;
        let end = frame_end(frame, mark, rest.is_empty());
        let items: usize = frame.iter().map(|span| span.end - span.begin).sum();
        let commas = frame.len() - 1;
        ws::put_text_header(out, FRAME_BEGIN.len() + items + commas + end.len());
        out.extend_from_slice(FRAME_BEGIN);
        for (at, span) in frame.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let begin = out.len();
            out.extend_from_slice(&source[span.begin..span.end]);
            placed.push(Span {
                begin,
                end: out.len(),
                position: span.position,
            });
        }
        out.extend_from_slice(&end);
    }
    placed
}

/// How many items go into the next frame: as many as fit, at least one.
fn frame_len(spans: &[Span]) -> usize {
    let mut bytes = FRAME_ROOM;
    let fits = |span: &&Span| {
        bytes += span.end - span.begin + 1;
        bytes <= FRAME_BYTES
    };
    spans
        .iter()
        .take(FRAME_ITEMS)
        .take_while(fits)
        .count()
        .max(1)
}

/// What stands after the items of a frame.
fn frame_end(frame: &[Span], mark: Mark<'_>, last: bool) -> Vec<u8> {
    let mut end = vec![b']'];
    let cursor = match (mark, frame.last()) {
        (Mark::Topic(hash), Some(span)) => Some(topic_cursor(hash, span.position)),
        (Mark::Session(cursor), _) if last => Some(cursor.to_owned()),
        (Mark::Nothing | Mark::Topic(_) | Mark::Session(_), _) => None,
    };
    if let Some(cursor) = cursor {
        put_name(&mut end, "cursor");
        put_string(&mut end, &cursor);
    }
    end.push(b'}');
    end
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
