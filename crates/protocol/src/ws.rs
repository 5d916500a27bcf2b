//! Frames of a WebSocket as a server sends them (RFC 6455): unmasked, whole, ready to be shared by
//! all sessions that get the same bytes. Handshake and reading are not in here.

use fanfare_core::code::Code;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The last frame of its message.
const FIN: u8 = 0x80;
/// Most bytes of a control frame's payload.
const CONTROL: usize = 125;

/// Appends the header of an unmasked text frame whose payload has `len` bytes.
pub(crate) fn put_text_header(out: &mut Vec<u8>, len: usize) {
    out.push(FIN | TEXT);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(small @ 0..=125), _) => out.push(small),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a text frame.
pub fn put_text(out: &mut Vec<u8>, payload: &[u8]) {
    put_text_header(out, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a text frame whose payload `write` appends.
pub fn put_text_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    // Room for the longest header; the frame moves back over what the real one leaves.
    out.resize(begin + 10, 0);
    write(out);
    let payload = out.len() - begin - 10;
    let mut header = Vec::with_capacity(10);
    put_text_header(&mut header, payload);
    let spare = 10 - header.len();
    out.copy_within(begin + 10.., begin + header.len());
    out[begin..begin + header.len()].copy_from_slice(&header);
    out.truncate(out.len() - spare);
}

/// Appends a Ping without payload.
pub fn put_ping(out: &mut Vec<u8>) {
    out.extend_from_slice(&[FIN | PING, 0]);
}

/// Appends the Pong that answers a Ping with this payload; what a control frame cannot hold is cut.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, PONG, &payload[..payload.len().min(CONTROL)]);
}

/// Appends a Close frame with `status` and as much of `reason` as a control frame holds.
pub fn put_close(out: &mut Vec<u8>, status: u16, reason: &str) {
    put_control(out, CLOSE, &close_payload(status, reason));
}

/// Appends the Close frame of a code, whose reason is its name. A code that ends no session is
/// closed as `internal`.
pub fn put_close_of(out: &mut Vec<u8>, code: Code) {
    put_close(out, close_status(code), code.as_str());
}

/// The close code of a session that ends by `code`.
pub fn close_status(code: Code) -> u16 {
    code.ws().unwrap_or(1011)
}

/// The payload of a Close frame, at most 125 bytes.
pub fn close_payload(status: u16, reason: &str) -> Vec<u8> {
    let mut end = reason.len().min(CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = status.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

fn put_control(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FIN | opcode);
    out.push(u8::try_from(payload.len()).unwrap_or(0));
    out.extend_from_slice(payload);
}

/// What a close code tells a client to do (protocol section 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterClose {
    /// Connect again, with back-off.
    Reconnect,
    /// Connect again, elsewhere if possible.
    Elsewhere,
    /// Connect again with new credentials only.
    Reauthenticate,
    /// Do not connect again.
    GiveUp,
}

/// What a client does after this close code. Codes that nobody has given a meaning are a cut.
pub fn after_close(status: u16) -> AfterClose {
    match status {
        4_100..=4_199 => AfterClose::Elsewhere,
        4_500..=4_599 => AfterClose::Reauthenticate,
        1_000 | 1_002 | 1_003 | 1_007..=1_010 | 4_600..=4_999 => AfterClose::GiveUp,
        _ => AfterClose::Reconnect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        put_text(&mut out, &vec![b'x'; len]);
        out
    }

    #[test]
    fn the_header_says_the_length_in_its_shortest_form() {
        assert_eq!(text(2), [0x81, 2, b'x', b'x']);
        assert_eq!(text(125)[..2], [0x81, 125]);
        assert_eq!(text(126)[..4], [0x81, 126, 0, 126]);
        assert_eq!(text(65_535)[..4], [0x81, 126, 0xff, 0xff]);
        assert_eq!(text(65_536)[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_frame_written_in_place_is_the_same_frame() {
        for len in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let mut out = b"before".to_vec();
            put_text_with(&mut out, |out| out.extend_from_slice(&vec![b'x'; len]));
            assert_eq!(out.strip_prefix(b"before"), Some(&*text(len)), "{len}");
        }
    }

    #[test]
    fn a_close_frame_holds_code_and_reason() {
        let mut out = Vec::new();
        put_close_of(&mut out, Code::Draining);
        assert_eq!(out, b"\x88\x0a\x03\xf4draining");
        let long = close_payload(4600, &"é".repeat(100));
        assert_eq!(long.len(), 124);
        assert!(std::str::from_utf8(&long[2..]).is_ok());
        let mut pong = Vec::new();
        put_pong(&mut pong, &[7; 200]);
        assert_eq!((pong[1], pong.len()), (125, 127));
    }

    #[test]
    fn close_codes_and_advice_agree() {
        use fanfare_core::code::{Advice, Outcome};
        for code in Code::ALL {
            let Some(status) = code.ws() else { continue };
            let after = after_close(status);
            let agrees = match code.advice(Outcome::None) {
                Advice::GiveUp => after == AfterClose::GiveUp,
                Advice::Reauthenticate => after == AfterClose::Reauthenticate,
                Advice::RetryLater | Advice::RetrySameKey => after == AfterClose::Reconnect,
                Advice::Reroute => matches!(after, AfterClose::Elsewhere | AfterClose::Reconnect),
            };
            // 1009 is a code of RFC 6455, whose range says the same.
            assert!(agrees, "{code} {status}");
        }
        assert_eq!(after_close(1006), AfterClose::Reconnect);
        assert_eq!(after_close(4_300), AfterClose::Reconnect);
    }
}
