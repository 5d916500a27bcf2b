//! The routes of protocol section 2: paths, their methods, and what a code means as text.

use fanfare_core::code::Code;
use http::Method;

/// A route of the edge listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Home,
    Publish,
    Batch,
    Ws,
    Sse,
    Tail,
    Poll,
    /// What a code means.
    Error(Code),
}

impl Route {
    /// The route of a path. Paths are compared as they are spelled.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Home,
            "/v1/publish" => Self::Publish,
            "/v1/publish/batch" => Self::Batch,
            "/v1/ws" => Self::Ws,
            "/v1/sse" => Self::Sse,
            "/v1/tail" => Self::Tail,
            "/v1/poll" => Self::Poll,
            _ => Self::Error(Code::by_name(path.strip_prefix("/v1/errors/")?)?),
        })
    }

    /// Its methods as `Allow` lists them. HEAD is not for streams: they have no end.
    pub(crate) fn allow(self) -> &'static str {
        match self {
            Self::Publish | Self::Batch => "POST, OPTIONS",
            Self::Ws | Self::Sse | Self::Tail => "GET, OPTIONS",
            Self::Home | Self::Poll | Self::Error(_) => "GET, HEAD, OPTIONS",
        }
    }

    /// True if the route takes the method.
    pub(crate) fn takes(self, method: &Method) -> bool {
        self.allow().split(", ").any(|name| name == method.as_str())
    }
}

/// What a code means, for people.
pub(crate) fn explain(code: Code) -> String {
    let number = |n: Option<u16>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let outcome = code.publish_outcome();
    format!(
        "{code}: {title}.\n\n{when}\nWhat to do: {remedy}\nTry again: {retry}\n\nHTTP {http}, gRPC {grpc:?}, WebSocket {ws}\nof a publish: {outcome}\nadvice: {advice}\n",
        title = code.title(),
        when = code.meaning().when,
        remedy = code.meaning().remedy,
        retry = code.retry(),
        http = number(code.http()),
        grpc = code.grpc(),
        ws = number(code.ws()),
        outcome = outcome.as_str(),
        advice = code.advice(outcome).as_str(),
    )
}

/// The page at `/`.
pub(crate) const HOME: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>fanfare</title>\
<h1>fanfare</h1><p>This is an edge of a fanfare cluster. Publish to \
<code>POST /v1/publish?topic=T</code>; read at <code>/v1/ws</code>, <code>/v1/sse</code>, \
<code>/v1/poll</code> or <code>/v1/tail</code>.</p></html>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_route_and_its_methods() {
        assert_eq!(Route::of("/v1/publish"), Some(Route::Publish));
        assert_eq!(Route::of("/v1/publish/"), None);
        assert_eq!(
            Route::of("/v1/errors/no_quorum"),
            Some(Route::Error(Code::NoQuorum))
        );
        assert_eq!(Route::of("/v1/errors/nonsense"), None);
        assert!(Route::Poll.takes(&Method::HEAD));
        assert!(!Route::Sse.takes(&Method::HEAD));
        assert!(!Route::Publish.takes(&Method::GET));
    }

    #[test]
    fn every_code_is_explained_by_its_numbers() {
        let text = explain(Code::NoQuorum);
        assert!(
            text.contains("HTTP 503")
                && text.contains("not_placed")
                && text.contains("retry_later")
        );
        for code in Code::ALL {
            assert!(explain(*code).contains(code.title()));
        }
    }
}
