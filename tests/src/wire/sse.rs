//! A strict reader of `text/event-stream`, after the WHATWG's rules for EventSource, which also
//! refuses what our own streams never say.

use anyhow::{Result, bail, ensure};

/// An event as a page would get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `message` if the stream named none.
    pub name: String,
    pub data: String,
    /// The last event id at this event.
    pub id: String,
}

/// What a chunk of the stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Event(Event),
    Comment(String),
    Retry(u64),
}

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    name: String,
    data: Option<String>,
    id: String,
}

impl Parser {
    /// Takes bytes, gives what is complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Part>> {
        self.buffer.extend_from_slice(bytes);
        let mut parts = Vec::new();
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = std::str::from_utf8(&line[..end])?;
            ensure!(!line.contains('\r'), "a carriage return in {line:?}");
            let line = line.to_owned();
            self.line(&line, &mut parts)?;
        }
        Ok(parts)
    }

    fn line(&mut self, line: &str, parts: &mut Vec<Part>) -> Result<()> {
        if line.is_empty() {
            if let Some(data) = self.data.take() {
                let name = std::mem::take(&mut self.name);
                let name = if name.is_empty() {
                    "message".to_owned()
                } else {
                    name
                };
                parts.push(Part::Event(Event {
                    name,
                    data,
                    id: self.id.clone(),
                }));
            }
            self.name.clear();
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => parts.push(Part::Comment(value.to_owned())),
            "event" => value.clone_into(&mut self.name),
            "id" => {
                ensure!(!value.contains('\0'), "a NUL in an id");
                value.clone_into(&mut self.id);
            }
            "retry" => parts.push(Part::Retry(value.parse()?)),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            _ => bail!("an unknown field: {line:?}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_they_are_cut() -> Result<()> {
        let text = b"retry: 2000\n\n: hb\n\nid: a\nevent: score\ndata: 1\ndata: 2\n\ndata: x\n\n";
        let event = |name: &str, data: &str| {
            Part::Event(Event {
                name: name.into(),
                data: data.into(),
                id: "a".into(),
            })
        };
        let wanted = vec![
            Part::Retry(2000),
            Part::Comment("hb".into()),
            event("score", "1\n2"),
            event("message", "x"),
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let mut seen = Vec::new();
            for piece in text.chunks(size) {
                seen.extend(parser.push(piece)?);
            }
            assert_eq!(seen, wanted);
        }
        Ok(())
    }
}
