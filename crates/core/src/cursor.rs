//! The cursor: positions by topic, and its text form (protocol section 1). Opaque to clients, good
//! on every node and transport; it carries positions, not rights.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::name::TopicName;
use crate::position::{Epoch, Offset, Position};

const VERSION: u8 = 1;

/// Positions by topic hash, ascending. What a client has processed, in one text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    rows: Vec<(u64, Position)>,
}

impl Cursor {
    /// Longest text of a cursor, in characters.
    pub const MAX_TEXT: usize = 4096;

    /// The position of `topic`, if the cursor has one.
    pub fn get(&self, topic: &TopicName) -> Option<Position> {
        let at = self
            .rows
            .binary_search_by_key(&topic.hash64(), |row| row.0)
            .ok()?;
        Some(self.rows[at].1)
    }

    /// Sets the position of the topic with this hash (`TopicName::hash64`).
    pub fn set(&mut self, hash: u64, position: Position) {
        match self.rows.binary_search_by_key(&hash, |row| row.0) {
            Ok(at) => self.rows[at].1 = position,
            Err(at) => self.rows.insert(at, (hash, position)),
        }
    }

    /// Forgets the topic with this hash.
    pub fn remove(&mut self, hash: u64) {
        self.rows.retain(|row| row.0 != hash);
    }

    /// True if it holds no topic.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, ascending by hash.
    pub fn rows(&self) -> &[(u64, Position)] {
        &self.rows
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        put_leb128(&mut bytes, self.rows.len() as u64);
        for (hash, position) in &self.rows {
            bytes.extend_from_slice(&hash.to_be_bytes());
            put_leb128(&mut bytes, position.epoch.0);
            put_leb128(&mut bytes, position.offset.0);
        }
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        if text.len() > Self::MAX_TEXT {
            return Err(BadCursor::TooLong(text.len()));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| BadCursor::Encoding)?;
        let (mut body, sum) = bytes.split_last_chunk::<4>().ok_or(BadCursor::Encoding)?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*sum) {
            return Err(BadCursor::Checksum);
        }
        if take::<1>(&mut body)? != [VERSION] {
            return Err(BadCursor::Version);
        }
        let count = take_leb128(&mut body)?;
        let mut rows: Vec<(u64, Position)> = Vec::new();
        for _ in 0..count {
            let hash = u64::from_be_bytes(take::<8>(&mut body)?);
            let epoch = Epoch(take_leb128(&mut body)?);
            let offset = Offset(take_leb128(&mut body)?);
            if rows.last().is_some_and(|last| last.0 >= hash) {
                return Err(BadCursor::Order);
            }
            rows.push((hash, Position { epoch, offset }));
        }
        if !body.is_empty() {
            return Err(BadCursor::Encoding);
        }
        Ok(Self { rows })
    }
}

fn put_leb128(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn take<const N: usize>(body: &mut &[u8]) -> Result<[u8; N], BadCursor> {
    let (head, rest) = body.split_first_chunk::<N>().ok_or(BadCursor::Encoding)?;
    *body = rest;
    Ok(*head)
}

/// Reads a LEB128 number in its shortest form.
fn take_leb128(body: &mut &[u8]) -> Result<u64, BadCursor> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take::<1>(body)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(BadCursor::Number);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let overlong = byte == 0 && shift > 0;
            return if overlong {
                Err(BadCursor::Number)
            } else {
                Ok(value)
            };
        }
    }
    Err(BadCursor::Number)
}

/// Why a text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    #[error("a cursor has at most 4096 characters, this one has {0}")]
    TooLong(usize),
    #[error("the text is not a whole cursor")]
    Encoding,
    #[error("the cursor's checksum does not match: it was cut or changed")]
    Checksum,
    #[error("the cursor is of a version this node does not know")]
    Version,
    #[error("the cursor's topics are repeated or out of order")]
    Order,
    #[error("the cursor holds a number that is too long")]
    Number,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cursor(rows: &[(&str, Position)]) -> Cursor {
        let mut cursor = Cursor::default();
        for (topic, position) in rows {
            cursor.set(topic.parse::<TopicName>().unwrap().hash64(), *position);
        }
        cursor
    }

    #[test]
    fn the_cursors_of_the_protocol_are_ours() {
        let news = |offset| cursor(&[("news", Position::new(7, offset))]).to_string();
        assert_eq!(news(41), "AQHOpqnAjq0BJAcpA4oFuw");
        assert_eq!(news(42), "AQHOpqnAjq0BJAcqENr2Tw");
        assert_eq!(news(43), "AQHOpqnAjq0BJAcr4rF1TA");
        assert_eq!(news(100), "AQHOpqnAjq0BJAdk_dlU1A");
        let both = cursor(&[
            ("news", Position::new(7, 42)),
            ("chat.7", Position::new(7, 3)),
        ]);
        assert_eq!(both.to_string(), "AQLAJ6Rr_qIryQcDzqapwI6tASQHKrvFycM");
    }

    #[test]
    fn a_cut_or_changed_cursor_is_refused() {
        let good = "AQHOpqnAjq0BJAcqENr2Tw";
        for end in 0..good.len() {
            assert!(good[..end].parse::<Cursor>().is_err(), "{end}");
        }
        assert!("AQHOpqnAjq0BJAcqENr2Tx".parse::<Cursor>().is_err());
        assert!("AQHOpqnAjq0BJAcrENr2Tw".parse::<Cursor>().is_err());
        assert_eq!(
            "A".repeat(4097).parse::<Cursor>(),
            Err(BadCursor::TooLong(4097))
        );
    }

    #[test]
    fn an_overlong_number_or_a_repeated_topic_is_refused() {
        let sealed = |mut bytes: Vec<u8>| {
            let sum = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&sum.to_be_bytes());
            URL_SAFE_NO_PAD.encode(bytes).parse::<Cursor>()
        };
        assert_eq!(sealed(vec![1, 0x80, 0x00]), Err(BadCursor::Number));
        let twice = [[1, 2].as_slice(), &[0; 8], &[1, 1], &[0; 8], &[1, 2]].concat();
        assert_eq!(sealed(twice), Err(BadCursor::Order));
        assert_eq!(sealed(vec![2, 0]), Err(BadCursor::Version));
        assert_eq!(sealed(vec![1, 0, 9]), Err(BadCursor::Encoding));
    }

    proptest! {
        #[test]
        fn cursors_are_read_as_they_are_written(rows in prop::collection::btree_map(any::<u64>(), (any::<u64>(), any::<u64>()), 0..100)) {
            let mut cursor = Cursor::default();
            for (hash, (epoch, offset)) in rows {
                cursor.set(hash, Position::new(epoch, offset));
            }
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}") {
            let _outcome = text.parse::<Cursor>();
        }
    }
}
