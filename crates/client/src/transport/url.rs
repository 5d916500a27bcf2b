//! The request of a reading route: path, query, credentials.

use std::time::Duration;

use bytes::Bytes;
use fanfare_core::gap::Since;
use fanfare_protocol::query::put_encoded;
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use super::{Wish, malformed};
use crate::told::Ending;

/// What a route has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    Sse { heartbeat: Duration },
    Tail { heartbeat: Duration },
    Poll { wait: Duration },
}

/// Path and query. A cursor wins over `from` at the node, which speaks of topics not in it.
pub(super) fn path(route: Route, wish: &Wish, cursor: Option<&str>) -> String {
    let mut out = match route {
        Route::Sse { .. } => b"/v1/sse".to_vec(),
        Route::Tail { .. } => b"/v1/tail".to_vec(),
        Route::Poll { .. } => b"/v1/poll".to_vec(),
    };
    let mut mark = b'?';
    let mut put = |name: &str, value: &str| {
        out.push(mark);
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        put_encoded(&mut out, value);
        mark = b'&';
    };
    for (topic, _) in &wish.topics {
        put("topic", topic.as_str());
    }
    if let Some((_, since)) = wish.topics.first() {
        put("from", &since_text(*since));
    }
    match route {
        Route::Sse { heartbeat } | Route::Tail { heartbeat } => {
            put("heartbeat", &heartbeat.as_secs().to_string());
        }
        Route::Poll { wait } if !wait.is_zero() => put("wait", &wait.as_secs().to_string()),
        Route::Poll { .. } => {}
    }
    if let Some(cursor) = cursor {
        put("cursor", cursor);
    }
    // Everything in it is ASCII.
    String::from_utf8(out).unwrap_or_default()
}

fn since_text(since: Since) -> String {
    match since {
        Since::Latest => "latest".to_owned(),
        Since::Earliest => "earliest".to_owned(),
        Since::Last(count) => format!("last:{count}"),
        Since::After(position) => position.to_string(),
    }
}

/// A GET of `path`.
pub(super) fn get(
    path: &str,
    accept: &'static str,
    wish: &Wish,
) -> Result<Request<Full<Bytes>>, Ending> {
    let mut request = Request::get(path)
        .header(header::ACCEPT, accept)
        .body(Full::default())
        .map_err(malformed)?;
    if let Some(value) = authorization(wish)? {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// The credentials as a header's value, never shown in a log.
pub(super) fn authorization(wish: &Wish) -> Result<Option<HeaderValue>, Ending> {
    let Some(text) = &wish.authorization else {
        return Ok(None);
    };
    let bad = |_| Ending::NotConnected("the token has characters that no header has".to_owned());
    let mut value = HeaderValue::from_str(text).map_err(bad)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use fanfare_core::position::Position;

    use super::*;

    #[test]
    fn a_url_names_topics_from_and_cursor() {
        let wish = |since| Wish {
            topics: vec![
                ("a+b".parse().unwrap(), since),
                ("c".parse().unwrap(), since),
            ],
            cursor: None,
            heartbeat: Duration::from_secs(15),
            fresh: std::collections::BTreeSet::new(),
            authorization: None,
        };
        let heartbeat = Duration::from_secs(15);
        assert_eq!(
            path(
                Route::Sse { heartbeat },
                &wish(Since::Last(5)),
                Some("C_-1")
            ),
            "/v1/sse?topic=a%2Bb&topic=c&from=last%3A5&heartbeat=15&cursor=C_-1"
        );
        let wait = Duration::from_secs(25);
        let after = Since::After(Position::new(7, 42));
        assert_eq!(
            path(Route::Poll { wait }, &wish(after), None),
            "/v1/poll?topic=a%2Bb&topic=c&from=7-42&wait=25"
        );
        let short = Route::Poll {
            wait: Duration::ZERO,
        };
        assert!(path(short, &wish(Since::Latest), None).ends_with("&from=latest"));
    }
}
