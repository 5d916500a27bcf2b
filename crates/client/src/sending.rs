//! One sending over HTTP: the request of a draft, and what its answer means.

use bytes::Bytes;
use fanfare_core::message::{Ack, Content, Draft, Meta};
use fanfare_protocol::header::{KEY, KEY_AGE};
use fanfare_protocol::json::ack::Acked;
use fanfare_protocol::query::put_encoded;
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use crate::http::Http;
use crate::machine::Machine;
use crate::outbox::{Patience, Sent};
use crate::told::{Ending, Told};

/// Path and query of a draft's publish.
fn path(draft: &Draft, patience: &Patience) -> String {
    let mut out = b"/v1/publish?topic=".to_vec();
    put_encoded(&mut out, draft.topic.as_str());
    let mut put = |name: &str, value: &str| {
        out.extend_from_slice(format!("&{name}=").as_bytes());
        put_encoded(&mut out, value);
    };
    let Meta {
        content_type: _,
        event,
        tags,
    } = &*draft.content.meta;
    if draft.ack == Ack::None {
        put("ack", "none");
    }
    if let Some(event) = event {
        put("event", event.as_str());
    }
    for (key, value) in tags.iter() {
        put("tag", &format!("{key}:{value}"));
    }
    if let Some(expect) = draft.expect {
        put("expect", &expect.to_string());
    }
    put(
        "timeout",
        &patience.sending.as_secs().clamp(1, 30).to_string(),
    );
    // Everything in it is ASCII.
    String::from_utf8(out).unwrap_or_default()
}

/// The request of a draft; an error says what HTTP cannot carry.
fn request(
    draft: &Draft,
    patience: &Patience,
    authorization: Option<&str>,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let Content { payload, meta } = &draft.content;
    let mut request = Request::post(path(draft, patience))
        .header(header::CONTENT_TYPE, meta.content_type.as_str());
    if let Some(key) = &draft.key {
        // In quotes a key may begin with one.
        let mut quoted = vec![b'"'];
        for byte in key.as_bytes() {
            if matches!(byte, b'"' | b'\\') {
                quoted.push(b'\\');
            }
            quoted.push(*byte);
        }
        quoted.push(b'"');
        request = request.header(KEY, HeaderValue::from_bytes(&quoted)?);
        if draft.key_age_ms > 0 {
            request = request.header(KEY_AGE, draft.key_age_ms);
        }
    }
    if let Some(text) = authorization {
        let mut value = HeaderValue::from_str(text)?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(Full::new(payload.clone()))
}

/// Sends a draft and hears what became of it.
pub(crate) async fn send(
    machine: &Machine,
    http: &mut Http,
    draft: &Draft,
    patience: &Patience,
    renew: bool,
) -> Sent {
    let authorization = machine.authorization(renew).await;
    let request = match request(draft, patience, authorization.as_deref()) {
        Ok(request) => request,
        Err(error) => {
            let json = br#"{"code":"invalid_argument","outcome":"not_placed","advice":"give_up"}"#;
            let mut told = Told::of_http(400, json);
            told.problem.detail = format!("HTTP cannot carry this draft: {error}");
            return Sent::Refused(told);
        }
    };
    let late = patience
        .sending
        .saturating_add(std::time::Duration::from_secs(5));
    let answered = tokio::select! { biased;
        answered = http.ask(request) => answered,
        () = machine.clock.sleep(late) => return Sent::NoAnswer("no answer in time".to_owned()),
    };
    let response = match answered {
        Ok(response) => response,
        Err(Ending::NotConnected(why)) => return Sent::NeverLeft(why),
        Err(ending @ (Ending::Cut(_) | Ending::Told(_))) => {
            return Sent::NoAnswer(ending.to_string());
        }
    };
    match response.status().as_u16() {
        200 | 202 => match Acked::read(response.body()) {
            Ok(acked) => Sent::Acked(acked),
            Err(why) => Sent::NoAnswer(format!("not an ack: {why}")),
        },
        status => Sent::Refused(Told::of_http(status, response.body())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::draft;

    #[test]
    fn a_draft_is_a_request() {
        let mut sent = draft("a+b", Some("k\"1"));
        sent.key_age_ms = 1_500;
        sent.expect = Some("7-41".parse().unwrap());
        let request = request(&sent, &Patience::default(), Some("Bearer x")).unwrap();
        assert_eq!(
            request.uri(),
            "/v1/publish?topic=a%2Bb&expect=7-41&timeout=5"
        );
        assert_eq!(request.headers()[KEY], r#""k\"1""#);
        assert_eq!(request.headers()[KEY_AGE], "1500");
        assert_eq!(request.headers()["content-type"], "text/plain");
        assert_eq!(request.headers()["authorization"], "Bearer x");
    }
}
