//! The event stream of protocol section 5: events, ids, retry and comments written, and the parser
//! of the HTML standard, bounded, for clients.

use crate::json::Malformed;
use crate::json::put_plain;
use crate::json::server_frame::ServerFrame;

/// The media type of an event stream.
pub const CONTENT_TYPE: &str = "text/event-stream";
/// The name of the answer to attaching a topic.
pub const SUBSCRIBED: &str = "$subscribed";
/// The name of a gap.
pub const GAP: &str = "$gap";
/// The name of a session's end.
pub const DISCONNECT: &str = "$disconnect";

/// Appends an event. `data` may have any line ends; CR and CRLF become LF.
pub(crate) fn put_event(out: &mut Vec<u8>, id: Option<&str>, name: Option<&str>, data: &[u8]) {
    if let Some(id) = id {
        put_id(out, id);
    }
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    let mut rest = data;
    loop {
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { break };
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
    out.push(b'\n');
}

/// Appends the line that names a cursor, which belongs before the rest of its event.
pub(crate) fn put_id(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.push(b'\n');
}

/// Appends how long an EventSource waits before it comes back, in ms.
pub fn put_retry(out: &mut Vec<u8>, ms: u64) {
    put_retry_line(out, ms);
    out.push(b'\n');
}

/// Appends the same as a line of the event that follows: htmx 4 passes over a `retry` without one.
pub(crate) fn put_retry_line(out: &mut Vec<u8>, ms: u64) {
    put_plain(out, format_args!("retry: {ms}\n"));
}

/// Appends the comment that says "still here".
pub fn put_heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(b": hb\n\n");
}

/// What came out of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SseItem {
    Event(Event),
    /// ms to wait before the next connection.
    Retry(u64),
    /// The server is still there.
    Comment,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `None` for an event without a name, which an EventSource calls `message`.
    pub name: Option<String>,
    pub data: String,
    /// The id this event itself has.
    pub id: Option<String>,
}

impl Event {
    /// What the event says; its id is the cursor. Only for `format=json`.
    pub fn into_frame(self) -> Result<ServerFrame, Malformed> {
        let Self { name, data, id } = self;
        let mut frame = match name {
            Some(name) if name.starts_with('$') && !is_ours(&name) => ServerFrame::Other(name),
            _ => ServerFrame::read(data.as_bytes())?,
        };
        let place = match &mut frame {
            ServerFrame::Items { cursor, .. } => Some(cursor),
            ServerFrame::Subscribed(subscribed) => Some(&mut subscribed.cursor),
            ServerFrame::Disconnect(disconnect) => Some(&mut disconnect.cursor),
            ServerFrame::Welcome(_)
            | ServerFrame::Unsubscribed(_)
            | ServerFrame::Ack { .. }
            | ServerFrame::Error { .. }
            | ServerFrame::Refreshed(_)
            | ServerFrame::Pong { .. }
            | ServerFrame::Heartbeat
            | ServerFrame::Other(_) => None,
        };
        if let (Some(place), Some(id)) = (place, id) {
            place.get_or_insert(id);
        }
        Ok(frame)
    }
}

fn is_ours(name: &str) -> bool {
    matches!(name, SUBSCRIBED | GAP | DISCONNECT)
}

/// Reads a stream piece by piece, as the HTML standard says. Stricter than that: bytes that are not
/// UTF-8, and lines or data beyond the limit, end it.
#[derive(Debug)]
pub struct Parser {
    limit: usize,
    line: Vec<u8>,
    /// The last piece ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// A byte order mark may stand at the very beginning.
    begun: bool,
    name: Option<String>,
    data: Option<String>,
    id: Option<String>,
    last_id: Option<String>,
}

impl Parser {
    /// `limit`: most bytes of a line, and of an event's data.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            begun: false,
            name: None,
            data: None,
            id: None,
            last_id: None,
        }
    }

    /// What goes into `Last-Event-ID` at the next connection.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// Takes the next piece. An event whose end has not come is kept for the next call.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<SseItem>) -> Result<(), Malformed> {
        let mut rest = piece;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
            let part = &rest[..end.unwrap_or(rest.len())];
            if self.line.len() + part.len() > self.limit {
                return Err(Malformed::TooLong { limit: self.limit });
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { break };
            self.after_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            self.take_line(&line, out)?;
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<SseItem>) -> Result<(), Malformed> {
        let line = std::str::from_utf8(line).map_err(|_| Malformed::NotUtf8)?;
        let first = !std::mem::replace(&mut self.begun, true);
        let line = line
            .strip_prefix('\u{feff}')
            .filter(|_| first)
            .unwrap_or(line);
        if line.is_empty() {
            self.dispatch(out);
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => out.push(SseItem::Comment),
            "event" => self.name = Some(value.to_owned()).filter(|name| !name.is_empty()),
            "data" => return self.take_data(value),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                if let Ok(ms) = value.parse() {
                    out.push(SseItem::Retry(ms));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_data(&mut self, value: &str) -> Result<(), Malformed> {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                if data.len() + 1 + value.len() > self.limit {
                    return Err(Malformed::TooLong { limit: self.limit });
                }
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, out: &mut Vec<SseItem>) {
        let (name, id) = (self.name.take(), self.id.take());
        if let Some(id) = &id {
            self.last_id = Some(id.clone());
        }
        if let Some(data) = self.data.take() {
            out.push(SseItem::Event(Event { name, data, id }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(pieces: &[&[u8]]) -> Vec<SseItem> {
        let mut parser = Parser::new(1 << 20);
        let mut items = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut items).unwrap();
        }
        items
    }

    fn event(name: Option<&str>, data: &str, id: Option<&str>) -> SseItem {
        SseItem::Event(Event {
            name: name.map(Into::into),
            data: data.into(),
            id: id.map(Into::into),
        })
    }

    #[test]
    fn an_event_has_a_data_line_for_each_line() {
        let mut out = Vec::new();
        put_event(&mut out, Some("C42"), Some("score"), b"a\r\nb\rc\n");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "id: C42\nevent: score\ndata: a\ndata: b\ndata: c\ndata: \n\n"
        );
    }

    #[test]
    fn the_parser_reads_what_the_standard_allows() {
        let stream = "\u{feff}: hb\r\n\r\nretry:800\nretry: x\nid\nevent: e\rdata:a\ndata\nunknown: x\n\n\
                      id: 7\n\nid: \0\ndata: b\r\r";
        assert_eq!(
            parsed(&[stream.as_bytes()]),
            [
                SseItem::Comment,
                SseItem::Retry(800),
                event(Some("e"), "a\n", Some("")),
                event(None, "b", None),
            ]
        );
    }

    #[test]
    fn a_line_ends_once_even_if_its_end_is_cut() {
        let whole: &[u8] = b"data: a\r\ndata: b\r\n\r\n";
        for at in 0..=whole.len() {
            let (first, second) = whole.split_at(at);
            assert_eq!(
                parsed(&[first, second]),
                [event(None, "a\nb", None)],
                "{at}"
            );
        }
    }

    #[test]
    fn an_id_lasts_and_an_unfinished_event_never_comes() {
        let mut parser = Parser::new(100);
        let mut items = Vec::new();
        parser
            .push(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\ndata: c", &mut items)
            .unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(parser.last_id(), Some("1"));
    }

    #[test]
    fn what_grows_without_end_is_refused() {
        let mut parser = Parser::new(10);
        let long = parser.push(b"data: 456789", &mut Vec::new());
        assert_eq!(long, Err(Malformed::TooLong { limit: 10 }));
        let mut parser = Parser::new(10);
        let mut many = |piece: &[u8]| parser.push(piece, &mut Vec::new());
        many(b"data: 1234\ndata: 1234\n").unwrap();
        assert_eq!(many(b"data: 1\n"), Err(Malformed::TooLong { limit: 10 }));
        let bad = Parser::new(10).push(b"data: \xff\n", &mut Vec::new());
        assert_eq!(bad, Err(Malformed::NotUtf8));
    }

    #[test]
    fn new_events_of_the_system_are_passed_over() {
        let item = |name: &str, data: &str| Event {
            name: Some(name.to_owned()),
            data: data.to_owned(),
            id: None,
        };
        let frame = item("$hint", "not even JSON").into_frame();
        assert_eq!(frame, Ok(ServerFrame::Other("$hint".to_owned())));
        assert!(item("score", "not even JSON").into_frame().is_err());
    }

    proptest! {
        #[test]
        fn events_come_back_however_they_are_cut(
            events in prop::collection::vec((prop::option::of("[!-~]{1,20}"), "[a-z\\r\\n :é]{0,40}", prop::option::of("[A-Za-z0-9_-]{1,30}")), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut stream = Vec::new();
            let mut sent = Vec::new();
            for (name, data, id) in &events {
                put_event(&mut stream, id.as_deref(), name.as_deref(), data.as_bytes());
                let data = data.replace("\r\n", "\n").replace('\r', "\n");
                sent.push(event(name.as_deref(), &data, id.as_deref()));
            }
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
            ends.extend([0, stream.len()]);
            ends.sort_unstable();
            let pieces: Vec<&[u8]> = ends.windows(2).map(|two| &stream[two[0]..two[1]]).collect();
            prop_assert_eq!(parsed(&pieces), sent);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = Parser::new(64).push(&bytes, &mut Vec::new());
        }
    }
}
