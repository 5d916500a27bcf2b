//! The page that each edge of a dev cluster serves at `/`, and its files. They are in the binary and
//! fetch nothing from elsewhere; what the page does is in `page/`.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

struct File {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal: $kind:ident),+ $(,)?) => {
        &[$(File { name: $name, kind: $kind, text: include_str!(concat!("page/", $name)) }),+]
    };
}

const INDEX: File = File {
    name: "index.html",
    kind: HTML,
    text: include_str!("page/index.html"),
};

const FILES: &[File] = files! {
    "page.css": STYLE,
    "stories.css": STYLE,
    "icon.svg": PICTURE,
    "htmx.js": SCRIPT,
    "main.js": SCRIPT,
    "nodes.js": SCRIPT,
    "picture.js": SCRIPT,
    "story.js": SCRIPT,
    "meter.js": SCRIPT,
    "bell.js": SCRIPT,
    "score.js": SCRIPT,
    "chat.js": SCRIPT,
    "track.js": SCRIPT,
    "publish.js": SCRIPT,
    "figures.js": SCRIPT,
    "say.js": SCRIPT,
};

/// `/` and `/dev/page/NAME`. The page may talk to these edges and to nobody else.
pub(super) fn router(edges: &[SocketAddr]) -> Router {
    let policy = HeaderValue::try_from(policy(edges)).ok();
    Router::new()
        .route("/", get(index))
        .route("/dev/page/{name}", get(file))
        .with_state(policy)
}

async fn index(State(policy): State<Option<HeaderValue>>) -> Response {
    serve(&INDEX, policy)
}

async fn file(State(policy): State<Option<HeaderValue>>, Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => serve(file, policy),
        None => (StatusCode::NOT_FOUND, "the page has no such file\n").into_response(),
    }
}

fn serve(file: &File, policy: Option<HeaderValue>) -> Response {
    let mut response = file.text.into_response();
    let headers = response.headers_mut();
    let rows = [
        (header::CONTENT_TYPE, file.kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in rows {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(policy) = policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// No inline script or style, nothing of other machines, and no frame around it: another page must
/// not trick a hand into its buttons.
fn policy(edges: &[SocketAddr]) -> String {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'",
    );
    for edge in edges {
        let port = edge.port();
        let mut hosts = vec![edge.ip().to_string()];
        if edge.ip().is_loopback() {
            hosts.push("localhost".to_owned());
        }
        for host in hosts {
            policy += &format!(" http://{host}:{port} ws://{host}:{port}");
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names after `before` and up to the next quote.
    fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let mut wanted: Vec<&str> = named(INDEX.text, "\"/dev/page/").collect();
        for script in FILES.iter().filter(|file| file.kind == SCRIPT) {
            wanted.extend(named(script.text, "from \"./"));
        }
        assert!(wanted.len() > FILES.len(), "{wanted:?}");
        for name in &wanted {
            assert!(FILES.iter().any(|file| file.name == *name), "{name}");
        }
        for file in FILES {
            assert!(wanted.contains(&file.name), "nobody uses {}", file.name);
        }
    }

    #[test]
    fn the_page_fetches_nothing_from_elsewhere_and_has_nothing_inline() {
        for file in FILES.iter().chain([&INDEX]) {
            for foreign in ["https://", "src=\"//", "@import", "url("] {
                assert!(!file.text.contains(foreign), "{}: {foreign}", file.name);
            }
            let lines = file.text.lines().count();
            assert!(lines <= 500, "{} has {lines} lines", file.name);
            let head = file.text.lines().take(3).collect::<String>();
            assert!(
                head.contains("/*") || head.contains("//") || head.contains("<!--"),
                "{} does not say what is in it",
                file.name
            );
        }
        assert!(!INDEX.text.contains("style=\"") && !INDEX.text.contains(" onclick="));
        assert!(!INDEX.text.contains("<script>") && !INDEX.text.contains("<style>"));
    }

    #[test]
    fn the_policy_names_the_edges_and_nobody_else() {
        let policy = policy(&["127.0.0.1:8080".parse().unwrap()]);
        assert!(policy.ends_with(
            "connect-src 'self' http://127.0.0.1:8080 ws://127.0.0.1:8080 \
             http://localhost:8080 ws://localhost:8080"
        ));
        assert!(!policy.contains('*') && !policy.contains("unsafe"));
    }
}
