//! Headers of requests, read as text: keys and their age, credentials, what is accepted, which
//! WebSocket subprotocol. Values are never repeated in refusals.

use fanfare_core::code::Code;
use fanfare_core::cursor::Cursor;
use fanfare_core::message::Key;
use fanfare_core::receipt::Refusal;

use crate::json::draft::{refused, text_key};
use crate::query::read_cursor;
use crate::secret::Secret;

/// Name of the header that carries a publish's key.
pub const KEY: &str = "Idempotency-Key";
/// Name of the header that says how old a key is, in ms.
pub const KEY_AGE: &str = "Idempotency-Age";
/// Name of the header in which a browser's EventSource presents its cursor.
pub const LAST_EVENT_ID: &str = "Last-Event-ID";
/// Name of the cookie that may carry a token.
pub const TOKEN_COOKIE: &str = "fanfare_token";
/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "fanfare.v1";

/// Reads `Idempotency-Key`: bare, or in quotes as a structured string; both are the same key.
pub fn idempotency_key(raw: &[u8]) -> Result<Key, Refusal> {
    let raw = raw.trim_ascii();
    let Some(quoted) = raw.strip_prefix(b"\"") else {
        return text_key(raw, KEY);
    };
    let mut key = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') if bytes.as_slice().is_empty() => return text_key(&key, KEY),
            Some(b'\\') => match bytes.next() {
                Some(&escaped @ (b'"' | b'\\')) => key.push(escaped),
                _ => return Err(refused(KEY, "a backslash that escapes nothing")),
            },
            Some(b'"') | None => {
                return Err(refused(KEY, "a key in quotes ends with a quote"));
            }
            Some(&byte) => key.push(byte),
        }
    }
}

/// Reads `Idempotency-Age`, ms since the key was first sent.
pub fn idempotency_age(raw: &[u8]) -> Result<u64, Refusal> {
    let digits = !raw.is_empty() && raw.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(raw)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| refused(KEY_AGE, "a whole number of milliseconds"))
}

/// Reads `Last-Event-ID`. An empty one is absent.
pub fn last_event_id(raw: &[u8]) -> Result<Option<Cursor>, Refusal> {
    match std::str::from_utf8(raw) {
        Ok(text) => read_cursor(text.trim(), LAST_EVENT_ID),
        Err(_) => Err(Refusal::new(Code::BadCursor, "not a cursor").field(LAST_EVENT_ID)),
    }
}

/// Reads `Authorization`: what follows `Bearer`.
pub fn bearer(raw: &[u8]) -> Result<Secret, Refusal> {
    let credential = std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.trim().split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, credential)| credential.trim())
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()));
    match credential {
        Some(credential) => Ok(Secret::new(credential)),
        None => Err(Refusal::new(
            Code::Unauthenticated,
            "Authorization is `Bearer` and a token or key",
        )
        .field("Authorization")),
    }
}

/// The token in a `Cookie` header, if there is one.
pub fn cookie_token(raw: &[u8]) -> Option<Secret> {
    let text = std::str::from_utf8(raw).ok()?;
    let value = text
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == TOKEN_COOKIE)?
        .1;
    let bare = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    Some(bare).filter(|bare| !bare.is_empty()).map(Secret::new)
}

/// True if `Accept` names `text/html`, and nothing of JSON more dearly. `*/*` alone is JSON.
pub fn prefers_html(accept: &str) -> bool {
    let quality = |wanted: &[&str]| {
        accept
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let essence = parts.next()?;
                if !wanted.iter().any(|w| essence.eq_ignore_ascii_case(w)) {
                    return None;
                }
                let q = parts.find_map(|part| part.strip_prefix("q="));
                Some(q.map_or(1.0, |q| q.parse::<f32>().unwrap_or(0.0)))
            })
            .fold(0.0_f32, f32::max)
    };
    let html = quality(&["text/html"]);
    html > 0.0 && html >= quality(&["application/json"])
}

/// What a handshake's `Sec-WebSocket-Protocol` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing: spoken to in version 1, and none is confirmed.
    None,
    /// Ours, maybe among others: confirmed.
    Ours,
    /// Only others: refused.
    Others,
}

/// Reads all values of `Sec-WebSocket-Protocol`.
pub fn subprotocol<'a>(values: impl IntoIterator<Item = &'a str>) -> Offer {
    let mut offer = Offer::None;
    for name in values.into_iter().flat_map(|value| value.split(',')) {
        match name.trim() {
            SUBPROTOCOL => return Offer::Ours,
            "" => {}
            _ => offer = Offer::Others,
        }
    }
    offer
}

/// The refusal of a handshake that offers only other subprotocols.
pub fn wrong_subprotocol() -> Refusal {
    let why = "this server speaks the subprotocol fanfare.v1";
    Refusal::new(Code::ProtocolError, why).field("Sec-WebSocket-Protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_bare_and_in_quotes() {
        let key = |raw: &str| idempotency_key(raw.as_bytes());
        assert_eq!(key("a1").unwrap(), key("\"a1\"").unwrap());
        assert_eq!(key(r#""a\"\\b""#).unwrap().as_bytes().as_ref(), br#"a"\b"#);
        let long = "k".repeat(128);
        assert_eq!(key(&long).unwrap(), key(&format!("\"{long}\"")).unwrap());
        let bad = [
            "",
            "\"\"",
            "\"a",
            "\"a\"b",
            "\"a\";x=1",
            "a b",
            "\"a b\"",
            "é",
            "\"\\a\"",
            "\"",
        ];
        for bad in bad {
            let refusal = key(bad).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidArgument, "{bad}");
            assert_eq!(refusal.field.as_deref(), Some("Idempotency-Key"));
        }
        assert!(key(&"k".repeat(129)).is_err());
    }

    #[test]
    fn an_age_is_a_whole_number() {
        assert_eq!(idempotency_age(b"1500"), Ok(1500));
        for bad in ["", "-1", "1.5", "+1", " 1", "18446744073709551616"] {
            let refusal = idempotency_age(bad.as_bytes()).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some("Idempotency-Age"), "{bad}");
        }
    }

    #[test]
    fn an_empty_last_event_id_is_absent_and_a_bad_one_is_named() {
        assert_eq!(last_event_id(b""), Ok(None));
        assert!(last_event_id(b"AQHOpqnAjq0BJAcqENr2Tw").unwrap().is_some());
        for bad in [b"AQHOpqnA".as_slice(), b"\xff"] {
            let refusal = last_event_id(bad).unwrap_err();
            assert_eq!(refusal.code, Code::BadCursor);
            assert_eq!(refusal.field.as_deref(), Some("Last-Event-ID"));
        }
    }

    #[test]
    fn credentials_are_found_and_never_shown() {
        let secret = bearer(b"bearer ffk_1").unwrap();
        assert_eq!(secret.expose(), "ffk_1");
        assert!(!format!("{secret:?}").contains("ffk"));
        for bad in [
            b"Basic abc".as_slice(),
            b"Bearer",
            b"Bearer ",
            b"Bearer a b",
            b"",
        ] {
            assert_eq!(bearer(bad).unwrap_err().code, Code::Unauthenticated);
        }
        let cookie = cookie_token(b"a=b; fanfare_token=eyJ; c=d").unwrap();
        assert_eq!(cookie.expose(), "eyJ");
        assert_eq!(cookie_token(b"a=b; fanfare_token="), None);
        assert_eq!(cookie_token(b"xfanfare_token=a"), None);
    }

    #[test]
    fn html_is_for_those_who_name_it() {
        assert!(prefers_html("text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(prefers_html("application/json;q=0.5, TEXT/HTML"));
        assert!(prefers_html("application/json, text/html"));
        for json in [
            "*/*",
            "",
            "application/json",
            "text/html;q=0",
            "application/json, text/html;q=0.9",
        ] {
            assert!(!prefers_html(json), "{json}");
        }
    }

    #[test]
    fn only_other_subprotocols_are_refused() {
        assert_eq!(subprotocol([]), Offer::None);
        assert_eq!(subprotocol(["graphql-ws, fanfare.v1"]), Offer::Ours);
        assert_eq!(subprotocol(["graphql-ws", "fanfare.v1"]), Offer::Ours);
        assert_eq!(subprotocol(["fanfare.v2"]), Offer::Others);
    }
}
