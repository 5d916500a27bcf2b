//! HTML fragments for htmx (protocol section 7): messages, gaps, errors, and the poller that carries
//! the cursor. All text is escaped; only the topic rule `html = verbatim` embeds as it is.

use std::time::Duration;

use fanfare_core::code::Advice;
use fanfare_core::gap::{Gap, Item};
use fanfare_core::message::{Content, Message};
use fanfare_core::name::TopicName;
use fanfare_core::receipt::Refusal;
use fanfare_core::rule::Html;

use crate::json::{is_json, put_plain, put_time};
use crate::spelling::reason_spelling;

/// The media type of a fragment.
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";
/// The policy that guards direct visits.
pub const SECURITY_POLICY: &str = "default-src 'none'; sandbox";

/// Appends text with `& < > " '` escaped.
pub(crate) fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let entity: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'"' => b"&quot;",
            b'\'' => b"&#39;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(entity);
        done = at + 1;
    }
    out.extend_from_slice(&bytes[done..]);
}

fn put_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    put_plain(out, format_args!(" {name}=\""));
    put_escaped(out, value);
    out.push(b'"');
}

/// Appends a message. `html` is the topic's rule for payloads that are HTML.
pub fn put_message(out: &mut Vec<u8>, topic: &TopicName, message: &Message, html: Html) {
    let Message {
        position,
        wall_ms,
        content: Content { payload, meta },
    } = message;
    out.extend_from_slice(b"<article class=\"fanfare-message\"");
    put_attribute(out, "data-topic", topic.as_str());
    put_plain(out, format_args!(" data-position=\"{position}\""));
    if let Some(event) = &meta.event {
        put_attribute(out, "data-event", event.as_str());
    }
    out.extend_from_slice(b" data-time=\"");
    put_time(out, *wall_ms);
    out.extend_from_slice(b"\">");
    let content_type = &meta.content_type;
    let verbatim =
        html == Html::Verbatim && content_type.essence().eq_ignore_ascii_case("text/html");
    match std::str::from_utf8(payload) {
        Ok(text) if verbatim => out.extend_from_slice(text.as_bytes()),
        Ok(text) if content_type.is_text() => put_element(out, "p", text),
        Ok(text) if content_type.is_json() && is_json(payload) => put_element(out, "pre", text),
        _ => {
            let what = format!("[{}, {} bytes]", content_type.essence(), payload.len());
            put_element(out, "p", &what);
        }
    }
    out.extend_from_slice(b"</article>");
}

fn put_element(out: &mut Vec<u8>, element: &str, text: &str) {
    put_plain(out, format_args!("<{element}>"));
    put_escaped(out, text);
    put_plain(out, format_args!("</{element}>"));
}

/// Appends a gap.
pub fn put_gap(out: &mut Vec<u8>, topic: &TopicName, gap: &Gap) {
    let Gap {
        reason,
        from,
        to,
        missed,
    } = gap;
    out.extend_from_slice(b"<aside class=\"fanfare-gap\"");
    put_attribute(out, "data-topic", topic.as_str());
    put_attribute(out, "data-reason", reason_spelling(*reason));
    put_plain(out, format_args!(" data-from=\"{from}\" data-to=\"{to}\""));
    match missed {
        Some(1) => out.extend_from_slice(b" data-missed=\"1\">1 message left out"),
        Some(n) => put_plain(
            out,
            format_args!(" data-missed=\"{n}\">{n} messages left out"),
        ),
        None => out.extend_from_slice(b">Messages left out"),
    }
    out.extend_from_slice(b"</aside>");
}

/// Appends an item. `html` is the rule of its topic.
pub fn put_item(out: &mut Vec<u8>, item: &Item, html: Html) {
    match item {
        Item::Message(topic, message) => put_message(out, topic, message, html),
        Item::Gap(topic, gap) => put_gap(out, topic, gap),
    }
}

/// Appends the element that polls on and is replaced by each answer. `url` is the next one; with
/// `wait` the poll is sent at once, and again should its answer be lost.
pub fn put_poller(out: &mut Vec<u8>, url: &str, follow: Duration, wait: Duration) {
    out.extend_from_slice(b"<div class=\"fanfare-poller\"");
    put_attribute(out, "hx-get", url);
    let seconds = follow.as_secs() + wait.as_secs();
    let load = if wait.is_zero() { "" } else { "load, " };
    put_plain(out, format_args!(" hx-trigger=\"{load}every {seconds}s\""));
    out.extend_from_slice(b" hx-swap=\"outerHTML\"></div>");
}

/// Appends what a refusal looks like.
pub fn put_error(out: &mut Vec<u8>, refusal: &Refusal) {
    let advice = refusal.code.advice(refusal.outcome);
    out.extend_from_slice(b"<aside class=\"fanfare-error\"");
    put_attribute(out, "data-code", refusal.code.as_str());
    put_attribute(out, "data-advice", advice.as_str());
    out.push(b'>');
    put_escaped(out, &refusal.detail);
    out.extend_from_slice(b"</aside>");
}

/// True if a page that follows goes on polling after this refusal: it gets the poller alone, with the
/// refusal's status, or with 200 if it has no poller yet. Otherwise it gets 200, the error, and no
/// poller, so that polling ends.
pub fn polls_on_after(refusal: &Refusal) -> bool {
    match refusal.code.advice(refusal.outcome) {
        Advice::RetryLater | Advice::RetrySameKey | Advice::Reroute => true,
        Advice::GiveUp | Advice::Reauthenticate => false,
    }
}

#[cfg(test)]
mod tests {
    use fanfare_core::code::Code;
    use fanfare_core::gap::{GapReason, TrimmedBy};
    use fanfare_core::position::Position;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{message, topic};

    fn shown(content_type: &str, payload: &[u8], html: Html) -> String {
        let sent = message(
            Position::new(7, 42),
            content_type,
            payload,
            Some("score"),
            &[],
        );
        let mut out = Vec::new();
        put_message(&mut out, &topic("news"), &sent, html);
        String::from_utf8(out).unwrap()
    }

    fn inside(content_type: &str, payload: &[u8], html: Html) -> String {
        let all = shown(content_type, payload, html);
        let (_, rest) = all.split_once('>').unwrap();
        rest.strip_suffix("</article>").unwrap().to_owned()
    }

    #[test]
    fn the_article_of_the_protocol_is_ours_byte_for_byte() {
        assert_eq!(
            shown("text/plain", b"2 < 3", Html::Escape),
            r#"<article class="fanfare-message" data-topic="news" data-position="7-42" data-event="score" data-time="2026-03-01T10:15:30.123Z"><p>2 &lt; 3</p></article>"#
        );
    }

    #[test]
    fn payloads_are_shown_by_their_type() {
        let escape = |content_type, payload| inside(content_type, payload, Html::Escape);
        assert_eq!(
            escape("application/json", br#"{"a":'"#),
            "<p>[application/json, 6 bytes]</p>"
        );
        assert_eq!(
            escape("application/json", br#"{"a":1}"#),
            "<pre>{&quot;a&quot;:1}</pre>"
        );
        assert_eq!(
            escape("image/png", &[0; 312]),
            "<p>[image/png, 312 bytes]</p>"
        );
        assert_eq!(
            escape("text/plain", b"\xff"),
            "<p>[text/plain, 1 bytes]</p>"
        );
        assert_eq!(
            escape("text/html", b"<b>&'</b>"),
            "<p>&lt;b&gt;&amp;&#39;&lt;/b&gt;</p>"
        );
    }

    #[test]
    fn only_html_on_a_verbatim_topic_is_embedded_as_it_is() {
        let verbatim = |content_type, payload| inside(content_type, payload, Html::Verbatim);
        assert_eq!(
            verbatim("text/html; charset=utf-8", b"<b>x</b>"),
            "<b>x</b>"
        );
        assert_eq!(verbatim("text/plain", b"<b>"), "<p>&lt;b&gt;</p>");
        assert_eq!(
            verbatim("text/html", b"\xff"),
            "<p>[text/html, 1 bytes]</p>"
        );
    }

    #[test]
    fn a_gap_says_how_many_are_left_out() {
        let shown = |missed| {
            let gap = Gap {
                reason: GapReason::Trimmed(TrimmedBy::Age),
                from: Position::new(7, 42),
                to: Position::new(7, 100),
                missed,
            };
            let mut out = Vec::new();
            put_gap(&mut out, &topic("a\"b"), &gap);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            shown(Some(58)),
            r#"<aside class="fanfare-gap" data-topic="a&quot;b" data-reason="trimmed" data-from="7-42" data-to="7-100" data-missed="58">58 messages left out</aside>"#
        );
        assert!(shown(None).ends_with(r#"data-to="7-100">Messages left out</aside>"#));
        assert!(shown(Some(1)).ends_with(">1 message left out</aside>"));
    }

    #[test]
    fn the_poller_of_the_protocol_is_ours_byte_for_byte() {
        let poller = |wait| {
            let mut out = Vec::new();
            let url = "/v1/poll?topic=news&format=html&follow=5&cursor=C42";
            put_poller(
                &mut out,
                url,
                Duration::from_secs(5),
                Duration::from_secs(wait),
            );
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            poller(0),
            r#"<div class="fanfare-poller" hx-get="/v1/poll?topic=news&amp;format=html&amp;follow=5&amp;cursor=C42" hx-trigger="every 5s" hx-swap="outerHTML"></div>"#
        );
        assert!(poller(25).contains(r#" hx-trigger="load, every 30s""#));
    }

    #[test]
    fn polling_ends_where_repeating_cannot_help() {
        let refusal = Refusal::new(Code::Forbidden, "no grant for \"vault\"");
        let mut out = Vec::new();
        put_error(&mut out, &refusal);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"<aside class="fanfare-error" data-code="forbidden" data-advice="give_up">no grant for &quot;vault&quot;</aside>"#
        );
        assert!(!polls_on_after(&refusal));
        assert!(!polls_on_after(&Refusal::new(Code::TokenExpired, "")));
        assert!(polls_on_after(&Refusal::new(Code::NotReady, "")));
        assert!(polls_on_after(&Refusal::new(Code::Overloaded, "")));
    }

    proptest! {
        #[test]
        fn no_payload_opens_an_element(payload in prop::collection::vec(any::<u8>(), 0..100), kind in "text/html|text/plain|application/json|image/png") {
            let inner = inside(&kind, &payload, Html::Escape);
            let text = inner.split_once('>').unwrap().1.rsplit_once("</").unwrap().0;
            prop_assert!(!text.contains(['<', '>', '"', '\'']));
        }
    }
}
