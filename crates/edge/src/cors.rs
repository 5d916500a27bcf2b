//! Which pages and hosts may talk to this edge: `Origin` and `Host`, preflights, and the headers
//! by which a browser lets a page read an answer.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Request, StatusCode};

use axum::response::Response;

use crate::config::{Hosts, Origins};
use crate::problem::bare;

const EXPOSED: &str = "ETag, Link, Retry-After, Fanfare-Request-Id";
const METHODS: &str = "GET, HEAD, POST";
/// Ours, and what htmx 2 and 4 add to each of their requests.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, Idempotency-Age, \
     Last-Event-ID, If-None-Match, HX-Request, HX-Request-Type, HX-Current-URL, HX-Target, \
     HX-Source, HX-Trigger, HX-Trigger-Name, HX-Prompt, HX-Boosted";

/// What the `Origin` of a request is to this edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// None: no browser, or one that sees no need to tell.
    Absent,
    /// One that may read answers, and send cookies unless all may.
    Allowed(HeaderValue),
    Refused,
}

impl Origin {
    /// Judges a request.
    pub(crate) fn of<B>(request: &Request<B>, allowed: &Origins) -> Self {
        let mut values = request.headers().get_all(header::ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(origin), None) if may(origin, host(request), allowed) => match allowed {
                Origins::Any => Self::Allowed(HeaderValue::from_static("*")),
                Origins::SameHost | Origins::Loopback | Origins::Listed(_) => {
                    Self::Allowed(origin.clone())
                }
            },
            (Some(_), _) => Self::Refused,
        }
    }

    /// True if a cookie may count: browsers add it to requests of any page.
    pub(crate) fn trusted(&self, headers: &HeaderMap) -> bool {
        let site = headers.get(HeaderName::from_static("sec-fetch-site"));
        match self {
            Self::Absent => site.is_none_or(|site| site != "cross-site"),
            Self::Allowed(origin) => origin != "*",
            Self::Refused => false,
        }
    }

    /// Adds what lets an allowed page read the answer.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        let varies = |value: &HeaderValue| value.to_str().is_ok_and(|v| v.contains("Origin"));
        if !headers.get_all(header::VARY).iter().any(varies) {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Self::Allowed(origin) = self {
            let credentials = origin != "*";
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static(EXPOSED),
            );
            if credentials {
                headers.insert(
                    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
        }
    }

    /// The answer to `OPTIONS`. A page that is not allowed gets no headers, which refuses it.
    pub(crate) fn preflight(&self, allow: &'static str) -> Response {
        let mut response = bare(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        if matches!(self, Self::Allowed(_)) {
            let rows = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, "7200"),
            ];
            for (name, value) in rows {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}

/// True if the host that the request names is one of ours. HTTP/2 names it in the URI.
pub(crate) fn host_allowed<B>(request: &Request<B>, hosts: &Hosts) -> bool {
    let Hosts::Listed(listed) = hosts else {
        return true;
    };
    let once = request.headers().get_all(header::HOST).iter().count() <= 1;
    let ours = |authority: Authority| {
        let host = authority.host().to_ascii_lowercase();
        is_loopback(&host) || listed.contains(&host)
    };
    once && host(request).is_some_and(ours)
}

fn host<B>(request: &Request<B>) -> Option<Authority> {
    let named = || {
        request
            .headers()
            .get(header::HOST)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    };
    request.uri().authority().cloned().or_else(named)
}

fn may(origin: &HeaderValue, host: Option<Authority>, allowed: &Origins) -> bool {
    let Ok(text) = origin.to_str() else {
        return false;
    };
    // `null`, and whatever is no origin, never passes.
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let Ok(page) = authority.parse::<Authority>() else {
        return false;
    };
    let same_host = || {
        let default = if scheme == "https" { 443 } else { 80 };
        let port = |of: &Authority| of.port_u16().unwrap_or(default);
        host.is_some_and(|host| {
            host.host().eq_ignore_ascii_case(page.host()) && port(&host) == port(&page)
        })
    };
    match allowed {
        Origins::Any => true,
        Origins::SameHost => same_host(),
        Origins::Loopback => same_host() || is_loopback(&page.host().to_ascii_lowercase()),
        Origins::Listed(listed) => {
            let text = text.to_ascii_lowercase();
            same_host() || listed.contains(&text)
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, origin: Option<&str>) -> Request<()> {
        let mut request = Request::builder().uri("/v1/sse").header("host", host);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        request.body(()).unwrap()
    }

    fn allowed(origins: &Origins, host: &str, origin: &str) -> bool {
        Origin::of(&request(host, Some(origin)), origins) != Origin::Refused
    }

    #[test]
    fn by_default_a_page_talks_to_its_own_host() {
        let same = Origins::SameHost;
        assert!(allowed(&same, "a.example:8080", "http://a.example:8080"));
        assert!(allowed(&same, "a.example", "https://a.example"));
        assert!(allowed(&same, "a.example:443", "https://A.example"));
        for page in [
            "http://a.example",
            "http://b.example:8080",
            "null",
            "a.example:8080",
            "",
        ] {
            assert!(!allowed(&same, "a.example:8080", page), "{page}");
        }
    }

    #[test]
    fn loopback_pages_may_come_from_any_port() {
        let loopback = Origins::Loopback;
        for page in [
            "http://localhost:3000",
            "http://127.0.0.1:1",
            "http://[::1]:5173",
        ] {
            assert!(allowed(&loopback, "localhost:8080", page), "{page}");
        }
        assert!(!allowed(
            &loopback,
            "localhost:8080",
            "http://localhost.evil.example"
        ));
    }

    #[test]
    fn listed_origins_are_exact() {
        let listed = Origins::Listed(vec!["https://app.example".to_owned()]);
        assert!(allowed(&listed, "x", "https://app.example"));
        assert!(!allowed(&listed, "x", "http://app.example"));
        assert!(!allowed(&listed, "x", "https://app.example.evil.example"));
    }

    #[test]
    fn a_star_comes_without_credentials() {
        let mut headers = HeaderMap::new();
        let origin = Origin::of(&request("x", Some("https://a.example")), &Origins::Any);
        origin.mark(&mut headers);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        assert!(!origin.trusted(&headers), "and cookies do not count");
    }

    #[test]
    fn a_foreign_host_name_is_a_rebound_one() {
        let hosts = Hosts::Listed(vec!["push.example".to_owned()]);
        for ours in [
            "push.example",
            "PUSH.example:8080",
            "localhost:1",
            "127.0.0.1",
            "[::1]:80",
        ] {
            assert!(host_allowed(&request(ours, None), &hosts), "{ours}");
        }
        assert!(!host_allowed(&request("evil.example", None), &hosts));
        assert!(host_allowed(&request("evil.example", None), &Hosts::Any));
        let h2 = Request::builder()
            .uri("http://evil.example/v1/sse")
            .body(())
            .unwrap();
        assert!(!host_allowed(&h2, &hosts));
    }
}
