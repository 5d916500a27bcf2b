//! The pieces of JSON that everything here is written with: strings, numbers, times, base64, and a
//! payload's own JSON with its white space removed and its spelling kept.

use std::fmt::{self, Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde_json::value::RawValue;

/// RFC 3339 in UTC with milliseconds.
const TIME: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// Appends formatted text to bytes.
pub(crate) struct Text<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Appends what `value` displays, unescaped.
pub(crate) fn put_plain(out: &mut Vec<u8>, value: impl Display) {
    // Appending to bytes cannot fail.
    let _written = write!(Text(out), "{value}");
}

/// Appends a JSON string.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Appends `value` as a JSON string whose characters need no escape.
pub(crate) fn put_quoted(out: &mut Vec<u8>, value: impl Display) {
    out.push(b'"');
    put_plain(out, value);
    out.push(b'"');
}

/// Appends `,"name":`, or `"name":` at the start of an object.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a member whose value is a string.
pub(crate) fn put_text(out: &mut Vec<u8>, name: &str, text: &str) {
    put_name(out, name);
    put_string(out, text);
}

/// Appends a member whose value is a string, if there is one.
pub(crate) fn put_text_if(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        put_text(out, name, text);
    }
}

/// Appends a member whose value is a string without anything to escape, such as a position.
pub(crate) fn put_word(out: &mut Vec<u8>, name: &str, value: impl Display) {
    put_name(out, name);
    put_quoted(out, value);
}

/// Appends a member whose value is a number or a boolean.
pub(crate) fn put_number(out: &mut Vec<u8>, name: &str, value: impl Display) {
    put_name(out, name);
    put_plain(out, value);
}

/// Appends a wall clock time, ms since 1970, as RFC 3339 in UTC; later than year 9999 is that.
pub(crate) fn put_time(out: &mut Vec<u8>, wall_ms: u64) {
    let at = i64::try_from(wall_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX);
    // Appending to bytes cannot fail.
    let _written = TIME.print_timestamp(&at, out);
}

/// Appends bytes as base64 (RFC 4648 section 4, padded), as a JSON string.
pub(crate) fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let begin = out.len();
    out.resize(begin + bytes.len().div_ceil(3) * 4, 0);
    // The room is exact, so it cannot be too small.
    let written = STANDARD.encode_slice(bytes, &mut out[begin..]).unwrap_or(0);
    out.truncate(begin + written);
    out.push(b'"');
}

/// Reads base64 (RFC 4648 section 4, padded).
pub(crate) fn read_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// True if `payload` is one JSON value in UTF-8.
pub fn is_json(payload: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(payload).is_ok()
}

/// Appends a valid JSON value without the white space between its tokens. Numbers, escapes and
/// the order of members stay as they are spelled.
pub(crate) fn put_minified(out: &mut Vec<u8>, json: &[u8]) {
    let mut done = 0;
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => at = end_of_string(json, at),
            b' ' | b'\t' | b'\n' | b'\r' => {
                out.extend_from_slice(&json[done..at]);
                at += 1;
                done = at;
            }
            _ => at += 1,
        }
    }
    out.extend_from_slice(&json[done..]);
}

/// The place after the string that begins at `begin`.
fn end_of_string(json: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < json.len() {
        match json[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn minified(json: &str) -> String {
        let mut out = Vec::new();
        put_minified(&mut out, json.as_bytes());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn white_space_goes_and_spelling_stays() {
        assert_eq!(
            minified(
                " { \"a\" : [ 1.0e5 , -0 , 1E+2 ],\r\n\t\"b c\" : \"\\u00e9 \\\" x\\\\\" } \n"
            ),
            "{\"a\":[1.0e5,-0,1E+2],\"b c\":\"\\u00e9 \\\" x\\\\\"}"
        );
        assert_eq!(minified("\"a  b\""), "\"a  b\"");
    }

    #[test]
    fn times_have_milliseconds_and_an_end() {
        let time = |ms| {
            let mut out = Vec::new();
            put_time(&mut out, ms);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(time(1_772_360_130_123), "2026-03-01T10:15:30.123Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert!(time(u64::MAX).starts_with("9999-12-30T"));
    }

    proptest! {
        #[test]
        fn strings_are_what_a_json_reader_reads(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = Vec::new();
            put_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn minified_is_the_same_value(text in "\\PC*", number in any::<f64>()) {
            let value = serde_json::json!({ text.as_str(): [number, text.as_str()], "x": {"y": null} });
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let small = minified(&pretty);
            prop_assert_eq!(serde_json::from_str::<Value>(&small).unwrap(), serde_json::from_str::<Value>(&pretty).unwrap());
            prop_assert_eq!(small, serde_json::to_string(&value).unwrap());
        }

        #[test]
        fn base64_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            put_base64(&mut out, &bytes);
            let text = std::str::from_utf8(&out).unwrap();
            prop_assert_eq!(read_base64(text.trim_matches('"')), Some(bytes));
        }

        #[test]
        fn no_bytes_make_the_minifier_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            put_minified(&mut Vec::new(), &bytes);
        }
    }
}
